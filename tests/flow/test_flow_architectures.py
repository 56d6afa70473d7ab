"""One network in several architectures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from image_graphs import headed
from support import need_packages, need_tools, small_net

from l1dl.cli.app import invoke
from l1dl.errors import InputError
from l1dl.flow.architectures import FILE, architectures, compare_architectures, read_architectures
from l1dl.graph import save_graph


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "convert").mkdir()
    save_graph(headed(), tmp_path / "convert" / "graph.json")
    return tmp_path


def test_an_image_may_enter_by_pixels_and_by_rows() -> None:
    found = architectures(headed(), 4.0)
    assert list(found) == [
        "parallel", "stream, 1 pixel", "stream, 1 pixel, no reuse",
        "stream, 6 pixels", "stream, 6 pixels, no reuse",
    ]  # fmt: skip
    assert {settings.clock_period_ns for settings in found.values()} == {4.0}
    assert list(architectures(headed(), 5.0, [3]))[1:] == [
        "stream, 3 pixels", "stream, 3 pixels, no reuse",
    ]  # fmt: skip
    assert len(architectures(small_net(), 5.0)) == 3


def test_results_of_another_network_are_not_shown(run: Path) -> None:
    assert read_architectures(run, headed()) == ()
    entry = {"name": "parallel", "reason": "", "lut": 3}
    (run / FILE).write_text(json.dumps({"graph": headed().digest, "architectures": [entry]}))
    (found,) = read_architectures(run, headed())
    assert (found.name, found.lut, found.ff) == ("parallel", 3, None)
    assert read_architectures(run, small_net()) == ()


def test_a_directory_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="holds no converted network"):
        compare_architectures(tmp_path)
    assert invoke(["architectures", str(tmp_path)]) == 2
    assert "run the stage convert first" in capsys.readouterr().err


@pytest.mark.slow
def test_designs_are_measured_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_packages("alkaid")
    need_tools("verilator", "cxx", "yosys")
    assert invoke(["architectures", str(run), "--pixels", "1", "--pixels", "4"]) == 0
    shown = capsys.readouterr().out
    found = {each.name: each for each in read_architectures(run, headed())}
    assert len(found) == 5
    parallel, stream = found["parallel"], found["stream, 1 pixel"]
    assert (parallel.interval, stream.interval) == (1, 36)
    assert parallel.lut > stream.lut > 0
    assert stream.dsp is not None
    assert stream.latency_ns == 5 * stream.latency_cycles
    assert "pixels_per_clock = 4 does not divide" in found["stream, 4 pixels"].reason
    assert "parallel" in shown
