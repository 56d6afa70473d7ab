"""Conversions between types, as `l1dl.fixed` defines them, in few operators that are exact.

In floats everything rests on four facts: a multiplication by a power of two is exact; Floor, Ceil and Round (to
nearest, halves to even) are exact for any size; and sums are exact where the proof says that they need no more
bits than the significand has. Nearest with halves upwards is ``ceil(floor(2 x) / 2)``, which is exact for any real
x, other than ``floor(x + 1/2)``, whose sum may be rounded. Halves downwards is its mirror image.

In int64 some operators must not be used: `l1dl.emulate.onnx.whole` says which.
"""

from __future__ import annotations

import numpy as np

from l1dl.emulate.bounds import Range, aligned_range, is_inside, limits
from l1dl.emulate.onnx.builder import FLOAT32, INT64, SIGNIFICAND, Builder, DType, Tensor, magnitude, scaled
from l1dl.emulate.onnx.whole import clip_whole, round_whole, wrap_whole
from l1dl.fixed import FixedSpec, Overflow, Rounding

ABOVE_ZERO = {
    Rounding.TRN_ZERO: Rounding.TRN,
    Rounding.RND_ZERO: Rounding.RND_MIN_INF,
    Rounding.RND_INF: Rounding.RND,
}
"""What the roundings that mind the sign are where nothing is negative."""


def largest_in(values: Range, fraction: int, spec: FixedSpec) -> int:
    """Return the largest whole number on the way through `convert`, in the finest unit that matters there."""
    aligned = aligned_range(values, fraction, spec)
    if is_inside(aligned, spec):
        return magnitude(values)
    period = 1 << spec.width if spec.overflow is Overflow.WRAP else 0
    return max(magnitude(values), magnitude(aligned) + period)


def convert(builder: Builder, tensor: Tensor, values: Range, fraction: int, spec: FixedSpec) -> Tensor:
    """Convert codes of a range with `fraction` fractional bits to `spec`; nothing is added that changes nothing."""
    return overflow(
        builder, round_to(builder, tensor, values, fraction, spec), aligned_range(values, fraction, spec), spec
    )


def round_to(builder: Builder, tensor: Tensor, values: Range, fraction: int, spec: FixedSpec) -> Tensor:
    """Move the binary point to that of `spec`, with its rounding but without its overflow.

    Floats keep theirs where nothing is lost.
    """
    drop = fraction - spec.fraction
    if tensor.dtype == INT64:
        if drop > 0:
            return Tensor(round_whole(builder, tensor.name, drop, spec.rounding), INT64, spec.fraction)
        return scaled(builder, tensor, spec.fraction)
    if drop <= 0:
        return tensor
    rounding = ABOVE_ZERO.get(spec.rounding, spec.rounding) if values[0] >= 0 else spec.rounding
    bits = SIGNIFICAND[tensor.dtype]
    # A value below a quarter of a code counts by its sign only: it need not become smaller than that.
    enough = min(drop, bits + 2)
    has_room = magnitude(values) + (1 << enough - 1) <= 1 << bits
    shift = spec.fraction - tensor.fraction + drop - enough
    rounded = _round(builder, tensor.name, tensor.dtype, shift, rounding, has_room=has_room)
    return Tensor(rounded, tensor.dtype, spec.fraction)


def overflow(builder: Builder, tensor: Tensor, values: Range, spec: FixedSpec) -> Tensor:
    """Bring codes of a range, which have the binary point of `spec`, into its range."""
    if is_inside(values, spec):
        return tensor
    if spec.overflow is Overflow.WRAP:
        return wrap(builder, tensor, spec)
    clipped = clip(builder, tensor, spec.fraction, values, limits(spec))
    if spec.overflow is not Overflow.SAT_ZERO:
        return clipped
    inside = builder.apply("Equal", tensor.name, clipped.name)
    zeroed = builder.apply("Where", inside, tensor.name, np.zeros((), tensor.dtype))
    return Tensor(zeroed, tensor.dtype, tensor.fraction)


def clip(builder: Builder, tensor: Tensor, fraction: int, values: Range, limits: Range) -> Tensor:
    """Clip values of a range to limits; both are codes with `fraction` fractional bits."""
    bounds = [
        np.array(limit if tensor.dtype == INT64 else np.ldexp(float(limit), tensor.fraction - fraction), tensor.dtype)
        if needed else None
        for limit, needed in zip(limits, (values[0] < limits[0], limits[1] < values[1]), strict=True)
    ]  # fmt: skip
    low, high = bounds
    if low is None and high is None:
        return tensor
    if tensor.dtype == INT64:
        clipped = clip_whole(builder, tensor.name, low, high)
    elif low == 0 and high is None:
        clipped = builder.apply("Relu", tensor.name)
    else:
        clipped = builder.apply("Clip", tensor.name, *("" if bound is None else bound for bound in bounds))
    return Tensor(clipped, tensor.dtype, tensor.fraction)


