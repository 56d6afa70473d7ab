"""Arithmetic on int64 codes, from operators whose kernels in onnxruntime are right.

On x86-64 some are wrong for large numbers, which the tests saw: Clip, Max, Min, Sign and ReduceMax confuse numbers
whose upper halves are equal (versions 1.23.2 and 1.31.1; a fault of Eigen for SSE2, described at
https://github.com/microsoft/onnxruntime/pull/25280), and ReduceSum loses bits beyond 53 (1.31.1). In their place
stand Where behind a comparison, ArgMax, and products with ones. BitShift knows unsigned numbers only.
"""

from __future__ import annotations

import numpy as np

from l1dl.emulate.onnx.builder import INT64, Array, Builder
from l1dl.fixed import Codes, FixedSpec, Rounding


def round_whole(builder: Builder, name: str, drop: int, rounding: Rounding) -> str:
    """Drop bits of int64 codes, as ``fixed._round_codes`` does."""
    if drop > 62:
        far = min(drop - 62, 62)
        below = builder.apply("BitwiseAnd", name, _whole((1 << far) - 1))
        lost = _count(builder, "Greater", below, _whole(0))
        name, drop = builder.apply("BitwiseOr", _divide(builder, name, below, far), lost), 62
    rest = builder.apply("BitwiseAnd", name, _whole((1 << drop) - 1))
    down = _divide(builder, name, rest, drop)
    if rounding is Rounding.TRN:
        return down
    half = _whole(1 << (drop - 1))
    if rounding is Rounding.TRN_ZERO:
        negative = builder.apply("Less", name, _whole(0))
        goes_up = builder.apply("And", negative, builder.apply("Greater", rest, _whole(0)))
        return builder.apply("Add", down, builder.apply("Cast", goes_up, to=INT64))
    if rounding is Rounding.RND:
        return builder.apply("Add", down, _count(builder, "GreaterOrEqual", rest, half))
    if rounding is Rounding.RND_CONV:
        rest = builder.apply("Add", rest, builder.apply("BitwiseAnd", down, _whole(1)))
    elif rounding is not Rounding.RND_MIN_INF:
        sign = "Less" if rounding is Rounding.RND_ZERO else "GreaterOrEqual"
        rest = builder.apply("Add", rest, _count(builder, sign, name, _whole(0)))
    return builder.apply("Add", down, _count(builder, "Greater", rest, half))


def clip_whole(builder: Builder, name: str, low: Array | None, high: Array | None) -> str:
    """Clip codes; None is no limit."""
    for comparison, bound in (("Less", low), ("Greater", high)):
        if bound is not None:
            name = builder.apply("Where", builder.apply(comparison, name, bound), bound, name)
    return name


def wrap_whole(builder: Builder, name: str, spec: FixedSpec) -> str:
    """Drop the bits above the first one of `spec`, and extend the sign."""
    kept = builder.apply("BitwiseAnd", name, _whole((1 << spec.width) - 1))
    if not spec.signed:
        return kept
    sign = _whole(1 << (spec.width - 1))
    return builder.apply("Sub", builder.apply("BitwiseXor", kept, sign), sign)


def larger(builder: Builder, a: str, b: str) -> str:
    """Return the larger one of two operands, element by element."""
    return builder.apply("Where", builder.apply("Greater", a, b), a, b)


def smaller(builder: Builder, a: str, b: str) -> str:
    """Return the smaller one of two operands, element by element."""
    return builder.apply("Where", builder.apply("Less", a, b), a, b)


def sum_last(builder: Builder, name: str, count: int) -> str:
    """Return the sum along the last axis, which stays with one value."""
    return builder.apply("MatMul", name, np.ones((count, 1), dtype=np.int64))


def maximum_last(builder: Builder, name: str) -> str:
    """Return the maximum along the last axis, which stays with one value."""
    return builder.apply("GatherElements", name, builder.apply("ArgMax", name, axis=-1, keepdims=1), axis=-1)


def _divide(builder: Builder, name: str, rest: str, bits: int) -> str:
    """Shift right by dividing what leaves no rest: ONNX divides towards zero, and shifts unsigned numbers only."""
    return builder.apply("Div", builder.apply("Sub", name, rest), _whole(1 << bits))


def _count(builder: Builder, comparison: str, name: str, limit: Codes) -> str:
    return builder.apply("Cast", builder.apply(comparison, name, limit), to=INT64)


def _whole(value: int) -> Codes:
    return np.array(value, dtype=np.int64)
