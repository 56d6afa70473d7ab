"""The arithmetic of each kind of node on int64 codes, one function per kind, as `l1dl.nodes` defines it.

A function here prepares a node once (constants aligned, dtypes chosen from the proven bounds) and returns
a `Step`, which takes the codes of the sources, shape (events, *shape) each, to those of the result.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from l1dl.emulate.bounds import (
    Operand,
    Range,
    accumulator_range,
    affine_codes,
    clip_codes,
    is_inside,
    leaky_shifts,
    sum_bound,
    truncates,
)
from l1dl.fixed import Codes, FixedSpec, namespace, requantise
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
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


class Convert(Protocol):
    """Converts codes with a number of fractional bits to a type; a profiler counts overflows here."""

    def __call__(self, codes: Codes, fraction: int, spec: FixedSpec, /) -> Codes:
        """Return the codes of type `spec`."""


Step = Callable[[Sequence[Codes], Convert], Codes]


def make_step(node: Node, sources: Sequence[Operand]) -> Step:
    """Return what computes a node that is no input, from what `check_graph` knows of the values that it reads."""
    return _STEPS[type(node)](node, sources)


def is_unchanged(values: Range, fraction: int, spec: FixedSpec) -> bool:
    """Say whether a conversion to `spec` leaves all codes of a range as they are."""
    return fraction == spec.fraction and is_inside(values, spec)


def _dense(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Dense)
    source, accumulator, result = sources[0], node.accumulator, node.result
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator)
    fraction = source.fraction + node.weight_spec.fraction
    widen = accumulator.fraction - fraction
    reachable, overflows = accumulator_range(node, source)
    keep = is_unchanged(reachable, accumulator.fraction, result)
    product = _truncating_product(node, fraction) if truncates(node, source) else _exact_product(node, source.codes)

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        x = values[0]
        total = product(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), convert)
        if widen > 0:
            total <<= widen
        total += bias
        if overflows:
            total = convert(total, accumulator.fraction, accumulator)
        if not keep:
            total = convert(total, accumulator.fraction, result)
        return total.reshape(len(x), *node.shape)

    return step


Product = Callable[[Codes, Convert], Codes]


def _exact_product(node: Dense, values: Range) -> Product:
    """Return the product of vectors (N, n) with the matrix, in the dtype that is proved to be exact."""
    dtype = sum_bound(node.weight, *values).dtype
    weight = node.weight.astype(dtype)
    if weight.ndim == 2:
        return lambda x, _: (x.astype(dtype) @ weight).astype(np.int64)

    def grouped(x: Codes, _: Convert) -> Codes:
        vectors = x.astype(dtype).reshape(len(x), *weight.shape[:2])
        products = (vectors.swapaxes(0, 1) @ weight).swapaxes(0, 1)
        total: Codes = products.astype(np.int64).reshape(len(x), node.shape[-1])
        return total

    return grouped


def _truncating_product(node: Dense, fraction: int) -> Product:
    """Each product loses bits on its way into the accumulator, so products are converted one by one."""
    weight = node.weight.reshape(node.groups, *node.weight.shape[-2:])

    def product(x: Codes, convert: Convert) -> Codes:
        vectors = x.reshape(len(x), *weight.shape[:2])
        total = namespace(x).zeros((len(x), node.groups, weight.shape[2]), dtype=np.int64)
        for index in range(weight.shape[1]):
            total += convert(vectors[:, :, index, None] * weight[:, index], fraction, node.accumulator)
        found: Codes = total.reshape(len(x), node.shape[-1])
        return found

    return product


def _affine(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Affine)
    fraction, scale, offset = affine_codes(node, sources[0])
    return lambda values, convert: convert(values[0] * scale + offset, fraction, node.result)


def _activation(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Activation)
    fraction, (low, high) = sources[0].fraction, sources[0].codes
    if node.function is Function.LINEAR or low >= 0:
        if is_unchanged(sources[0].codes, fraction, node.result):
            return lambda values, _: values[0]
        return lambda values, convert: convert(values[0], fraction, node.result)
    if is_unchanged((0, max(high, 0)), fraction, node.result):
        return lambda values, _: values[0].clip(0)
    return lambda values, convert: convert(values[0].clip(0), fraction, node.result)


def _clip(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Clip)
    source = sources[0]
    fraction, low, high = clip_codes(node, source)
    widen = fraction - source.fraction
    return lambda values, convert: convert((values[0] << widen).clip(low, high), fraction, node.result)


def _leaky_relu(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, LeakyRelu)
    fraction, value_shift, slope_shift = leaky_shifts(node, sources[0])
    slope = node.slope << slope_shift

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        x = values[0]
        return convert(namespace(x).where(x > 0, x << value_shift, x * slope), fraction, node.result)

    return step


def _table(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Table)
    fraction, first = sources[0].fraction, node.index.minimum_code

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        places = convert(values[0], fraction, node.index) - first
        entries = namespace(places).take(node.table, places, axis=0)
        return convert(entries, node.table_spec.fraction, node.result)

    return step


_OPERATIONS = {
    Operation.ADD: "add",
    Operation.SUBTRACT: "subtract",
    Operation.AVERAGE: "add",
    Operation.MAXIMUM: "maximum",
    Operation.MINIMUM: "minimum",
}
"""Name of what computes an operation, in NumPy and in JAX."""


def _merge(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Merge)
    fractions = [source.fraction for source in sources]
    rank = len(node.shape)

    def operands(values: Sequence[Codes]) -> tuple[Codes, Codes]:
        """Align the axes at the right end, as broadcasting without the batch axis does."""
        a, b = (x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:]) for x in values)
        return a, b

    if node.operation is Operation.MULTIPLY:
        return lambda values, convert: convert(operator.mul(*operands(values)), sum(fractions), node.result)
    shifts = [max(fractions) - fraction for fraction in fractions]
    fraction = max(fractions) + (node.operation is Operation.AVERAGE)
    operation = _OPERATIONS[node.operation]

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        a, b = operands(values)
        return convert(getattr(namespace(a), operation)(a << shifts[0], b << shifts[1]), fraction, node.result)

    return step


def _reduce(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Reduce)
    fraction, result = sources[0].fraction, node.result
    axes = tuple(axis + 1 for axis in node.axes)
    if node.operation is Reduction.MAXIMUM:
        if is_unchanged(sources[0].codes, fraction, result):
            return lambda values, _: values[0].max(axis=axes)
        return lambda values, convert: convert(values[0].max(axis=axes), fraction, result)
    widen = result.fraction - fraction

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        x = convert(values[0], fraction, result) if widen < 0 else values[0]
        total: Codes = x.sum(axis=axes) << max(widen, 0)
        return convert(total, result.fraction, result)

    return step


def _argmax(node: Node, _sources: Sequence[Operand]) -> Step:
    assert isinstance(node, ArgMax)
    places = np.arange(node.shape[-1])

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        hot = values[0].argmax(axis=-1)[..., None] == places
        return convert(hot.astype(np.int64), 0, node.result)

    return step


def _window(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Window)
    source = sources[0]
    pads = [(0, 0), *node.pads]
    padded_shape = [size + sum(ends) for size, ends in zip(source.shape, node.pads, strict=True)]
    values_range = (min(source.codes[0], node.fill), max(source.codes[1], node.fill))
    keep = is_unchanged(values_range, source.fraction, node.result)

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        x, xp = values[0], namespace(values[0])
        x = xp.pad(x, pads, constant_values=node.fill) if any(node.padding) else x
        if isinstance(x, np.ndarray):
            taken = node.slide(x)
        else:
            places = node.slide(np.arange(math.prod(padded_shape)).reshape(padded_shape))
            taken = xp.take(x.reshape(len(x), -1), places.ravel(), axis=1).reshape(len(x), *node.shape)
        return taken if keep else convert(taken, source.fraction, node.result)

    return step


def _rearrange(node: Node, sources: Sequence[Operand]) -> Step:
    assert isinstance(node, Rearrange)
    index = node.index.ravel()
    sizes = [math.prod(source.shape) for source in sources]
    fractions = [source.fraction for source in sources]
    keep = [is_unchanged(source.codes, source.fraction, node.result) for source in sources]
    if len(sources) == 1 and (index >= 0).all():
        unmoved = np.array_equal(index, np.arange(sizes[0]))

        def permute(values: Sequence[Codes], convert: Convert) -> Codes:
            x = values[0].reshape(len(values[0]), sizes[0])
            x = (x if unmoved else namespace(x).take(x, index, axis=1)).reshape(len(x), *node.shape)
            return x if keep[0] else convert(x, fractions[0], node.result)

        return permute
    starts = [0, *itertools.accumulate(sizes)]
    places = [np.nonzero((index >= start) & (index < end))[0] for start, end in itertools.pairwise(starts)]
    picks = [index[place] - start for place, start in zip(places, starts, strict=False)]
    empty = np.nonzero(index < 0)[0]
    order = np.argsort(np.concatenate([*places, empty]))
    in_order = np.array_equal(order, np.arange(node.size))

    def step(values: Sequence[Codes], convert: Convert) -> Codes:
        x, xp = values[0], namespace(values[0])
        parts = []
        for each, fraction, unchanged, pick in zip(values, fractions, keep, picks, strict=True):
            picked = xp.take(each.reshape(len(x), math.prod(each.shape[1:])), pick, axis=1)
            parts.append(picked if unchanged else convert(picked, fraction, node.result))
        result = xp.concatenate([*parts, xp.zeros((len(x), len(empty)), dtype=x.dtype)], axis=1)
        ordered: Codes = result if in_order else xp.take(result, order, axis=1)
        return ordered.reshape(len(x), *node.shape)

    return step


_STEPS: dict[type[Node], Callable[[Node, Sequence[Operand]], Step]] = {
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
