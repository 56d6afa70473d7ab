from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from graphs import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import run_graph, run_outputs
from support import dense_graph, graph_of, random_codes, random_graph, random_rows, small_net

from l1dl.emulate import engine
from l1dl.emulate.bounds import check_graph
from l1dl.emulate.engine import BLOCK, Emulator, OverflowCounter
from l1dl.errors import InputError, UnsupportedError
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
from l1dl.ports import join

INTEGER = FixedSpec(True, 8, 8)
WIDE = FixedSpec(True, 16, 12)


def check_against_the_definition(graph: FixedGraph, seed: int, *, events: int = 6) -> None:
    """Compare codes and overflows of all nodes with the slow reference."""
    emulator = Emulator(graph)
    rows = random_rows(np.random.default_rng(seed), graph.input_ports, events)
    counters = {node.name: OverflowCounter() for node in graph.nodes}
    trace = emulator.trace(rows, counters)
    slow, counts = run_graph(graph, rows)
    known = check_graph(graph)
    for node in graph.nodes:
        codes = trace[node.name]
        assert (codes.dtype, codes.shape) == (np.int64, (events, *node.shape))
        np.testing.assert_array_equal(codes, slow[node.name], err_msg=f"{node.kind} {node.name}")
        low, high = known[node.name].codes
        assert low <= codes.min() <= codes.max() <= high, node.name
    assert {name: counter.count for name, counter in counters.items()} == counts
    np.testing.assert_array_equal(emulator.run(rows), run_outputs(graph, rows))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_every_kind_follows_its_definition(kind, seed):
    check_against_the_definition(graph_of(kind, seed), seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_kind_knows_every_mode(kind, rounding, overflow):
    for seed in (1, 2):
        check_against_the_definition(graph_of(kind, seed, roundings=(rounding,), overflows=(overflow,)), seed, events=4)


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(0, 8))
def test_random_graphs_follow_their_definition(seed, layers):
    check_against_the_definition(random_graph(seed, layers=layers), seed)


