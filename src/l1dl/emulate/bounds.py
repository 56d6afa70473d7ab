"""Exact interval analysis: which codes each node can reach, and which dtype computes a sum exactly.

All values are integers times a power of two. If the sum of the absolute values of all products of a
layer stays below 2**24 (2**53), then every partial sum, in any order, is an integer that float32
(float64) holds exactly, so that a BLAS matrix product is exact (IEEE 754: integers up to 2**p have an
exact significand of p bits).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding, align, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
    Input,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)  # fmt: skip

MAXIMUM_BITS = 63
"""The most bits, without the sign, of a number on its way through int64."""

Range = tuple[int, int]
"""The smallest and the largest code that can occur."""


@dataclass(frozen=True)
class Operand:
    """What is known of the values that a node reads.

    Attributes
    ----------
    spec
        Their type.
    shape
        Their shape, without the batch axis.
    codes
        The codes that they can reach.
    bits
        Bits, without the sign, of the widest number in the arithmetic that leads to them.
    """

    spec: FixedSpec
    shape: tuple[int, ...]
    codes: Range
    bits: int

    @property
    def fraction(self) -> int:
        """Number of fractional bits."""
        return self.spec.fraction


@dataclass(frozen=True)
class SumBound:
    """The largest sum of a layer.

    Attributes
    ----------
    bits
        Bits that hold every partial sum, in units of the smallest product: of a significand, or of an
        integer without its sign.
    dtype
        The narrowest dtype that has so many: float32, float64 or int64.
    total
        The largest sum of the absolute values of all products.
    """

    bits: int
    dtype: npt.DTypeLike
    total: int

    @property
    def available(self) -> int:
        """How many bits the dtype has."""
        return _AVAILABLE[np.dtype(self.dtype)]


_AVAILABLE = {np.dtype(np.float32): 24, np.dtype(np.float64): 53, np.dtype(np.int64): MAXIMUM_BITS}


def sum_bound(weight: Codes, low: int, high: int) -> SumBound:
    """Bound the product of codes from `low` to `high` with `weight` of shape (…, n_in, n_out)."""
    total = int(max(abs(low), abs(high)) * max(_column_sums(abs(weight)).flat, default=0))
    bits = total.bit_length()
    if bits > MAXIMUM_BITS:
        msg = f"a sum of products needs {bits} bits; at most {MAXIMUM_BITS} are supported: use fewer bits or inputs"
        raise UnsupportedError(msg)
    # A significand of p bits holds all integers up to 2**p, that one included.
    significand = max(total - 1, 0).bit_length()
    for dtype in (np.float32, np.float64):
        if significand <= _AVAILABLE[np.dtype(dtype)]:
            return SumBound(significand, dtype, total)
    return SumBound(bits, np.int64, total)


def check_graph(graph: FixedGraph) -> dict[str, Operand]:
    """Refuse graphs whose arithmetic the back ends cannot reproduce exactly.

    Returns
    -------
    For each node what is known of its result, above all the range that it can reach.

    Raises
    ------
    UnsupportedError
        The result of a sum would depend on its order, or a value needs more than 63 bits.
    """
    known: dict[str, Operand] = {}
    for node in graph.nodes:
        width = _Width(node)
        codes = _RANGES[type(node)](node, [known[name] for name in node.inputs], width)
        known[node.name] = Operand(node.result, node.shape, codes, width.bits)
    return known


@dataclass(frozen=True)
class Proof:
    """Why the arithmetic of a node is exact: the numbers in it need no more bits than its dtype has.

    Attributes
    ----------
    low, high
        The smallest and the largest value that the node can reach, whatever its inputs are.
    dtype
        What computes it: float32 or float64 for matrix products, if they are exact, and otherwise int64.
    needed, available
        Bits that every partial sum of the matrix product, or every number in the integer arithmetic, needs at
        most, in any order of summation, and bits that the dtype has; the sign is not counted.
    """

    low: float
    high: float
    dtype: str
    needed: int
    available: int


def prove_exactness(graph: FixedGraph) -> dict[str, Proof]:
    """Return for each node why the emulator computes it exactly.

    Raises
    ------
    UnsupportedError
        As `check_graph`.
    """
    known = check_graph(graph)
    return {node.name: _prove(node, [known[name] for name in node.inputs], known[node.name]) for node in graph.nodes}


def _prove(node: Node, sources: Sequence[Operand], result: Operand) -> Proof:
    low, high = (math.ldexp(code, -result.fraction) for code in result.codes)
    if isinstance(node, Dense) and not truncates(node, sources[0]):
        bound = sum_bound(node.weight, *sources[0].codes)
        return Proof(low, high, np.dtype(bound.dtype).name, bound.bits, bound.available)
    return Proof(low, high, "int64", result.bits, MAXIMUM_BITS)


def truncates(node: Dense, source: Operand) -> bool:
    """Say whether each product of a layer loses bits on its way into the accumulator."""
    return node.accumulator.fraction < source.fraction + node.weight_spec.fraction


class _Width:
    """Finds the widest number on the way to the result of a node, and refuses numbers that are too wide."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.bits = 0

    def check(self, *values: int, shift: int = 0) -> None:
        """Take note of whole numbers that are shifted left."""
        largest = max(abs(value) for value in values)
        bits = largest.bit_length() + shift if largest else 0
        if bits > MAXIMUM_BITS:
            msg = (
                f"layer {self._node.name!r} needs {bits} bits; at most {MAXIMUM_BITS} are supported: use narrower types"
            )
            raise UnsupportedError(msg)
        self.bits = max(self.bits, bits)


