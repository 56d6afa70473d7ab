"""A tiny model card with its data, the finished run of it that tests copy, and the command line as a process."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.cli.app import invoke

CARD = """\
name = "tiny"

[data]
file = "data.npz"
inputs = "physical"

[model]
hidden = [6]

[quantisation]
weight = { bits = 6, integer = 0 }
bias = { bits = 6, integer = 0 }
activation = { bits = 6, integer = 2 }
input = { bits = 16, integer = 8 }
scaled_input = { bits = 8, integer = 2 }

[training]
epochs = 8
batch_size = 64
learning_rate = 0.01

[cosim]
random_vectors = 500
"""

FEATURES, CLASSES = ("mass", "pt", "c2", "d2"), ("g", "q", "t")

STAGES = ("data", "train", "convert", "emulate", "rtl", "cosim", "synth", "report")

PACKAGES = ("keras", "qkeras", "jax", "hls4ml")


def tiny_data(events: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Return features with means and widths of their own, and labels that they tell apart well."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, events)
    centres = np.array([[1.5, 0, -1, 0], [-1.5, 1, 0, 0], [0, -1, 1.5, 1]])
    x = (centres[y] + rng.normal(0, 1, (events, 4))) * [1, 8, 0.25, 30] + [0, 20, 1, -40]
    return x.astype(np.float32), y


def write_card(directory: Path, **replace: str) -> Path:
    """Write card and data into a directory; keywords replace values of the card by key."""
    directory.mkdir(parents=True, exist_ok=True)
    x, y = tiny_data()
    np.savez(directory / "data.npz", x=x, y=y, features=np.array(FEATURES), classes=np.array(CLASSES))
    card = directory / "model.toml"
    card.write_text(CARD)
    return change_card(card, **replace)


def change_card(card: Path, **replace: str) -> Path:
    """Replace values of a card by key."""
    lines = card.read_text().splitlines()
    for key, value in replace.items():
        found = [index for index, line in enumerate(lines) if line.split(" = ")[0] == key]
        assert found, f"the card has no {key}"
        lines[found[0]] = f"{key} = {value}"
    card.write_text("\n".join(lines) + "\n")
    return card


@functools.cache
def _finished(base: Path) -> Path:
    card = write_card(base)
    assert invoke(["run", str(card), "--out", str(base / "out")]) == 0
    return base


def finished_run(factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ``model.toml``, ``data.npz`` and the finished run ``out``; do not change it."""
    need_packages(*PACKAGES)
    need_tools("cxx", "verilator", "yosys")
    return _finished(factory.getbasetemp() / "finished")


def copy_run(finished: Path, target: Path) -> Path:
    """Copy a finished run; return the card."""
    shutil.copytree(finished, target, dirs_exist_ok=True)
    return target / "model.toml"


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of a process that does what ``l1dl`` does."""
    return [sys.executable, "-m", "l1dl", *map(str, arguments)]


def l1dl(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment}
    )


@dataclass(frozen=True)
class Ended:
    """How an interrupted command ended."""

    code: int
    output: str
    left: list[str]


def interrupt(
    arguments: list[str], started: str, *, delay_s: float, number: signal.Signals = signal.SIGINT, group: bool = False
) -> Ended:
    """Start a command, wait for a line that begins with `started`, and send it a signal after `delay_s`.

    `left` are the command lines of the programs that it started and that still run.
    """
    mark = f"tiny-{os.getpid()}-{time.monotonic_ns()}"
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "L1DL_TEST_MARK": mark},
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(started):
            break
    else:
        pytest.fail(f"{started!r} was not seen in {''.join(lines)}")
    time.sleep(delay_s)
    (os.killpg if group else os.kill)(process.pid, number)
    lines.append(process.communicate(timeout=60)[0])
    return Ended(process.returncode, "".join(lines), marked(mark))


def marked(mark: str) -> list[str]:
    """Return the command lines of all processes with a mark in their environment."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (directory / "environ").read_bytes():
                found.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # noqa: PERF203
            continue
    return found
