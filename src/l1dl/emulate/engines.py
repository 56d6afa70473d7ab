"""All engines that compute the codes of a network, by name."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from l1dl.emulate.engine import Emulator, EmulatorBase
from l1dl.graph import FixedGraph


class Engine(str, Enum):
    """What computes; the outputs are the same in every bit."""

    COMPILED = "compiled"
    """C++ on all processors; needs a compiler."""
    XLA = "xla"
    """JAX, on a GPU where it has one."""
    ONNX = "onnx"
    """The ONNX export in onnxruntime; needs both packages."""
    NUMPY = "numpy"


def make_engine(graph: FixedGraph, engine: Engine, work: Path) -> EmulatorBase:
    """Return what computes a network.

    Parameters
    ----------
    work
        Directory for what is compiled.

    Raises
    ------
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly, or no exact ONNX model.
    ToolMissingError
        There is no C++ compiler, or a package is not installed.
    """
    if engine is Engine.COMPILED:
        from l1dl.emulate.compiled import CompiledEmulator

        return CompiledEmulator(graph, work)
    if engine is Engine.XLA:
        from l1dl.emulate.xla import XlaEmulator

        return XlaEmulator(graph)
    if engine is Engine.ONNX:
        from l1dl.emulate.onnx.session import OnnxEmulator

        return OnnxEmulator(graph)
    return Emulator(graph)
