from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import is_outside, run_graph
from support import dense_graph, graph_of, random_codes, random_graph, random_rows

from l1dl.emulate import engine, profile
from l1dl.emulate.engine import Emulator
from l1dl.emulate.profile import QUANTILES, Histogram, profile_layers
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode
from l1dl.graph import FixedGraph
from l1dl.nodes import Input, Merge, Operation, Table
from l1dl.ports import decode_rows, split

CONSTANTS = {
    "dense": ("weight", "bias"),
    "affine": ("scale", "offset"),
    "leaky_relu": ("slope",),
    "table": ("table",),
}


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT])
@pytest.mark.parametrize("rounding", Rounding)
def test_profiles_count_what_the_input_port_cuts_off(rounding, overflow):
    source = FixedSpec(True, 4, 2, rounding, overflow)
    net = dense_graph([[1, -1]], source=source, accumulator=FixedSpec(True, 8, 4))
    x = np.arange(-32, 33)[:, None] / 8.0 * np.float32(1.05)
    x = np.concatenate([x, np.arange(-40, 41)[:, None] / 16.0]).astype(np.float32)
    layer = profile_layers(Emulator(net), x)[0]
    expected = sum(is_outside(Fraction(float(value)), source) for value in x[:, 0])
    assert 0 < expected < len(x)
    counts = (expected, 0) if overflow is Overflow.WRAP else (0, expected)
    assert (layer.wraps, layer.saturations) == counts


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([1, 3000]))
def test_profiles_agree_with_brute_force(seed, block):
    graph = random_graph(seed, layers=5)
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, graph.input_ports, 15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BLOCK_VALUES", block)
        patch.setattr(profile, "DENSE_CODES", int(rng.choice([1, 16, 1 << 20])))
        x = split(decode_rows(rows, graph.input_ports), graph.input_ports)
        profiles = {layer.name: layer for layer in profile_layers(Emulator(graph), x)}
    slow, counts = run_graph(graph, Emulator(graph).encode(x))  # SAT_SYM moves the lowest code
    for node in graph.nodes:
        layer = profiles[node.name]
        values = decode(slow[node.name], node.result)
        assert layer.quantiles == tuple(np.quantile(values, QUANTILES))
        assert layer.values == values.size
        assert layer.wraps + layer.saturations == counts[node.name]
        assert (layer.low, layer.high) == (
            node.result.minimum_code * node.result.step,
            node.result.maximum_code * node.result.step,
        )
    constants = {name for name, layer in profiles.items() if layer.kind == "constant"}
    assert constants == {f"{node.name}.{field}" for node in graph.nodes for field in CONSTANTS.get(node.kind, ())}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_constants_of_every_kind_are_profiled(kind):
    graph = graph_of(kind, 3)
    node = next(node for node in graph.nodes if node.kind == kind)
    rows = random_rows(np.random.default_rng(0), graph.input_ports, 4)
    profiles = {layer.name: layer for layer in profile_layers(Emulator(graph), decode_rows(rows, graph.input_ports))}
    for field in CONSTANTS[kind]:
        layer, codes = profiles[f"{node.name}.{field}"], getattr(node, field)
        spec = getattr(node, f"{field}_spec")
        assert (layer.kind, layer.spec, layer.values) == ("constant", str(spec), codes.size)
        assert (layer.quantiles[0], layer.quantiles[-1]) == (codes.min() * spec.step, codes.max() * spec.step)


def test_inputs_are_counted_one_by_one():
    narrow, wide = FixedSpec(True, 3, 3, overflow=Overflow.SAT), FixedSpec(True, 4, 4)
    total = Merge("n", ("a", "b"), (1,), FixedSpec(True, 6, 6), Operation.ADD)
    graph = FixedGraph("net", (Input("a", (), (1,), narrow), Input("b", (), (1,), wide), total), ("n",), "test 1")
    x = {"a": np.array([[3.0], [4.0], [-5.0]]), "b": np.array([[7.0], [8.0], [-8.0]])}
    counts = {layer.name: (layer.wraps, layer.saturations) for layer in profile_layers(Emulator(graph), x)}
    assert counts == {"a": (0, 2), "b": (1, 0), "n": (0, 0)}


def test_saturations_of_an_index_are_no_wraps():
    index = FixedSpec(False, 2, 2, overflow=Overflow.SAT)
    spec = FixedSpec(True, 4, 4)
    table = Table("n", ("x",), (1,), spec, index, np.arange(4), spec)
    graph = FixedGraph("net", (Input("x", (), (1,), spec), table), ("n",), "test 1")
    layer = profile_layers(Emulator(graph), np.arange(-8.0, 8.0)[:, None])[1]
    assert (layer.wraps, layer.saturations) == (0, 12)


def test_no_events_are_refused():
    net = dense_graph([[1]], source=FixedSpec(True, 4, 4), accumulator=FixedSpec(True, 8, 8))
    with pytest.raises(InputError, match="there are no events to profile; give at least one"):
        profile_layers(Emulator(net), np.zeros((0, 1)))


@pytest.mark.parametrize("width", [1, 8, 30, 62])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_histograms_have_the_quantiles_of_all_values(width, size):
    spec = FixedSpec(True, width, 4)
    codes = random_codes(np.random.default_rng(size), spec, (3, size))
    histogram = Histogram()
    for part in (codes[0], codes[:0], codes[1:]):
        histogram.add(part)
    assert histogram.size == codes.size
    expected = np.quantile(decode(codes, spec), QUANTILES)
    assert [histogram.quantile(probability, spec) for probability in QUANTILES] == expected.tolist()
