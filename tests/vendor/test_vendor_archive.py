"""The archive for another machine, and the reports that come back; nothing else is taken for them."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from l1dl.cli.app import invoke


def archive(run: Path, path: Path, tool: str = "vivado") -> Path:
    assert invoke(["build", str(run), "--tool", tool, "--remote-script", str(path)]) == 0
    return path


@pytest.fixture
def elsewhere(run: Path, tmp_path: Path) -> Path:
    """Return the folder in which the archive was unpacked."""
    with tarfile.open(archive(run, tmp_path / "vivado.tar.gz")) as packed:
        packed.extractall(tmp_path / "elsewhere", filter="data")
    return tmp_path / "elsewhere" / "tiny_vivado"


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", str(folder / "run.sh")], capture_output=True, text=True, timeout=120, check=False)


def fails(capsys: pytest.CaptureFixture[str], run: Path, source: Path) -> str:
    capsys.readouterr()
    assert invoke(["build", str(run), "--import", str(source)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("tool", ["vitis", "vivado", "quartus"])
def test_what_another_machine_made_is_what_this_one_makes(
    tool: str, run: Path, vendor_tools: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive(run, tmp_path / "archive.tar.gz", tool)) as packed:
        packed.extractall(tmp_path / "elsewhere", filter="data")
    folder = tmp_path / "elsewhere" / f"tiny_{tool}"
    done = start(folder)
    assert done.returncode == 0, done.stderr
    assert invoke(["build", str(run), "--tool", tool]) == 0
    file = run / "build" / f"{tool}.json"
    here = json.loads(file.read_text())
    for source in (folder, folder / "results.tar.gz"):
        assert invoke(["build", str(run), "--import", str(source)]) == 0
        there = json.loads(file.read_text())
        assert there.pop("imported")
        assert there == {key: value for key, value in here.items() if key != "imported"}
    with tarfile.open(folder / "results.tar.gz") as packed:
        assert not [name for name in packed.getnames() if name.endswith((".dcp", ".v"))]


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    first, second = archive(run, tmp_path / "a.tar.gz", "vitis"), archive(run, tmp_path / "b.tar.gz", "vitis")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as packed:
        members = packed.getmembers()
    assert {member.mtime for member in members} == {0}
    assert {member.uname for member in members} == {""}
    assert all(member.name.startswith("tiny_vitis/") for member in members)
    assert not [member.name for member in members if "ap_types" in member.name]
    assert str(tmp_path).encode() not in gzip.decompress(first.read_bytes())


def test_the_script_goes_on_where_it_stopped(
    run: Path, elsewhere: Path, vendor_tools: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("L1DL_FAKE", "implement:fail")
    done = start(elsewhere)
    assert done.returncode == 3
    assert "implement: failed with exit code 1" in done.stderr
    assert "A valid license was not found" in done.stderr
    for source in (elsewhere, elsewhere / "results.tar.gz"):
        assert invoke(["build", str(run), "--import", str(source)]) == 3
        assert (
            "implement: the step did not write utilization.rpt, timing.rpt. Last lines of its log"
            in capsys.readouterr().out
        )
        synth, implement = json.loads((run / "build/vivado.json").read_text())["steps"]
        assert (synth["state"], implement["state"], implement["timing"]) == ("finished", "failed", None)
        assert "A valid license was not found" in implement["reason"]
    monkeypatch.delenv("L1DL_FAKE")
    done = start(elsewhere)
    assert done.returncode == 0
    assert "synth: up to date" in done.stdout
    assert (elsewhere / "calls.txt").read_text().split() == ["synth", "implement", "implement"]


def test_the_script_has_a_time_limit_and_knows_its_inputs(elsewhere: Path, vendor_tools: Path, monkeypatch) -> None:
    monkeypatch.setenv("L1DL_FAKE", "synth:hang")
    monkeypatch.setenv("LIMIT_S", "1")
    done = start(elsewhere)
    assert done.returncode == 3
    assert "synth: failed with exit code 124" in done.stderr
    (elsewhere / "clock.xdc").write_text("create_clock -period 50.000 [get_ports clk]\n")
    done = start(elsewhere)
    assert done.returncode != 0
    assert "clock.xdc: FAILED" in done.stdout


def test_reports_of_another_design_are_refused(run: Path, elsewhere: Path, vendor_tools: Path, capsys) -> None:
    assert start(elsewhere).returncode == 0
    report = elsewhere / "reports/implement/timing.rpt"
    report.write_text(report.read_text().replace("| Design       : tiny", "| Design       : other"))
    assert "timing.rpt is a report of the design 'other', not of 'tiny'" in fails(capsys, run, elsewhere)
    source = run / "rtl/src/tiny_stage0.v"
    source.write_text(source.read_text() + "// changed\n")
    assert "no results of this run: src/tiny_stage0.v differ" in fails(capsys, run, elsewhere)
    assert not (run / "build").exists()


def test_what_is_no_result_is_refused(run: Path, elsewhere: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no settings.json of l1dl" in fails(capsys, run, tmp_path / "empty")
    (elsewhere / "settings.json").write_text('{"tool": "vivado", "part": "x; exec rm"}')
    assert "is no name of a device" in fails(capsys, run, elsewhere)
    (elsewhere / "settings.json").write_text('{"tool": "ise", "part": "x"}')
    assert "holds no settings.json of l1dl" in fails(capsys, run, elsewhere)
    (tmp_path / "text.tar.gz").write_text("no archive")
    assert "cannot be read as a tar.gz file" in fails(capsys, run, tmp_path / "text.tar.gz")
    whole = archive(run, tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a tar.gz file" in fails(capsys, run, tmp_path / "half.tar.gz")


def test_a_folder_that_was_not_run_has_no_figures(run: Path, elsewhere: Path, capsys) -> None:
    assert invoke(["build", str(run), "--import", str(elsewhere)]) == 3
    assert "synth: there is no log of it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../settings.json", tarfile.REGTYPE), ("/settings.json", tarfile.REGTYPE), ("reports/../../x", tarfile.REGTYPE),
     ("settings.json", tarfile.SYMTYPE), ("settings.json", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)],
)  # fmt: skip
def test_an_archive_that_leaves_its_folder_is_refused(
    name: str, kind: bytes, run: Path, tmp_path: Path, capsys
) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        packed.addfile(member, io.BytesIO(b""))
    assert f"is refused: {name!r} leads out of its folder, or is no plain file" in fails(
        capsys, run, tmp_path / "bad.tar.gz"
    )


def test_a_link_that_leaves_the_folder_is_refused(run: Path, elsewhere: Path, vendor_tools: Path, capsys) -> None:
    assert start(elsewhere).returncode == 0
    report = elsewhere / "reports/implement/timing.rpt"
    outside = report.replace(elsewhere.parent / "timing.rpt")
    report.symlink_to(outside)
    assert "timing.rpt is refused: it leads out of its folder" in fails(capsys, run, elsewhere)


def test_a_report_that_is_far_too_large_is_refused(run: Path, elsewhere: Path, vendor_tools: Path, capsys) -> None:
    assert start(elsewhere).returncode == 0
    with (elsewhere / "reports/implement/timing.rpt").open("r+b") as file:
        file.truncate(65 << 20)
    assert "is larger than 64 MiB, which no report is" in fails(capsys, run, elsewhere)