def wrap(builder: Builder, tensor: Tensor, spec: FixedSpec) -> Tensor:
    """Drop the bits above the first one of `spec`: ``x - period * floor(x / period + 1/2)`` for signed types."""
    if tensor.dtype == INT64:
        return Tensor(wrap_whole(builder, tensor.name, spec), INT64, tensor.fraction)
    period = np.ldexp(1.0, spec.width + tensor.fraction - spec.fraction)
    turns = builder.apply("Mul", tensor.name, np.array(1 / period, tensor.dtype))
    if spec.signed:
        turns = builder.apply("Add", turns, np.array(0.5, tensor.dtype))
    whole = builder.apply("Mul", builder.apply("Floor", turns), np.array(period, tensor.dtype))
    return Tensor(builder.apply("Sub", tensor.name, whole), tensor.dtype, tensor.fraction)


def encode(builder: Builder, name: str, dtype: DType, spec: FixedSpec) -> Tensor:
    """Quantise any finite real values, as `l1dl.fixed.encode` does."""
    fraction, bits = spec.fraction, SIGNIFICAND[dtype]
    if spec.overflow is Overflow.WRAP and fraction >= 0:
        # What is so large is a multiple of the period, and so is the end of the exponents that it is clipped to.
        farthest = np.ldexp(1.0, (126 if dtype == FLOAT32 else 1022) - fraction)
        name = builder.apply("Clip", name, np.array(-farthest, dtype), np.array(farthest, dtype))
    if spec.rounding is Rounding.TRN and fraction < 0:
        # Below the smallest float the sign would be lost: floor(floor(x) / 2**n) is floor(x / 2**n).
        name = builder.apply("Floor", name)
    rounded = Tensor(_round(builder, name, dtype, fraction, spec.rounding, has_room=False), dtype, fraction)
    if spec.width > bits:
        return _encode_wide(builder, rounded, spec)
    if spec.overflow is not Overflow.WRAP:
        beyond = (spec.minimum_code - 1, spec.maximum_code + 1)
        return overflow(builder, rounded, beyond, spec)
    unsigned = wrap(builder, rounded, FixedSpec(signed=False, width=spec.width, integer=spec.integer))
    if not spec.signed:
        return unsigned
    upper = builder.apply("Greater", unsigned.name, np.array(spec.maximum_code, dtype))
    below = builder.apply("Sub", unsigned.name, np.array(1 << spec.width, dtype))
    return Tensor(builder.apply("Where", upper, below, unsigned.name), dtype, fraction)


def _encode_wide(builder: Builder, rounded: Tensor, spec: FixedSpec) -> Tensor:
    """Bring whole numbers of any size into the range of a type whose ends no double holds, as int64."""
    dtype = rounded.dtype
    if spec.overflow is Overflow.WRAP:
        name = builder.apply("Mod", rounded.name, np.array(2.0**spec.width, dtype), fmod=1)
    else:
        name = builder.apply("Clip", rounded.name, np.array(-(2.0**62), dtype), np.array(2.0**62, dtype))
    whole = Tensor(builder.apply("Cast", name, to=INT64), INT64, spec.fraction)
    return overflow(builder, whole, (-(1 << 62), 1 << 62), spec)


def _round(builder: Builder, name: str, dtype: DType, shift: int, rounding: Rounding, *, has_room: bool) -> str:
    """Round floats times ``2**shift`` to whole numbers; `has_room` says that they plus one half are exact."""
    if rounding in ABOVE_ZERO:
        size = builder.apply("Abs", name)
        rounded = _round(builder, size, dtype, shift, ABOVE_ZERO[rounding], has_room=has_room)
        return builder.apply("Mul", builder.apply("Sign", name), rounded)
    up, nearest = rounding is Rounding.RND_MIN_INF, rounding in (Rounding.RND, Rounding.RND_MIN_INF)
    if nearest and not has_room:
        shift += 1
    if shift:
        name = builder.apply("Mul", name, np.array(np.ldexp(1.0, shift), dtype))
    if rounding is Rounding.RND_CONV:
        return builder.apply("Round", name)
    if not nearest:
        return builder.apply("Floor", name)
    first, last = ("Ceil", "Floor") if up else ("Floor", "Ceil")
    if has_room:
        return builder.apply(first, builder.apply("Add", name, np.array(-0.5 if up else 0.5, dtype)))
    return builder.apply(last, builder.apply("Mul", builder.apply(first, name), np.array(0.5, dtype)))
