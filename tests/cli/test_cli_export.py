"""``l1dl export --ip``: a finished run as an IP core, whose own test bench passes; or a clear refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ip_cores import need_simulator, run_bench
from tiny import copy_run

from l1dl.artifacts import RunDirectory, digest_path
from l1dl.cli.app import invoke


def export(run: Path, target: Path, *options: str) -> int:
    return invoke(["export", str(run), "--ip", str(target), *options])


def refused(capsys: pytest.CaptureFixture[str], run: Path, target: Path, *options: str) -> str:
    """Export where that must be refused; return the one line that says why."""
    before = digest_path(target) if target.exists() else None
    capsys.readouterr()
    assert export(run, target, *options) == 2
    assert (digest_path(target) if target.exists() else None) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("architecture", ["parallel", "stream"])
def test_the_core_of_a_run_passes_its_own_bench(architecture: str, finished: Path, tmp_path: Path) -> None:
    card, run, core = copy_run(finished, tmp_path), tmp_path / "out", tmp_path / "core"
    if architecture == "stream":
        change = ["--set", "rtl.architecture=stream", "--out", str(run)]
        assert invoke(["run", str(card), "--until", "cosim", *change]) == 0
    assert export(run, core, "--vendor", "cern.ch", "--model-version", "2_1", "--events", "12") == 0
    content, verdict = json.loads((core / "ip.json").read_text()), json.loads((run / "cosim/cosim.json").read_text())
    assert (content["name"], content["vendor"], content["version"]) == ("tiny", "cern.ch", "2.1")
    assert content["protocol"] == ("axi4-stream" if architecture == "stream" else "valid")
    assert content["latency_cycles"] == verdict["latency_cycles"]
    assert content["initiation_interval"] == verdict["initiation_interval"] == 1
    assert content["vectors"] == {"test": 12, "corner": 12}
    words = (core / "tb/vectors/outputs.hex").read_text().split()
    assert len(words) == 24
    assert len(set(words)) > 5
    for file in ("interface.md", "src/tiny.v"):
        assert (core / file).read_text() == (run / "rtl" / file).read_text()
    digest = digest_path(core)
    assert export(run, core, "--vendor", "cern.ch", "--model-version", "2_1", "--events", "12") == 0
    assert digest_path(core) == digest
    need_simulator("sv", "verilator")
    code, said = run_bench(core, "sv", "verilator", tmp_path / "build")
    assert code == 0, said
    assert "PASS: 24 events" in said


def test_what_is_not_ours_is_not_replaced(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    error = refused(capsys, finished / "out", tmp_path / "mine")
    assert "holds other files, which an IP would replace; choose a new directory" in error
    assert "is no directory" in refused(capsys, finished / "out", tmp_path / "mine" / "notes.txt")
    (tmp_path / "empty").mkdir()
    assert export(finished / "out", tmp_path / "empty") == 0


def test_a_run_that_is_not_finished_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "core"
    assert "the stage rtl of" in refused(capsys, tmp_path / "nothing", target)
    assert not (tmp_path / "nothing").exists()
    copy_run(finished, tmp_path)
    run = tmp_path / "out"
    manifest = json.loads((run / "manifest.json").read_text())
    old = json.loads(json.dumps(manifest))
    manifest["stages"]["cosim"]["finished"] = "2001-01-01T00:00:00+00:00"
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "newer than its co-simulation" in refused(capsys, run, target)
    del manifest["stages"]["cosim"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "the stage cosim of" in refused(capsys, run, target)
    (run / "manifest.json").write_text(json.dumps(old))
    with (run / "rtl/src/tiny.v").open("a") as file:
        file.write("// by hand\n")
    assert "what the stage rtl wrote to" in refused(capsys, run, target)


def change_results(run: Path, what: str) -> None:
    """Change a result of the co-simulation so that the manifest does not show it."""
    if what == "verdict":
        verdict = json.loads((run / "cosim/cosim.json").read_text())
        verdict["agreement"] |= {"mismatches": 1, "first": [{"event": 0, "output": 0, "left": 1, "right": 2}]}
        (run / "cosim/cosim.json").write_text(json.dumps(verdict))
    else:
        with np.load(run / "cosim/outputs.npz") as file:
            arrays = dict(file)
        if what == "code":
            arrays["codes"][3, 1] += 1
        else:
            del arrays["inputs"]
        np.savez(run / "cosim/outputs.npz", **arrays)
    with RunDirectory(run) as directory:
        record = directory.stages()["cosim"]
        directory.record("cosim", record.key, record.seconds, [run / name for name in record.outputs])


@pytest.mark.parametrize(
    ("what", "exit_code", "words"),
    [
        ("verdict", 1, "emulator and rtl disagree in 1 output codes"),
        ("code", 1, "emulator and rtl disagree in 1 output codes of 100 events. First: event 3 output 1"),
        ("inputs", 2, "holds no inputs; run the stage cosim again with --force"),
    ],
)
def test_what_does_not_agree_is_no_core(
    what: str, exit_code: int, words: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_run(finished, tmp_path)
    change_results(tmp_path / "out", what)
    assert export(tmp_path / "out", tmp_path / "core") == exit_code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "core").exists()


def test_bad_options_are_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = finished / "out", tmp_path / "core"
    assert "vendor '[exit]' is not allowed" in refused(capsys, run, target, "--vendor", "[exit]")
    assert "version 'x' of an IP is not allowed" in refused(capsys, run, target, "--model-version", "x")
    assert "events = 0 is not allowed" in refused(capsys, run, target, "--events", "0")
    assert invoke(["export", str(run)]) == 2
    assert "give --onnx FILE, --cpp DIRECTORY or --ip DIRECTORY" in " ".join(capsys.readouterr().err.split())
