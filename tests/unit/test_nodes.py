from __future__ import annotations

import numpy as np
import pytest
from graphs import KINDS
from support import graph_of

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    MAXIMUM_INDEX_WIDTH,
    NODE_KINDS,
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

SPEC = FixedSpec(True, 4, 2)
ONE = np.ones(1, dtype=np.int64)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.int64)


def dense(weight: np.ndarray, bias: np.ndarray, *, shape: tuple[int, ...], source: str = "v") -> Dense:
    return Dense("n", (source,), shape, SPEC, weight, SPEC, bias, SPEC, SPEC)


def affine(scale: np.ndarray, offset: np.ndarray) -> Affine:
    return Affine("n", ("i",), (5, 4, 2), SPEC, scale, SPEC, offset, SPEC)


def window(shape=(1, 1, 3, 3, 2), kernel=(3, 3), strides=(3, 3), padding=(0, 0, 0, 0), fill=0, source="i") -> Window:
    return Window("n", (source,), shape, SPEC, kernel, strides, padding, fill)


def table(entries: np.ndarray, *, width: int = 2, shape: tuple[int, ...] = (6,)) -> Table:
    return Table("n", ("v",), shape, SPEC, FixedSpec(True, width, 2), entries, SPEC)


def check(node: Node) -> FixedGraph:
    """Put a node behind a vector v of 6 values, a vector w of 3 and an image i."""
    inputs = Input("v", (), (6,), SPEC), Input("w", (), (3,), SPEC), Input("i", (), (5, 4, 2), SPEC)
    return FixedGraph("net", (*inputs, node), ("n",), "test 1")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_a_wrong_number_of_inputs(kind):
    graph = graph_of(kind, 1)
    node = next(node for node in graph.nodes if node.kind == kind)
    wanted = {"input": 0, "merge": 2}.get(kind, 1)
    wrong = [] if kind == "rearrange" else list(graph.nodes[:1]) * (wanted + 1)
    with pytest.raises(InputError, match=rf"node '{node.name}' \({kind}\) must read {wanted} nodes?, it reads"):
        node.check(wrong)


def test_the_registry_knows_every_kind():
    assert set(NODE_KINDS.values()) == set(Node.__subclasses__())
    assert all(name == kind.kind for name, kind in NODE_KINDS.items())


