"""Types that hold sums and products of other types exactly, as the expressions of hls4ml's C++ do."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1dl.convert.readers.common import spec_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import MAXIMUM_WIDTH, Codes, FixedSpec, Overflow, Rounding


def signed(
    width: int, integer: int, rounding: Rounding = Rounding.TRN, overflow: Overflow = Overflow.WRAP
) -> FixedSpec:
    """Return a signed type."""
    return FixedSpec(signed=True, width=width, integer=integer, rounding=rounding, overflow=overflow)


def unsigned(width: int, integer: int) -> FixedSpec:
    """Return an unsigned type."""
    return FixedSpec(signed=False, width=width, integer=integer)


BIT = unsigned(1, 1)
"""Zero and one."""


def scalar(code: int) -> Codes:
    """Return one code for all values."""
    return np.array(code, dtype=np.int64)


def source_spec(layer: Any) -> FixedSpec:
    """Return the type of what an hls4ml node reads."""
    return spec_of(layer.get_input_variable().type.precision)


def product_spec(where: str, a: FixedSpec, b: FixedSpec) -> FixedSpec:
    """Return a type that holds every product."""
    return exact_spec(where, a.integer + b.integer, a.fraction + b.fraction, signed=a.signed or b.signed)


def sum_spec(where: str, a: FixedSpec, b: FixedSpec, *, negative: bool = False) -> FixedSpec:
    """Return a type that holds every sum; with `negative` every difference."""
    signed = a.signed or b.signed or negative
    integer = max(a.integer + (signed and not a.signed), b.integer + (signed and not b.signed)) + 1
    return exact_spec(where, integer, max(a.fraction, b.fraction), signed=signed)


def exact_spec(where: str, integer: int, fraction: int, *, signed: bool) -> FixedSpec:
    """Return a type of so many bits.

    Raises
    ------
    UnsupportedError
        It is wider than l1dl's codes.
    """
    width = max(integer + fraction, 1)
    if width > MAXIMUM_WIDTH:
        msg = f"layer {where!r} computes with {width} bits, more than {MAXIMUM_WIDTH}; give it narrower types"
        raise UnsupportedError(msg)
    return FixedSpec(signed, width, width - fraction)
