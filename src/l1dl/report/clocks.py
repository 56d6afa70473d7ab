"""One network at several clocks: the points of the trade-off, and their table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from l1dl.report.format import count


@dataclass(frozen=True)
class ClockPoint:
    """A pipeline for one clock.

    Attributes
    ----------
    clock_period_ns
        Period of the clock, in ns.
    stage_delay_ns
        The limits on the estimated delays of the stages that make this pipeline: ``rtl.stage_delay_ns`` of a card.
    stages, latency_cycles, latency_ns
        Number of stages, and the latency that the co-simulation measured.
    lut, ff
        As synthesised.
    delay_ns
        Estimated delay of the slowest stage of the netlist, in ns.
    events
        Co-simulated events, all of whose output codes were right.
    """

    clock_period_ns: float
    stage_delay_ns: tuple[float, ...]
    stages: int
    latency_cycles: int
    latency_ns: float
    lut: int
    ff: int
    delay_ns: float
    events: int

    @property
    def clock_mhz(self) -> float:
        """Frequency in MHz."""
        return 1e3 / self.clock_period_ns

    @property
    def slack_ns(self) -> float:
        """Clock period less the delay of the slowest stage, in ns."""
        return self.clock_period_ns - self.delay_ns


HEADERS = ("clock", "cycles", "latency", "LUT", "FF", "slowest", "slack", "events")


def table(points: Sequence[ClockPoint]) -> list[tuple[str, ...]]:
    """Return the rows of a table with the headers `HEADERS`."""
    return [
        (
            f"{point.clock_mhz:.4g} MHz", count(point.latency_cycles), f"{point.latency_ns:.1f} ns", count(point.lut),
            count(point.ff),
            f"{point.delay_ns:.2f} ns", f"{point.slack_ns:+.2f} ns", count(point.events),
        )
        for point in points
    ]  # fmt: skip


def csv_text(points: Sequence[ClockPoint]) -> str:
    """Return one line for each point."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [field.name for field in fields(ClockPoint)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(point), "stage_delay_ns": " ".join(map(str, point.stage_delay_ns))} for point in points)
    return file.getvalue()
