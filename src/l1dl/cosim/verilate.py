"""Build a design with Verilator into a library that NumPy arrays are streamed through."""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import atomic_path, digest_json
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.ports import Ports, count_values, value_specs
from l1dl.tools import Tool, find_tool, run_parallel, run_tool

BUILD_LIMIT_S = 3600
"""Time limit of Verilator and of one compilation, in s."""

VALID, RESET = np.uint8(1), np.uint8(2)
"""Bits of the control word of a cycle."""


@dataclass(frozen=True)
class Outcome:
    """What came out of a simulation.

    Attributes
    ----------
    codes
        Output codes, shape (outputs seen, values).
    cycles
        The cycle in which each was valid.
    probes
        Contents of the pipeline registers as 64-bit words, shape (cycles, words); None without probes.
    """

    codes: Codes
    cycles: npt.NDArray[np.int64]
    probes: npt.NDArray[np.uint64] | None


class PortTypes:
    """The types of all values at the ports, in arrays that a harness reads."""

    FIELDS = (
        ("n_inputs", ctypes.c_uint32),
        ("n_outputs", ctypes.c_uint32),
        ("input_widths", ctypes.c_void_p),
        ("output_widths", ctypes.c_void_p),
        ("output_signed", ctypes.c_void_p),
    )
    """Where they stand in the structure of a run."""

    def __init__(self, inputs: Ports, outputs: Ports) -> None:
        self._input_widths = np.array([spec.width for spec in value_specs(inputs)], dtype=np.uint32)
        self._output_widths = np.array([spec.width for spec in value_specs(outputs)], dtype=np.uint32)
        self._output_signed = np.array([spec.signed for spec in value_specs(outputs)], dtype=np.uint8)

    def fields(self) -> dict[str, int]:
        """Return the values of `FIELDS`; the arrays live as long as this object."""
        return {
            "n_inputs": len(self._input_widths),
            "n_outputs": len(self._output_widths),
            "input_widths": self._input_widths.ctypes.data,
            "output_widths": self._output_widths.ctypes.data,
            "output_signed": self._output_signed.ctypes.data,
        }


@dataclass(frozen=True)
class Toggles:
    """When which bits of the port ``upset`` change; they are low at first.

    Attributes
    ----------
    cycles, bits
        Cycle, ascending, and bit of each change.
    """

    cycles: npt.NDArray[np.uint64]
    bits: npt.NDArray[np.uint32]


class _Run(ctypes.Structure):
    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("control", ctypes.c_void_p),
        ("cycles", ctypes.c_uint64),
        *PortTypes.FIELDS,
        ("seed", ctypes.c_uint32),
        ("outputs", ctypes.c_void_p),
        ("output_cycles", ctypes.c_void_p),
        ("capacity", ctypes.c_uint64),
        ("produced", ctypes.c_uint64),
        ("trace_file", ctypes.c_char_p),
        ("probes", ctypes.c_void_p),
        ("probe_words", ctypes.c_uint64),
        ("toggle_cycles", ctypes.c_void_p),
        ("toggle_bits", ctypes.c_void_p),
        ("n_toggles", ctypes.c_uint64),
    )


