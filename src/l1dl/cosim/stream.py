"""Co-simulate a streaming design: random stalls on both sides, every output code, latency, interval and queues."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l1dl.card import CosimCard
from l1dl.cosim.fault import inject_fault
from l1dl.cosim.result import CosimReport, QueueLevel, SelfTest, StreamCheck
from l1dl.cosim.stimuli import all_vectors
from l1dl.cosim.verilate import PortTypes, build_library
from l1dl.emulate.compare import compare
from l1dl.emulate.engine import Emulator
from l1dl.errors import MismatchError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ports import Ports, count_values, join
from l1dl.rtl.stream.design import StreamDesign
from l1dl.rtl.stream.streams import Multiply

STALL_EVENTS = 200
"""Frames of each run with stalls."""

SELF_TEST_TRIALS = 5
"""Faults that are tried: one in a part that the test frames do not use changes nothing."""

STALLS = ((96, 0), (0, 96), (128, 128), (250, 0), (0, 250))
"""How often input and output stand still, in 256ths, in the runs with stalls."""


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
        *PortTypes.FIELDS,
        ("seed", ctypes.c_uint32),
        ("input_stalls", ctypes.c_uint32),
        ("output_stalls", ctypes.c_uint32),
        ("reset_cycle", ctypes.c_uint64),
        ("patience", ctypes.c_uint64),
        ("outputs", ctypes.c_void_p),
        ("input_cycles", ctypes.c_void_p),
        ("output_cycles", ctypes.c_void_p),
        ("output_last", ctypes.c_void_p),
        ("capacity", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("given", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("surplus", ctypes.c_uint64),
        ("broken", ctypes.c_uint64),
        ("frame_error", ctypes.c_uint32),
        ("levels", ctypes.c_void_p),
        ("n_levels", ctypes.c_uint32),
    )


class StreamSimulation:
    """A verilated streaming design.

    Parameters
    ----------
    work
        Directory for libraries and logs; a library of the same sources and tools is used again.
    sources
        Verilog to simulate instead of the design's own; the levels of the queues are seen only with its top module.

    Raises
    ------
    ToolMissingError
        Verilator or the C++ compiler is missing.
    ToolFailedError
        One of them failed.
    """

    def __init__(self, design: StreamDesign, work: Path, sources: Mapping[str, str] | None = None) -> None:
        self._design = design
        ours, top = design.sources(), f"{design.top}.v"
        texts = dict(sources or ours)
        self.has_levels = texts[top] == ours[top]
        if self.has_levels:
            texts[top] = design.sources(levels=True)[top]
        defines = ("LEVELS",) if self.has_levels else ()
        library = build_library(texts, design.top, work, harness="stream_harness.cpp", defines=defines)
        self._functions = ctypes.CDLL(str(library))
        self._functions.l1dl_stream.argtypes = [ctypes.POINTER(_Stream)]
        self._functions.l1dl_stream.restype = None

    def run(self, rows: Codes, *, stalls: tuple[int, int] = (0, 0), reset_cycle: int = 0, seed: int = 1) -> Passage:
        """Send frames through the design, one after the other.

        Parameters
        ----------
        rows
            Rows of input codes, one for each frame.
        stalls
            How often input and output stand still, in 256ths.
        reset_cycle
            A cycle of reset, behind which all frames enter again.

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
        types = PortTypes(inputs, outputs)
        run = _Stream(
            codes=codes.ctypes.data, beats=len(codes), frame=plan.input.beats,
            **types.fields(), seed=seed, input_stalls=stalls[0], output_stalls=stalls[1],
            reset_cycle=reset_cycle, patience=self._patience(), outputs=found.ctypes.data,
            input_cycles=entered.ctypes.data, output_cycles=left.ctypes.data, output_last=last.ctypes.data,
            capacity=len(found), levels=levels.ctypes.data, n_levels=len(levels),
        )  # fmt: skip
        self._functions.l1dl_stream(ctypes.byref(run))
        where = f"with stalls of {stalls[0]} and {stalls[1]} in 256 cycles (seed {seed})"
        if run.surplus:
            msg = f"{where} {run.surplus} beats too many come out"
            raise MismatchError(msg)
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
        steps = sum(element.reuse_factor for element in plan.elements if isinstance(element, Multiply))
        return 20_000 + 100 * (latencies + steps + sum(queue.depth for queue in self._design.queues))


