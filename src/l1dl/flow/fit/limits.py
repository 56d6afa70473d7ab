"""Limits of a design, and the texts that give them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from l1dl.card import BudgetCard
from l1dl.errors import InputError, did_you_mean

TIMES_NS = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "µs": 1e3}
"""Units of a time, in ns."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d]*)\s*")


@dataclass(frozen=True)
class Limits:
    """What a design may take; None where nothing is asked.

    Attributes
    ----------
    latency_ns, lut, ff
        Upper ends.
    auc_loss
        Largest loss of macro AUC against the float model.
    """

    latency_ns: float | None = None
    lut: float | None = None
    ff: float | None = None
    auc_loss: float | None = None

    def or_those_of(self, budget: BudgetCard) -> Limits:
        """Return the limits, in place of those that are not given the ones of a card."""
        return Limits(
            _first(self.latency_ns, budget.max_latency_ns),
            _first(self.lut, budget.max_lut),
            self.ff,
            _first(self.auc_loss, budget.max_auc_loss),
        )


def _first(given: float | None, other: float | None) -> float | None:
    return other if given is None else given


def parse_time_ns(text: str, option: str) -> float:
    """Return a time in ns: ``100ns``, ``0.1us``, or a plain number of ns.

    Raises
    ------
    InputError
        It is none, or not positive.
    """
    return _parse(text, option, TIMES_NS, "ns", "100ns, 0.1us, 100000ps, or a number of ns")


def parse_count(text: str, option: str) -> float:
    """Return a number of something: ``20000``, ``20_000`` or ``20k``.

    Raises
    ------
    InputError
        It is none, or not positive.
    """
    value = _parse(text, option, {"": 1.0, "k": 1e3, "M": 1e6}, "", "20000, 20_000 or 20k")
    if value != int(value):
        msg = f"{option} {text!r} is no whole number; give for example 20000, 20_000 or 20k"
        raise InputError(msg)
    return value


def _parse(text: str, option: str, units: Mapping[str, float], default: str, allowed: str) -> float:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        msg = f"{option} {text!r} is no number; give for example {allowed}"
        raise InputError(msg)
    unit = found[2] or default
    if unit not in units:
        names = [name for name in units if name]
        msg = f"{option} {text!r} has the unit {unit!r}{did_you_mean(unit, names)}; give for example {allowed}"
        raise InputError(msg)
    value = float(found[1].replace("_", "")) * units[unit]
    if not 0 < value < math.inf:
        msg = f"{option} {text!r} is not allowed; give a number above 0, for example {allowed}"
        raise InputError(msg)
    return value