@pytest.mark.parametrize(
    "node",
    [
        dense(zeros(6, 2), zeros(2), shape=(2,)),
        dense(zeros(3, 2, 1), zeros(3), shape=(3,)),
        dense(zeros(1, 6, 2), zeros(2), shape=(2,)),
        dense(zeros(2, 7), zeros(7), shape=(5, 4, 7), source="i"),
        affine(zeros(2), zeros(4, 1)),
        affine(np.array(3), zeros(5, 4, 2)),
        LeakyRelu("n", ("i",), (5, 4, 2), SPEC, zeros(1, 2), SPEC),
        Clip("n", ("v",), (6,), SPEC, 0.0, 0.0),
        table(zeros(4)),
        table(zeros(4, 3), shape=(6, 3)),
        Merge("n", ("v", "v"), (6,), SPEC, Operation.ADD),
        Reduce("n", ("i",), (4,), SPEC, Reduction.SUM, (0, 2)),
        Reduce("n", ("v",), (), SPEC, Reduction.SUM, (0,)),
        ArgMax("n", ("i",), (5, 4, 2), SPEC),
        window(),
        window(shape=(1, 18)),
        window(shape=(2, 2, 18), padding=(1, 0, 0, 2)),
        window(fill=-8),
        Rearrange("n", ("v", "w"), (2, 2), SPEC, np.array([[8, -1], [0, 0]])),
    ],
    ids=lambda node: node.kind,
)
def test_good_nodes_are_accepted(node):
    assert check(node)["n"] is node


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (dense(zeros(6, 2), zeros(2), shape=(1, 2)), r"\(dense\) has shape \(1, 2\); its inputs ask for \(2,\)"),
        (dense(zeros(6, 2), zeros(2), shape=(3,)), r"n.weight must be int64 of shape \(6, 3\), got .* \(6, 2\)"),
        (dense(zeros(6, 2), zeros(3), shape=(2,)), r"n.bias must be int64 of shape \(2,\), got int64 of shape \(3,\)"),
        (dense(zeros(4, 1, 1), zeros(4), shape=(4,)), r"\(dense\) cannot cut 6 values into 4 groups"),
        (dense(zeros(0, 1, 1), zeros(4), shape=(4,)), r"\(dense\) cannot cut 6 values into 0 groups"),
        (dense(zeros(3, 2, 1), zeros(4), shape=(4,)), r"\(dense\) cannot cut 6 values into 3 groups"),
        (dense(zeros(3, 1, 1), zeros(3), shape=(3,)), r"n.weight must be int64 of shape \(3, 2, 1\)"),
        (affine(zeros(3), zeros(2)), r"n.scale must be int64 of shape \(5, 4, 2\), got int64 of shape \(3,\)"),
        (affine(zeros(2), zeros(1, 5, 4, 2)), r"n.offset must be int64 of shape \(5, 4, 2\)"),
        (affine(zeros(2) + 8, zeros(2)), r"n.scale has codes outside fixed<4,2>: 8 to 8"),
        (affine(zeros(2).astype(np.int32), zeros(2)), r"n.scale must be int64 of shape \(2,\), got int32"),
        (
            LeakyRelu("n", ("i",), (5, 4, 2), SPEC, zeros(4), SPEC),
            r"n.slope must be int64 of shape \(5, 4, 2\), got int64 of shape \(4,\)",
        ),
        (LeakyRelu("n", ("i",), (40,), SPEC, ONE, SPEC), r"has shape \(40,\); its inputs ask for \(5, 4, 2\)"),
        (Activation("n", ("v",), (6, 1), SPEC, Function.RELU), r"\(activation\) has shape \(6, 1\)"),
        (Clip("n", ("v",), (5,), SPEC, 0.0, 1.0), r"\(clip\) has shape \(5,\); its inputs ask for \(6,\)"),
        (Clip("n", ("v",), (6,), SPEC, 1.0, 0.5), r"\(clip\) has the bounds 1.0 and 0.5"),
        (Clip("n", ("v",), (6,), SPEC, float("nan"), 0.5), r"\(clip\) has the bounds nan and 0.5"),
        (Clip("n", ("v",), (6,), SPEC, 0.0, float("inf")), r"\(clip\) has the bounds 0.0 and inf"),
        (table(zeros(3)), r"n.table must be int64 of shape \(4,\), got int64 of shape \(3,\)"),
        (table(zeros(4, 2)), r"\(table\) has shape \(6,\); its inputs ask for \(6, 2\)"),
        (table(zeros(4) - 9), r"n.table has codes outside fixed<4,2>: -9 to -9"),
        (
            table(zeros(1), width=MAXIMUM_INDEX_WIDTH + 1),
            r"\(table\) has an index of 17 bits; at most 16 are supported",
        ),
        (Merge("n", ("v", "w"), (6,), SPEC, Operation.ADD), r"cannot broadcast the shapes \(6,\) and \(3,\)"),
        (Merge("n", ("v", "v"), (3,), SPEC, Operation.ADD), r"node 'n' \(merge\) "),
        (Reduce("n", ("i",), (5, 4, 2), SPEC, Reduction.SUM, ()), r"cannot reduce the axes \(\) of shape \(5, 4, 2\)"),
        (Reduce("n", ("i",), (5, 4), SPEC, Reduction.SUM, (3,)), r"cannot reduce the axes \(3,\)"),
        (Reduce("n", ("i",), (5, 4), SPEC, Reduction.SUM, (-1,)), r"cannot reduce the axes \(-1,\)"),
        (Reduce("n", ("i",), (2,), SPEC, Reduction.SUM, (1, 0)), r"cannot reduce the axes \(1, 0\)"),
        (Reduce("n", ("i",), (2,), SPEC, Reduction.SUM, (0, 0)), r"cannot reduce the axes \(0, 0\)"),
        (Reduce("n", ("i",), (4,), SPEC, Reduction.SUM, (0,)), r"has shape \(4,\); its inputs ask for \(4, 2\)"),
        (ArgMax("n", ("v",), (1,), SPEC), r"\(argmax\) has shape \(1,\); its inputs ask for \(6,\)"),
        (window(kernel=(3,)), r"\(window\) has the kernel \(3,\) for an input of shape \(5, 4, 2\)"),
        (window(strides=(1,)), r"has the kernel \(3, 3\) for an input"),
        (window(padding=(0, 0)), r"has the kernel \(3, 3\) for an input"),
        (window(padding=(0, 0, 0)), r"has the kernel \(3, 3\) for an input"),
        (window(source="v"), r"has the kernel \(3, 3\) for an input of shape \(6,\)"),
        (window(strides=(0, 1)), r"has the kernel \(3, 3\), strides \(0, 1\) and padding"),
        (window(kernel=(0, 1)), r"has the kernel \(0, 1\), strides"),
        (window(padding=(0, -1, 0, 0)), r"padding \(0, -1, 0, 0\)"),
        (window(kernel=(6, 1), shape=(1,)), r"has shape \(1,\) for \(0, 2\) positions of the kernel \(6, 1\)"),
        (window(shape=(1, 1, 9)), r"has shape \(1, 1, 9\) for \(1, 1\) positions of the kernel \(3, 3\)"),
        (window(fill=8), r"fills with the code 8, which fixed<4,2> does not have"),
        (Rearrange("n", ("v",), (3,), SPEC, np.arange(2)), r"has shape \(3,\); its inputs ask for \(2,\)"),
        (Rearrange("n", ("v",), (1,), SPEC, np.array([6])), r"\(rearrange\) takes values 6 to 6 of 6"),
        (Rearrange("n", ("v", "w"), (2,), SPEC, np.array([-2, 8])), r"takes values -2 to 8 of 9"),
        (Input("n", (), (0,), SPEC), r"node 'n' has the empty shape \(0,\)"),
        (Input("n", (), (2, 0), SPEC), r"node 'n' has the empty shape \(2, 0\)"),
    ],
)
def test_bad_nodes_are_refused_by_name(node, text):
    with pytest.raises(InputError, match=text) as caught:
        check(node)
    assert "n" in str(caught.value)


def test_positions_count_the_padding():
    image = Input("i", (), (5, 4, 2), SPEC)
    assert window().positions(image) == (1, 1)
    assert window(strides=(1, 2)).positions(image) == (3, 1)
    assert window(strides=(2, 1), padding=(1, 1, 0, 2)).positions(image) == (3, 4)


def test_sizes_and_groups():
    assert window().size == 18
    assert Input("x", (), (), SPEC).size == 1
    assert dense(zeros(6, 2), zeros(2), shape=(2,)).groups == 1
    assert dense(zeros(3, 2, 1), zeros(3), shape=(3,)).groups == 3
