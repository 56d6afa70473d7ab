"""Co-simulate the RTL with the emulator, and measure latency and initiation interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1dl.card import CosimCard
from l1dl.cosim.fault import inject_fault
from l1dl.cosim.ghdl import run_vhdl
from l1dl.cosim.locate import first_wrong_layer, first_wrong_stage, layers_of_stage
from l1dl.cosim.protocol import (
    START,
    Control,
    expect,
    measured_interval,
    measured_latency,
    stream,
    streams,
    with_bubbles,
    with_resets,
)
from l1dl.cosim.result import CosimReport, SelfTest, VhdlCheck
from l1dl.cosim.stimuli import all_vectors
from l1dl.cosim.verilate import Outcome, Simulation, run_at_once
from l1dl.emulate.compare import Agreement, Difference, compare, require
from l1dl.emulate.engine import Emulator
from l1dl.errors import MismatchError, ToolMissingError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.rtl.project import RtlDesign
from l1dl.tools import find_tool

PROTOCOL_EVENTS = 5000
"""Events of the runs with bubbles and with resets."""

RESETS = 25
"""Resets in mid-flight."""

SELF_TEST_EVENTS = 2000
"""Events of the run with an injected fault."""

VHDL_EVENTS = 500
"""Events of each kind of stimulus for the VHDL: GHDL is some thousand times slower than Verilator."""

VHDL_PROTOCOL_EVENTS = 200
"""Events of the VHDL's bubbles, and of its resets."""

Progress = Callable[[str], None]
"""Called with what is being done."""


