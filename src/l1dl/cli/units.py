"""Quantities with their units on the command line."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_PERIODS = {"ns": 1.0, "ps": 1e-3}
_FREQUENCIES = {"MHz": 1e3, "GHz": 1.0}


def clock_period_ns(text: str) -> float:
    """Return the period of a clock such as ``360MHz`` or ``2.5ns``, in ns.

    Raises
    ------
    InputError
        It is no clock, or not one from 10 to 2000 MHz.
    """
    from l1dl.errors import InputError

    found = _QUANTITY.fullmatch(text.strip())
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    period = number * _PERIODS[unit] if unit in _PERIODS else _FREQUENCIES.get(unit, 0.0) / (number or 1.0)
    if not 0.5 < period <= 100:
        msg = f"{text!r} is no clock from 10 to 2000 MHz; give a frequency or a period with its unit: 360MHz, 2.5ns"
        raise InputError(msg)
    return period
