"""Co-simulate the RTL with the emulator, and measure latency and initiation interval."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from l1dl.card import CosimCard
from l1dl.cosim.fault import inject_fault
from l1dl.cosim.locate import first_wrong_layer, first_wrong_stage, layers_of_stage
from l1dl.cosim.protocol import Control, expect, measured_interval, measured_latency, stream, with_bubbles, with_resets
from l1dl.cosim.result import CosimReport, SelfTest
from l1dl.cosim.stimuli import all_vectors
from l1dl.cosim.verilate import Outcome, Ports, Simulation
from l1dl.emulate.compare import Agreement, Difference, compare
from l1dl.emulate.engine import Emulator
from l1dl.errors import MismatchError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.rtl.project import RtlDesign

PROTOCOL_EVENTS = 5000
"""Events of the runs with bubbles and with resets."""

RESETS = 25
"""Resets in mid-flight."""

SELF_TEST_EVENTS = 2000
"""Events of the run with an injected fault."""

Progress = Callable[[str], None]
"""Called with what is being done."""


def cosimulate(
    graph: FixedGraph,
    design: RtlDesign,
    test_codes: Codes,
    work: Path,
    *,
    settings: CosimCard = CosimCard(),  # noqa: B008  frozen
    self_test: bool = True,
    sources: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> tuple[CosimReport, Codes]:
    """Stream events through the RTL, cycle by cycle, and compare every output code with the emulator.

    The vectors are the test events, the corners of the input space and random codes over the whole
    input range; then come runs with bubbles and with resets in mid-flight, and a run with an
    injected fault that must be seen.

    Parameters
    ----------
    graph
        The network.
    design
        Its RTL.
    test_codes
        Input codes of the test events, shape (events, *input shape).
    work
        Directory for libraries, logs, and the waveform of a mismatch.
    sources
        Verilog to simulate instead of the design's own, e.g. with a fault.

    Returns
    -------
    The verdict, and the output codes of the test events as the RTL gave them.

    Raises
    ------
    MismatchError
        The ports break the protocol (a wrong number of outputs, a varying latency, codes that are wrong
        only with bubbles or resets), or the self-test's fault was not seen. Codes that differ in the full
        stream are no error here: they are in the verdict.
    """
    emulator = Emulator(graph)
    ports = Ports(design.inputs, design.input_spec, design.outputs, design.output_spec)
    say = progress or (lambda _: None)
    say("building the simulation")
    start = time.perf_counter()
    simulation = Simulation(sources or design.sources(), design.top, ports, work)
    build_s = time.perf_counter() - start
    flat = test_codes.reshape(len(test_codes), -1)
    vectors = all_vectors(flat, design.input_spec, events=settings.random_vectors, seed=settings.seed)
    codes = np.concatenate(list(vectors.values()))
    expected = emulator.run(codes.reshape(-1, *emulator.input.shape)).reshape(len(codes), -1)

    say(f"simulating {len(codes):,} events")
    drain = 4 * design.latency_cycles + 8
    control = stream(len(codes), drain)
    start = time.perf_counter()
    outcome = simulation.run(codes, control, seed=settings.seed)
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
        report = replace(report, self_test=_self_test(design, ports, codes, expected, latency, work, settings.seed))
    return report, outcome.codes[: len(test_codes)]


def explain_mismatch(
    graph: FixedGraph, design: RtlDesign, agreement: Agreement, codes: Codes, work: Path, sources: dict[str, str] | None
) -> str:
    """Say where the RTL and the emulator part, and write a waveform of the first wrong events.

    Parameters
    ----------
    codes
        Input codes of all vectors, in the order of the comparison.
    sources
        The Verilog with probes that was simulated; the design's own by default.
    """
    chosen = codes[sorted({item.event for item in agreement.first})]
    layer = first_wrong_layer(graph, chosen.reshape(-1, *graph.inputs[0].shape))
    if layer is not None:
        return f"The first diverging layer is {layer!r}: its RTL program differs from the emulator."
    waveform = work / "mismatch.vcd"
    ports = Ports(design.inputs, design.input_spec, design.outputs, design.output_spec)
    stage = first_wrong_stage(design, sources or design.sources(probes=True), ports, chosen, work, waveform)
    if stage is None:
        return f"All pipeline stages are right on these events alone. Waveform: {waveform}"
    layers = ", ".join(layers_of_stage(graph, stage, len(design.stages)))
    module = design.stage_modules[stage]
    return f"The first diverging pipeline stage is {module} (layers {layers}). Waveform: {waveform}"


def _check(name: str, outcome: Outcome, control: Control, latency: int, expected: Codes) -> Agreement:
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
    agreement = compare("emulator_rtl", expected[awaited.survivors], outcome.codes)
    first = tuple(
        Difference(int(awaited.survivors[item.event]), item.output, item.left, item.right) for item in agreement.first
    )
    return replace(agreement, first=first)


def _self_test(
    design: RtlDesign, ports: Ports, codes: Codes, expected: Codes, latency: int, work: Path, seed: int
) -> SelfTest:
    """Simulate the design with a fault and demand that the comparison sees it."""
    few = codes[:SELF_TEST_EVENTS]
    fault = inject_fault(design, few, seed)
    simulation = Simulation(fault.sources, design.top, ports, work)
    control = stream(len(few), 4 * latency)
    agreement = _check("self-test", simulation.run(few, control, seed=seed), control, latency, expected[: len(few)])
    if agreement.mismatches == 0:
        msg = f"self-test: the injected fault ({fault.description}) was not seen; the co-simulation proves nothing"
        raise MismatchError(msg)
    return SelfTest(fault.description, len(few), agreement.mismatches)
