"""Exact comparison of two meanings of one model: integer codes, event by event, no tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.errors import InputError, MismatchError
from l1dl.fixed import Codes, FixedSpec, Values
from l1dl.ports import Ports, join, split

NO_CODE = np.iinfo(np.int64).min
"""Stands for a value that a type cannot represent; it differs from every code, itself included."""

SHOWN = 5
"""How many differences an `Agreement` keeps and a message shows."""


@dataclass(frozen=True)
class Difference:
    """One output code that differs."""

    event: int
    output: int
    left: int
    right: int


@dataclass(frozen=True)
class Agreement:
    """The outcome of comparing two meanings.

    Attributes
    ----------
    name
        Which two, as ``left_right``: ``keras_csim``, ``csim_emulator`` or ``emulator_rtl``.
    events
        Number of events compared.
    mismatches
        Number of output codes that differ.
    first
        The first `SHOWN` differences, in the order of events.
    """

    name: str
    events: int
    mismatches: int
    first: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as it stands in ``report.json``."""
        return {
            "events": self.events,
            "mismatches": self.mismatches,
            "first": [vars(difference) for difference in self.first],
        }


def compare(name: str, left: Codes, right: Codes) -> Agreement:
    """Compare output codes of shape (events, outputs).

    Raises
    ------
    InputError
        The shapes differ, or there is nothing to compare.
    """
    if left.shape != right.shape or left.size == 0:
        msg = f"{name}: codes of shape {left.shape} and {right.shape} cannot be compared"
        raise InputError(msg)
    different = ((left != right) | (left == NO_CODE)).reshape(len(left), -1)
    positions = np.argwhere(different)[:SHOWN]
    flat_left, flat_right = left.reshape(different.shape), right.reshape(different.shape)
    first = tuple(
        Difference(int(event), int(output), int(flat_left[event, output]), int(flat_right[event, output]))
        for event, output in positions
    )
    return Agreement(name, len(left), int(np.count_nonzero(different)), first)


def require(agreement: Agreement, hint: str = "") -> None:
    """Raise `MismatchError` with the first differing events unless the two meanings agree."""
    if agreement.mismatches == 0:
        return
    left, right = agreement.name.split("_", 1)
    events = "; ".join(
        f"event {item.event} output {item.output}: {left} {item.left}, {right} {item.right}" for item in agreement.first
    )
    msg = (
        f"{left} and {right} disagree in {agreement.mismatches} output codes of {agreement.events} events. "
        f"First: {events}.{' ' + hint if hint else ''}"
    )
    raise MismatchError(msg)


def exact_codes(values: Values, spec: FixedSpec) -> Codes:
    """Return the codes of values that should lie on the grid of `spec`; `NO_CODE` where one does not."""
    scaled = np.ldexp(values.astype(np.float64), spec.fraction)
    whole = np.rint(scaled)
    inside = (whole == scaled) & (whole >= spec.minimum_code) & (whole <= spec.maximum_code)
    return np.where(inside, whole, 0.0).astype(np.int64) + np.where(inside, 0, NO_CODE)


def exact_rows(values: Values, ports: Ports) -> Codes:
    """Return the codes of rows of values, each on the grid of its port; `NO_CODE` where one is not."""
    return join([exact_codes(part, port.spec) for part, port in zip(split(values, ports), ports, strict=True)])
