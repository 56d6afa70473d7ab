from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from graphs import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from support import graph_of, random_graph, small_net

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import GRAPH_VERSION, FixedGraph, check_identifier, load_graph, save_graph, spec_from_json, spec_to_json
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
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)

SPEC = FixedSpec(True, 4, 2)


def with_node(graph: FixedGraph, name: str, **changes) -> FixedGraph:
    nodes = tuple(dataclasses.replace(node, **changes) if node.name == name else node for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 8))
def test_save_and_load_round_trip(tmp_path_factory, seed, layers):
    check_round_trip(random_graph(seed, layers=layers), tmp_path_factory.mktemp("graph") / "graph.json")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_a_round_trip(kind, tmp_path):
    for seed in range(5):
        graph = graph_of(kind, seed)
        assert any(node.kind == kind for node in graph.nodes)
        check_round_trip(graph, tmp_path / "graph.json")


def check_round_trip(graph: FixedGraph, path) -> None:
    save_graph(graph, path)
    again = load_graph(path)
    assert again.digest == graph.digest
    for old, new in zip(graph.nodes, again.nodes, strict=True):
        assert type(old) is type(new)
        for field in dataclasses.fields(old):
            before, after = getattr(old, field.name), getattr(new, field.name)
            assert type(before) is type(after)
            if isinstance(before, np.ndarray):
                assert (before.dtype, before.shape) == (after.dtype, after.shape)
                np.testing.assert_array_equal(before, after)
                assert not after.flags.writeable
            else:
                assert before == after
    assert (again.name, again.outputs, again.producer) == (graph.name, graph.outputs, graph.producer)


def test_digest_changes_with_any_code_type_or_name():
    graph = small_net()
    digests = {graph.digest}
    changes = 0
    for node in graph.nodes:
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray):
                for index in np.ndindex(value.shape):
                    other = value.copy()
                    other[index] += 1 if value[index] < 7 else -1
                    digests.add(with_node(graph, node.name, **{field.name: other}).digest)
                    changes += 1
            elif isinstance(value, FixedSpec):
                others = [
                    dataclasses.replace(value, width=value.width + 1),
                    dataclasses.replace(value, integer=value.integer + 1),
                    dataclasses.replace(value, rounding=Rounding.RND_INF),
                    dataclasses.replace(value, overflow=Overflow.SAT_SYM),
                ]
                for other in others:
                    digests.add(with_node(graph, node.name, **{field.name: other}).digest)
                    changes += 1
    for other in (
        dataclasses.replace(graph, name="other"),
        dataclasses.replace(graph, outputs=("relu",)),
        dataclasses.replace(graph, producer="test 2"),
        with_node(graph, "relu", function=Function.LINEAR),
    ):
        digests.add(other.digest)
        changes += 1
    assert len(digests) == changes + 1
    assert small_net().digest == graph.digest


SOURCE = Input("x", (), (4, 2), SPEC)
VARIANTS = [
    [Activation("n", ("x",), (4, 2), SPEC, function) for function in Function],
    [Clip("n", ("x",), (4, 2), SPEC, low, high) for low, high in ((-1.0, 1.0), (-1.0, 1.5), (-0.5, 1.0))],
    [Merge("n", ("x", "x"), (4, 2), SPEC, operation) for operation in Operation],
    [Reduce("n", ("x",), (2,), SPEC, operation, (0,)) for operation in Reduction],
    [
        Window("n", ("x",), (2, 2, 2), SPEC, (2,), strides, padding, fill)
        for strides, padding, fill in (((2,), (0, 0), 0), ((2,), (0, 0), 1), ((2,), (0, 1), 0), ((2,), (1, 0), 0))
    ],
    [Rearrange("n", ("x",), (2,), SPEC, np.array(index)) for index in ([0, 1], [1, 0], [0, -1])],
    [
        Table("n", ("x",), (4, 2), SPEC, FixedSpec(signed, 1, 1), np.array(table), SPEC)
        for signed, table in ((True, [0, 1]), (False, [0, 1]), (True, [1, 0]))
    ],
    [
        LeakyRelu("n", ("x",), (4, 2), SPEC, np.array(slope), SPEC)
        for slope in ([1], [2], [1, 1], [[1, 1]])
    ],
    [
        Dense("n", ("x",), (4, 2), SPEC, np.array(weight), SPEC, np.zeros(2, dtype=np.int64), SPEC, SPEC)
        for weight in ([[1, 0], [0, 1]], [[[1, 0], [0, 1]]], [[[1]], [[1]]])
    ],
    [Reduce("n", ("x",), (4,), SPEC, Reduction.MAXIMUM, (1,)), ArgMax("n", ("x",), (4, 2), SPEC)],
]  # fmt: skip


