"""Help, version, bad usage and bad input: one clear line and the right exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny import CARD, CLASSES, FEATURES, change_card, command, l1dl, tiny_data, write_card

import l1dl as package
from l1dl.cli.app import invoke

COMMANDS = (
    ("run",), ("deploy",), ("train",), ("convert",), ("emulate",), ("rtl",), ("cosim",), ("synth",), ("report",),
    ("build",), ("seu",), ("place",), ("fit",), ("scan",), ("doctor",),
    ("data", "jets"), ("data", "images"), ("data", "check"), ("data", "fetch-openml"),
)  # fmt: skip

HEAVY = (
    "keras",
    "tensorflow",
    "jax",
    "hls4ml",
    "qkeras",
    "matplotlib",
    "pythia8",
    "sklearn",
    "alkaid",
    "pandas",
    "h5py",
    "optuna",
    "sqlalchemy",
)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """Run a command in this process and return its one line on standard error."""
    capsys.readouterr()
    assert invoke([str(argument) for argument in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([*name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"l1dl {' '.join(name)}" in shown


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    assert "Exit codes: 0 good, 1 mismatch" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["data", "jets", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from l1dl.cli.app import invoke; assert invoke(sys.argv[1:]) == 0; "
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("command", ["architectures", "prove"])
@pytest.mark.parametrize("clock", ["0", "nan"])
def test_a_clock_that_cannot_be(command: str, clock: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"'{clock}' is no clock" in fails(capsys, command, tmp_path, "--clock", clock)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_standard_output_on_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "l1dl", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write standard output: No space left on device\n"


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_a_command_that_is_not_complete_shows_the_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == 2
    assert "Usage: l1dl" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"l1dl {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], ["No such command 'rnu'", "l1dl --help"]),
        (["run"], ["Missing argument 'CARD'", "l1dl run --help"]),
        (["run", "x", "--untl", "rtl"], ["No such option: --untl", "--until"]),
        (["run", "x", "--seeds", "0"], ["--seeds", "1"]),
        (["run", "x", "--seeds", "two"], ["--seeds", "integer"]),
        (["data", "jets"], ["--out"]),
        (["data", "jets", "--out", "j.h5", "--jets", "0"], ["jets is 0", "allowed"]),
        (["data", "jets", "--out", "j.h5", "--workers", "0"], ["--workers"]),
        (["data", "jets", "--out", "j.h5", "--detector", "fien"], ["'fien'", "did you mean 'fine'?", "coarse"]),
        (["data", "jets", "--out", "j.txt", "--jets", "10"], ["'j.txt'", ".h5"]),
        (["data", "check", "nothing.npz"], ["file not found: nothing.npz"]),
        (["data", "fetch-openml", "x.csv"], ["'x.csv'", ".npz"]),
        (["run", "nowhere"], ["model card not found: nowhere"]),
        (["fit", "nowhere"], ["nowhere is neither a model card nor a run directory"]),
        (["fit", "x", "--max-latency", "5 s"], ["--max-latency '5 s' has the unit 's'", "100ns"]),
        (["fit", "x", "--max-lut", "many"], ["--max-lut 'many'", "20k"]),
        (["scan", "nowhere"], ["model card not found: nowhere"]),
        (["scan", "nowhere", "--show"], ["nowhere holds no scan", "l1dl scan CARD"]),
        (["scan", "nowhere", "--card", "3"], ["--card needs --out"]),
        (["scan", "nowhere", "--show", "--prove"], ["exclude each other"]),
        (["scan", "x", "--objectives", "auc"], ["'auc' is no pair", "lut, ff, latency"]),
        (["fit", "x", "--max-auc-loss", "3"], ["--max-auc-loss 3", "between 0 and 1"]),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, *arguments)
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hidden = [6]", "hiden = [6]", ["unknown key 'model.hiden'", "did you mean 'hidden'?"]),
        ("hidden = [6]", "hidden = 6", ["model.hidden = 6", "list"]),
        ("hidden = [6]", "hidden = []", ["model.hidden", "1"]),
        ("epochs = 8", 'epochs = "8"', ["training.epochs = '8'", "integer"]),
        ("epochs = 8", "epochs = 0", ["training.epochs = 0", "greater"]),
        ('name = "tiny"', 'name = "2 tiny"', ["name", "2 tiny"]),
        ('name = "tiny"', "", ["key 'name' is missing"]),
        ("[model]", "[modle]", ["unknown key 'modle'", "did you mean 'model'?"]),
        ('name = "tiny"', "name = ", ["cannot be read"]),
        ("scaled_input", "# scaled_input", ["quantisation.scaled_input is needed"]),
        ('"data.npz"', '"none.npz"', ["file not found", "none.npz"]),
        ('"data.npz"', '"data.nzp"', ["unknown format '.nzp'", "did you mean '.npz'?"]),
        ('inputs = "physical"', 'inputs = "physical"\nfeatures = ["mass", "ptt"]', ["ptt", "did you mean 'pt'?"]),
        ('inputs = "physical"', 'inputs = "physical"\nclasses = ["g", "w"]', ["'w'"]),
    ],
)  # fmt: skip
def test_a_bad_card_is_one_line_and_leaves_nothing(
    old: str, new: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = write_card(tmp_path)
    assert old in CARD
    card.write_text(CARD.replace(old, new))
    error = fails(capsys, "run", card, "--out", tmp_path / "out", "--until", "data")
    assert all(word in error for word in words), error
    assert not [path for path in (tmp_path / "out").glob("*") if path.name != ".lock"]


def _nan(x: np.ndarray, y: np.ndarray) -> None:
    x[5, 2] = np.nan


def _label(x: np.ndarray, y: np.ndarray) -> None:
    y[5] = 7


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_nan, ["c2", "NaN"]), (_label, ["7"])],
)
def test_bad_events_are_refused(damage, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_card(tmp_path)
    x, y = tiny_data(300)
    damage(x, y)
    np.savez(tmp_path / "data.npz", x=x, y=y, features=np.array(FEATURES), classes=np.array(CLASSES))
    error = fails(capsys, "run", card, "--out", tmp_path / "out", "--until", "data")
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"x": np.zeros((9, 4), np.float32)}, ["y"]),
        ({"x": np.zeros((9, 3), np.float32), "y": np.arange(9) % 3, "features": np.array(FEATURES)}, ["4", "3"]),
        ({"x": np.zeros((9, 4), np.float32), "y": np.arange(8) % 3}, ["9", "8"]),
        ({"x": tiny_data(9)[0], "y": np.arange(9) % 3, "split": np.zeros(9, np.int64)}, ["empty"]),
        ({"x": np.zeros((0, 4), np.float32), "y": np.zeros(0, np.int64)}, ["0"]),
    ],
)
def test_a_bad_data_file_is_one_line(
    content: dict[str, np.ndarray], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = write_card(tmp_path)
    np.savez(tmp_path / "data.npz", **content)
    error = fails(capsys, "run", card, "--out", tmp_path / "out", "--until", "data")
    assert all(word in error for word in words), error


def test_a_truncated_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_card(tmp_path)
    x, y = tiny_data(300)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = x, y
    whole = (tmp_path / "data.h5").read_bytes()
    (tmp_path / "data.h5").write_bytes(whole[: len(whole) // 2])
    change_card(card, file='"data.h5"')
    assert "data.h5" in fails(capsys, "run", card, "--out", tmp_path / "out")
    (tmp_path / "data.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:5000])
    change_card(card, file='"data.npz"')
    assert "data.npz" in fails(capsys, "run", card, "--out", tmp_path / "out")


def test_an_unknown_stage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, "run", write_card(tmp_path), "--until", "synht", "--out", tmp_path / "out")
    assert "stage 'synht' is unknown; did you mean 'synth'?" in error


def test_an_unwritable_directory_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_card(tmp_path)
    error = fails(capsys, "run", card, "--out", card / "below")
    assert f"cannot write {card / 'below'}" in error
    error = fails(capsys, "run", card, "--out", "/proc/nothing")
    assert "cannot write /proc/nothing" in error


def test_a_single_stage_says_what_must_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, out = write_card(tmp_path), tmp_path / "out"
    error = fails(capsys, "cosim", card, "--out", out)
    assert "stage 'cosim' needs stage 'data', which is missing" in error
    assert f"run this first: l1dl run {card} --until rtl --out {out}" in error


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_card(tmp_path / "[red]x[/]")
    assert invoke(["data", "check", str(card.parent / "data.npz")]) == 0
    assert "[red]x[/]/data.npz" in "".join(capsys.readouterr().out.split("\n"))


def test_two_processes_do_not_work_in_one_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from l1dl.artifacts import RunDirectory

    with RunDirectory(tmp_path / "out"):
        assert "another process works in" in fails(capsys, "run", write_card(tmp_path), "--out", tmp_path / "out")


def test_the_module_is_the_command() -> None:
    done = l1dl("--version")
    assert (done.returncode, done.stdout) == (0, f"l1dl {package.__version__}\n")


def test_a_bug_is_called_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("l1dl.flow.run.load_card", broken)
    assert invoke(["run", str(write_card(tmp_path))]) == 70
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert "this is a bug in l1dl" in error


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    card = write_card(tmp_path)
    for arguments in (["--help"], ["data", "check", card.parent / "data.npz"]):
        process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait() == 141


def test_a_terminal_without_unicode_gets_ascii(tmp_path: Path) -> None:
    card = write_card(tmp_path)
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "COLUMNS": "40"}
    done = l1dl("run", card, "--until", "data", "--out", tmp_path / "out", **plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "data     started"
    assert done.stdout.splitlines()[1].startswith("ok data")
    done = l1dl("run", "--help", **plain)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert done.stdout.isascii()
