"""The contract of the back ends: emulator, RTL program and Verilog of one graph agree in every output code."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import KINDS, graph_of, random_graph, random_rows
from reference import run_outputs
from support import need_packages, need_tools, small_net

from l1dl.card import CosimCard
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.engine import Emulator
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Dense,
    Function,
    Input,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
)
from l1dl.ports import decode_rows
from l1dl.rtl.lower import lower
from l1dl.rtl.project import build_rtl

NODE_KINDS = tuple(kind for kind in KINDS if kind != "input")


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def check_alir(graph: FixedGraph, *, events: int = 200) -> np.ndarray:
    """Compare the RTL program with the emulator; return the codes."""
    emulator, ports = Emulator(graph), graph.input_ports
    rows = np.concatenate([corner_codes(ports), random_rows(np.random.default_rng(1), ports, events)])
    codes = emulator.run(rows)
    alir = lower(graph).predict(decode_rows(rows, ports), n_threads=1)
    np.testing.assert_array_equal(alir, emulator.decode(codes))
    return codes


def check_verilog(graph: FixedGraph, work) -> None:
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 500)
    settings = CosimCard(random_vectors=500)
    report, _ = cosimulate(graph, build_rtl(graph), rows, work, settings=settings, self_test=False)
    assert report.agreement.mismatches == 0, report.agreement.first


def varying(seed: int, layers: int) -> FixedGraph:
    """Return the first random graph from `seed` on, in steps of 1000, whose outputs depend on its inputs.

    A constant network has no RTL (it is refused by name), so it can show nothing here.
    """
    for trial in range(seed, seed + 100_000, 1000):
        graph = random_graph(trial, layers=layers)
        rows = random_rows(np.random.default_rng(trial), graph.input_ports, 200)
        if len(np.unique(Emulator(graph).run(rows), axis=0)) > 1:
            return graph
    raise AssertionError(seed)


@pytest.mark.parametrize("kind", NODE_KINDS)
def test_each_kind(kind):
    varied = 0
    for seed in range(25):
        varied += len(np.unique(check_alir(graph_of(kind, seed)), axis=0)) > 1
    assert varied > 12


@pytest.mark.parametrize(("layers", "graphs"), [(2, 60), (6, 60), (12, 20)])
def test_random_graphs(layers, graphs):
    varied = 0
    for seed in range(graphs):
        varied += len(np.unique(check_alir(random_graph(seed, layers=layers)), axis=0)) > 1
    assert varied > graphs // 2


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100_000, 110_000, 500))
def test_many_random_graphs(start):
    for seed in range(start, start + 500):
        check_alir(random_graph(seed, layers=2 + seed % 8), events=50)


class TestVerilog:
    @pytest.fixture(autouse=True)
    def _tools(self):
        need_tools("verilator", "cxx")

    @pytest.mark.parametrize("seed", [1, 4])
    def test_random_graphs(self, seed, tmp_path):
        check_verilog(varying(seed, 8), tmp_path)

    def test_small_network(self, tmp_path):
        check_verilog(small_net(), tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(200, 224))
    def test_many_random_graphs(self, seed, tmp_path):
        check_verilog(varying(seed, 8), tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", NODE_KINDS)
    def test_each_kind(self, kind, tmp_path):
        graph = next(
            graph
            for graph in (graph_of(kind, seed) for seed in range(100))
            if len(np.unique(check_alir(graph), axis=0)) > 1
        )
        check_verilog(graph, tmp_path)


# --- graphs that alkaid 0.8.2 alone gets wrong or fails on; most were found by random search


def spec(text: str) -> FixedSpec:
    """Return the type that ``str`` of a FixedSpec gives."""
    name, _, inner = text.rstrip(">").partition("<")
    width, integer, *modes = inner.split(",")
    rounding, overflow = modes or ("TRN", "WRAP")
    return FixedSpec(name == "fixed", int(width), int(integer), Rounding(rounding), Overflow(overflow))


def codes(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def chain(source: str, size: int, *layers) -> FixedGraph:
    """Return a chain of layers: (result, scale, type, offset, type), (result, function) or a dense layer's six."""
    nodes: list[Node] = [Input("x", (), (size,), spec(source))]
    for index, (result, *parts) in enumerate(layers):
        name, before, shape = f"n{index}", nodes[-1].name, nodes[-1].shape
        if len(parts) == 1:
            nodes.append(Activation(name, (before,), shape, spec(result), parts[0]))
        elif len(parts) == 4:
            scale, scale_spec, offset, offset_spec = parts
            specs = spec(scale_spec), spec(offset_spec)
            nodes.append(Affine(name, (before,), shape, spec(result), codes(scale), specs[0], codes(offset), specs[1]))
        else:
            weight, weight_spec, bias, bias_spec, accumulator = parts
            specs = spec(weight_spec), spec(bias_spec), spec(accumulator)
            matrix = codes(weight), specs[0], codes(bias), specs[1], specs[2]
            nodes.append(Dense(name, (before,), (len(bias),), spec(result), *matrix))
    return FixedGraph("net", tuple(nodes), (nodes[-1].name,), "test 1")


