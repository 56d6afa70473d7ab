"""What vendor tools found, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from l1dl.report.format import NOTHING, count
from l1dl.synth.resources import Resources
from l1dl.vendor.result import BuildResult, StepResult


def columns(result: BuildResult, ours: Resources | None = None) -> dict[str, dict[str, str]]:
    """Return figure → text, with its origin, for each step that has figures.

    Parameters
    ----------
    ours
        What Yosys found for the same Verilog; a column of its own.
    """
    found = {step.name: texts for step in result.steps if (texts := _figures(step))}
    if found and ours is not None and result.tool != "vitis":
        found["Yosys"] = {**_counts(ours), "origin": ours.origin}
    return found


def table(found: Mapping[str, Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Return a row for each figure of `columns`, its name first; the origins last."""
    names = dict.fromkeys(name for texts in found.values() for name in texts if name != "origin")
    return [(name, *(texts.get(name, "") for texts in found.values())) for name in (*names, "origin")]


def to_json(result: BuildResult, ours: Resources | None) -> dict[str, Any]:
    """Return a result as it stands in ``report.json``."""
    found = columns(result, ours)
    steps = [
        {**asdict(step), "state": step.state.value, "reasons": reasons(step)} for step in result.steps
    ]  # fmt: skip
    return {**asdict(result), "steps": steps, "columns": list(found), "rows": table(found) if found else []}


def _figures(step: StepResult) -> dict[str, str]:
    """Return figure → text of a step; empty without figures."""
    found: dict[str, str] = {}
    if step.resources is not None:
        found |= {**_counts(step.resources), "origin": step.resources.origin}
    if step.timing is not None:
        slack, fmax = step.timing.slack_ns, step.timing.fmax_mhz
        found["slack"] = NOTHING if slack is None else f"{slack:+.3f} ns"
        found["Fmax"] = NOTHING if fmax is None else f"{fmax:.0f} MHz"
    if step.cycles is not None:
        found |= {"latency": _range(step.cycles.latency), "interval": _range(step.cycles.interval)}
        found["origin"] = step.cycles.origin
    return found


def _counts(resources: Resources) -> dict[str, str]:
    found = {"LUT": resources.lut, "ALM": resources.alm, "FF": resources.ff, "DSP": resources.dsp,
             "BRAM": resources.bram}  # fmt: skip
    if resources.alm is None:
        del found["ALM"]
    return {name: count(value) for name, value in found.items()}


def _range(pair: tuple[int, int] | None) -> str:
    if pair is None:
        return NOTHING
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"


def reasons(step: StepResult) -> list[str]:
    """Return why the step, or a figure of it, is missing; each reason once."""
    parts = (step.resources, step.timing, step.cycles)
    return list(dict.fromkeys(filter(None, [step.reason, *(part.reason for part in parts if part is not None)])))
