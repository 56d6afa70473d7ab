"""Exact interval analysis: how large a sum of products can become, and which dtype computes it exactly.

All values are integers times a power of two. If the sum of the absolute values of all products of a
layer stays below 2**24 (2**53), then every partial sum, in any order, is an integer that float32
(float64) holds exactly, so that a BLAS matrix product is exact (IEEE 754: integers up to 2**p have an
exact significand of p bits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Affine, Dense


@dataclass(frozen=True)
class SumBound:
    """The largest sum of a layer.

    Attributes
    ----------
    bits
        Significand bits that every partial sum needs, in units of the smallest product.
    dtype
        The narrowest dtype that holds them: float32, float64 or int64.
    """

    bits: int
    dtype: npt.DTypeLike


def sum_bound(weight: Codes, source: FixedSpec) -> SumBound:
    """Bound the matrix product of codes of type `source` with `weight` of shape (n_in, n_out)."""
    largest = max(source.maximum_code, -source.minimum_code)
    total = largest * max((sum(abs(int(code)) for code in column) for column in weight.T), default=0)
    bits = total.bit_length()
    if bits > 63:
        msg = f"a sum of products needs {bits} bits; at most 63 are supported: use fewer bits or inputs"
        raise UnsupportedError(msg)
    dtype: npt.DTypeLike = np.int64
    if total <= 1 << 24:
        dtype = np.float32
    elif total <= 1 << 53:
        dtype = np.float64
    return SumBound(bits, dtype)


def check_graph(graph: FixedGraph) -> None:
    """Refuse graphs whose arithmetic the back ends cannot reproduce exactly.

    Raises
    ------
    UnsupportedError
        The graph has not one input and one output, a saturating accumulator can overflow (its result
        would depend on the order of the sum), or a value needs more than 63 bits.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        msg = f"graph {graph.name!r} has {counts}; one of each is supported"
        raise UnsupportedError(msg)
    for node in graph.nodes:
        if isinstance(node, Affine):
            _check_affine(node, graph[node.inputs[0]].result)
        elif isinstance(node, Dense):
            _check_dense(node, graph[node.inputs[0]].result)


def _check_affine(node: Affine, source: FixedSpec) -> None:
    product_fraction = source.fraction + node.scale_spec.fraction
    spread = product_fraction - node.offset_spec.fraction
    bits = max(source.width + node.scale_spec.width + max(-spread, 0), node.offset_spec.width + max(spread, 0))
    if bits > 62:
        msg = f"layer {node.name!r} needs {bits} bits; at most 62 are supported"
        raise UnsupportedError(msg)


def _check_dense(node: Dense, source: FixedSpec) -> None:
    sum_bound(node.weight, source)
    accumulator = node.accumulator
    if accumulator.overflow is Overflow.WRAP:
        return
    widen = accumulator.fraction - source.fraction - node.weight_spec.fraction
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator)
    for column, start in zip(node.weight.T, bias, strict=True):
        weights = [int(code) for code in column]
        high = sum(max(code * source.maximum_code, code * source.minimum_code) for code in weights)
        low = sum(min(code * source.maximum_code, code * source.minimum_code) for code in weights)
        if widen < 0:  # each product is rounded, by less than one code of the accumulator
            spare = len(weights)
            low, high = (low >> -widen) - spare * (low < 0), -(-high >> -widen) + spare * (high > 0)
        else:
            low, high = low << widen, high << widen
        symmetric = accumulator.overflow is Overflow.SAT_SYM and accumulator.signed
        lowest = -accumulator.maximum_code if symmetric else accumulator.minimum_code
        if low + min(int(start), 0) < lowest or high + max(int(start), 0) > accumulator.maximum_code:
            msg = (
                f"layer {node.name!r}: its accumulator {accumulator} saturates and can overflow, so that the "
                "result depends on the order of the sum; widen it or let it wrap"
            )
            raise UnsupportedError(msg)
