"""The exact emulator as compiled C++: the codes of `Emulator`, many times faster."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import atomic_path, digest_json
from l1dl.emulate.cpp.generate import HEADERS, network_text, read_text
from l1dl.emulate.engine import EmulatorBase
from l1dl.errors import InputError, ToolFailedError
from l1dl.fixed import Codes, Values
from l1dl.graph import FixedGraph
from l1dl.ports import check_rows, count_values
from l1dl.tools import Tool, find_tool, run_tool

COMPILE_LIMIT_S = 1800
"""Time limit of one compilation, in s."""

BATCH = 1 << 18
"""Events between two looks at the keyboard."""

_CODES, _DOUBLE, _FLOAT = 0, 1, 2
"""Kinds of rows, as ``batch.h`` numbers them."""

_BATCH_HEADERS = ("atomic", "cstddef", "memory", "new", "system_error", "thread", "vector")
"""Standard headers that ``batch.h`` needs besides."""

_LANES = (1, 2, 4, 8, 16, 32)

_NATIVE = (("-march=native", "-mprefer-vector-width=512"), ("-march=native",))
"""Options for this machine, of which the compiler may not know some."""


class CompiledEmulator(EmulatorBase):
    """A FixedGraph as compiled C++, with the interface of `l1dl.emulate.engine.Emulator`.

    Parameters
    ----------
    graph
        A network with any number of inputs and outputs.
    work
        Directory for the library and the compiler's log; an up-to-date library is used again.
    threads
        Threads that share the events; by default one for each processor.
    lanes
        Events that pass through the network together, in one vector: a power of two up to 32.
    optimise
        Level of the compiler's optimisation, 0 to 3.

    Raises
    ------
    InputError
        The number of lanes is not possible.
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    ToolMissingError
        There is no C++ compiler.
    ToolFailedError
        The compiler failed.
    """

    def __init__(
        self, graph: FixedGraph, work: Path, *, threads: int | None = None, lanes: int = 16, optimise: int = 3
    ) -> None:
        library = build_library([graph], work, lanes=lanes, optimise=optimise)
        self._bind(graph, library, 0, threads)

    @classmethod
    def from_library(
        cls, graph: FixedGraph, library: Path, number: int, *, threads: int | None = None
    ) -> CompiledEmulator:
        """Return the emulator of the graph with a number in a library that `build_library` made."""
        emulator = cls.__new__(cls)
        emulator._bind(graph, library, number, threads)
        return emulator

    def _bind(self, graph: FixedGraph, library: Path, number: int, threads: int | None) -> None:
        self.graph = graph
        self._threads = max(1, threads or os.cpu_count() or 1)
        self._function = ctypes.CDLL(str(library))[f"l1dl_run_{number}"]
        self._function.argtypes = [
            ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint,
        ]  # fmt: skip
        self._function.restype = ctypes.c_int

    def run(self, rows: Codes) -> Codes:
        """Return rows of output codes, shape (events, values of all outputs), for rows of input codes.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """
        # The library looks at each code; another dtype could lose something on its way there.
        if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != count_values(self.graph.input_ports):
            check_rows(rows, self.graph.input_ports)
        results = self._empty(len(rows), np.int64)
        if not self._pass(np.ascontiguousarray(rows, dtype=np.int64), _CODES, results, _CODES):
            check_rows(rows, self.graph.input_ports)
        return results

    def run_values(self, values: npt.NDArray[np.floating]) -> Codes:
        """Return rows of output codes for rows of real inputs, shape (events, values of all inputs).

        Parameters
        ----------
        values
            float64 or float32; others are converted to float64.

        Raises
        ------
        InputError
            The shape does not fit, or a value is NaN or infinite.
        """
        results: Codes = self._empty(len(values), np.int64)
        self._pass_values(values, results, _CODES)
        return results

    def predict(self, values: npt.NDArray[np.floating]) -> Values:
        """Return rows of real outputs for rows of real inputs; otherwise as `run_values`."""
        results: Values = self._empty(len(values), np.float64)
        self._pass_values(values, results, _DOUBLE)
        return results

    def _empty(self, events: int, dtype: type[Any]) -> npt.NDArray[Any]:
        return np.empty((events, count_values(self.graph.output_ports)), dtype=dtype)

    def _pass_values(self, values: npt.NDArray[np.floating], results: npt.NDArray[Any], kind: int) -> None:
        self.check_shape(values)
        single = values.dtype == np.float32
        rows = np.ascontiguousarray(values, dtype=np.float32 if single else np.float64)
        if not self._pass(rows, _FLOAT if single else _DOUBLE, results, kind):
            self.check_finite(values)

    def _pass(self, rows: npt.NDArray[Any], kind: int, results: npt.NDArray[Any], result_kind: int) -> bool:
        """Fill the results; return False where a value is refused."""
        for start in range(0, len(rows), BATCH):
            part, result = rows[start : start + BATCH], results[start : start + BATCH]
            status = self._function(part.ctypes.data, kind, result.ctypes.data, result_kind, len(part), self._threads)
            if status == 1:
                return False
            if status:
                raise MemoryError
        return True


def compile_emulators(
    graphs: Sequence[FixedGraph], work: Path, *, threads: int | None = None, lanes: int = 16, optimise: int = 1
) -> list[CompiledEmulator]:
    """Compile many small networks into one library, which takes less time than one library for each.

    Parameters and errors are those of `CompiledEmulator`.
    """
    library = build_library(graphs, work, lanes=lanes, optimise=optimise)
    return [
        CompiledEmulator.from_library(graph, library, number, threads=threads) for number, graph in enumerate(graphs)
    ]


def batch_source(graphs: Sequence[FixedGraph], lanes: int) -> str:
    """Return C++ with a function ``l1dl_run_<number>`` for each graph, which passes events through it.

    Raises
    ------
    UnsupportedError
        A graph has arithmetic that cannot be emulated exactly.
    """
    parts = [f"#include <{header}>\n" for header in sorted({*HEADERS, *_BATCH_HEADERS})]
    parts += ["\nnamespace {\n\n", read_text("arithmetic.h"), "\n", read_text("batch.h")]
    functions = []
    for number, graph in enumerate(graphs):
        parts += [f"\nnamespace net{number} {{\n", network_text(graph, "Net"), "}\n"]
        functions.append(
            f'\nextern "C" __attribute__((visibility("default"))) int\n'
            f"l1dl_run_{number}(const void *inputs, int in, void *outputs, int out, std::size_t events, "
            f"unsigned threads) {{\n"
            f"    const Rows rows{{inputs, outputs, Kind(in), Kind(out)}};\n"
            f"    return run_batch(network_of<net{number}::Net, {lanes}>(), rows, events, threads);\n}}\n"
        )
    return "".join([*parts, "\n} // namespace\n", *functions])


def build_library(graphs: Sequence[FixedGraph], work: Path, *, lanes: int, optimise: int) -> Path:
    """Return the compiled library of some graphs; its name carries a digest of the source, compiler and machine.

    Raises
    ------
    UnsupportedError
        A graph has arithmetic that cannot be emulated exactly.
    ToolMissingError
        There is no C++ compiler.
    ToolFailedError
        The compiler failed.
    """
    if lanes not in _LANES:
        msg = f"{lanes} lanes are not possible; allowed are {', '.join(map(str, _LANES))}"
        raise InputError(msg)
    compiler, work = find_tool("cxx"), work.resolve()
    source = batch_source(graphs, lanes)
    flags = [f"-O{optimise}", "-std=c++17", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden"]
    key = digest_json([source, flags, compiler.command, compiler.version, _machine()])
    library = work / f"{graphs[0].name}-emulator-{key[:16]}.so"
    if library.exists():
        return library
    log = work / "emulator-compile.log"
    with atomic_path(library) as temporary, tempfile.TemporaryDirectory(dir=work) as scratch:
        path = Path(scratch) / "emulator.cpp"
        path.write_text(source, encoding="utf-8")
        arguments: list[str | Path] = [*flags, *_native(compiler, Path(scratch), log), path, "-o", temporary]
        run_tool(compiler, arguments, cwd=work, log=log, timeout_s=COMPILE_LIMIT_S)
    return library


def _native(compiler: Tool, scratch: Path, log: Path) -> tuple[str, ...]:
    """Return the options for this machine that the compiler takes."""
    empty = scratch / "empty.cpp"
    empty.write_text("int nothing = 0;\n", encoding="utf-8")
    for options in _NATIVE:
        with contextlib.suppress(ToolFailedError):
            run_tool(compiler, [*options, "-fsyntax-only", empty], cwd=scratch, log=log, timeout_s=COMPILE_LIMIT_S)
            return options
    return ()


def _machine() -> list[str]:
    """Return what tells processors apart: a library for this one may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return [platform.machine(), platform.processor(), *sorted({line for line in lines if line.startswith("flags")})]
