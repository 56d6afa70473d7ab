"""The figures of several runs side by side."""

from __future__ import annotations

import copy
import json

import pytest

from l1dl.cli.app import invoke
from l1dl.errors import InputError
from l1dl.report import build_report
from l1dl.report.compare import compare_reports, read_reports


@pytest.fixture
def reports(inputs):
    """The report of a run, and of one with half of the LUTs and no physics."""
    first = build_report(inputs)
    second = copy.deepcopy(first)
    second["resources"]["lut"] = first["resources"]["lut"] // 2
    second["resources"]["dsp"] = None
    second["physics"] = None
    return first, second


def test_counts_have_their_change_from_the_first_run(reports):
    rows = {name: cells for name, *cells in compare_reports(reports)}
    assert rows["LUT"][1].endswith("(-50.0\N{NARROW NO-BREAK SPACE}%)")
    assert rows["FF"][0] == rows["FF"][1]
    assert rows["DSP"][1] == rows["accuracy"][1] == "—"
    assert "±" in rows["accuracy"][0]
    assert rows["constants not 0"][0] == rows["constants not 0"][1]
    assert all(len(cells) == 2 for cells in rows.values())


def test_runs_are_compared_on_the_command_line(reports, tmp_path, capsys):
    for name, report in zip("ab", reports, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    assert invoke(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "-50.0" in capsys.readouterr().out
    assert list(read_reports([tmp_path / "b", tmp_path / "a"])) == [str(tmp_path / "b"), str(tmp_path / "a")]


def test_what_is_no_report_is_refused(tmp_path, capsys):
    assert invoke(["compare", str(tmp_path)]) == 2
    assert "has no report" in capsys.readouterr().err
    (tmp_path / "report.json").write_text('{"schema": "l1dl-report/0"}')
    with pytest.raises(InputError, match="no report of this version"):
        read_reports([tmp_path])