CHAINS = {
    "a tie, rounded to even by clearing the dropped bits": chain(
        "fixed<3,0>", 2, ("fixed<11,2,RND_CONV,WRAP>", [1, 26], "fixed<6,-3>", [-1, -2], "fixed<2,-1>")
    ),
    "halves to even of an unsigned type": chain(
        "fixed<6,-3>", 2, ("ufixed<4,-2,RND_CONV,WRAP>", [2, 4], "ufixed<3,-3>", [16, 0], "ufixed<6,-2>")
    ),
    "a truncating accumulator": chain(
        "fixed<2,2>", 3,
        ("ufixed<11,2,TRN,SAT>", [[2, 4, 6], [6, 7, 4], [5, 2, 5]], "ufixed<3,3>", [3, 2, -1], "fixed<3,-2>",
         "ufixed<14,16,RND_CONV,WRAP>"),
    ),
    "one bit is left": chain(
        "fixed<4,6>", 4, ("ufixed<1,6,RND_CONV,WRAP>", [14, 10, 2, 12], "ufixed<4,2>", [34, 18, 39, 61], "ufixed<6,-3>")
    ),
    "an accumulator wraps": chain(
        "fixed<2,1>", 3 - 1,
        ("ufixed<9,1>", [[3, 3, 0], [3, 0, 2]], "ufixed<2,2>", [3, 4, 0], "ufixed<3,3>", "fixed<10,8,RND,WRAP>"),
    ),
    "one-bit inputs": chain(
        "ufixed<1,-1>", 4,
        ("fixed<3,2,RND_CONV,SAT_SYM>", [-11, -4, 5, 8], "fixed<5,4>", [-1, -1, 3, 0], "fixed<3,1>"),
    ),
    "constants behind a constant": chain(
        "ufixed<6,0>", 2,
        ("ufixed<2,4,RND_CONV,WRAP>", [1, 7], "ufixed<3,0>", [32, -4], "fixed<7,5>"),
        ("fixed<10,3,RND,SAT_SYM>", [-1, 1], "fixed<3,-1>", [7, 1], "fixed<4,-3>"),
        ("fixed<7,2,RND_CONV,WRAP>", Function.RELU),
    ),
    "a selected bit is shifted": chain(
        "ufixed<10,6>", 1,
        ("fixed<4,4,RND_CONV,SAT>", [3], "fixed<6,0>", [0], "ufixed<2,-3>"),
        ("fixed<11,-1,RND_CONV,WRAP>", [[-11, 20, -12]], "fixed<6,4>", [1, 1, 2], "ufixed<2,3>", "fixed<12,9>"),
        ("ufixed<9,-1,RND,WRAP>", [[0], [3], [-4]], "fixed<3,4>", [32], "ufixed<6,-3>", "fixed<15,3,RND,WRAP>"),
    ),
    "nothing varies": chain(
        "ufixed<2,0>", 2,
        ("fixed<5,-3,RND,SAT_SYM>", [[-1, 0, -1], [-1, -1, -1]], "fixed<1,-1>", [-29, 23, -31], "fixed<6,0>",
         "fixed<2,-2>"),
        ("fixed<9,0,RND_CONV,WRAP>", [[3], [0], [1]], "ufixed<2,6>", [8], "fixed<5,0>", "fixed<5,1,RND_CONV,WRAP>"),
        ("ufixed<12,0,TRN,SAT>", [[-4, -28]], "fixed<6,-3>", [2, 3], "ufixed<2,1>", "fixed<5,-9,RND,WRAP>"),
        ("ufixed<7,-2>", [[6, 4], [15, 10]], "ufixed<4,6>", [39, 62], "fixed<7,5>", "fixed<12,6>"),
    ),
    "six one-bit inputs of both signs": chain(
        "fixed<1,1>", 8,
        ("fixed<12,8>", [[3, -5], [1, 2], [-7, 7], [2, -1], [5, 4], [-6, 3], [7, 1], [-2, -8]], "fixed<4,4>",
         [1, -3], "fixed<4,4>", "fixed<12,8>"),
    ),
    "a constant of 26 bits": chain(
        "fixed<4,4>", 1, ("fixed<30,30>", [1], "fixed<2,2>", [2**25 + 1], "fixed<30,30>")
    ),
    "constants of 37 bits together": chain(
        "fixed<6,4>", 1,
        ("fixed<40,32>", [1], "fixed<2,2>", [2**28 + 1], "fixed<32,32>"),
        ("fixed<44,32>", [1], "fixed<2,2>", [1], "fixed<2,-6>"),
    ),
    "a constant of 45 bits": chain(
        "fixed<6,4>", 1, ("fixed<48,40>", [1], "fixed<2,2>", [-(2**44) - 7], "fixed<46,40>")
    ),
    "a weight of 40 bits": chain(
        "fixed<4,4>", 2,
        ("fixed<50,48>", [[2**39 - 12345], [-7]], "fixed<42,42>", [1], "fixed<2,2>", "fixed<50,48>"),
    ),
    "a scale of 40 bits": chain(
        "fixed<4,4>", 1, ("fixed<46,44,RND,SAT>", [2**39 - 12345], "fixed<42,40>", [1], "fixed<2,2>")
    ),
}  # fmt: skip