@pytest.mark.parametrize("nodes", VARIANTS, ids=lambda nodes: nodes[0].kind)
def test_digest_changes_with_any_property_of_a_node(nodes):
    graphs = [FixedGraph("net", (SOURCE, node), ("n",), "test 1") for node in nodes]
    assert len({graph.digest for graph in graphs}) == len(nodes)


def test_the_order_of_outputs_counts():
    nodes = SOURCE, Activation("n", ("x",), (4, 2), SPEC, Function.RELU)
    one, other = (FixedGraph("net", nodes, outputs, "test 1") for outputs in (("x", "n"), ("n", "x")))
    assert one.digest != other.digest
    assert [port.name for port in one.output_ports] == ["x", "n"]
    assert [port.name for port in other.output_ports] == ["n", "x"]
    assert [port.name for port in one.input_ports] == ["x"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("clip", lambda fields: fields.pop("low")),
        ("merge", lambda fields: fields.update(operation="power")),
        ("reduce", lambda fields: fields.update(axes=None)),
        ("reduce", lambda fields: fields.update(operation="minimum")),
        ("window", lambda fields: fields.update(kernel="3")),
        ("window", lambda fields: fields.update(fill=None)),
        ("table", lambda fields: fields.update(index=3)),
        ("dense", lambda fields: fields.update(name="other")),
    ],
)
def test_damaged_nodes_are_refused(kind, change, tmp_path):
    path = tmp_path / "graph.json"
    save_graph(graph_of(kind, 0), path)
    edit(path, lambda content: change(next(node for node in content["nodes"] if node["kind"] == kind)))
    with pytest.raises(InputError, match=r"graph\.json|node '"):
        load_graph(path)


def test_codes_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        small_net()["hidden"].weight[0, 0] = 1


@pytest.mark.parametrize("spec", [SPEC, FixedSpec(False, 62, -3, Rounding.RND_CONV, Overflow.SAT_ZERO)])
def test_types_survive_json(spec):
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


@pytest.fixture
def saved(tmp_path):
    save_graph(small_net(), tmp_path / "graph.json")
    return tmp_path / "graph.json"


def edit(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.update(version=GRAPH_VERSION + 1), r"has graph version 3; this l1dl reads 2"),
        (lambda c: c.pop("version"), r"is not a graph: KeyError\('version'\)"),
        (lambda c: c.pop("digest"), r"is not a graph"),
        (lambda c: c.update(digest="0"), r"do not belong together"),
        (lambda c: c["nodes"][1].update(kind="densse"), r"node kind 'densse' is unknown; did you mean 'dense'"),
        (lambda c: c["nodes"][1].update(kind=[]), r"is not a graph"),
        (lambda c: c["nodes"][1]["result"].update(rounding="RNDD"), r"is not a graph"),
        (lambda c: c["nodes"][1]["result"].update(width=99), r"width 99 is not supported"),
        (lambda c: c["nodes"][1]["result"].update(width="wide"), r"is not a graph"),
        (lambda c: c["nodes"][2].update(function="tanh"), r"is not a graph"),
        (lambda c: c["nodes"].pop(1), r"node 'relu' reads 'hidden', which is not computed before it"),
        (lambda c: c["nodes"].reverse(), r"which is not computed before it"),
        (lambda c: c["nodes"][1].update(inputs=["hidden"]), r"node 'hidden' reads 'hidden'"),
        (lambda c: c["nodes"][1].update(inputs=[]), r"node 'hidden' \(dense\) must read 1 node, it reads 0"),
        (lambda c: c["nodes"][1].update(shape=[5]), r"hidden.weight must be int64 of shape \(3, 5\)"),
        (
            lambda c: c["nodes"][2].update(shape=[5]),
            r"node 'relu' \(activation\) has shape \(5,\); its inputs ask for \(4,\)",
        ),
        (lambda c: c.update(outputs=["nothing"]), r"outputs \['nothing'\] are not nodes"),
        (lambda c: c.update(outputs=[]), r"the graph has no output"),
        (lambda c: c.update(nodes=None), r"is not a graph"),
        (lambda c: c.update(name="no name"), r"name 'no name' is not allowed"),
    ],
)
def test_damaged_structures_are_refused(saved, change, text):
    edit(saved, change)
    with pytest.raises(InputError, match=text):
        load_graph(saved)


@pytest.mark.parametrize("content", ["", "{", "[]", "1", "null", '"text"', "\ud800".encode("utf-16", "surrogatepass")])
def test_files_that_are_no_graph_are_refused(saved, content):
    saved.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"graph\.json"):
        load_graph(saved)


