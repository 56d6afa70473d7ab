from __future__ import annotations

import contextlib
import gc
import time

import numpy as np
import pytest
from graphs import random_rows
from reference import converted, valued
from support import need_packages, small_net

from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode, encode, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Node, Table, Window
from l1dl.ports import decode_rows
from l1dl.rtl import matrix, passes
from l1dl.rtl.lower import lower
from l1dl.rtl.passes import exact_passes, lowest_bit
from l1dl.rtl.project import build_rtl

SHAPES = [
    (5, 3), (6, 4), (4, 4), (3, 6), (4, -1), (12, 4), (14, 5), (1, 1), (1, 6), (3, 9), (2, 12), (12, 1), (20, 20),
    (5, -4),
]  # fmt: skip
"""Widths and integer bits: drops of bits at both ends, of everything, and widenings."""


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def graph_of_nodes(*nodes: Node) -> FixedGraph:
    """Return a graph whose outputs are all nodes that are no inputs."""
    return FixedGraph("net", nodes, tuple(node.name for node in nodes if not isinstance(node, Input)), "test 1")


def check(graph: FixedGraph, events: int = 300) -> np.ndarray:
    """Compare the program with the emulator; return the codes."""
    rows = random_rows(np.random.default_rng(1), graph.input_ports, events)
    emulator = Emulator(graph)
    codes = emulator.run(rows)
    program = lower(graph).predict(decode_rows(rows, graph.input_ports), n_threads=1)
    np.testing.assert_array_equal(program, emulator.decode(codes))
    return codes


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_code_through_every_mode(rounding, overflow, signed):
    source = FixedSpec(signed, 10, 4)
    targets = [FixedSpec(to, *shape, rounding, overflow) for to in (True, False) for shape in SHAPES]
    nodes = [Activation(f"n{index}", ("x",), (1,), target, Function.LINEAR) for index, target in enumerate(targets)]
    codes = np.arange(source.minimum_code, source.maximum_code + 1)[:, None]
    values = lower(graph_of_nodes(Input("x", (), (1,), source), *nodes)).predict(decode(codes, source), n_threads=1)
    for column, target in enumerate(targets):
        expected = requantise(codes[:, 0], source.fraction, target)
        np.testing.assert_array_equal(values[:, column], decode(expected, target), err_msg=str(target))
    # The slow definition, for one type that drops bits at both ends.
    slow = [converted(valued(code, source), targets[0]) for code in codes[:, 0]]
    np.testing.assert_array_equal(values[:, 0], decode(np.array(slow), targets[0]))
    assert len(np.unique(values[:, 0])) > 4


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_constants_through_every_mode(rounding, overflow):
    offset = FixedSpec(True, 7, 3)
    codes = np.arange(-64, 64)
    targets = [FixedSpec(to, *shape, rounding, overflow) for to in (True, False) for shape in SHAPES[:6]]
    nodes = [
        Affine(f"n{index}", ("x",), (128,), target, np.array([0]), offset, codes, offset)
        for index, target in enumerate(targets)
    ]
    rows = np.zeros((1, 128))
    values = lower(graph_of_nodes(Input("x", (), (128,), offset), *nodes)).predict(rows, n_threads=1)
    for target, part in zip(targets, values.reshape(-1, 128), strict=True):
        np.testing.assert_array_equal(part, decode(encode(decode(codes, offset), target), target), err_msg=str(target))


def test_inner_nodes_can_be_outputs():
    graph = small_net()
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 100)
    values = lower(graph, ("relu", "hidden")).predict(decode_rows(rows, graph.input_ports), n_threads=1)
    trace = Emulator(graph).trace(rows)
    np.testing.assert_array_equal(values[:, :4], decode(trace["relu"], graph["relu"].result))
    np.testing.assert_array_equal(values[:, 4:], decode(trace["hidden"], graph["hidden"].result))


