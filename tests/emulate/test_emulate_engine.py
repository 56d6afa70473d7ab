from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import is_outside, run_graph
from support import dense_graph, random_codes, random_graph, small_net

from l1dl.emulate.engine import BLOCK, Emulator, OverflowCounter
from l1dl.emulate.profile import QUANTILES, profile_layers
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode


@settings(max_examples=150)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_random_graphs_follow_the_definition(seed, layers):
    graph = random_graph(seed, layers=layers)
    emulator = Emulator(graph)
    codes = random_codes(np.random.default_rng(seed), emulator.input.result, (12, *emulator.input.shape))
    counters = {node.name: OverflowCounter() for node in graph.nodes}
    trace = emulator.trace(codes, counters)
    slow, counts = run_graph(graph, codes)
    for name, values in trace.items():
        assert values.dtype == np.int64
        np.testing.assert_array_equal(values, slow[name], err_msg=name)
    assert {name: counter.count for name, counter in counters.items()} == counts
    np.testing.assert_array_equal(emulator.run(codes), trace[graph.outputs[0]])


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


def test_long_runs_pass_in_blocks():
    emulator = Emulator(small_net())
    codes = random_codes(np.random.default_rng(0), emulator.input.result, (2 * BLOCK + 5, 3))
    whole = emulator.trace(codes)["logits"]
    np.testing.assert_array_equal(emulator.run(codes), whole)
    assert len(np.unique(whole, axis=0)) > 100
    assert emulator.run(codes[:0]).shape == (0, 2)


def test_wrong_shapes_and_codes_are_refused():
    emulator = Emulator(small_net())
    with pytest.raises(InputError, match=r"inputs of shape \(2, 4\) do not fit the model's input \(events, 3,\)"):
        emulator.encode(np.zeros((2, 4)))
    with pytest.raises(InputError, match=r"codes of shape \(3,\) do not fit"):
        emulator.run(np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match=r"input codes from 0 to 32 are outside fixed<6,3,RND_CONV,SAT>"):
        emulator.run(np.array([[0, 0, 32]]))
    with pytest.raises(InputError, match="1 values are NaN"):
        emulator.encode([[np.nan, 0, 0]])


def test_a_counter_converts_like_the_default_and_counts():
    counter = OverflowCounter()
    spec = FixedSpec(True, 4, 4, Rounding.RND, Overflow.SAT)
    assert counter(np.array([14, 15, 16, -16, -17, -18]), 1, spec).tolist() == [7, 7, 7, -8, -8, -8]
    assert counter.count == 3  # 7.5 rounds to 8; -8.5 rounds to -8


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT])
@pytest.mark.parametrize("rounding", Rounding)
def test_profiles_count_what_the_input_port_cuts_off(rounding, overflow):
    source = FixedSpec(True, 4, 2, rounding, overflow)
    net = dense_graph([[1, -1]], source=source, accumulator=FixedSpec(True, 8, 4))
    x = np.arange(-32, 33)[:, None] / 8.0 * np.float32(1.05)
    x = np.concatenate([x, np.arange(-40, 41)[:, None] / 16.0]).astype(np.float32)
    profile = profile_layers(Emulator(net), x)[0]
    expected = sum(is_outside(Fraction(float(value)), source) for value in x[:, 0])
    assert 0 < expected < len(x)
    counts = (expected, 0) if overflow is Overflow.WRAP else (0, expected)
    assert (profile.wraps, profile.saturations) == counts


@given(st.integers(0, 2**31))
@settings(max_examples=25)
def test_profiles_agree_with_brute_force(seed):
    graph = random_graph(seed, layers=2)
    emulator = Emulator(graph)
    codes = random_codes(np.random.default_rng(seed), emulator.input.result, (15, *emulator.input.shape))
    profiles = {profile.name: profile for profile in profile_layers(emulator, decode(codes, emulator.input.result))}
    slow, counts = run_graph(graph, emulator.encode(decode(codes, emulator.input.result)))
    for node in graph.nodes:
        profile = profiles[node.name]
        values = decode(slow[node.name], node.result)
        assert profile.quantiles == tuple(np.quantile(values, QUANTILES))
        assert profile.values == values.size
        assert profile.wraps + profile.saturations == counts[node.name]
        assert (profile.low, profile.high) == (
            node.result.minimum_code * node.result.step,
            node.result.maximum_code * node.result.step,
        )
    constants = {name for name, profile in profiles.items() if profile.kind == "constant"}
    assert constants == {
        f"{node.name}.{field}"
        for node in graph.nodes
        for field in {"dense": ("weight", "bias"), "affine": ("scale", "offset")}.get(node.kind, ())
    }
