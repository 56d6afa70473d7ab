"""Ctrl-C, kill and a full disk in the middle of a stage: nothing half-written, no program left, and on it goes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import need_packages
from tiny import change_card, command, copy_run, interrupt, l1dl, write_card

from l1dl.cli.app import INTERRUPTED, invoke

LINE = "interrupted; what is finished is kept: run the same command again to go on"

OUTPUT = {
    "convert": "convert/graph.json",
    "emulate": "emulate/emulation.json",
    "cosim": "cosim/cosim.json",
    "synth": "synth/resources.json",
    "report": "report.json",
}

slow = pytest.mark.slow


def unfinish(finished: Path, directory: Path, stage: str) -> tuple[Path, Path]:
    """Copy a finished run and take away what one stage wrote; return the card and the run."""
    card, out = copy_run(finished, directory), directory / "out"
    (out / OUTPUT[stage]).unlink()
    if stage == "synth":
        shutil.rmtree(out / "cache" / "synth")
    elif stage != "report":
        for library in (out / "cache").glob("*.so"):
            library.unlink()
    return card, out


def leftovers(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.name.startswith((".", "tmp")) and path.name != ".lock"]


@pytest.mark.parametrize(
    ("stage", "group", "delay_s"),
    [
        ("cosim", False, 1.0),
        pytest.param("synth", True, 1.5, marks=slow),
        pytest.param("convert", False, 2.0, marks=slow),
        pytest.param("convert", True, 0.2, marks=slow),
        pytest.param("emulate", False, 0.7, marks=slow),
        pytest.param("emulate", True, 1.5, marks=slow),
        pytest.param("cosim", True, 3.0, marks=slow),
        pytest.param("synth", False, 3.0, marks=slow),
        pytest.param("report", False, 0.5, marks=slow),
        pytest.param("report", True, 0.2, marks=slow),
    ],
)
def test_ctrl_c_ends_everything_and_the_run_goes_on(
    stage: str, group: bool, delay_s: float, finished: Path, tmp_path: Path
) -> None:
    card, out = unfinish(finished, tmp_path, stage)
    ended = interrupt(command(stage, card, "--out", out), f"{stage:8} started", delay_s=delay_s, group=group)
    assert ended.code == INTERRUPTED, ended.output
    assert ended.output.splitlines()[-1] == LINE
    assert "Traceback" not in ended.output
    assert ended.left == []
    assert leftovers(tmp_path) == []
    if stage != "convert":  # which may end first: JAX swallows an interrupt in its callbacks
        assert not (out / OUTPUT[stage]).exists()
    if stage != "cosim":
        assert invoke(["run", str(card), "--out", str(out), "--until", stage]) == 0


def test_a_batch_system_ends_it_the_same_way(finished: Path, tmp_path: Path) -> None:
    card, out = unfinish(finished, tmp_path, "cosim")
    arguments = command("cosim", card, "--out", out)
    ended = interrupt(arguments, "cosim    started", delay_s=1.0, number=signal.SIGTERM)
    assert ended.code == 128 + signal.SIGTERM
    assert ended.output.splitlines()[-1] == LINE
    assert ended.left == []
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(OUTPUT))
def test_a_killed_stage_runs_again(stage: str, finished: Path, tmp_path: Path) -> None:
    card, out = unfinish(finished, tmp_path, stage)
    arguments = command(stage, card, "--out", out)
    ended = interrupt(arguments, f"{stage:8} started", delay_s=1.0, number=signal.SIGKILL)
    assert ended.code == -signal.SIGKILL
    assert not (out / OUTPUT[stage]).exists()
    assert invoke(["run", str(card), "--out", str(out)]) == 0


CHECKPOINTS = """
import sys
import l1dl.train.fit
from l1dl.cli import main
l1dl.train.fit.CHECKPOINT_INTERVAL_S = 0.0
old = l1dl.train.fit._save
def save(runner, done, checkpoint, key):
    old(runner, done, checkpoint, key)
    if done.epoch == 20:
        print("checkpoint", checkpoint.name, flush=True)