def test_a_node_of_all_constants_is_lowered():
    spec = FixedSpec(True, 6, 3)
    zero = np.zeros((2, 2), dtype=np.int64)
    graph = graph_of_nodes(Input("x", (), (2,), spec), Dense("y", ("x",), (2,), spec, zero, spec, zero[0], spec, spec))
    assert not check(graph).any()


# --- convolutions


def convolution(image: int, channels: int, filters: int) -> FixedGraph:
    rng = np.random.default_rng(1)
    source, weight, wide = FixedSpec(False, 8, 0), FixedSpec(True, 6, 1), FixedSpec(True, 21, 8)
    relu = FixedSpec(False, 6, 2, Rounding.RND_CONV, Overflow.SAT)
    size = image - 2
    values = 9 * channels
    return FixedGraph(
        "net",
        (
            Input("x", (), (image, image, channels), source),
            Window("window", ("x",), (size, size, values), source, (3, 3), (1, 1), (0, 0, 0, 0), 0),
            Dense("conv", ("window",), (size, size, filters), wide, rng.integers(-32, 32, (values, filters)), weight,
                  rng.integers(-32, 32, filters), weight, wide),
            Activation("relu", ("conv",), (size, size, filters), relu, Function.RELU),
        ),
        ("relu",),
        "test 1",
    )  # fmt: skip


def test_the_matrix_of_a_convolution_is_solved_once(monkeypatch):
    solved = []

    def count(x, kernel):
        solved.append(kernel.shape)
        return solve(x, kernel)

    solve = matrix.solve
    monkeypatch.setattr(matrix, "solve", count)
    assert len(np.unique(check(convolution(5, 1, 2), 50))) > 10
    assert solved == [(9, 2)]


@pytest.mark.slow
def test_a_large_convolution_is_compiled_in_seconds():
    start = time.process_time()
    design = build_rtl(convolution(8, 3, 8))
    design.sources()
    assert design.estimate.lut > 50_000
    assert time.process_time() - start < 20  # 4 s on an idle core


# --- tables


@pytest.mark.parametrize("width", [3, 8, 16])
def test_wide_entries_and_extra_axes(width):
    rng = np.random.default_rng(width)
    index, entries = FixedSpec(True, width, 2, Rounding.RND, Overflow.SAT), FixedSpec(True, 48, 20)
    table = rng.integers(entries.minimum_code, entries.maximum_code, (2**width, 2))
    source = FixedSpec(True, 10, 3)
    graph = graph_of_nodes(Input("x", (), (3,), source), Table("t", ("x",), (3, 2), entries, index, table, entries))
    assert len(np.unique(check(graph, 1000))) > 2 ** min(width, 9)


def test_few_values_are_looked_up_without_a_conversion():
    source, index, spec = FixedSpec(False, 4, 4), FixedSpec(True, 10, 3), FixedSpec(True, 8, 4)
    graph = graph_of_nodes(
        Input("x", (), (1,), source), Table("t", ("x",), (1,), spec, index, np.arange(1024) % 251 - 125, spec)
    )
    assert len(np.unique(check(graph))) == 8  # the integers wrap
    assert [op.opcode for op in lower(graph).ops] == [-1, 8]


def test_a_table_behind_a_negated_signal():
    spec, one = FixedSpec(True, 5, 5), FixedSpec(True, 2, 2)
    minus = Affine("minus", ("x",), (1,), FixedSpec(True, 6, 6), np.array([-1]), one, np.array([0]), one)
    table = np.array([value**2 % 31 - 15 for value in range(64)])
    graph = graph_of_nodes(
        Input("x", (), (1,), spec), minus, Table("t", ("minus",), (1,), spec, FixedSpec(True, 6, 6), table, spec)
    )
    assert len(np.unique(check(graph))) > 10


# --- what alkaid cannot hold


def too_wide() -> FixedGraph:
    wide = FixedSpec(True, 30, 30)
    affine = Affine("a", ("x",), (1,), FixedSpec(True, 60, 60), np.array([2**28 + 1]), wide, np.array([0]), wide)
    return graph_of_nodes(Input("x", (), (1,), wide), affine)