def _column_sums(weight: Codes) -> npt.NDArray[Any]:
    """Return the exact sums along the axis before the last, as Python integers."""
    largest = max(int(weight.max(initial=0)), -int(weight.min(initial=0)))
    narrow = largest.bit_length() + weight.shape[-2].bit_length() <= MAXIMUM_BITS
    sums: npt.NDArray[Any] = (weight if narrow else weight.astype(object)).sum(axis=-2)
    return sums.astype(object)


def _convert(width: _Width, values: Range, fraction: int, spec: FixedSpec) -> Range:
    """Return the range after a conversion to `spec` of a range of numbers with `fraction` fractional bits."""
    return overflow_range(_align(width, values, fraction, spec), spec)


def overflow_range(values: Range, spec: FixedSpec) -> Range:
    """Return what the overflow of `spec` leaves of a range of codes with its binary point."""
    low, high = values
    if is_inside(values, spec):
        return values
    if spec.overflow is Overflow.WRAP:
        return spec.minimum_code, spec.maximum_code
    if spec.overflow is Overflow.SAT_ZERO:
        low, high = min(low, 0), max(high, 0)
    lowest, highest = limits(spec)
    return min(max(low, lowest), highest), min(max(high, lowest), highest)


def _align(width: _Width, values: Range, fraction: int, spec: FixedSpec) -> Range:
    """Return `aligned_range`, or refuse what has too many bits on the way."""
    width.check(*values, shift=max(spec.fraction - fraction, 0))
    return aligned_range(values, fraction, spec)


def aligned_range(values: Range, fraction: int, spec: FixedSpec) -> Range:
    """Return a range of codes with the binary point and the rounding of `spec`: roundings are monotonic."""
    drop = fraction - spec.fraction
    if drop <= 0:
        low, high = (value << -drop if value else 0 for value in values)
        return low, high
    low, high = (int(end) for end in align(np.array(values, dtype=np.int64), fraction, spec))
    return low, high


def limits(spec: FixedSpec) -> Range:
    """Return the ends of the range that a conversion to `spec` leaves as it is."""
    symmetric = spec.overflow is Overflow.SAT_SYM and spec.signed
    return -spec.maximum_code if symmetric else spec.minimum_code, spec.maximum_code


def is_inside(values: Range, spec: FixedSpec) -> bool:
    """Say whether the overflow mode of `spec` leaves all codes of a range as they are."""
    lowest, highest = limits(spec)
    return lowest <= values[0] and values[1] <= highest


def _input(node: Node, _sources: Sequence[Operand], width: _Width) -> Range:
    codes = node.result.minimum_code, node.result.maximum_code
    width.check(*codes)
    return codes