def test_missing_files_are_named(saved):
    saved.with_suffix(".npz").unlink()
    with pytest.raises(InputError, match=r"cannot read the codes of the graph, .*graph\.npz"):
        load_graph(saved)
    saved.unlink()
    with pytest.raises(InputError, match=r"file not found: .*graph\.json"):
        load_graph(saved)


@pytest.mark.parametrize("keep", [0, 1, 30, 200, -20, -1])
def test_truncated_codes_are_refused(saved, keep):
    codes = saved.with_suffix(".npz")
    codes.write_bytes(codes.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"graph\.npz|do not belong together"):
        load_graph(saved)


def test_any_flipped_byte_is_seen_or_harmless(saved):
    codes, whole = saved.with_suffix(".npz"), saved.with_suffix(".npz").read_bytes()
    digest = small_net().digest
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        codes.write_bytes(bytes(damaged))
        try:
            assert load_graph(saved).digest == digest
        except InputError:
            continue


def test_codes_of_another_graph_are_refused(saved, tmp_path):
    save_graph(small_net(seed=9), tmp_path / "other.json")
    (tmp_path / "other.npz").rename(saved.with_suffix(".npz"))
    with pytest.raises(InputError, match=r"graph\.json and graph\.npz do not belong together"):
        load_graph(saved)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_refused(saved):
    codes = saved.with_suffix(".npz")
    np.savez(codes, **{"hidden.weight": np.array([Bomb()], dtype=object)})
    with pytest.raises(InputError, match="allow_pickle=False"):
        load_graph(saved)
    codes.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"graph\.npz"):
        load_graph(saved)
    with codes.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(InputError, match=r"graph\.npz"):
        load_graph(saved)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a\n", "é", "_a", "a" * 129, "a/b", "../a"])
def test_bad_names_are_refused(name):
    with pytest.raises(InputError, match=r"is not allowed; use a letter followed by"):
        check_identifier(name)


@pytest.mark.parametrize("name", ["module", "small", "double", "final"])
def test_designs_have_no_keyword_as_name(name):
    with pytest.raises(InputError, match=f"name '{name}' is a keyword of the generated Verilog or C"):
        dataclasses.replace(small_net(), name=name)


def test_good_names_are_returned():
    assert check_identifier("a" * 128) == "a" * 128
    assert check_identifier("Dense_1") == "Dense_1"


def dense(**changes) -> Dense:
    codes = np.zeros((2, 2), dtype=np.int64)
    fields = {"name": "d", "inputs": ("x",), "shape": (2,), "result": SPEC, "weight": codes, "weight_spec": SPEC}
    return Dense(**{**fields, "bias": codes[0].copy(), "bias_spec": SPEC, "accumulator": SPEC, **changes})


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (dense(weight=np.full((2, 2), 8)), r"d.weight has codes outside fixed<4,2>: 8 to 8"),
        (dense(bias=np.full(2, -9)), r"d.bias has codes outside fixed<4,2>: -9 to -9"),
        (dense(bias=np.zeros(3, dtype=np.int64)), r"d.bias must be int64 of shape \(2,\), got int64 of shape \(3,\)"),
        (dense(weight=np.zeros((2, 2))), r"d.weight must be int64 of shape \(2, 2\), got float64"),
        (dense(weight=np.zeros((2, 2), dtype=">i8")), r"d.weight must be int64"),
        (dense(name="x"), r"two nodes are called 'x'"),
        (dense(inputs=("y",)), r"node 'd' reads 'y', which is not computed before it"),
        (dense(inputs=("x", "x")), r"node 'd' \(dense\) must read 1 node, it reads 2"),
        (Input("d", ("x",), (2,), SPEC), r"node 'd' \(input\) must read 0 nodes, it reads 1"),
        (
            Activation("d", ("x",), (3,), SPEC, Function.RELU),
            r"node 'd' \(activation\) has shape \(3,\); its inputs ask for \(2,\)",
        ),
        (
            Affine("d", ("x",), (2,), SPEC, np.full(2, 9), SPEC, np.zeros(2, dtype=np.int64), SPEC),
            r"d.scale has codes outside fixed<4,2>: 9 to 9",
        ),
    ],
)
def test_nodes_that_break_their_promises_are_refused(node, text):
    with pytest.raises(InputError, match=text):
        FixedGraph("net", (Input("x", (), (2,), SPEC), node), ("d",), "test 1")


def test_unknown_nodes_are_answered_with_the_closest():
    with pytest.raises(KeyError, match=r"no node is called 'hiden'; did you mean 'hidden'"):
        small_net()["hiden"]