def test_values_of_more_than_53_bits_are_refused_by_name():
    with pytest.raises(UnsupportedError, match="layer 'a': a value needs more than 53 bits, the most that the RTL"):
        lower(too_wide())


def test_constants_of_more_than_53_bits_are_refused_by_name():
    small, wide = FixedSpec(True, 4, 4), FixedSpec(True, 60, 60)
    affine = Affine("a", ("x",), (1,), wide, np.array([1]), small, np.array([2**57 + 1]), wide)
    with pytest.raises(UnsupportedError, match="layer 'a': a constant needs more than 53 bits"):
        lower(graph_of_nodes(Input("x", (), (1,), small), affine))


def test_ends_of_more_than_53_bits_are_refused_by_name():
    source, target = FixedSpec(True, 50, 60), FixedSpec(True, 56, 56, Rounding.TRN, Overflow.SAT)
    node = Activation("a", ("x",), (1,), target, Function.LINEAR)
    with pytest.raises(UnsupportedError, match=r"layer 'a': a value of type fixed<56,56,TRN,SAT> needs more than 53"):
        lower(graph_of_nodes(Input("x", (), (1,), source), node))


def test_lowest_bit():
    values = [1.0, -12.0, 0.375, 2.0**40 + 1, 2.0**51 + 0.5, 2.0**-60]
    assert [lowest_bit(value) for value in values] == [0, 2, -3, 0, -1, -60]
    assert lowest_bit(0.0) == 127


# --- the corrections of alkaid


def test_alkaid_is_left_as_it_was():
    from alkaid.trace import FVariable
    from alkaid.trace.passes import canon
    from alkaid.types import CombLogic

    before = FVariable.quantize, FVariable.msb_mux, canon.canonicalize_msb_wraps, CombLogic.exec_op
    with exact_passes(), exact_passes():
        assert FVariable.quantize is not before[0]
    assert before == (FVariable.quantize, FVariable.msb_mux, canon.canonicalize_msb_wraps, CombLogic.exec_op)
    with pytest.raises(UnsupportedError):
        lower(too_wide())
    assert before == (FVariable.quantize, FVariable.msb_mux, canon.canonicalize_msb_wraps, CombLogic.exec_op)
    assert gc.isenabled()


@pytest.mark.parametrize("net", [small_net, lambda: convolution(6, 2, 3)])
def test_fast_symbols_change_no_program(net, monkeypatch):
    graph = net()
    fast = build_rtl(graph)
    monkeypatch.setattr(passes, "fast_symbols", contextlib.nullcontext)
    slow = build_rtl(graph)
    assert fast.stages == slow.stages
    assert fast.sources() == slow.sources()
    assert sum(len(stage.ops) for stage in fast.stages) > 50


def test_equal_operations_of_different_ranges_are_not_joined():
    from alkaid.trace.passes import common_subexpr_elimin
    from alkaid.types import CombLogic, Op, QInterval

    wide, narrow = QInterval(-8.0, 7.0, 1.0), QInterval(0.0, 7.0, 1.0)
    reads = [Op((), -1, (index,), wide, 0.0, 0.0) for index in range(2)]
    sums = [Op((0, 1), 0, (0,), interval, 1.0, 1.0) for interval in (wide, narrow, wide)]
    ops = [*reads, *sums, *(Op((index,), 2, (), narrow, 1.0, 0.0) for index in (2, 3, 4))]
    program = CombLogic((2, 3), [0, 0], [5, 6, 7], [0] * 3, [False] * 3, ops, 8, 1)
    with exact_passes():
        joined = common_subexpr_elimin(program)
    assert [op.addr for op in joined.ops[5:]] == [(2,), (3,), (2,)]
    assert [op.qint for op in joined.ops[2:4]] == [wide, narrow]
