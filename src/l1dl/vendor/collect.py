"""The reports of a project folder → figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.vendor.reports import quartus, vitis, vivado
from l1dl.vendor.result import State, StepResult
from l1dl.vendor.settings import BuildSettings, Vendor

Read = Callable[[str], str]
"""Returns the text of a report by its path below ``reports/``."""


def collect(
    settings: BuildSettings, step: StepResult, read: Read, graph: FixedGraph, outputs: Codes | None
) -> StepResult:
    """Return the result of a finished step with its figures; of others, as it is.

    Parameters
    ----------
    outputs
        The emulator's output codes for the events of the test bench; None for flows without one.
    """
    if step.state is not State.FINISHED:
        return step
    top, part = settings.top, settings.part

    def text(name: str) -> str:
        return read(f"{step.name}/{name}")

    if step.name == "csynth":
        resources, timing, cycles = vitis.read_csynth(text(vitis.CSYNTH), top, part)
        return replace(step, resources=resources, timing=timing, cycles=cycles)
    if step.name == "cosim":
        assert outputs is not None
        cycles = vitis.read_cosim(text(vitis.COSIM), top)
        agreement, reason = vitis.read_outputs(text(vitis.OUTPUTS), outputs, graph.output_ports)
        state = State.FAILED if agreement is None or cycles.latency is None else State.FINISHED
        return replace(step, state=state, cycles=cycles, agreement=agreement, reason=reason)
    if step.name == "synth":
        return replace(step, resources=vivado.read_utilisation(text(vivado.UTILISATION), top, "synthesised", part))
    if settings.vendor is Vendor.QUARTUS:
        fit = text(quartus.FIT)
        timing = quartus.read_sta(text(quartus.STA), settings.clock_period_ns, quartus.quartus_origin(fit, part))
        return replace(step, resources=quartus.read_fit(fit, top, part), timing=timing)
    return replace(
        step,
        resources=vivado.read_utilisation(text(vivado.UTILISATION), top, "implemented", part),
        timing=vivado.read_timing(text(vivado.TIMING), top, "implemented", part),
    )
