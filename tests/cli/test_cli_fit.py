"""`l1dl fit`: limits, exit codes, what it prints and writes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support import need_packages
from tiny import PACKAGES, copy_run, write_card

from l1dl.card import load_card
from l1dl.cli.app import invoke


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int) -> str:
    capsys.readouterr()
    assert invoke(["fit", *map(str, arguments)]) == code
    return capsys.readouterr().out


def test_a_run_within_its_limits(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((finished / "out" / "report.json").read_text())
    limits = ["--max-latency", f"{report['latency']['ns']}ns", "--max-lut", str(report["resources"]["lut"])]
    out = shown(capsys, finished / "out", *limits, "--max-auc-loss", "0.9", code=0)
    assert out.count("kept") == 3
    assert "BROKEN" not in out
    assert "counted in the simulated RTL" in out
    assert report["resources"]["origin"] in out
    assert "smallest set" not in out


def test_a_broken_limit_ends_with_a_command_that_can_be_pasted(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lut = json.loads((finished / "out" / "report.json").read_text())["resources"]["lut"]
    file = tmp_path / "fit.json"
    out = shown(capsys, finished / "out", "--max-lut", int(0.8 * lut), "--json", file, code=1)
    assert "BROKEN by" in out
    command = next(line for line in out.splitlines() if line.startswith("l1dl run "))
    words = shlex.split(command)
    changes = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    assert load_card(Path(words[2]), changes) != load_card(finished / "model.toml")
    found = json.loads(file.read_text())
    assert found["suggestion"]["set"] == changes
    assert found["suggestion"]["figures"]["lut"]["value"] <= int(0.8 * lut)
    (limit,) = (limit for limit in found["limits"] if limit["name"] == "lut")
    assert (limit["broken"], limit["figure"]["value"], limit["excess"]) == (True, lut, lut - int(0.8 * lut))
    assert all(each["saved"].keys() == {"lut", "ff", "latency_ns"} for each in found["measures"])
    losses = [each["figures"]["auc_loss"] for each in found["measures"] if not each["text"].startswith("without")]
    assert None not in losses
    assert len(set(losses)) > 3


def test_a_limit_is_taken_from_the_card_of_the_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = copy_run(finished, tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "out").rename(tmp_path / "runs" / "tiny")
    monkeypatch.chdir(tmp_path)
    with card.open("a") as file:
        file.write("\n[budget]\nmax_lut = 1_000_000\n")
    out = shown(capsys, card, code=0)
    assert "tiny: runs/tiny" in "".join(out.splitlines()[:2])
    assert "kept" in out
    assert "error: --set is for a card" in _error(capsys, "runs/tiny", "--set", "model.hidden=[3]")


def _error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert invoke(["fit", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_damaged_run_is_one_line(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_run(finished, tmp_path)
    report = tmp_path / "out" / "report.json"
    whole = report.read_text()
    report.write_text(whole[: len(whole) // 2])
    assert "cannot read" in _error(capsys, tmp_path / "out")
    report.write_text(whole)
    (tmp_path / "out" / "synth" / "resources.json").write_text("{}")
    assert "resources.json is damaged" in _error(capsys, tmp_path / "out")
    (tmp_path / "out" / "convert" / "graph.npz").write_bytes(b"nothing")
    assert "graph.npz" in _error(capsys, tmp_path / "out")


def test_without_report_and_events_estimates_are_left(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_run(finished, tmp_path)
    (tmp_path / "out" / "report.json").unlink()
    (tmp_path / "out" / "cosim" / "outputs.npz").unlink()
    out = shown(capsys, tmp_path / "out", "--max-lut", "1M", "--max-auc-loss", "0.01", code=0)
    assert "random networks" in out
    assert "unknown" in out
    assert "no test events" in out


@pytest.mark.slow
def test_a_card_that_is_not_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_packages(*PACKAGES)
    card = write_card(tmp_path)
    monkeypatch.chdir(tmp_path)
    out = shown(capsys, card, "--max-lut", "100", "--max-auc-loss", "0.01", "--keep-clock", code=1)
    assert "with random weights" in out
    assert "the network is not trained" in out
    assert "BROKEN" in out
    assert "clock" not in out
    assert not (tmp_path / "runs").exists()
