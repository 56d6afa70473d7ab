"""Scores from file to file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools, small_net

from l1dl.cli.app import invoke
from l1dl.emulate.engine import Emulator
from l1dl.flow.emulate_file import emulate_file
from l1dl.graph import save_graph


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "convert").mkdir()
    save_graph(small_net(), tmp_path / "convert" / "graph.json")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(0, 2, (1000, 3)).astype(np.float32))
    return tmp_path


def expected(run: Path) -> np.ndarray:
    emulator = Emulator(small_net())
    return emulator.decode(emulator.run(emulator.encode(np.load(run / "x.npy"))))


def test_blocks_of_any_size_give_the_same(run: Path) -> None:
    for block in (1, 7, 1000, 5000):
        steps: list[tuple[int, int]] = []
        events = emulate_file(
            small_net(), Emulator(small_net()).predict, run / "x.npy", run / "y.npy", block=block,
            progress=lambda done, total, steps=steps: steps.append((done, total)),
        )  # fmt: skip
        assert events == 1000
        assert steps[-1] == (1000, 1000)
        assert len(steps) == -(-1000 // block)
        np.testing.assert_array_equal(np.load(run / "y.npy"), expected(run))


@pytest.mark.parametrize("engine", ["numpy", "xla", "onnx", "compiled"])
def test_on_the_command_line(run: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    need_packages("jax", "onnxruntime")
    need_tools("cxx")
    arguments = ["--input", str(run / "x.npy"), "--output", str(run / "y.h5"), "--engine", engine]
    assert invoke(["emulate", str(run), *arguments]) == 0
    assert "1,000 events in" in capsys.readouterr().out
    arguments[3] = str(run / "y.npy")
    assert invoke(["emulate", str(run / "convert" / "graph.json"), *arguments]) == 0
    np.testing.assert_array_equal(np.load(run / "y.npy"), expected(run))


def test_bad_input(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_tools("cxx")
    target = ["--output", str(run / "y.npy")]

    def error(model: Path, *arguments: str) -> str:
        assert invoke(["emulate", str(model), *arguments]) == 2
        return capsys.readouterr().err

    assert "belong together" in error(run, *target)
    assert "allowed are compiled, xla, onnx, numpy" in error(run, "--input", "x.npy", *target, "--engine", "gpu")
    assert "holds no converted network" in error(run / "convert", "--input", str(run / "x.npy"), *target)
    np.save(run / "nan.npy", np.full((5, 3), np.nan))
    assert "values are NaN" in error(run, "--input", str(run / "nan.npy"), *target)
    np.save(run / "wide.npy", np.zeros((5, 4)))
    assert "do not fit port 'x'" in error(run, "--input", str(run / "wide.npy"), *target)
    assert not (run / "y.npy").exists()


def test_exports(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_packages("onnx")
    assert invoke(["export", str(run), "--onnx", str(run / "net.onnx"), "--cpp", str(run / "lib")]) == 0
    assert capsys.readouterr().out.split() == [str(run / name) for name in ("net.onnx", "lib/tiny.h", "lib/tiny.cpp")]
    assert all((run / name).stat().st_size > 100 for name in ("net.onnx", "lib/tiny.h", "lib/tiny.cpp"))
    assert invoke(["export", str(run)]) == 2
    assert "give --onnx FILE, --cpp DIRECTORY or --ip DIRECTORY" in capsys.readouterr().err
    assert invoke(["export", str(run), "--cpp", str(run / "lib"), "--model-version", "1.0"]) == 2
    assert "version '1.0' is not allowed" in capsys.readouterr().err
