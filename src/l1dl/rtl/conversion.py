"""Conversion of one signal to a fixed-point type, in every rounding and overflow mode.

alkaid rounds with TRN, RND and RND_CONV and overflows with WRAP, SAT and SAT_SYM, and of these some go wrong
(docs/decisions.md). So only its truncation and its wrapping are used; the other modes are made of additions,
comparisons and selections. Signals stay exact until a step here drops bits.
"""

from __future__ import annotations

import math

import numpy as np

from l1dl.errors import UnsupportedError
from l1dl.fixed import MAXIMUM_WIDTH, FixedSpec, Overflow, Rounding, align, apply_overflow, decode, encode
from l1dl.rtl.signals import (
    MAXIMUM_SIGNAL_BITS,
    Signal,
    at_least,
    at_most,
    both,
    code_range,
    constant,
    either,
    fraction_of,
    inverted,
    is_constant,
    negative,
    times,
    total,
    where_negative,
)  # fmt: skip


def convert(x: Signal, spec: FixedSpec) -> Signal:
    """Convert a signal to `spec`, with its rounding and overflow.

    Raises
    ------
    UnsupportedError
        A number on the way has more bits than alkaid handles.
    """
    if is_constant(x):
        return _convert_constant(x.low, spec)
    ends = align(np.array(code_range(x)), fraction_of(x), spec)
    low, high = int(ends[0]), int(ends[1])  # roundings are monotonic
    if low == high:
        return constant(float(decode(apply_overflow(ends, spec), spec)[0]))
    return _overflowed(rounded(x, spec.fraction, spec.rounding), low, high, spec)


def _convert_constant(value: float, spec: FixedSpec) -> Signal:
    code = encode([value], spec)
    converted = float(decode(code, spec)[0])
    if int(np.ldexp(converted, spec.fraction)) != code[0]:
        raise UnsupportedError(_too_wide(spec))
    return constant(converted)


def rounded(x: Signal, fraction: int, rounding: Rounding) -> Signal:
    """Return x rounded to a number of fractional bits, whatever its size."""
    if is_constant(x):
        return _convert_constant(
            x.low, FixedSpec(signed=True, width=MAXIMUM_WIDTH, integer=MAXIMUM_WIDTH - fraction, rounding=rounding)
        )
    if fraction_of(x) <= fraction:
        return x
    step, rounding = 2.0**-fraction, _simplified(x, rounding)
    offsets = {
        Rounding.TRN: 0.0,
        Rounding.RND: step / 2,
        Rounding.RND_MIN_INF: step / 2 - x.step,
    }
    if rounding in offsets:
        return _floor(x + offsets[rounding], fraction)
    if rounding is Rounding.RND_CONV:
        return _half_to_even(x, fraction)
    if rounding is Rounding.TRN_ZERO and x.high <= 0:
        return _floor(x + (step - x.step), fraction)
    return total([_floor(x, fraction), times(_goes_up(x, fraction, rounding), step)])


def _simplified(x: Signal, rounding: Rounding) -> Rounding:
    """Return a simpler rounding that does the same to numbers of one sign."""
    if x.low >= 0:
        same = {
            Rounding.TRN_ZERO: Rounding.TRN, Rounding.RND_ZERO: Rounding.RND_MIN_INF, Rounding.RND_INF: Rounding.RND,
        }  # fmt: skip
    elif x.high <= 0:
        same = {Rounding.RND_ZERO: Rounding.RND, Rounding.RND_INF: Rounding.RND_MIN_INF}
    else:
        same = {}
    return same.get(rounding, rounding)


def _floor(x: Signal, fraction: int) -> Signal:
    """Drop the bits below so many fractional ones."""
    step = 2.0**-fraction
    if is_constant(x):
        return constant(math.floor(x.low / step) * step)
    low, high = math.floor(x.low / step), math.floor(x.high / step)
    if low == high:
        return constant(low * step)
    if (low, high) == (-1, 0):  # nothing but the sign is left
        return times(negative(x), -step)
    keep, integer, _ = x.kif
    return x.quantize(keep, integer, fraction)


def _rest(x: Signal, fraction: int) -> Signal:
    """Return the bits below so many fractional ones; never negative."""
    lowest = fraction_of(x)
    return constant(0.0) if lowest <= fraction else x.quantize(0, -fraction, lowest)


def _any(x: Signal) -> Signal:
    """Return one bit: whether x differs from zero."""
    return constant(float(x.low != 0)) if is_constant(x) else x.unary_bit_op("any")


def _bit(x: Signal, fraction: int) -> Signal:
    """Return the bit of x that weighs ``2**-fraction``, as 0 or 1."""
    if is_constant(x):
        return constant(float(math.floor(x.low * 2.0**fraction) & 1))
    return times(x.quantize(0, 1 - fraction, fraction), 2.0**fraction)


def _half_to_even(x: Signal, fraction: int) -> Signal:
    """Round halves up, and clear the lowest bit where it was a half: then nothing is left below."""
    moved = x + 2.0 ** (-fraction - 1)
    up = _floor(moved, fraction)
    stays = both(_bit(up, fraction), _any(_rest(moved, fraction)))
    above = _floor(up, fraction - 1)
    return total([above, times(stays, 2.0**-fraction)])


def _goes_up(x: Signal, fraction: int, rounding: Rounding) -> Signal:
    """Return one bit: whether numbers of both signs are rounded to the code above."""
    sign = negative(x)
    if rounding is Rounding.TRN_ZERO:
        return both(sign, _any(_rest(x, fraction)))
    half_goes_up = sign if rounding is Rounding.RND_ZERO else inverted(sign)
    return both(_bit(x, fraction + 1), either(_any(_rest(x, fraction + 1)), half_goes_up))


def _overflowed(x: Signal, low: int, high: int, spec: FixedSpec) -> Signal:
    """Bring x, whose codes lie between `low` and `high`, into the range of `spec`."""
    if is_constant(x):
        return _convert_constant(x.low, spec)
    symmetric = spec.overflow is Overflow.SAT_SYM and spec.signed
    lowest, highest = -spec.maximum_code if symmetric else spec.minimum_code, spec.maximum_code
    wrapped = int(spec.signed), spec.integer - int(spec.signed), spec.fraction
    if lowest <= low and high <= highest:
        # The range that alkaid keeps may be wider than the true one.
        return x.quantize(*wrapped) if x.low < lowest * spec.step or x.high > highest * spec.step else x
    if spec.overflow is Overflow.WRAP:
        return x.quantize(*wrapped)
    if highest >> MAXIMUM_SIGNAL_BITS:
        raise UnsupportedError(_too_wide(spec))
    if spec.overflow is not Overflow.SAT_ZERO:
        return at_least(at_most(x, highest * spec.step), lowest * spec.step)
    inside = x.quantize(*wrapped)
    if high > highest:
        inside = where_negative(x - (highest + 1) * spec.step, inside, constant(0.0))
    if low < lowest:
        inside = where_negative(x - lowest * spec.step, constant(0.0), inside)
    return inside


def _too_wide(spec: FixedSpec) -> str:
    return f"a value of type {spec} needs more than {MAXIMUM_SIGNAL_BITS} bits, the most that the RTL compiler handles"
