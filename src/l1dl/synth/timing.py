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
    origin
        How the figures were obtained, e.g. ``implemented (Vivado 2023.2, out of context)``.
    reason
        Why a figure is None; empty otherwise.
    """

    clock_period_ns: float | None
    slack_ns: float | None
    origin: str
    reason: str = ""

    @property
    def fmax_mhz(self) -> float | None:
        """The highest clock frequency without negative slack, in MHz; None where a figure is missing."""
        if self.clock_period_ns is None or self.slack_ns is None or self.slack_ns >= self.clock_period_ns:
            return None
        return 1000 / (self.clock_period_ns - self.slack_ns)