def accumulator_range(node: Dense, source: Operand, width: _Width | None = None) -> tuple[Range, bool]:
    """Return the range of a layer's accumulator, and whether it can overflow.

    Raises
    ------
    UnsupportedError
        It saturates and can overflow: the result would depend on the order of the sum.
    """
    accumulator, width = node.accumulator, width or _Width(node)
    width.check(sum_bound(node.weight, *source.codes).total)
    _convert(width, (int(node.bias.min()), int(node.bias.max())), node.bias_spec.fraction, accumulator)
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator).astype(object)
    # With zero in the range, these are the ends of the partial sums in any order.
    products = [node.weight * end for end in (min(source.codes[0], 0), max(source.codes[1], 0))]
    fraction = source.fraction + node.weight_spec.fraction
    widen = max(accumulator.fraction - fraction, 0)
    if truncates(node, source):
        products = [align(product, fraction, accumulator) for product in products]
    low = (_column_sums(np.minimum(*products)).ravel() << widen) + np.minimum(bias, 0)
    high = (_column_sums(np.maximum(*products)).ravel() << widen) + np.maximum(bias, 0)
    ends = int(low.min()), int(high.max())
    width.check(*ends)
    if is_inside(ends, accumulator):
        return ends, False
    if accumulator.overflow is not Overflow.WRAP:
        msg = (
            f"layer {node.name!r}: its accumulator {accumulator} saturates and can overflow, so that the "
            "result depends on the order of the sum; widen it or let it wrap"
        )
        raise UnsupportedError(msg)
    return (accumulator.minimum_code, accumulator.maximum_code), True


def _dense(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Dense)
    values, _ = accumulator_range(node, sources[0], width)
    return _convert(width, values, node.accumulator.fraction, node.result)


def affine_codes(node: Affine, source: Operand) -> tuple[int, Codes, Codes]:
    """Return the fractional bits of ``x * scale + offset``, and scale and offset shifted to give them."""
    product_fraction = source.fraction + node.scale_spec.fraction
    fraction = max(product_fraction, node.offset_spec.fraction)
    return fraction, node.scale << (fraction - product_fraction), node.offset << (fraction - node.offset_spec.fraction)


def _affine(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Affine)
    source = sources[0]
    fraction = max(source.fraction + node.scale_spec.fraction, node.offset_spec.fraction)
    scale = np.atleast_1d(node.scale).astype(object) << (fraction - source.fraction - node.scale_spec.fraction)
    offset = np.atleast_1d(node.offset).astype(object) << (fraction - node.offset_spec.fraction)
    ends = [scale * end for end in sources[0].codes]
    sums = [end + offset for end in ends]
    low, high = int(np.minimum(*sums).min()), int(np.maximum(*sums).max())
    width.check(low, high, *(part for end in (*ends, offset) for part in (int(end.min()), int(end.max()))))
    return _convert(width, (low, high), fraction, node.result)


def _activation(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Activation)
    low, high = sources[0].codes
    if node.function is Function.RELU:
        low, high = max(low, 0), max(high, 0)
    return _convert(width, (low, high), sources[0].fraction, node.result)


def clip_codes(node: Clip, source: Operand) -> tuple[int, int, int]:
    """Return a number of fractional bits, and the bounds as codes with it.

    Bounds beyond the type of the source are moved to its ends, where they do the same.
    """
    lowest, highest = (
        Fraction(code) / Fraction(2) ** source.fraction for code in (source.spec.minimum_code, source.spec.maximum_code)
    )
    low, high = Fraction(node.low), Fraction(node.high)
    low, high = max(low, min(high, lowest)), min(high, max(low, highest))
    fraction = max(source.fraction, *(bound.denominator.bit_length() - 1 for bound in (low, high)))
    return fraction, int(low * Fraction(2) ** fraction), int(high * Fraction(2) ** fraction)


def _clip(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Clip)
    source = sources[0]
    fraction, low, high = clip_codes(node, source)
    ends = [end << (fraction - source.fraction) for end in sources[0].codes]
    width.check(*ends, low, high)
    return _convert(width, (min(max(ends[0], low), high), min(max(ends[1], low), high)), fraction, node.result)


def leaky_shifts(node: LeakyRelu, source: Operand) -> tuple[int, int, int]:
    """Return the fractional bits of both branches, and how far values and slopes are shifted left to have them."""
    product_fraction = source.fraction + node.slope_spec.fraction
    fraction = max(product_fraction, source.fraction)
    return fraction, fraction - source.fraction, fraction - product_fraction


def _leaky_relu(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, LeakyRelu)
    fraction, value_shift, slope_shift = leaky_shifts(node, sources[0])
    low, high = sources[0].codes
    slopes = [int(slope) << slope_shift for slope in (node.slope.min(), node.slope.max())]
    ends = [high << value_shift] if high > 0 else []
    if low <= 0:
        ends += [code * slope for code in (low, min(high, 0)) for slope in slopes]
    if low > 0:
        ends.append(low << value_shift)
    elif high > 0:
        ends.append(1 << value_shift)
    # The branch not taken is computed as well, but what it yields is not used: it may wrap.
    width.check(*ends)
    return _convert(width, (min(ends), max(ends)), fraction, node.result)


