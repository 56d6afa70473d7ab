"""What each layer costs: the parts add up, and are those of the layers."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from graphs import random_graph
from support import need_packages, random_codes, small_net

from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Merge, Node, Operation
from l1dl.rtl.cost import effective_bits, layer_estimates, operations, with_ternary_adders
from l1dl.rtl.lower import trace_layers
from l1dl.rtl.matrix import MatrixSolver
from l1dl.rtl.project import build_rtl

X = FixedSpec(True, 6, 3)
WEIGHT = FixedSpec(True, 5, 1)
WIDE = FixedSpec(True, 20, 12)
RELU = FixedSpec(False, 5, 3)


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def mlp(*units: int, seed: int = 1) -> FixedGraph:
    """Return a network of dense layers with a ReLU between them."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = [Input("x", (), (units[0],), X)]
    for index, (before, after) in enumerate(itertools.pairwise(units)):
        weight, bias = random_codes(rng, WEIGHT, (before, after)), random_codes(rng, WEIGHT, (after,))
        nodes.append(Dense(f"d{index}", (nodes[-1].name,), (after,), WIDE, weight, WEIGHT, bias, WEIGHT, WIDE))
        if index < len(units) - 2:
            nodes.append(Activation(f"r{index}", (f"d{index}",), (after,), RELU, Function.RELU))
    return FixedGraph("net", tuple(nodes), (nodes[-1].name,), "test 1")


def test_the_layers_add_up_to_the_network():
    estimate = build_rtl(mlp(12, 16, 12, 4)).estimate
    parts = {layer.name: layer.lut for layer in estimate.layers}
    assert list(parts) == ["d0", "r0", "d1", "r1", "d2"]
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(estimate.lut, rel=0.01)


def test_a_layer_costs_what_the_network_costs_more_with_it():
    graph = mlp(12, 16, 12, 4)
    parts = {layer.name: layer.lut for layer in build_rtl(graph).estimate.layers}
    for count in range(2, len(graph.nodes)):
        until = dataclasses.replace(graph, nodes=graph.nodes[:count], outputs=(graph.nodes[count - 1].name,))
        names = [node.name for node in until.nodes[1:]]
        assert sum(parts[name] for name in names) == pytest.approx(build_rtl(until).estimate.lut, rel=0.01), names


def test_what_two_layers_share_counts_once_for_the_first():
    graph = mlp(6, 8)
    (dense,) = graph.nodes[1:]
    again = dataclasses.replace(dense, name="again")
    both = dataclasses.replace(graph, nodes=(*graph.nodes, again), outputs=("d0", "again"))
    alone = build_rtl(graph).estimate
    first, second = build_rtl(both).estimate.layers
    assert (first.lut, second.lut) == (pytest.approx(alone.lut, rel=0.01), 0)


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_lose_nothing(seed):
    traced = trace_layers(random_graph(seed))
    found = layer_estimates(traced)
    assert [layer.name for layer in found] == [name for name, _ in traced.nodes]
    whole = with_ternary_adders(traced.every)
    assert sum(layer.lut for layer in found) == pytest.approx(sum(op.cost for op in whole.ops))


def test_known_matrices_change_nothing():
    graph, matrices = mlp(8, 8, 3), MatrixSolver()
    first, second = (build_rtl(graph, matrices=matrices) for _ in range(2))
    assert first.sources() == second.sources() == build_rtl(graph).sources()
    assert first.estimate == second.estimate


def test_a_network_without_inputs_of_effect_is_refused():
    graph = mlp(3, 2)
    nothing = dataclasses.replace(graph.nodes[1], weight=np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(UnsupportedError, match="no output of 'net' depends on its inputs"):
        build_rtl(dataclasses.replace(graph, nodes=(graph.nodes[0], nothing)))


def test_effective_bits_are_those_between_the_ones():
    codes = np.array([0, 1, 2, 8, 3, 6, 5, 0b1011000, -1, -8, -0b1011000, 31, (1 << 61) - 1, -(1 << 62)])
    expected = [len(bin(abs(code))[2:].rstrip("0")) for code in codes.tolist()]
    assert effective_bits(codes).tolist() == expected
    assert effective_bits(codes)[7] == 4  # as the paper's 001xx1000


def test_operations_of_a_network_by_hand():
    graph = small_net()
    hidden, relu, logits = graph.nodes[1:]
    found = {each.name: each for each in operations(graph)}
    assert [each.ebops for each in operations(graph)][::2] == [0, 0]
    assert found["hidden"].multiplications == found["hidden"].weights == 12
    assert found["hidden"].nonzero_weights == np.count_nonzero(hidden.weight)
    # The input has 5 bits beside its sign, what the ReLU gives 5.
    assert found["hidden"].ebops == 5 * int(effective_bits(hidden.weight).sum())
    assert found["logits"].ebops == relu.result.width * int(effective_bits(logits.weight).sum())
    pruned = dataclasses.replace(logits, weight=np.where(logits.weight > 0, logits.weight, 0))
    fewer = operations(dataclasses.replace(graph, nodes=(*graph.nodes[:-1], pruned)))[-1]
    assert fewer.nonzero_weights == np.count_nonzero(logits.weight > 0)
    assert fewer.ebops == relu.result.width * int(effective_bits(pruned.weight).sum()) < found["logits"].ebops
    assert fewer.multiplications == found["logits"].multiplications


def test_a_matrix_counts_at_each_position_and_a_scale_for_each_value():
    rng = np.random.default_rng(2)
    weight, scale = random_codes(rng, WEIGHT, (2, 3)), random_codes(rng, WEIGHT, (4, 2))
    nodes = (
        Input("x", (), (4, 2), X),
        Dense("dense", ("x",), (4, 3), WIDE, weight, WEIGHT, np.zeros(3, dtype=np.int64), WEIGHT, WIDE),
        Affine("each", ("x",), (4, 2), WIDE, scale, WEIGHT, np.zeros(1, dtype=np.int64), WEIGHT),
        Affine("all", ("x",), (4, 2), WIDE, np.array([3]), WEIGHT, np.zeros(1, dtype=np.int64), WEIGHT),
        Merge("square", ("x", "x"), (4, 2), WIDE, Operation.MULTIPLY),
        Merge("sum", ("x", "x"), (4, 2), WIDE, Operation.ADD),
    )
    graph = FixedGraph("net", nodes, ("dense", "each", "all", "square", "sum"), "test 1")
    found = {each.name: (each.multiplications, each.weights, each.ebops) for each in operations(graph)}
    assert found["dense"] == (24, 6, 4 * 5 * int(effective_bits(weight).sum()))
    assert found["each"] == (8, 8, 5 * int(effective_bits(scale).sum()))
    assert found["all"] == (8, 1, 8 * 5 * 2)
    assert found["square"] == (8, 0, 8 * 5 * 5)
    assert found["sum"] == found["x"] == (0, 0, 0)
