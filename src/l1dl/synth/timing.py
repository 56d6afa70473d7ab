"""Timing of the firmware: the clock that was asked for, and how well it was met."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """How fast a design may be clocked.

    Attributes
    ----------
    clock_period_ns
        Period of the clock constraint, in ns.
    slack_ns
        Worst setup slack over all paths and corners, in ns; negative where the clock is too fast.
    fmax_mhz
        The highest clock frequency without negative slack, in MHz.
    origin
        How the figures were obtained, e.g. ``implemented (Vivado 2023.2, out of context)``.
    reason
        Why a figure is None; empty otherwise.
    """

    clock_period_ns: float | None
    slack_ns: float | None
    fmax_mhz: float | None
    origin: str
    reason: str


def timing_of(clock_period_ns: float | None, slack_ns: float | None, origin: str, reason: str = "") -> Timing:
    """Return the timing of a design with a clock period and its worst setup slack, both in ns."""
    if clock_period_ns is None or slack_ns is None:
        return Timing(clock_period_ns, slack_ns, None, origin, reason)
    if slack_ns >= clock_period_ns:
        return Timing(clock_period_ns, slack_ns, None, origin, reason or "Fmax: the slack is the whole clock period")
    return Timing(clock_period_ns, slack_ns, 1000 / (clock_period_ns - slack_ns), origin, reason)
