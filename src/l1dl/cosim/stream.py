"""Co-simulate a streaming design: random stalls on both sides, every output code, latency, interval and queues."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l1dl.cosim.verilate import build_library
from l1dl.emulate.compare import Agreement, compare
from l1dl.emulate.engine import Emulator
from l1dl.errors import MismatchError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ports import Ports, count_values, value_specs
from l1dl.rtl.stream.design import StreamDesign

STALL_EVENTS = 200
"""Frames of each run with stalls."""

STALLS = ((96, 0), (0, 96), (128, 128), (250, 0), (0, 250))
"""How often input and output stand still, in 256ths, in the runs with stalls."""


@dataclass(frozen=True)
class QueueLevel:
    """How full a queue became.

    Attributes
    ----------
    name
        What it holds, and who takes it.
    bits
        Bits of each beat.
    depth
        Beats that it has room for.
    highest
        Most beats that were in it, over all runs.
    """

    name: str
    bits: int
    depth: int
    highest: int


@dataclass(frozen=True)
class StreamReport:
    """The verdict of the co-simulation of a streaming design.

    Attributes
    ----------
    agreement
        Emulator against RTL, over all frames of the run without stalls.
    latency_cycles
        Clock cycles from the first beat of a frame to the last beat of its result, for a frame that enters alone.
    interval_cycles
        Clock cycles between two frames of a full stream.
    frame_beats
        Beats of a frame: the smallest interval that is possible.
    stalled_frames
        Frames of the runs with stalls; each must come out with the same codes.
    queues
        The queues, and how full they became.
    cycles
        Clock cycles simulated.
    cycles_per_s
        Rate of the simulation.
    build_s
        Time that Verilator and the C++ compiler took, in s.
    """

    agreement: Agreement
    latency_cycles: int
    interval_cycles: float
    frame_beats: int
    stalled_frames: int
    queues: tuple[QueueLevel, ...]
    cycles: int
    cycles_per_s: float
    build_s: float


@dataclass(frozen=True)
class Passage:
    """What went through a streaming design.

    Attributes
    ----------
    codes
        Output codes of each beat, shape (beats, values).
    entered, left
        The cycle in which each beat entered and left.
    last
        Whether each output beat was the last one of its frame, by ``tlast``.
    levels
        The largest level of each queue.
    cycles
        Clock cycles simulated.
    """

    codes: Codes
    entered: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    last: npt.NDArray[np.bool_]
    levels: tuple[int, ...]
    cycles: int


class _Stream(ctypes.Structure):
    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("beats", ctypes.c_uint64),
        ("frame", ctypes.c_uint64),
        ("n_inputs", ctypes.c_uint32),
        ("n_outputs", ctypes.c_uint32),
        ("input_widths", ctypes.c_void_p),
        ("output_widths", ctypes.c_void_p),
        ("output_signed", ctypes.c_void_p),
        ("seed", ctypes.c_uint32),
        ("input_stalls", ctypes.c_uint32),
        ("output_stalls", ctypes.c_uint32),
        ("patience", ctypes.c_uint64),
        ("outputs", ctypes.c_void_p),
        ("input_cycles", ctypes.c_void_p),
        ("output_cycles", ctypes.c_void_p),
        ("output_last", ctypes.c_void_p),
        ("capacity", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("given", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("broken", ctypes.c_uint64),
        ("frame_error", ctypes.c_uint32),
        ("levels", ctypes.c_void_p),
        ("n_levels", ctypes.c_uint32),
    )


class StreamSimulation:
    """A verilated streaming design.

    Raises
    ------
    ToolMissingError
        Verilator or the C++ compiler is missing.
    ToolFailedError
        One of them failed.
    """

    def __init__(self, design: StreamDesign, work: Path, sources: dict[str, str] | None = None) -> None:
        self._design = design
        texts = sources or design.sources(levels=True)
        library = build_library(texts, design.top, work, harness="stream_harness.cpp", defines=("LEVELS",))
        self._functions = ctypes.CDLL(str(library))
        self._functions.l1dl_stream.argtypes = [ctypes.POINTER(_Stream)]
        self._functions.l1dl_stream.restype = None

    def run(self, rows: Codes, *, stalls: tuple[int, int] = (0, 0), seed: int = 1) -> Passage:
        """Send frames through the design, one after the other.

        Parameters
        ----------
        rows
            Rows of input codes, one for each frame.
        stalls
            How often input and output stand still, in 256ths.

        Raises
        ------
        MismatchError
            The design stops before all is out, breaks the handshake, or marks the wrong beats as last ones.
        """
        plan = self._design.plan
        inputs: Ports = (plan.input.port,)
        outputs: Ports = tuple(stream.port for stream in plan.outputs)
        codes = np.ascontiguousarray(rows.reshape(len(rows) * plan.input.beats, plan.input.size), dtype=np.int64)
        beats = plan.outputs[0].beats
        found = np.zeros((len(rows) * beats, count_values(outputs)), dtype=np.int64)
        entered, left = np.zeros(len(codes), dtype=np.uint64), np.zeros(len(found), dtype=np.uint64)
        last, levels = np.zeros(len(found), dtype=np.uint8), np.zeros(len(self._design.queues), dtype=np.uint32)
        input_widths = np.array([spec.width for spec in value_specs(inputs)], dtype=np.uint32)
        output_widths = np.array([spec.width for spec in value_specs(outputs)], dtype=np.uint32)
        output_signed = np.array([spec.signed for spec in value_specs(outputs)], dtype=np.uint8)
        run = _Stream(
            codes=codes.ctypes.data, beats=len(codes), frame=plan.input.beats,
            n_inputs=len(input_widths), n_outputs=len(output_widths),
            input_widths=input_widths.ctypes.data, output_widths=output_widths.ctypes.data,
            output_signed=output_signed.ctypes.data, seed=seed, input_stalls=stalls[0], output_stalls=stalls[1],
            patience=self._patience(), outputs=found.ctypes.data, input_cycles=entered.ctypes.data,
            output_cycles=left.ctypes.data, output_last=last.ctypes.data, capacity=len(found),
            levels=levels.ctypes.data, n_levels=len(levels),
        )  # fmt: skip
        self._functions.l1dl_stream(ctypes.byref(run))
        where = f"with stalls of {stalls[0]} and {stalls[1]} in 256 cycles (seed {seed})"
        if run.given != len(found) or run.taken != len(codes):
            msg = f"{where} the design stops: {run.taken} of {len(codes)} beats are in, {run.given} of {len(found)} out"
            raise MismatchError(msg)
        if run.broken:
            msg = f"{where} {run.broken} outputs were withdrawn or changed before they were taken"
            raise MismatchError(msg)
        if run.frame_error:
            msg = f"{where} the design raised frame_error, although tlast was right"
            raise MismatchError(msg)
        wrong = np.flatnonzero(last != (np.arange(len(last)) % beats == beats - 1))
        if len(wrong):
            msg = f"{where} tlast is wrong at output beat {wrong[0]}; a frame of results has {beats}"
            raise MismatchError(msg)
        times = entered.astype(np.int64), left.astype(np.int64)
        return Passage(found, *times, last.astype(bool), tuple(levels.tolist()), int(run.cycles))

    def _patience(self) -> int:
        """Return the cycles without a transfer after which the design has stopped."""
        plan = self._design.plan
        latencies = sum(self._design.latency(number) for number in range(1, len(plan.elements)))
        return 20_000 + 100 * (latencies + sum(queue.depth for queue in self._design.queues))


def cosimulate_stream(
    graph: FixedGraph,
    design: StreamDesign,
    rows: Codes,
    work: Path,
    *,
    seed: int = 1,
    progress: Callable[[str], None] | None = None,
) -> tuple[StreamReport, Codes]:
    """Send frames through the RTL, without and with random stalls, and compare every output code with the emulator.

    Parameters
    ----------
    rows
        Rows of input codes, one for each frame.

    Returns
    -------
    The verdict, and the rows of output codes as the Verilog gave them.

    Raises
    ------
    MismatchError
        The design breaks the handshake, stops, or gives other codes with stalls than without.
    """
    say = progress or (lambda _: None)
    say("building the simulation")
    start = time.perf_counter()
    simulation = StreamSimulation(design, work)
    build_s = time.perf_counter() - start
    expected = Emulator(graph).run(rows)
    say(f"simulating {len(rows):,} frames")
    start = time.perf_counter()
    full = simulation.run(rows, seed=seed)
    seconds = time.perf_counter() - start
    agreement = compare("emulator_rtl", expected, _rows(design, full.codes))
    few = rows[:STALL_EVENTS]
    passages = [full, simulation.run(rows[:1], seed=seed)]
    for index, stalls in enumerate(STALLS):
        say(f"simulating stalls ({index + 1} of {len(STALLS)})")
        passages.append(simulation.run(few, stalls=stalls, seed=seed + index))
        if not np.array_equal(passages[-1].codes, full.codes[: len(passages[-1].codes)]):
            msg = f"with stalls of {stalls[0]} and {stalls[1]} in 256 cycles the output codes differ from those without"
            raise MismatchError(msg)
    levels = np.max([passage.levels for passage in passages], axis=0).tolist()
    beats = design.plan.outputs[0].beats
    ends = full.left[beats - 1 :: beats]
    report = StreamReport(
        agreement=agreement,
        latency_cycles=int(passages[1].left[-1] - passages[1].entered[0]),
        interval_cycles=float(ends[-1] - ends[0]) / max(1, len(ends) - 1),
        frame_beats=design.plan.input.beats,
        stalled_frames=len(few) * len(STALLS),
        queues=tuple(
            QueueLevel(queue.name, queue.stream.width, queue.depth, highest)
            for queue, highest in zip(design.queues, levels, strict=True)
        ),
        cycles=sum(passage.cycles for passage in passages),
        cycles_per_s=full.cycles / seconds,
        build_s=build_s,
    )
    return report, _rows(design, full.codes)


def _rows(design: StreamDesign, codes: Codes) -> Codes:
    """Return one row for each frame, the outputs one after the other, from beats with all outputs side by side."""
    outputs = design.plan.outputs
    parts = np.split(codes, np.cumsum([stream.size for stream in outputs])[:-1], axis=1)
    frames = len(codes) // outputs[0].beats
    return np.concatenate([part.reshape(frames, -1) for part in parts], axis=1)
