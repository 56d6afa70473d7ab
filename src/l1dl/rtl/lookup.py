"""Lookup tables: any function of a signal with few values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l1dl.fixed import Codes, FixedSpec, encode, requantise
from l1dl.rtl.signals import Signal, chunks, code_range, constant, fraction_of, is_constant, total


def look_up(
    x: Signal, entries: Codes, index: FixedSpec, result: FixedSpec, convert: Callable[[Signal, FixedSpec], Signal]
) -> Signal:
    """Return the entry that x, converted to `index`, picks.

    Parameters
    ----------
    entries
        Codes of type `result`, one for each code of `index`, from its lowest on.
    convert
        Converts a signal to a type.
    """
    if not is_constant(x) and np.subtract(*code_range(x)[::-1]) >= len(entries):
        x = convert(x, index)
    if is_constant(x):
        place = int(encode([x.low], index)[0]) - index.minimum_code
        return constant(float(entries[place]) * result.step)
    # Of a signal with no more values than the table has entries the conversion becomes part of the table.
    low, high = code_range(x)
    picked = entries[requantise(np.arange(low, high + 1), fraction_of(x), index) - index.minimum_code]
    # alkaid reads tables, like matrices, as float32.
    tables = [part * result.step for part in chunks(picked)]
    return total([x.lookup(table) for table in tables])