def widened(graph: FixedGraph, seed: int) -> FixedGraph:
    """Return the graph with types of up to 62 bits, and constants over all of their ranges."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        changes = {}
        for field in dataclasses.fields(node):
            if field.type == "FixedSpec" and field.name != "index":
                spec = getattr(node, field.name)
                width = int(rng.integers(spec.width, min(62, spec.width + 50), endpoint=True))
                integer = int(rng.integers(spec.integer - 20, spec.integer + 30, endpoint=True))
                changes[field.name] = dataclasses.replace(spec, width=width, integer=integer)
        wide = dataclasses.replace(node, **changes)
        constants = wide.constants([nodes[name] for name in wide.inputs])
        codes = {name: random_codes(rng, spec, shape) for name, (shape, spec) in constants.items()}
        nodes[node.name] = dataclasses.replace(wide, **codes)
    return dataclasses.replace(graph, nodes=tuple(nodes.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_wide_types_are_exact_or_refused(kind):
    exact = 0
    for seed in range(60):
        graph = widened(graph_of(kind, seed), seed)
        try:
            check_graph(graph)
        except UnsupportedError:
            continue
        check_against_the_definition(graph, seed, events=4)
        exact += 1
    assert exact >= 5


# --- single kinds, with numbers that anyone can check


def run_one(node: Node, x: list, *more: list, source: FixedSpec = INTEGER) -> list:
    """Return the codes of one node for one event; the operands are its inputs `a`, `b`, …"""
    operands = [np.array(part) for part in (x, *more)]
    inputs = tuple(Input(name, (), part.shape, source) for name, part in zip("abc", operands, strict=False))
    graph = FixedGraph("net", (*inputs, node), (node.name,), "test 1")
    rows = join([part[None].astype(np.int64) for part in operands])
    return Emulator(graph).run(rows).reshape(node.shape).tolist()


def test_groups_have_a_matrix_each():
    weight = np.array([[[1], [10]], [[2], [3]]])
    node = Dense("n", ("a",), (2, 2), WIDE, weight, INTEGER, np.array([0, 1]), INTEGER, WIDE)
    # 16 codes of WIDE are 1
    assert run_one(node, [[1, 2, 3, 4], [0, 1, 0, -1]]) == [[21 * 16, 19 * 16], [160, -32]]


def test_one_group_is_no_group():
    weight = np.array([[1, 2], [3, 4]])
    fields = {"weight_spec": INTEGER, "bias": np.zeros(2, dtype=np.int64), "bias_spec": INTEGER, "accumulator": WIDE}
    flat = Dense("n", ("a",), (2,), WIDE, weight=weight, **fields)
    grouped = Dense("n", ("a",), (2,), WIDE, weight=weight[None], **fields)
    assert run_one(flat, [5, 6]) == run_one(grouped, [5, 6]) == [23 * 16, 34 * 16]


def test_scales_and_offsets_broadcast():
    node = Affine(
        "n", ("a",), (2, 3), WIDE, np.array([[2], [3]]), FixedSpec(True, 8, 7), np.array([1, 0, -1]), INTEGER
    )  # fmt: skip
    # A scale of 2 codes is 1.
    assert run_one(node, [[1, 2, 3], [4, 5, 6]]) == [[32, 32, 32], [112, 120, 128]]


def test_scale_and_offset_are_rounded_once():
    half = FixedSpec(True, 4, 3)
    node = Affine("n", ("a",), (1,), INTEGER, np.array([1]), half, np.array([1]), half)
    assert [run_one(node, [x]) for x in (1, 2, -1, -2)] == [[1], [1], [0], [-1]]


def test_bounds_may_be_finer_than_the_values():
    node = Clip("n", ("a",), (5,), FixedSpec(True, 12, 8), -1.25, 2.5)
    assert run_one(node, [-3, -1, 0, 2, 3]) == [-20, -16, 0, 32, 40]


@pytest.mark.parametrize(("low", "high"), [(-1e300, 1e300), (-(2.0**80), 127.0)])
def test_bounds_far_beyond_the_type_change_nothing(low, high):
    assert run_one(Clip("n", ("a",), (3,), INTEGER, low, high), [-128, 0, 127]) == [-128, 0, 127]


@pytest.mark.parametrize(("low", "high", "expected"), [(200.5, 1e300, 201), (-1e300, -200.25, -201)])
def test_bounds_may_exclude_the_whole_type(low, high, expected):
    result = FixedSpec(True, 12, 12, Rounding.RND if low > 0 else Rounding.TRN)
    assert run_one(Clip("n", ("a",), (2,), result, low, high), [-128, 127]) == [expected, expected]


def test_slopes_apply_up_to_zero():
    node = LeakyRelu("n", ("a",), (2, 2), WIDE, np.array([1, -2]), FixedSpec(True, 4, 2))
    assert run_one(node, [[-4, -4], [3, 0]]) == [[-16, 32], [48, 0]]


def test_tables_start_at_the_lowest_code():
    index = FixedSpec(True, 2, 2, overflow=Overflow.SAT)
    node = Table("n", ("a",), (6,), INTEGER, index, np.array([10, 11, 12, 13]), INTEGER)
    assert run_one(node, [-128, -2, -1, 0, 1, 127]) == [10, 10, 11, 12, 13, 13]


def test_embeddings_append_an_axis():
    index = FixedSpec(False, 1, 1)
    node = Table("n", ("a",), (3, 2), INTEGER, index, np.array([[1, 2], [3, 4]]), INTEGER)
    assert run_one(node, [0, 1, 2]) == [[1, 2], [3, 4], [1, 2]]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Operation.ADD, [[8, -1], [9, 0]]),
        (Operation.SUBTRACT, [[2, 11], [1, 10]]),
        (Operation.MULTIPLY, [[15, -30], [20, -25]]),
        (Operation.AVERAGE, [[4, -1], [4, 0]]),
        (Operation.MAXIMUM, [[5, 5], [5, 5]]),
        (Operation.MINIMUM, [[3, -6], [4, -5]]),
    ],
)
def test_operands_broadcast(operation, expected):
    assert run_one(Merge("n", ("a", "b"), (2, 2), INTEGER, operation), [5], [[3, -6], [4, -5]]) == expected


def test_operands_may_be_the_same_node():
    assert run_one(Merge("n", ("a", "a"), (2,), INTEGER, Operation.MULTIPLY), [3, -4]) == [9, 16]


def test_sums_and_maxima_run_over_their_axes():
    x = np.arange(12).reshape(2, 3, 2)
    for operation, expected in ((Reduction.SUM, x.sum(axis=(0, 2))), (Reduction.MAXIMUM, x.max(axis=(0, 2)))):
        assert run_one(Reduce("n", ("a",), (3,), INTEGER, operation, (0, 2)), x.tolist()) == expected.tolist()
    assert run_one(Reduce("n", ("a",), (), INTEGER, Reduction.SUM, (0,)), [1, 2, 3]) == 6


def test_partial_sums_are_rounded_one_by_one():
    quarter = FixedSpec(True, 8, 6)
    node = Reduce("n", ("a",), (1,), FixedSpec(True, 4, 4), Reduction.SUM, (0,))
    assert run_one(node, [[3], [3], [3], [3]], source=quarter) == [0]


def test_the_first_maximum_wins():
    node = ArgMax("n", ("a",), (3, 3), FixedSpec(True, 4, 2))
    assert run_one(node, [[1, 7, 7], [-3, -3, -3], [0, 1, 2]]) == [[0, 4, 0], [4, 0, 0], [0, 0, 4]]


def test_windows_list_kernel_then_channels():
    x = np.arange(18).reshape(3, 3, 2)
    node = Window("n", ("a",), (2, 2, 2, 2, 2), INTEGER, (2, 2), (1, 1), (0, 0, 0, 0), 0)
    result = np.array(run_one(node, x.tolist()))
    assert result[0, 1].tolist() == [[[2, 3], [4, 5]], [[8, 9], [10, 11]]]
    assert result[1, 0].tolist() == [[[6, 7], [8, 9]], [[12, 13], [14, 15]]]


def test_windows_fill_what_is_outside_and_step():
    node = Window("n", ("a",), (2, 3), INTEGER, (3,), (2,), (1, 2), -5)
    assert run_one(node, [[1], [2], [3]]) == [[-5, 1, 2], [2, 3, -5]]


def test_unused_values_behind_the_last_window_are_left_out():
    node = Window("n", ("a",), (2, 2), INTEGER, (2,), (2,), (0, 0), 0)
    assert run_one(node, [[1], [2], [3], [4], [5]]) == [[1, 2], [3, 4]]


def test_values_of_several_inputs_are_rearranged():
    index = np.array([[4, 0], [-1, 3], [1, 1]])
    assert run_one(Rearrange("n", ("a", "b"), (3, 2), WIDE, index), [1, 2], [[3], [4], [5]]) == [
        [80, 16], [0, 64], [32, 32],
    ]  # fmt: skip


def test_accumulators_wrap():
    accumulator = FixedSpec(True, 4, 4)
    net = dense_graph([[1], [1]], source=FixedSpec(True, 4, 4), accumulator=accumulator)
    assert Emulator(net).run(np.array([[7, 1], [-8, -1], [7, 7]])).tolist() == [[-8], [7], [-2]]


@pytest.mark.parametrize(("rounding", "expected"), [(Rounding.TRN, 0), (Rounding.RND, 2), (Rounding.RND_CONV, 0)])
def test_narrow_accumulators_truncate_each_product(rounding, expected):
    # Two products of one half: as a sum they are 1, each alone is rounded.
    source = FixedSpec(False, 2, 1)
    accumulator = FixedSpec(True, 4, 4, rounding)
    net = dense_graph([[1], [1]], source=source, accumulator=accumulator)
    assert Emulator(net).run(np.array([[1, 1]])).tolist() == [[expected]]


# --- rows


def two_ports() -> FixedGraph:
    """Return a network of two inputs and three outputs, one of which is an input."""
    a, b = Input("a", (), (2, 2), INTEGER), Input("b", (), (2,), FixedSpec(True, 8, 6))
    both = Merge("both", ("a", "b"), (2, 2), FixedSpec(True, 12, 10), Operation.ADD)
    top = Reduce("top", ("a",), (2,), INTEGER, Reduction.MAXIMUM, (0,))
    return FixedGraph("net", (a, b, both, top), ("top", "b", "both"), "test 1")


def test_rows_hold_all_inputs_and_all_outputs():
    emulator = Emulator(two_ports())
    a, b = np.array([[[1, 2], [3, 0]], [[0, 0], [0, 9]]]), np.array([[0.25, 1.0], [0, -0.5]])
    rows = emulator.encode((a, b))
    assert rows.tolist() == [[1, 2, 3, 0, 1, 4], [0, 0, 0, 9, 0, -2]]
    outputs = emulator.run(rows)
    assert outputs.tolist() == [[3, 2, 1, 4, 5, 12, 13, 4], [0, 9, 0, -2, 0, -2, 0, 34]]
    assert emulator.decode(outputs)[0].tolist() == [3, 2, 0.25, 1, 1.25, 3, 3.25, 1]
    np.testing.assert_array_equal(emulator.encode({"b": b, "a": a}), rows)
    np.testing.assert_array_equal(emulator.encode([a.reshape(2, 4), b]), rows)


@pytest.mark.parametrize("graph", [small_net(), two_ports(), random_graph(7, layers=6)], ids=["mlp", "ports", "random"])
def test_long_runs_pass_in_blocks(graph, monkeypatch):
    rows = random_rows(np.random.default_rng(0), graph.input_ports, 2 * BLOCK + 5)
    emulator = Emulator(graph)
    trace = emulator.trace(rows)
    whole = join([trace[name] for name in graph.outputs])
    np.testing.assert_array_equal(emulator.run(rows), whole)
    assert len(np.unique(whole, axis=0)) > 100
    assert emulator.run(rows[:0]).shape == (0, whole.shape[1])
    assert {name: len(codes) for name, codes in emulator.trace(rows[:0]).items()} == dict.fromkeys(trace, 0)
    for values, events in ((1, 1), (200, None)):
        monkeypatch.setattr(engine, "BLOCK_VALUES", values)
        small = Emulator(graph)
        assert events is None or {len(block) for block in small.blocks(rows[:9])} == {events}
        np.testing.assert_array_equal(small.run(rows[:99]), whole[:99])


def test_wrong_shapes_and_codes_are_refused():
    emulator = Emulator(small_net())
    with pytest.raises(InputError, match=r"inputs of shape \(2, 4\) do not fit port 'x' of shape \(events, 3\)"):
        emulator.encode(np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"codes of shape \(3,\) do not fit"):
        emulator.run(np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match=r"codes of shape \(0, 2\) do not fit"):
        emulator.run(np.zeros((0, 2), dtype=np.int64))
    with pytest.raises(InputError, match=r"codes from 0 to 32 are outside fixed<6,3,RND_CONV,SAT> of port 'x'"):
        emulator.run(np.array([[0, 0, 32]]))
    with pytest.raises(InputError, match="1 values are NaN"):
        emulator.encode([[np.nan, 0, 0]])


def test_codes_out_of_range_are_refused_at_the_right_port():
    emulator = Emulator(two_ports())
    with pytest.raises(InputError, match=r"codes from 0 to 128 are outside fixed<8,6> of port 'b'"):
        emulator.run(np.array([[127, 0, 0, 0, 0, 128]]))
    with pytest.raises(InputError, match="1 arrays are given for a model with 2 ports"):
        emulator.encode([np.zeros((1, 2, 2))])


def test_the_trace_does_not_touch_its_rows():
    graph = random_graph(5, layers=8)
    rows = random_rows(np.random.default_rng(0), graph.input_ports, 50)
    before = rows.copy()
    rows.flags.writeable = False
    trace = {name: codes.copy() for name, codes in Emulator(graph).trace(rows).items()}
    again = Emulator(graph).trace(before)
    assert all(np.array_equal(trace[name], again[name]) for name in trace)


def test_a_counter_converts_like_the_default_and_counts():
    codes = np.array([14, 15, 16, -16, -17, -18])
    for overflow, kept in ((Overflow.SAT, [7, 7, 7, -8, -8, -8]), (Overflow.WRAP, [7, -8, -8, -8, -8, 7])):
        counter = OverflowCounter()
        assert counter(codes, 1, FixedSpec(True, 4, 4, Rounding.RND, overflow)).tolist() == kept
        assert counter.count == 3  # 7.5 rounds to 8; -8.5 rounds to -8
        assert (counter.wraps, counter.saturations) == ((0, 3) if overflow is Overflow.SAT else (3, 0))


def test_activations_of_one_type_pass_unchanged():
    graph = FixedGraph(
        "net",
        (Input("a", (), (2,), INTEGER), Activation("n", ("a",), (2,), INTEGER, Function.LINEAR)),
        ("n",),
        "test 1",
    )
    assert Emulator(graph).run(np.array([[-128, 127]])).tolist() == [[-128, 127]]