def _table(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Table)
    low, high = _convert(width, sources[0].codes, sources[0].fraction, node.index)
    entries = node.table[low - node.index.minimum_code : high - node.index.minimum_code + 1]
    return _convert(width, (int(entries.min()), int(entries.max())), node.table_spec.fraction, node.result)


def _merge(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Merge)
    fractions = [source.fraction for source in sources]
    if node.operation is Operation.MULTIPLY:
        values = merged_range(node.operation, sources[0].codes, sources[1].codes)
        width.check(*values)
        return _convert(width, values, sum(fractions), node.result)
    fraction = max(fractions)
    a, b = (
        (source.codes[0] << fraction - source.fraction, source.codes[1] << fraction - source.fraction)
        for source in sources
    )
    values = merged_range(node.operation, a, b)
    width.check(*a, *b, *values)
    return _convert(width, values, fraction + (node.operation is Operation.AVERAGE), node.result)


def merged_range(operation: Operation, a: Range, b: Range) -> Range:
    """Return what an operation reaches with aligned operands, before the conversion of its result."""
    if operation is Operation.MULTIPLY:
        corners = [left * right for left in a for right in b]
        return min(corners), max(corners)
    if operation is Operation.SUBTRACT:
        return a[0] - b[1], a[1] - b[0]
    if operation is Operation.MAXIMUM:
        return max(a[0], b[0]), max(a[1], b[1])
    if operation is Operation.MINIMUM:
        return min(a[0], b[0]), min(a[1], b[1])
    return a[0] + b[0], a[1] + b[1]


_ADDITIVE = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)
"""Roundings R with R(x + n) = R(x) + n for each whole n: floor(x), floor(x + 1/2) and ceil(x - 1/2)."""

_ADDITIVE_ABOVE_ZERO = (Rounding.TRN_ZERO, Rounding.RND_ZERO, Rounding.RND_INF)
"""Roundings that are one of `_ADDITIVE` where nothing is negative."""


def _reduce(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Reduce)
    source, result = sources[0], node.result
    fraction, count = source.fraction, math.prod(source.shape) // node.size
    if node.operation is Reduction.MAXIMUM or count == 1:
        return _convert(width, sources[0].codes, fraction, result)
    low, high = _align(width, sources[0].codes, fraction, result)
    ends = min(low, low * count), max(high, high * count)
    width.check(*ends)
    fits = is_inside(ends, result)
    if result.overflow is not Overflow.WRAP and not fits:
        msg = (
            f"layer {node.name!r}: the type of its sum, {result}, saturates and can overflow, so that the result "
            "depends on the order of the sum; widen it or let it wrap"
        )
        raise UnsupportedError(msg)
    positive = low >= 0 and (fits or not result.signed)
    additive = _ADDITIVE + (_ADDITIVE_ABOVE_ZERO if positive else ())
    if fraction > result.fraction and result.rounding not in additive:
        msg = (
            f"layer {node.name!r}: each partial sum is rounded to {result}, so that the result depends on the order "
            f"of the sum; give the sum {fraction} fractional bits, or the rounding TRN or RND"
        )
        raise UnsupportedError(msg)
    return ends if fits else (result.minimum_code, result.maximum_code)


def _argmax(node: Node, _sources: Sequence[Operand], width: _Width) -> Range:
    low, high = _convert(width, (0, 1), 0, node.result)
    return min(low, 0), max(high, 0)


def _window(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Window)
    low, high = sources[0].codes
    if any(node.padding):
        low, high = min(low, node.fill), max(high, node.fill)
    return _convert(width, (low, high), sources[0].fraction, node.result)


def _rearrange(node: Node, sources: Sequence[Operand], width: _Width) -> Range:
    assert isinstance(node, Rearrange)
    ends = [0, 0] if (node.index < 0).any() else []
    for source in sources:
        ends += _convert(width, source.codes, source.fraction, node.result)
    return min(ends), max(ends)


_RANGES: dict[type[Node], Callable[[Node, Sequence[Operand], _Width], Range]] = {
    Input: _input,
    Dense: _dense,
    Affine: _affine,
    Activation: _activation,
    Clip: _clip,
    LeakyRelu: _leaky_relu,
    Table: _table,
    Merge: _merge,
    Reduce: _reduce,
    ArgMax: _argmax,
    Window: _window,
    Rearrange: _rearrange,
}
