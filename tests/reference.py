"""Slow arithmetic in whole numbers and fractions, written from the definitions; what the tests compare with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from l1dl.fixed import FixedSpec, Overflow, Rounding
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
)

Position = tuple[int, ...]
Exact = Callable[[Position], Fraction]
"""The number at a position of an array."""


def rounded(value: Fraction, rounding: Rounding) -> int:
    """Return a whole number, by the definition of the ap_fixed quantisation modes (UG1399)."""
    below = math.floor(value)
    above = below + 1
    if value == below:
        return below
    nearer_to_zero = below if value > 0 else above
    if rounding is Rounding.TRN:
        return below
    if rounding is Rounding.TRN_ZERO:
        return nearer_to_zero
    if value - below != Fraction(1, 2):
        return below if value - below < Fraction(1, 2) else above
    return {
        Rounding.RND: above,
        Rounding.RND_MIN_INF: below,
        Rounding.RND_ZERO: nearer_to_zero,
        Rounding.RND_INF: below + above - nearer_to_zero,
        Rounding.RND_CONV: below if below % 2 == 0 else above,
    }[rounding]


def overflowed(code: int, spec: FixedSpec) -> int:
    """Return a code in the range of `spec`, by the definition of the ap_fixed overflow modes (UG1399)."""
    high = 2 ** (spec.width - spec.signed) - 1
    low = -(2 ** (spec.width - 1)) if spec.signed else 0
    if spec.overflow is Overflow.WRAP:
        code %= 2**spec.width
        return code - 2**spec.width if code > high else code
    if spec.overflow is Overflow.SAT_SYM and spec.signed:
        low = -high
    if low <= code <= high:
        return code
    if spec.overflow is Overflow.SAT_ZERO:
        return 0
    return low if code < low else high


def converted(value: Fraction, spec: FixedSpec) -> int:
    """Return the code of a number."""
    return overflowed(rounded(value * Fraction(2) ** (spec.width - spec.integer), spec.rounding), spec)


def valued(code: int, spec: FixedSpec) -> Fraction:
    """Return the number that a code stands for."""
    return int(code) * Fraction(2) ** (spec.integer - spec.width)


def is_outside(value: Fraction, spec: FixedSpec) -> bool:
    """Say whether a number, rounded, is outside the range of `spec`."""
    code = rounded(value * Fraction(2) ** (spec.width - spec.integer), spec.rounding)
    high = 2 ** (spec.width - spec.signed) - 1
    return not (-(2 ** (spec.width - 1)) if spec.signed else 0) <= code <= high


class Conversions:
    """Converts numbers, and counts those that a type cannot hold."""

    def __init__(self) -> None:
        self.overflows = 0

    def __call__(self, value: Fraction, spec: FixedSpec) -> Fraction:
        self.note(value, spec)
        return valued(converted(value, spec), spec)

    def note(self, value: Fraction, spec: FixedSpec) -> None:
        self.overflows += is_outside(value, spec)


def quiet(value: Fraction, spec: FixedSpec) -> Fraction:
    """Convert a number that the profile does not count."""
    return valued(converted(value, spec), spec)


def broadcast(codes: np.ndarray, spec: FixedSpec, position: Position) -> Fraction:
    """Return the number that a constant or an operand has at a position of the result."""
    behind = position[len(position) - codes.ndim :]
    own = tuple(0 if size == 1 else index for size, index in zip(codes.shape, behind, strict=True))
    return valued(codes[own], spec)


def run_dense(node: Dense, x: np.ndarray, source: FixedSpec, convert: Conversions) -> Exact:
    lossy = node.accumulator.fraction < source.fraction + node.weight_spec.fraction
    matrices = [node.weight] if node.weight.ndim == 2 else list(node.weight)
    n_in, n_out = matrices[0].shape

    def value(position: Position) -> Fraction:
        group, column = divmod(position[-1], n_out)
        total = partial = quiet(valued(node.bias[position[-1]], node.bias_spec), node.accumulator)
        for row in range(n_in):
            vector = x[position[:-1]]
            product = valued(vector[group * n_in + row], source)
            product *= valued(matrices[group][row, column], node.weight_spec)
            term = quiet(product, node.accumulator)
            partial = quiet(partial + term, node.accumulator)
            if lossy:
                convert.note(product, node.accumulator)
            total += term if lossy else product
        convert.note(total, node.accumulator)
        return convert(partial, node.result)

    return value


def run_reduce(node: Reduce, x: np.ndarray, source: FixedSpec, convert: Conversions) -> Exact:
    lossy = node.result.fraction < source.fraction

    def value(position: Position) -> Fraction:
        rest = iter(position)
        places = [range(size) if axis in node.axes else [next(rest)] for axis, size in enumerate(x.shape)]
        values = [valued(x[place], source) for place in itertools.product(*places)]
        if node.operation is Reduction.MAXIMUM:
            return convert(max(values), node.result)
        partial, total = Fraction(0), Fraction(0)
        for term in values:
            partial = quiet(partial + term, node.result)
            total += convert(term, node.result) if lossy else term
        convert.note(total, node.result)
        return partial

    return value


def run_window(node: Window, x: np.ndarray, source: FixedSpec, convert: Conversions) -> Exact:
    image, channels = x.shape[:-1], x.shape[-1]
    positions = []
    for axis, size in enumerate(image):
        before, after = node.padding[2 * axis : 2 * axis + 2]
        last = before + size + after - node.kernel[axis]
        positions.append(range(-before, last - before + 1, node.strides[axis]))
    flat = []
    for corner in itertools.product(*positions):
        for offset in itertools.product(*(range(size) for size in node.kernel)):
            place = tuple(start + step for start, step in zip(corner, offset, strict=True))
            inside = all(0 <= index < size for index, size in zip(place, image, strict=True))
            flat += [valued(x[place][channel] if inside else node.fill, source) for channel in range(channels)]
    return lambda position: convert(flat[np.ravel_multi_index(position, node.shape)], node.result)


def run_merge(node: Merge, operands: Sequence[np.ndarray], sources: Sequence[FixedSpec], convert: Conversions) -> Exact:
    operation = {
        Operation.ADD: lambda a, b: a + b,
        Operation.SUBTRACT: lambda a, b: a - b,
        Operation.MULTIPLY: lambda a, b: a * b,
        Operation.AVERAGE: lambda a, b: (a + b) / 2,
        Operation.MAXIMUM: max,
        Operation.MINIMUM: min,
    }[node.operation]

    def value(position: Position) -> Fraction:
        a, b = (broadcast(x, spec, position) for x, spec in zip(operands, sources, strict=True))
        return convert(operation(a, b), node.result)

    return value


def run_rearrange(
    node: Rearrange, operands: Sequence[np.ndarray], sources: Sequence[FixedSpec], convert: Conversions
) -> Exact:
    flat = [valued(code, spec) for x, spec in zip(operands, sources, strict=True) for code in x.flatten()]

    def value(position: Position) -> Fraction:
        index = node.index[position]
        return Fraction(0) if index == -1 else convert(flat[index], node.result)

    return value


def run_node(
    node: Node, operands: Sequence[np.ndarray], sources: Sequence[FixedSpec], convert: Conversions
) -> np.ndarray:
    """Return the codes of one node for one event."""
    if isinstance(node, Merge):
        exact = run_merge(node, operands, sources, convert)
    elif isinstance(node, Rearrange):
        exact = run_rearrange(node, operands, sources, convert)
    else:
        (x,), (source,) = operands, sources
        if isinstance(node, (Dense, Reduce, Window)):
            run = {Dense: run_dense, Reduce: run_reduce, Window: run_window}[type(node)]
            exact = run(node, x, source, convert)
        else:
            exact = run_elementwise(node, x, source, convert)
    codes = np.empty(node.shape, dtype=np.int64)
    for position in np.ndindex(node.shape):
        code = exact(position) * Fraction(2) ** node.result.fraction
        assert code.denominator == 1
        codes[position] = int(code)
    return codes


def run_elementwise(node: Node, x: np.ndarray, source: FixedSpec, convert: Conversions) -> Exact:
    def value(position: Position) -> Fraction:
        number = valued(x[position[: x.ndim]], source)
        if isinstance(node, Affine):
            number *= broadcast(node.scale, node.scale_spec, position)
            number += broadcast(node.offset, node.offset_spec, position)
        elif isinstance(node, Activation):
            number = max(number, Fraction(0)) if node.function is Function.RELU else number
        elif isinstance(node, Clip):
            number = min(max(number, Fraction(node.low)), Fraction(node.high))
        elif isinstance(node, LeakyRelu):
            number *= 1 if number > 0 else broadcast(node.slope, node.slope_spec, position)
        elif isinstance(node, Table):
            # The entries of an embedding share one index.
            index = (quiet if any(position[x.ndim :]) else convert)(number, node.index)
            code = index * Fraction(2) ** node.index.fraction
            first = -(2 ** (node.index.width - 1)) if node.index.signed else 0
            number = valued(node.table[(int(code) - first, *position[x.ndim :])], node.table_spec)
        else:
            assert isinstance(node, ArgMax)
            vector = list(x[position[:-1]])
            number = Fraction(int(vector.index(max(vector)) == position[-1]))
        return convert(number, node.result)

    return value


def run_graph(graph: FixedGraph, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the codes of every node, shape (events, *shape), and how many of its conversions overflowed."""
    traces: dict[str, list[np.ndarray]] = {node.name: [] for node in graph.nodes}
    conversions = {name: Conversions() for name in traces}
    for row in rows:
        rest = list(row)
        results: dict[str, np.ndarray] = {}
        for node in graph.nodes:
            if isinstance(node, Input):
                taken, rest = rest[: node.size], rest[node.size :]
                results[node.name] = np.array(taken, dtype=np.int64).reshape(node.shape)
            else:
                operands = [results[name] for name in node.inputs]
                sources = [graph[name].result for name in node.inputs]
                results[node.name] = run_node(node, operands, sources, conversions[node.name])
            traces[node.name].append(results[node.name])
        assert not rest
    counts = {name: conversion.overflows for name, conversion in conversions.items()}
    return {name: np.array(values, dtype=np.int64) for name, values in traces.items()}, counts


def run_outputs(graph: FixedGraph, rows: np.ndarray) -> np.ndarray:
    """Return the rows of output codes."""
    traces, _ = run_graph(graph, rows)
    return np.array(
        [[code for name in graph.outputs for code in traces[name][event].flat] for event in range(len(rows))]
    )
