"""Quantities with their units on the command line."""

from __future__ import annotations

import re
from typing import Annotated

import typer

_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_PERIODS = {"": 1.0, "ns": 1.0, "ps": 1e-3}
_FREQUENCIES = {"MHz": 1e3, "GHz": 1.0}


def clock_period_ns(text: str | float) -> float:
    """Return the period of a clock such as ``360MHz`` or ``2.5ns``, in ns; a bare number is a period in ns.

    Raises
    ------
    typer.BadParameter
        It is no clock, or not one from 10 to 2000 MHz.
    """
    found = _QUANTITY.fullmatch(str(text).strip())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "ns")
    period = number * _PERIODS[unit] if unit in _PERIODS else _FREQUENCIES.get(unit, 0.0) / (number or 1.0)
    if not 0.5 < period <= 100:
        msg = f"{str(text)!r} is no clock from 10 to 2000 MHz; give a frequency or a period, as 360MHz or 2.5ns"
        raise typer.BadParameter(msg)
    return period


Clock = Annotated[
    float,
    typer.Option(
        "--clock",
        metavar="CLOCK",
        parser=clock_period_ns,
        help="Clock, such as 240MHz or 2.5ns.",
        show_default="200MHz",
    ),
]
"""Period of a clock in ns, 5.0 by default."""
