"""The operators of the nodes that add up many values: `Dense` and `Reduce`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from l1dl.emulate.bounds import accumulator_range, aligned_range
from l1dl.emulate.onnx.builder import (
    INT64,
    Array,
    Builder,
    Source,
    Tensor,
    magnitude,
    narrowest,
    near,
    read,
)
from l1dl.emulate.onnx.conversions import convert, largest_in, overflow, round_to, wrap
from l1dl.emulate.onnx.whole import maximum_last, sum_last
from l1dl.fixed import Codes, requantise
from l1dl.nodes import Dense, Node, Reduce, Reduction


def add_dense(builder: Builder, node: Node, sources: Sequence[Source], wanted: int | None) -> Tensor:
    """Add the operators of a `Dense` node; the arguments are those of `steps.add_node`."""
    assert isinstance(node, Dense)
    source, accumulator, result = sources[0], node.accumulator, node.result
    reachable, overflows = accumulator_range(node, source.operand)
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator)
    product = source.fraction + node.weight_spec.fraction
    widen = accumulator.fraction - product
    zeros = 0 if overflows else _common_zeros(bias, max(widen, 0))
    terms: Array = abs(node.weight.astype(object)) * max(magnitude(source.codes), 1)
    terms = terms << widen if widen >= 0 else (terms >> -widen) + 1
    total = int((terms.sum(axis=-2).ravel() + abs(bias.astype(object))).max()) >> zeros
    period = 1 << accumulator.width if overflows else 0
    largest = max(total + period, _largest_product(node, source) if widen < 0 else _largest_operand(node, source))
    shifted = reachable[0] >> zeros, reachable[1] >> zeros
    dtype = narrowest(largest, largest_in(shifted, accumulator.fraction - zeros, result))
    loses = result.fraction < accumulator.fraction
    fraction = near(accumulator.fraction, result.fraction if loses else wanted)
    x = read(builder, source, dtype)
    if widen < 0:
        fraction = accumulator.fraction
        name = builder.apply("Add", _truncated_sums(builder, node, source, x), bias.astype(dtype))
    elif dtype == INT64:
        fraction, weight = accumulator.fraction, node.weight << widen
        name = builder.apply("Add", _products(builder, node, x, weight), bias)
    else:
        weight = np.ldexp(node.weight.astype(dtype), fraction - x.fraction - node.weight_spec.fraction)
        offset = np.ldexp(bias.astype(dtype), fraction - accumulator.fraction)
        if weight.ndim == 2:
            name = _affine_map(builder, node, x, weight, offset)
        else:
            name = builder.apply("Add", _products(builder, node, x, weight), offset)
    sums = Tensor(name, dtype, fraction)
    if overflows:
        sums = wrap(builder, sums, accumulator)
    return convert(builder, sums, reachable, accumulator.fraction, result)


def _largest_operand(node: Dense, source: Source) -> int:
    """Return what must fit besides the sums, where weights or values are zero."""
    return max(magnitude(source.codes), int(abs(node.weight.astype(object)).max()))


def _largest_product(node: Dense, source: Source) -> int:
    """Return the largest product before it loses bits."""
    largest = int(abs(node.weight.astype(object)).max())
    return max(largest * magnitude(source.codes), _largest_operand(node, source))


def _affine_map(builder: Builder, node: Dense, x: Tensor, weight: Array, offset: Array) -> str:
    """Add the product of all vectors with one matrix, and the offset."""
    if len(node.shape) == 1:
        return builder.apply("Gemm", x.name, weight, offset)
    vectors = builder.reshape(x.name, weight.shape[:1])
    return builder.reshape(builder.apply("Gemm", vectors, weight, offset), node.shape)


def _products(builder: Builder, node: Dense, x: Tensor, weight: Array) -> str:
    """Add the product of all vectors with the matrix, or with that of each group."""
    if weight.ndim == 2:
        return builder.apply("MatMul", x.name, weight)
    groups = builder.apply("Transpose", builder.reshape(x.name, weight.shape[:2]), perm=(1, 0, 2))
    products = builder.apply("Transpose", builder.apply("MatMul", groups, weight), perm=(1, 0, 2))
    return builder.reshape(products, node.shape)


def _truncated_sums(builder: Builder, node: Dense, source: Source, x: Tensor) -> str:
    """Add the sum of products that lose bits one by one on their way into the accumulator.

    What they do beyond its range is left to the sum: the accumulator wraps, or no sum leaves its range.
    """
    accumulator = node.accumulator
    fraction = source.fraction + node.weight_spec.fraction
    weight = node.weight.reshape(node.groups, *node.weight.shape[-2:]).swapaxes(1, 2)
    aligned = near(fraction, accumulator.fraction)
    if x.dtype == INT64:
        aligned, factors = fraction, weight
    else:
        factors = np.ldexp(weight.astype(x.dtype), aligned - x.fraction - node.weight_spec.fraction)
    vectors = builder.reshape(x.name, (node.groups, 1, weight.shape[2]))
    products = Tensor(builder.apply("Mul", vectors, factors), x.dtype, aligned)
    reach = _largest_product(node, source)
    rounded = round_to(builder, products, (-reach, reach), fraction, accumulator)
    if x.dtype == INT64:
        sums = sum_last(builder, rounded.name, weight.shape[2])
    else:
        sums = builder.apply("ReduceSum", rounded.name, np.array([3], dtype=np.int64), keepdims=0)
    return builder.reshape(sums, node.shape)


def _common_zeros(codes: Codes, most: int) -> int:
    """Return how many of the last bits are zero in all codes; at most `most`."""
    joined = int(np.bitwise_or.reduce(codes))
    return min(most, (joined & -joined).bit_length() - 1) if joined else most


def add_reduce(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    """Add the operators of a `Reduce` node; the arguments are those of `steps.add_node`."""
    assert isinstance(node, Reduce)
    source, result = sources[0], node.result
    count = math.prod(source.shape) // node.size
    if node.operation is Reduction.MAXIMUM or count == 1:
        x = read(builder, source, narrowest(largest_in(source.codes, source.fraction, result)))
        return convert(builder, _reduced(builder, node, x, source.shape), source.codes, source.fraction, result)
    # Each value is rounded; what leaves the range is left to the sum, which wraps or stays inside.
    fraction = min(source.fraction, result.fraction)
    low, high = aligned_range(source.codes, source.fraction, result)
    values = min(low, low * count), max(high, high * count)
    plain = source.codes if source.fraction <= result.fraction else (low, high)
    sums = min(plain[0], plain[0] * count), max(plain[1], plain[1] * count)
    dtype = narrowest(magnitude(source.codes), magnitude(sums), largest_in(sums, fraction, result))
    x = round_to(builder, read(builder, source, dtype), source.codes, source.fraction, result)
    return overflow(builder, _reduced(builder, node, x, source.shape), values, result)


def _reduced(builder: Builder, node: Reduce, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Add the sum or the maximum of values of some shape along the node's axes."""
    largest = node.operation is Reduction.MAXIMUM
    if x.dtype != INT64:
        axes = np.array(node.axes, dtype=np.int64) + 1
        name = builder.apply("ReduceMax" if largest else "ReduceSum", x.name, axes, keepdims=0)
        return Tensor(name, x.dtype, x.fraction)
    kept = [axis + 1 for axis in range(len(shape)) if axis not in node.axes]
    ordered = builder.apply("Transpose", x.name, perm=(0, *kept, *(axis + 1 for axis in node.axes)))
    count = math.prod(shape) // node.size
    rows = builder.reshape(ordered, (node.size, count))
    name = maximum_last(builder, rows) if largest else sum_last(builder, rows, count)
    return Tensor(builder.reshape(name, node.shape), x.dtype, x.fraction)