class Simulation:
    """A verilated design.

    Parameters
    ----------
    sources
        File name → Verilog.
    top
        Name of the top module.
    inputs, outputs
        What stands at its ports ``in_data`` and ``out_data``.
    work
        Directory for libraries and logs; a library of the same sources and tools is used again.
    probe_bits
        Width of the port ``probes``, for designs that have one; a waveform can be written then, too.
    upsets
        Whether the design has the port ``upset``.

    Raises
    ------
    ToolMissingError
        Verilator or the C++ compiler is missing.
    ToolFailedError
        One of them failed.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        top: str,
        inputs: Ports,
        outputs: Ports,
        work: Path,
        *,
        probe_bits: int = 0,
        upsets: bool = False,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._probe_words = -(-probe_bits // 64) + 1 if probe_bits else 0
        defines = [*(("TRACE", "PROBES") if probe_bits else ()), *(("UPSETS",) if upsets else ())]
        self.library = build_library(sources, top, work, defines=defines)
        self._functions = ctypes.CDLL(str(self.library))
        self._functions.l1dl_run.argtypes = [ctypes.POINTER(_Run)]
        self._functions.l1dl_run.restype = None

    def run(
        self,
        codes: Codes,
        control: npt.NDArray[np.uint8],
        *,
        seed: int = 1,
        waveform: Path | None = None,
        toggles: Toggles | None = None,
    ) -> Outcome:
        """Clock the design once for each control word.

        Parameters
        ----------
        codes
            Rows of input codes, one for each control word with the bit `VALID`.
        control
            For each cycle the bits `VALID` (an event is presented) and `RESET`.
        seed
            Seed of the random initial register contents and of what stands at the port in bubbles.
        waveform
            VCD file to write; only for designs with probes.
        toggles
            Changes of the port ``upset``; only for designs that have it.

        Raises
        ------
        InputError
            The shapes do not fit each other or the ports.
        """
        check_shape(codes, control, self.inputs)
        codes, control = np.ascontiguousarray(codes, dtype=np.int64), np.ascontiguousarray(control)
        outputs = np.empty((len(control), count_values(self.outputs)), dtype=np.int64)
        cycles = np.empty(len(control), dtype=np.uint64)
        probes = np.zeros((len(control), self._probe_words), dtype=np.uint64) if self._probe_words else None
        types = PortTypes(self.inputs, self.outputs)
        run = _Run(
            codes=codes.ctypes.data,
            control=control.ctypes.data,
            cycles=len(control),
            **types.fields(),
            seed=seed,
            outputs=outputs.ctypes.data,
            output_cycles=cycles.ctypes.data,
            capacity=len(control),
            trace_file=None if waveform is None else str(waveform).encode(),
            probes=None if probes is None else probes.ctypes.data,
            probe_words=self._probe_words,
            toggle_cycles=None if toggles is None else toggles.cycles.ctypes.data,
            toggle_bits=None if toggles is None else toggles.bits.ctypes.data,
            n_toggles=0 if toggles is None else len(toggles.cycles),
        )
        self._functions.l1dl_run(ctypes.byref(run))
        return Outcome(outputs[: run.produced], cycles[: run.produced].astype(np.int64), probes)


def run_at_once(
    simulation: Simulation, codes: Codes, controls: Sequence[npt.NDArray[np.uint8]], *, seed: int = 1
) -> Outcome:
    """Run a simulation for each of several arrays of control words, on all cores.

    Each must begin with a reset and end with an empty pipeline: what comes out is then the same as in one
    simulation after another.

    Parameters
    ----------
    codes
        Rows of input codes, one for each control word with the bit `VALID`.
    seed
        Seed of the first; each next one adds one.

    Returns
    -------
    What comes out, with the cycles counted through.
    """
    events = np.cumsum([0, *(np.count_nonzero(control & VALID) for control in controls)])
    starts = np.cumsum([0, *(len(control) for control in controls)])
    work = [
        functools.partial(simulation.run, codes[first:end], control, seed=seed + index)
        for index, (first, end, control) in enumerate(zip(events, events[1:], controls, strict=False))
    ]
    outcomes = run_parallel(work, jobs=os.cpu_count() or 1)
    cycles = [outcome.cycles + start for outcome, start in zip(outcomes, starts, strict=False)]
    return Outcome(np.concatenate([outcome.codes for outcome in outcomes]), np.concatenate(cycles), None)


def check_shape(codes: Codes, control: npt.NDArray[np.uint8], inputs: Ports) -> None:
    """Check that there is a row of codes for each control word with the bit `VALID`.

    Raises
    ------
    InputError
        There is not.
    """
    events = int(np.count_nonzero(control & VALID))
    if codes.shape != (events, count_values(inputs)):
        msg = f"codes of shape {codes.shape} do not fit {events} valid cycles of {count_values(inputs)} values"
        raise InputError(msg)


def build_library(
    sources: Mapping[str, str], top: str, work: Path, *, harness: str = "harness.cpp", defines: Sequence[str] = ()
) -> Path:
    """Return the library of a design and a harness; its name carries a digest of the sources and the tools.

    Parameters
    ----------
    defines
        What the harness shall have: ``TRACE``, ``PROBES``, ``UPSETS`` or ``LEVELS``.

    Raises
    ------
    ToolMissingError
        Verilator or the C++ compiler is missing.
    ToolFailedError
        One of them failed.
    """
    verilator, compiler, work = find_tool("verilator"), find_tool("cxx"), work.resolve()
    ours = {name: (resources.files("l1dl.cosim") / name).read_text() for name in (harness, "ports.h")}
    tools = [verilator.version, compiler.command, compiler.version]
    key = digest_json([dict(sources), top, ours, list(defines), tools])
    library = work / f"{top}-rtl-{key[:16]}.so"
    if library.exists():
        return library
    with atomic_path(library) as temporary, tempfile.TemporaryDirectory(dir=work) as scratch:
        build = Path(scratch)
        for name, text in {**sources, **ours}.items():
            (build / name).write_text(text)
        _verilate(verilator, build, sources, top, trace="TRACE" in defines, log=work / "verilator.log")
        _compile(compiler, verilator, build, harness, temporary, defines=defines, log=work / "verilator-compile.log")
    return library


def _verilate(verilator: Tool, build: Path, sources: Mapping[str, str], top: str, *, trace: bool, log: Path) -> None:
    arguments = [
        "--cc", "-O3", "--x-assign", "fast", "--noassert", "-Wno-fatal", "--output-split", "20000",
        "--top-module", top, "--prefix", "Vdut", "--Mdir", "generated", *(["--trace"] if trace else []), *sources,
    ]  # fmt: skip
    run_tool(verilator, arguments, cwd=build, log=log, timeout_s=BUILD_LIMIT_S)


def _compile(
    compiler: Tool, verilator: Tool, build: Path, harness: str, library: Path, *, defines: Sequence[str], log: Path
) -> None:
    """Compile Verilator's output directly: its own makefile needs a shell and breaks with the wheel."""
    debug = "TRACE" in defines
    include = Path(verilator.environment.get("VERILATOR_ROOT") or _verilator_root(verilator)) / "include"
    runtime = ["verilated.cpp", "verilated_threads.cpp", *(["verilated_vcd_c.cpp"] if debug else [])]
    flags = [
        "-std=c++20", "-fPIC", "-w", "-fvisibility=hidden", f"-I{include}", f"-I{include / 'vltstd'}",
        "-DVL_TIME_CONTEXT", *(f"-DL1DL_{name}" for name in defines),
    ]  # fmt: skip
    tools = [verilator.version, compiler.command, compiler.version, flags]

    def compile_one(source: Path, target: Path, extra: list[str]) -> Path:
        notes = log.with_name(f"{log.stem}-{source.stem}.log")
        arguments: list[str | Path] = [*flags, *extra, "-c", source, "-o", target]
        run_tool(compiler, arguments, cwd=build, log=notes, timeout_s=BUILD_LIMIT_S)
        notes.unlink()
        return target

    def compile_generated(source: Path) -> Path:
        level = "-O0" if debug or "Slow" in source.name else "-Og"
        return compile_one(source, build / f"{source.stem}.o", [level, f"-I{build / 'generated'}"])

    def compile_runtime(source: Path) -> Path:
        """Compile a part of Verilator's run-time library, once for all designs."""
        target = log.parent / f"{source.stem}-{digest_json(tools)[:16]}.o"
        if not target.exists():
            with atomic_path(target) as temporary:
                compile_one(source, temporary, ["-O1"])
        return target

    generated = sorted((build / "generated").glob("*.cpp"), key=lambda file: -file.stat().st_size)
    work = [functools.partial(compile_generated, file) for file in [*generated, build / harness]]
    work += [functools.partial(compile_runtime, include / name) for name in runtime]
    objects = run_parallel(work, jobs=os.cpu_count() or 1)
    run_tool(compiler, ["-shared", "-pthread", *objects, "-o", library], cwd=build, log=log, timeout_s=BUILD_LIMIT_S)


def _verilator_root(verilator: Tool) -> Path:
    """Return the root of an installed Verilator: beside its binary, or as its package lays it out."""
    binary = Path(verilator.command[0]).resolve()
    for root in (binary.parents[1], binary.parents[1] / "share" / "verilator"):
        if (root / "include" / "verilated.cpp").is_file():
            return root
    return binary.parents[1]