def cosimulate(
    graph: FixedGraph,
    design: RtlDesign,
    test_rows: Codes,
    work: Path,
    *,
    settings: CosimCard = CosimCard(),  # noqa: B008  frozen
    self_test: bool = True,
    sources: dict[str, str] | None = None,
    vhdl_sources: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> tuple[CosimReport, Codes]:
    """Stream events through the RTL, cycle by cycle, and compare every output code with the emulator.

    Streams of `l1dl.cosim.protocol.STREAM_EVENTS` events are simulated at the same time, on all cores.
    The vectors are the test events, the corners of the input space and random codes over the whole
    input range; then come runs with bubbles and with resets in mid-flight, and a run with an
    injected fault that must be seen.

    Parameters
    ----------
    graph
        The network.
    design
        Its RTL.
    test_rows
        Rows of input codes of the test events.
    work
        Directory for libraries, logs, and the waveform of a mismatch.
    sources
        Verilog to simulate instead of the design's own, e.g. with a fault.
    vhdl_sources
        VHDL to simulate instead of the design's own, in the order of analysis.

    Returns
    -------
    The verdict, and the rows of output codes of the test events as the Verilog gave them.

    Raises
    ------
    MismatchError
        The ports break the protocol (a wrong number of outputs, a varying latency, codes that are wrong
        only with bubbles or resets), the self-test's fault was not seen, or the VHDL gives other codes than the
        emulator where the Verilog is right. Codes of the Verilog that differ in the full stream are no error
        here: they are in the verdict.
    """
    emulator = Emulator(graph)
    say = progress or (lambda _: None)
    say("building the simulation")
    start = time.perf_counter()
    simulation = Simulation(sources or design.sources(), design.top, design.inputs, design.outputs, work)
    build_s = time.perf_counter() - start
    vectors = all_vectors(test_rows, design.inputs, events=settings.random_vectors, seed=settings.seed)
    codes = np.concatenate(list(vectors.values()))
    expected = emulator.run(codes)

    say(f"simulating {len(codes):,} events")
    drain = 4 * design.latency_cycles + 8
    controls = streams(len(codes), drain)
    control = np.concatenate(controls)
    start = time.perf_counter()
    outcome = run_at_once(simulation, codes, controls, seed=settings.seed)
    seconds = time.perf_counter() - start
    latency = measured_latency(outcome, control)
    if latency is None:
        msg = f"the RTL of {design.top!r} never raised out_valid in {len(control)} cycles"
        raise MismatchError(msg)
    agreement = _check("full stream", outcome, control, latency, expected)
    interval = measured_interval(expect(control, latency), np.all(outcome.codes == expected, axis=1))

    say("simulating bubbles and resets")
    few, few_expected = codes[:PROTOCOL_EVENTS], expected[:PROTOCOL_EVENTS]
    bubbled = with_bubbles(len(few), drain, settings.seed)
    reset = with_resets(len(few), RESETS, drain, settings.seed)
    for name, words in (("bubbles", bubbled), ("resets", reset)):
        part = _check(name, simulation.run(few, words, seed=settings.seed + 1), words, latency, few_expected)
        if part.mismatches and not agreement.mismatches:
            msg = f"{name}: {part.mismatches} output codes differ that are right in the full stream"
            raise MismatchError(msg)
    report = CosimReport(
        agreement=agreement,
        vectors={name: len(part) for name, part in vectors.items()},
        latency_cycles=latency,
        initiation_interval=interval,
        cycles=len(control) + len(bubbled) + len(reset),
        bubbles=int(np.count_nonzero(bubbled == 0)) - drain,
        resets=int(np.count_nonzero(reset == 3)),
        events_per_s=len(codes) / seconds,
        build_s=build_s,
        self_test=None,
    )
    if self_test and agreement.mismatches == 0:
        say("injecting a fault")
        report = replace(report, self_test=_self_test(design, codes, expected, latency, work, settings.seed))
    if design.language == "vhdl":
        say("simulating the VHDL")
        texts = vhdl_sources or design.vhdl_sources()
        report = replace(report, vhdl=_check_vhdl(design, texts, vectors, expected, report, work, settings.seed))
    return report, outcome.codes[: len(test_rows)]


def explain_mismatch(
    graph: FixedGraph, design: RtlDesign, agreement: Agreement, codes: Codes, work: Path, sources: dict[str, str] | None
) -> str:
    """Say where the RTL and the emulator part, and write a waveform of the first wrong events.

    Parameters
    ----------
    codes
        Rows of input codes of all vectors, in the order of the comparison.
    sources
        The Verilog with probes that was simulated; the design's own by default.
    """
    chosen = codes[sorted({item.event for item in agreement.first})]
    layer = first_wrong_layer(graph, chosen)
    if layer is not None:
        return f"The first diverging layer is {layer!r}: its RTL program differs from the emulator."
    waveform = work / "mismatch.vcd"
    stage = first_wrong_stage(design, sources or design.sources(probes=True), chosen, work, waveform)
    if stage is None:
        return f"All pipeline stages are right on these events alone. Waveform: {waveform}"
    layers = ", ".join(layers_of_stage(graph, stage, len(design.stages)))
    module = design.stage_modules[stage]
    return f"The first diverging pipeline stage is {module} (layers {layers}). Waveform: {waveform}"


def _check(
    name: str, outcome: Outcome, control: Control, latency: int, expected: Codes, meanings: str = "emulator_rtl"
) -> Agreement:
    """Compare one run with what the protocol and the emulator demand."""
    awaited = expect(control, latency)
    if len(outcome.codes) != len(awaited.survivors):
        msg = f"{name}: {len(outcome.codes)} events came out of the RTL, {len(awaited.survivors)} were expected"
        raise MismatchError(msg)
    late = np.flatnonzero(outcome.cycles - awaited.entered != latency)
    if len(late):
        event = int(awaited.survivors[late[0]])
        cycles = int(outcome.cycles[late[0]] - awaited.entered[late[0]])
        msg = f"{name}: event {event} came out after {cycles} cycles, the others after {latency}"
        raise MismatchError(msg)
    agreement = compare(meanings, expected[awaited.survivors], outcome.codes)
    first = tuple(
        Difference(int(awaited.survivors[item.event]), item.output, item.left, item.right) for item in agreement.first
    )
    return replace(agreement, first=first)


def _self_test(design: RtlDesign, codes: Codes, expected: Codes, latency: int, work: Path, seed: int) -> SelfTest:
    """Simulate the design with a fault and demand that the comparison sees it."""
    few = codes[:SELF_TEST_EVENTS]
    fault = inject_fault(design, few, seed)
    simulation = Simulation(fault.sources, design.top, design.inputs, design.outputs, work)
    control = stream(len(few), 4 * latency)
    agreement = _check("self-test", simulation.run(few, control, seed=seed), control, latency, expected[: len(few)])
    if agreement.mismatches == 0:
        msg = f"self-test: the injected fault ({fault.description}) was not seen; the co-simulation proves nothing"
        raise MismatchError(msg)
    return SelfTest(fault.description, len(few), agreement.mismatches)


def _check_vhdl(
    design: RtlDesign,
    sources: Mapping[str, str],
    vectors: Mapping[str, Codes],
    expected: Codes,
    verilog: CosimReport,
    work: Path,
    seed: int,
) -> VhdlCheck:
    """Simulate the VHDL with a part of the vectors, bubbles and resets, and demand what the Verilog gives.

    Parameters
    ----------
    vectors, expected
        Rows of input codes by kind, and the rows of output codes of all of them.
    verilog
        The verdict on the Verilog.
    """
    if verilog.agreement.mismatches:
        return VhdlCheck(None, "the Verilog disagrees with the emulator, so the VHDL was not simulated")
    try:
        ghdl = find_tool("ghdl")
    except ToolMissingError as error:
        return VhdlCheck(None, f"the VHDL was written but not simulated: {error}")
    start = time.perf_counter()
    chosen, counts, first = [], {}, 0
    for kind, rows in vectors.items():
        counts[kind] = min(len(rows), VHDL_EVENTS)
        chosen.append(first + np.linspace(0, len(rows) - 1, counts[kind], dtype=np.int64))
        first += len(rows)
    events = np.concatenate(chosen)
    control, order = _all_in_one(len(events), 4 * design.latency_cycles + 8, seed)
    events = events[order]
    codes = np.concatenate(list(vectors.values()))[events]
    outcome = run_vhdl(sources, design.top, design.inputs, design.outputs, codes, control, work, seed=seed)
    agreement = _check("VHDL", outcome, control, verilog.latency_cycles, expected[events], "emulator_vhdl")
    agreement = replace(
        agreement, first=tuple(replace(item, event=int(events[item.event])) for item in agreement.first)
    )
    require(agreement, "The Verilog of the same design is right")
    return VhdlCheck(agreement, None, counts, f"GHDL {ghdl.version}", time.perf_counter() - start)


def _all_in_one(events: int, drain: int, seed: int) -> tuple[Control, Codes]:
    """Return control words of a full stream, then bubbles, then resets, and which event each valid one presents."""
    few = min(events, VHDL_PROTOCOL_EVENTS)
    parts = [stream(events, drain), with_bubbles(few, drain, seed), with_resets(few, RESETS, drain, seed)]
    control = np.concatenate([parts[0], *(part[len(START) :] for part in parts[1:])])
    return control, np.concatenate([np.arange(events), np.arange(few), np.arange(few)])
