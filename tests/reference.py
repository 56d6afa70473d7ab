"""Slow arithmetic in whole numbers and fractions, written from the definitions; what the tests compare with."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input


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


def run_node(node, x: list[int], source: FixedSpec, outside: list[bool]) -> list[int]:
    """Return the codes of one node for one event; note in `outside` for each conversion whether it overflowed."""

    def convert(value: Fraction, spec: FixedSpec) -> Fraction:
        outside.append(is_outside(value, spec))
        return valued(converted(value, spec), spec)

    values = [valued(code, source) for code in x]
    if isinstance(node, Dense):
        results = []
        lossy = node.accumulator.fraction < source.fraction + node.weight_spec.fraction
        for column in range(node.shape[-1]):
            total = valued(converted(valued(node.bias[column], node.bias_spec), node.accumulator), node.accumulator)
            for row, value in enumerate(values):
                product = value * valued(node.weight[row, column], node.weight_spec)
                total += convert(product, node.accumulator) if lossy else product
            results.append(convert(convert(total, node.accumulator), node.result))
    elif isinstance(node, Affine):
        results = [
            convert(value * valued(scale, node.scale_spec) + valued(offset, node.offset_spec), node.result)
            for value, scale, offset in zip(values, node.scale, node.offset, strict=True)
        ]
    else:
        assert isinstance(node, Activation)
        relu = node.function is Function.RELU
        results = [convert(max(value, Fraction(0)) if relu else value, node.result) for value in values]
    return [int(value / Fraction(2) ** -node.result.fraction) for value in results]


def run_graph(graph: FixedGraph, codes: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the codes of every node, and how many of its conversions overflowed."""
    traces: dict[str, list[list[int]]] = {node.name: [] for node in graph.nodes}
    counts: dict[str, int] = dict.fromkeys(traces, 0)
    for event in codes:
        results: dict[str, list[int]] = {}
        for node in graph.nodes:
            if isinstance(node, Input):
                results[node.name] = [int(code) for code in event]
            else:
                outside: list[bool] = []
                source = graph[node.inputs[0]].result
                results[node.name] = run_node(node, results[node.inputs[0]], source, outside)
                counts[node.name] += sum(outside)
            traces[node.name].append(results[node.name])
    return {name: np.array(rows, dtype=np.int64) for name, rows in traces.items()}, counts