def merged(first: str, second: str, *tail: Node) -> FixedGraph:
    """Return x, two equal affine layers a and b of it, which become one only in the optimiser, and more nodes."""
    one, types = codes([5]), (spec("fixed<5,2>"), spec("fixed<4,0>"))
    nodes = (
        Input("x", (), (2,), spec("fixed<6,3>")),
        Affine("a", ("x",), (2,), spec(first), one, types[0], codes([3]), types[1]),
        Affine("b", ("x",), (2,), spec(second), one, types[0], codes([3]), types[1]),
        *tail,
    )
    return FixedGraph("net", nodes, (nodes[-1].name,), "test 1")


WIDE, NARROW = "fixed<12,6>", "fixed<5,3,RND,SAT>"

GRAPHS = {
    "a bit is inverted that turns out constant": merged(
        NARROW, NARROW,
        Rearrange("both", ("a", "b"), (2, 2), spec(NARROW), codes([[0, 2], [1, 3]])),
        ArgMax("y", ("both",), (2, 2), spec("ufixed<2,1>")),
    ),
    "the key of a selection turns out constant": merged(
        NARROW, NARROW,
        Merge("zero", ("a", "b"), (2,), spec(WIDE), Operation.SUBTRACT),
        Affine("three", ("zero",), (2,), spec(WIDE), codes([1]), spec("fixed<2,2>"), codes([3]), spec("fixed<3,3>")),
        LeakyRelu("y", ("three",), (2,), spec(WIDE), codes([1]), spec("ufixed<1,0>")),
    ),
    "a maximum of values of which one is always larger": FixedGraph(
        "net",
        (
            Input("x", (), (1,), spec("ufixed<4,4>")),
            Merge("twice", ("x", "x"), (1,), spec("ufixed<5,5>"), Operation.ADD),
            Merge("y", ("twice", "x"), (1,), spec("ufixed<5,5>"), Operation.MAXIMUM),
            Merge("z", ("twice", "x"), (1,), spec("ufixed<5,5>"), Operation.MINIMUM),
        ),
        ("y", "z"),
        "test 1",
    ),
    "a constant that turns out to wrap": merged(
        NARROW, NARROW,
        Merge("zero", ("a", "b"), (2,), spec(WIDE), Operation.SUBTRACT),
        Affine("minus", ("zero",), (2,), spec("ufixed<3,3>"), codes([1]), spec("fixed<2,2>"),
               codes([-3]), spec("fixed<3,3>")),
    ),
    "a selection by the sign of negated bits": FixedGraph(
        "net",
        (
            Input("x", (), (1,), spec("ufixed<2,2>")),
            Affine("more", ("x",), (1,), spec("ufixed<3,3>"), codes([1]), spec("fixed<2,2>"),
                   codes([1]), spec("fixed<2,2>")),
            Activation("top", ("more",), (1,), spec("ufixed<2,3>"), Function.LINEAR),
            Affine("minus", ("top",), (1,), spec("fixed<6,6>"), codes([-1]), spec("fixed<1,1>"),
                   codes([0]), spec("fixed<1,1>")),
            LeakyRelu("y", ("minus",), (1,), spec(WIDE), codes([1]), spec("ufixed<1,0>")),
        ),
        ("y",),
        "test 1",
    ),
    "hundreds of operations in a row": chain(
        "fixed<4,4>", 1, *[("fixed<4,4,RND,SAT>", [5], "ufixed<3,1>", [index % 3 - 1], "fixed<3,1>")
                           for index in range(260)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("graph", [*CHAINS.values(), *GRAPHS.values()], ids=[*CHAINS, *GRAPHS])
def test_graphs_that_alkaid_alone_gets_wrong(graph):
    check_alir(graph)
    rows = random_rows(np.random.default_rng(2), graph.input_ports, 20)
    np.testing.assert_array_equal(Emulator(graph).run(rows), run_outputs(graph, rows))