def cosimulate_stream(
    graph: FixedGraph,
    design: StreamDesign,
    test_rows: Codes,
    work: Path,
    *,
    settings: CosimCard = CosimCard(),  # noqa: B008  frozen
    self_test: bool = True,
    sources: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[CosimReport, Codes]:
    """Send frames through the RTL, without and with random stalls, and compare every output code with the emulator.

    The frames are those of the test events, the corners of the input space and random ones: as many that their beats
    are as many as the card asks for random vectors. Then come runs with stalls on both sides, one with a reset in the
    middle of a frame, and one with an injected fault that must be seen.

    Parameters
    ----------
    test_rows
        Rows of input codes of the test events, one for each frame.
    sources
        Verilog to simulate instead of the design's own.

    Returns
    -------
    The verdict, and the rows of output codes of the test events as the Verilog gave them.

    Raises
    ------
    MismatchError
        The design breaks the handshake, stops, gives other codes with stalls or behind a reset than without, or the
        fault of the self-test was not seen.
    """
    say = progress or (lambda _: None)
    say("building the simulation")
    start = time.perf_counter()
    simulation = StreamSimulation(design, work, sources)
    build_s = time.perf_counter() - start
    frames = settings.random_vectors // design.plan.input.beats
    vectors = all_vectors(test_rows, graph.input_ports, events=frames, seed=settings.seed)
    rows = np.concatenate(list(vectors.values()))
    expected = Emulator(graph).run(rows)
    say(f"simulating {len(rows):,} frames")
    start = time.perf_counter()
    full = simulation.run(rows, seed=settings.seed)
    seconds = time.perf_counter() - start
    found = _rows(design, full.codes)
    agreement = compare("emulator_rtl", expected, found)
    few = rows[:STALL_EVENTS]
    alone = simulation.run(rows[:1], seed=settings.seed)
    stalled = []
    for index, stalls in enumerate(STALLS):
        say(f"simulating stalls ({index + 1} of {len(STALLS)})")
        stalled.append(simulation.run(few, stalls=stalls, seed=settings.seed + index))
        _same(design, stalled[-1], found, f"with stalls of {stalls[0]} and {stalls[1]} in 256 cycles")
    middle = 4 + alone.cycles + design.plan.input.beats // 2
    reset = simulation.run(few, stalls=STALLS[0], reset_cycle=middle, seed=settings.seed)
    _same(design, reset, found, f"behind a reset in cycle {middle}")
    passages = [full, alone, *stalled, reset]
    levels = np.max([passage.levels for passage in passages], axis=0).tolist()
    starts = full.entered[:: design.plan.input.beats]
    report = CosimReport(
        agreement=agreement,
        vectors={name: len(part) for name, part in vectors.items()},
        latency_cycles=int(alone.left[-1] - alone.entered[0]),
        initiation_interval=int(np.median(np.diff(starts))) if len(starts) > 1 else None,
        cycles=sum(passage.cycles for passage in passages),
        bubbles=sum(passage.cycles - len(passage.entered) for passage in stalled),
        resets=1,
        events_per_s=len(rows) / seconds,
        build_s=build_s,
        self_test=None,
        stream=StreamCheck(
            frame_beats=design.plan.input.beats,
            stalled_frames=len(few) * len(STALLS),
            queues=tuple(
                QueueLevel(queue.name, queue.stream.width, queue.depth, highest if simulation.has_levels else None)
                for queue, highest in zip(design.queues, levels, strict=True)
            ),
        ),
    )
    if self_test and agreement.mismatches == 0:
        say("injecting a fault")
        report = replace(report, self_test=_self_test(design, few, expected[: len(few)], work, settings.seed))
    return report, found[: len(test_rows)]


def _same(design: StreamDesign, passage: Passage, found: Codes, where: str) -> None:
    """Demand the output codes of the run without stalls."""
    codes = _rows(design, passage.codes)
    different = int(np.count_nonzero(codes != found[: len(codes)]))
    if different:
        msg = f"{where}, {different} output codes differ from those of a stream without"
        raise MismatchError(msg)


def _self_test(design: StreamDesign, rows: Codes, expected: Codes, work: Path, seed: int) -> SelfTest | None:
    """Simulate the design with a fault in its last program and demand that the comparison sees it.

    Without any program there is no arithmetic to put a fault into, and no test.
    """
    if not design.programs:
        return None
    number = max(design.programs)
    program = design.programs[number]
    generator = np.random.default_rng(seed)
    codes = join([
        generator.integers(port.spec.minimum_code, port.spec.maximum_code, (500, port.size), endpoint=True)
        for port in program.inputs
    ])  # fmt: skip
    for trial in range(SELF_TEST_TRIALS):
        fault = inject_fault(program, codes, seed + trial)
        changed = {name: text for name, text in fault.sources.items() if name in program.logic}
        simulation = StreamSimulation(design, work, {**design.sources(), **changed})
        found = _rows(design, simulation.run(rows, seed=seed).codes)
        mismatches = int(np.count_nonzero(found != expected))
        if mismatches:
            return SelfTest(fault.description, len(rows), mismatches)
    msg = f"self-test: {SELF_TEST_TRIALS} injected faults were not seen; the co-simulation proves nothing"
    raise MismatchError(msg)


def _rows(design: StreamDesign, codes: Codes) -> Codes:
    """Return one row for each frame, the outputs one after the other, from beats with all outputs side by side."""
    outputs = design.plan.outputs
    parts = np.split(codes, np.cumsum([stream.size for stream in outputs])[:-1], axis=1)
    frames = len(codes) // outputs[0].beats
    return np.concatenate([part.reshape(frames, -1) for part in parts], axis=1)
