"""``l1dl scan``: its table, what it writes, and that the same command goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import need_packages
from tiny import write_card

from l1dl.card import load_card
from l1dl.cli.app import invoke
from l1dl.flow.scan import study


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a card whose trials a script stands for, in the working directory."""
    need_packages("optuna", "qkeras")
    monkeypatch.setattr(study, "WORKER", (sys.executable, str(Path(__file__).parents[1] / "scan_worker.py")))
    monkeypatch.chdir(tmp_path)
    return write_card(tmp_path / "card")


def test_a_scan_is_shown_continued_and_exported(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["scan", "card", "--only-vary", "--vary", "training.epochs=5,10", "--set", "training.batch_size=32"]
    assert invoke([*command, "--trials", "2"]) == 0
    assert invoke([*command, "--trials", "4", "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "tiny: 2 trials (2 complete)" in shown
    assert "tiny: 4 trials (4 complete)" in shown
    assert invoke(["scan", "--show", "scans/tiny", "--objectives", "accuracy,lut"]) == 0
    shown = capsys.readouterr().out
    assert "front of accuracy and LUT" in shown
    assert "float" in shown
    number = shown.partition("l1dl scan --card ")[2].split()[0]
    assert invoke(["scan", "--card", number, "scans/tiny", "--out", "new"]) == 0
    new = load_card(Path("new"))
    assert new.training.batch_size == 32
    assert new.training.epochs in (5, 10)
    assert (Path("new") / new.data.file).resolve() == card.parent.resolve() / "data.npz"


def test_a_scan_without_a_point_says_why(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (card.parent / "refuse").touch()
    assert invoke(["scan", "card", "--only-vary", "--vary", "training.epochs=5", "--trials", "1"]) == 0
    shown = capsys.readouterr().out
    assert "no trial is complete" in shown
    assert "trial 0: odd" in shown


def test_optuna_is_asked_for(card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert invoke(["scan", "card", "--only-vary", "--vary", "training.epochs=5", "--trials", "1"]) == 3
    assert "pip install 'l1dl[scan]'" in capsys.readouterr().err
