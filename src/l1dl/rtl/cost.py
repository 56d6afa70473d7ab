"""What each layer of a network costs: LUTs by the RTL compiler's estimate, multiplications, EBOPs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Affine, Dense, LeakyRelu, Merge, Node, Operation
from l1dl.rtl.estimate import LayerEstimate
from l1dl.rtl.lower import Traced


def with_ternary_adders(program: Any) -> Any:
    """Return a program with sums of three operands, one carry chain each, as UltraScale+ slices offer, and its cost."""
    from alkaid.trace.passes import add_surrogate, dead_code_elimin, fuse_ternary_adders

    return add_surrogate(dead_code_elimin(fuse_ternary_adders(program), keep_dead_inputs=True), _skip_op8_cost=True)


def layer_estimates(traced: Traced) -> tuple[LayerEstimate, ...]:
    """Attribute each operation of a network to the first layer whose result needs it.

    The program with the results of all layers as outputs is walked back from each layer in turn, in the order of the
    graph; what no earlier layer needed is the layer's own. So each operation counts once, what several layers share
    counts for the first of them, and no layer is charged for what stands before it. The optimiser may do more where
    it need not keep the result of every layer: that, and nothing else, is the difference between the sum of the
    layers and the estimate of the whole network (below 0.1 % of the dense networks and 0.5 % of the convolutional
    ones that were tried).

    Lowering each layer alone would not do: the delays of its inputs, and what it shares with others, would differ.
    """
    program = with_ternary_adders(traced.every)
    ops, pending = program.ops, iter(program.out_idxs)
    seen = bytearray(len(ops))
    found = []
    for name, values in traced.nodes:
        lut = 0.0
        stack = [index for _, index in zip(range(values), pending, strict=False) if index >= 0]
        while stack:
            index = stack.pop()
            if not seen[index]:
                seen[index] = 1
                lut += float(ops[index].cost)
                stack.extend(ops[index].addr)
        found.append(LayerEstimate(name, lut))
    return tuple(found)


@dataclass(frozen=True)
class Operations:
    """What a layer computes, whatever computes it.

    Attributes
    ----------
    name, kind
        The node.
    multiplications
        Products of one event, those with zeros included.
    weights, nonzero_weights
        Constants that values are multiplied by; biases and offsets are not counted.
    ebops
        Effective bit operations: the sum over the products of the bits of both factors, as C. Sun et al.,
        arXiv:2405.00645, define them. The bits of a constant are those from its highest to its lowest one that is
        set, so that a zero has none and a power of two has one; the bits of a value are those of its type. Signs do
        not count.
    """

    name: str
    kind: str
    multiplications: int
    weights: int
    nonzero_weights: int
    ebops: int


def operations(graph: FixedGraph) -> tuple[Operations, ...]:
    """Return what each node of a graph computes, inputs included, in the order of the graph."""
    return tuple(_operations(node, graph.sources(node)) for node in graph.nodes)


def effective_bits(codes: Codes) -> Codes:
    """Return for each code the number of bits from its highest to its lowest one that is set; 0 for zero."""
    magnitudes = np.abs(codes)
    left = magnitudes // np.maximum(magnitudes & -magnitudes, 1)
    bits = np.zeros_like(left)
    while left.any():
        bits += left > 0
        left >>= 1
    return bits


def _operations(node: Node, sources: Sequence[Node]) -> Operations:
    if isinstance(node, Dense):
        # Each position along the leading axes multiplies by the same matrix.
        positions = math.prod(node.shape[:-1])
        return _by_constants(node, node.weight, positions, positions * node.weight.size, sources[0].result)
    if isinstance(node, (Affine, LeakyRelu)):
        factors = node.scale if isinstance(node, Affine) else node.slope
        return _by_constants(node, factors, node.size // max(factors.size, 1), node.size, sources[0].result)
    if isinstance(node, Merge) and node.operation is Operation.MULTIPLY:
        bits = math.prod(_magnitude_bits(source.result) for source in sources)
        return Operations(node.name, node.kind, node.size, 0, 0, node.size * bits)
    return Operations(node.name, node.kind, 0, 0, 0, 0)


def _by_constants(node: Node, factors: Codes, repeated: int, products: int, values: FixedSpec) -> Operations:
    """Count products of values of a type with constants, each of which is used `repeated` times."""
    bits = int(effective_bits(factors).sum()) * _magnitude_bits(values)
    nonzero = int(np.count_nonzero(factors))
    return Operations(node.name, node.kind, products, factors.size, nonzero, repeated * bits)


def _magnitude_bits(spec: FixedSpec) -> int:
    return spec.width - spec.signed
