"""How far the RTL compiler's estimates are off: ratios to synthesis, from random networks.

The measurements stand in ``calibration.json``; ``python scripts/benchmark.py --section estimators`` makes them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FIGURES = {
    "lut": ("estimated_lut", "lut"),
    "ff": ("estimated_ff", "ff"),
    "ebops": ("ebops", "lut"),
    "delay": ("estimated_delay_ns", "delay_ns"),
}
"""Figure → the estimate and what came of it: ``ebops`` estimates LUTs by the effective bit operations alone."""

_FILE = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Calibration:
    """What a figure of a synthesised network is, in units of its estimate.

    The ends of the intervals are order statistics of the sample, interpolated, so that a new network of the
    same kind lies inside with this probability whatever the distribution is (S. S. Wilks, Ann. Math. Stat. 12 (1941)
    91): with 39 networks the 95 % interval ends at the extremes.

    Attributes
    ----------
    scale
        Median of the ratios.
    low_68, high_68, low_95, high_95
        Ends of the central intervals.
    networks
        Size of the sample.
    """

    scale: float
    low_68: float
    high_68: float
    low_95: float
    high_95: float
    networks: int

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], figure: str) -> Calibration:
        """Return the calibration of one of `FIGURES` from measured networks."""
        logs = np.log([value for row in rows if (value := ratio(row, figure)) is not None])
        places = (0.5, 0.16, 0.84, 0.025, 0.975)
        ends = [float(end) for end in np.exp(np.quantile(logs, places, method="weibull"))]
        return cls(ends[0], ends[1], ends[2], ends[3], ends[4], len(logs))


def ratio(row: Mapping[str, Any], figure: str) -> float | None:
    """Return a figure of a measured network in units of its estimate; None where it was not measured."""
    estimate, found = (row[key] for key in FIGURES[figure])
    return None if not estimate or not found else float(found) / float(estimate)


@functools.cache
def calibration(figure: str) -> Calibration:
    """Return the calibration of one of `FIGURES`."""
    rows: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["networks"]
    return Calibration.of(rows, figure)


@dataclass(frozen=True)
class Expected:
    """What to expect of the synthesis.

    Attributes
    ----------
    value
        The calibrated estimate.
    low, high
        Between these ends lie 95 % of the networks of the calibration.
    networks
        Their number.
    """

    value: float
    low: float
    high: float
    networks: int


def expected(estimate: float, figure: str) -> Expected:
    """Calibrate an estimate of one of `FIGURES`."""
    found = calibration(figure)
    return Expected(found.scale * estimate, found.low_95 * estimate, found.high_95 * estimate, found.networks)