l1dl.train.fit._save = save
main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=slow)])
def test_a_training_that_was_stopped_ends_with_the_same_weights(number: signal.Signals, tmp_path: Path) -> None:
    need_packages("keras", "qkeras", "jax")
    card = write_card(tmp_path, epochs="60")
    arguments = [sys.executable, "-c", CHECKPOINTS, "train", str(card), "--out"]
    ended = interrupt([*arguments, str(tmp_path / "a")], "checkpoint quantised", delay_s=0.0, number=number)
    assert ended.code == (INTERRUPTED if number == signal.SIGINT else -number), ended.output
    # SIGKILL may hit while the next checkpoint is written; its temporary file goes when the run is resumed.
    assert [path.name for path in (tmp_path / "a" / "train").glob("[!.]*.npz")] == ["quantised-seed1.checkpoint.npz"]
    resumed = l1dl("-v", "train", card, "--out", tmp_path / "a")
    assert resumed.returncode == 0, resumed.stderr
    assert "training resumes after epoch" in resumed.stderr
    assert invoke(["train", str(card), "--out", str(tmp_path / "b")]) == 0
    scores = [np.load(tmp_path / name / "train" / "scores.npz") for name in "ab"]
    assert all(np.array_equal(scores[0][kind], scores[1][kind]) for kind in ("float", "quantised", "labels"))
    from l1dl.train.train import model_digest

    assert len({model_digest(tmp_path / name / "train" / "quantised.keras") for name in "ab"}) == 1
    assert not list((tmp_path / "a" / "train").glob("*.checkpoint.*"))


LIMIT = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
"""


def limited(limit: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that may not write files of more than `limit` bytes, as on a disk that is almost full."""
    call = [sys.executable, "-c", LIMIT, str(limit), *command(*arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))


@pytest.mark.parametrize(
    ("stage", "limit"),
    [
        ("rtl", 5_000),
        ("report", 50_000),
        pytest.param("train", 10_000, marks=slow),
        pytest.param("convert", 30_000, marks=slow),
    ],
)
def test_a_full_disk_is_one_line(stage: str, limit: int, finished: Path, tmp_path: Path) -> None:
    card, out = copy_run(finished, tmp_path), tmp_path / "out"
    done = limited(limit, stage, card, "--out", out, "--force")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot write ")
    assert "file size limit" in done.stderr
    assert done.stderr.count("\n") == 1
    assert leftovers(tmp_path) == []
    assert invoke(["run", str(card), "--out", str(out)]) == 0


@pytest.mark.slow
def test_generation_of_jets_can_be_interrupted(tmp_path: Path) -> None:
    need_packages("pythia8mc", "fastjet", "numba", "awkward", "vector")
    arguments = command("data", "jets", "--jets", "6000", "--workers", "2", "--out", tmp_path / "jets.h5")
    for group in (False, True):
        ended = interrupt(arguments, "jets     started", delay_s=6.0, group=group)
        assert ended.code == INTERRUPTED, ended.output
        assert ended.output.splitlines()[-1] == LINE
        assert "Traceback" not in ended.output
        assert ended.left == []
        assert not (tmp_path / "jets.h5").exists()
    done = l1dl(*arguments[3:])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_change_while_stopped_does_not_use_the_checkpoint(tmp_path: Path) -> None:
    need_packages("keras", "qkeras", "jax")
    card = write_card(tmp_path, epochs="60")
    arguments = [sys.executable, "-c", CHECKPOINTS, "train", str(card), "--out", str(tmp_path / "a")]
    interrupt(arguments, "checkpoint float", delay_s=0.0, number=signal.SIGKILL)
    change_card(card, epochs="3")
    done = l1dl("-v", "train", card, "--out", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    assert "belongs to other settings" in done.stderr
