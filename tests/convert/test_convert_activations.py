"""Element-wise functions: exact behind a quantiser, and in hls4ml's own form with given types."""

from __future__ import annotations

import numpy as np
import pytest
from reference import run_graph
from side_by_side import Bench, check_all, every_value
from support import need_packages, need_tools

from l1dl.convert import activations
from l1dl.convert.activations import check_activation, is_fused, is_native
from l1dl.convert.readers.tables import Lookup, entries, lookup_nodes, table_codes
from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.nodes import Input

need_packages("keras", "qkeras", "hls4ml")

COMPILED = [False, pytest.param(True, marks=pytest.mark.slow)]


def bench(*, bits: int = 9, integer: int = 3, features: int = 32) -> Bench:
    """Return a bench behind an input quantiser."""
    result = Bench((features,), f"ap_fixed<{bits},{integer + 1}>")
    quantiser = result.qkeras.quantized_bits(bits, integer, alpha=1)
    result.source = result.qkeras.QActivation(quantiser, name="quantised")(result.input)
    return result


def functions(keras) -> list:
    """Return layers of functions that have no exact firmware by themselves, each as a list of layers."""
    layers = keras.layers
    names = ("sigmoid", "tanh", "softplus", "softsign", "selu", "elu", "silu", "gelu", "hard_sigmoid", "exponential")
    return [
        *([layers.Activation(name, name=f"f_{name}")] for name in names),
        [layers.Activation("softplus", name="first"), layers.Activation("tanh", name="second")],
        [layers.ELU(0.7, name="elu07")],
        [layers.LeakyReLU(negative_slope=0.3, name="leaky03")],
        [layers.ReLU(max_value=2.5, name="relu25")],
        [layers.ReLU(threshold=0.7, name="relu_threshold")],
        [layers.ReLU(max_value=2.0, negative_slope=0.125, name="relu_all")],
    ]


def native(keras) -> list:
    """Return layers of functions that firmware computes exactly."""
    layers = keras.layers
    return [
        layers.Activation("relu", name="n_relu"), layers.Activation("relu6", name="n_relu6"), layers.ReLU(name="relu"),
        layers.ReLU(max_value=1, name="relu1"), layers.ReLU(negative_slope=0.25, name="relu_slope"),
        layers.LeakyReLU(negative_slope=0.375, name="leaky"), layers.PReLU(name="prelu"),
    ]  # fmt: skip


@pytest.mark.parametrize("compiled", COMPILED)
def test_functions_behind_quantisers_are_exact(tmp_path, compiled):
    if compiled:
        need_tools("cxx")
    work = bench()
    quantised, rng = work.qkeras.QActivation, np.random.default_rng(2)
    for index, layers in enumerate(functions(work.keras)):
        x = work.source
        for layer in layers:
            x = layer(x)
        work.add(quantised(work.qkeras.quantized_bits(8, 2, alpha=1), name=f"q{index}"), x)
        if index < 2:
            work.add(quantised(work.qkeras.quantized_relu(5, 1), name=f"also{index}"), x)
    for layer in native(work.keras):
        work.add(quantised(work.qkeras.quantized_bits(7, 2, alpha=1), name=f"q_{layer.name}"), layer(work.source))
        if layer.name == "prelu":
            layer.set_weights([rng.integers(-60, 60, work.shape) / 64])
    check_all(work.run(tmp_path, every_value(10, 6, work.shape), exact=True, compiled=compiled), keras=True)


@pytest.mark.parametrize("compiled", COMPILED)
def test_quantisers_behind_wide_sums_are_exact(tmp_path, compiled):
    if compiled:
        need_tools("cxx")
    work = bench(bits=7, integer=2, features=10)
    q, weights = work.qkeras, work.qkeras.quantized_bits(5, 0, alpha=1)
    dense = q.QDense(6, kernel_quantizer=weights, bias_quantizer=weights, name="dense")
    x = dense(work.source)
    rng = np.random.default_rng(5)
    dense.set_weights([rng.normal(0, 0.3, each.shape) for each in dense.get_weights()])
    quantisers = [
        q.quantized_tanh(7, use_real_tanh=True), q.quantized_sigmoid(6, use_real_sigmoid=True), q.binary(alpha=1),
        q.ternary(alpha=1), q.quantized_relu(6, 2, negative_slope=0.125), q.quantized_po2(3, max_value=2),
    ]  # fmt: skip
    for index, quantiser in enumerate(quantisers):
        work.add(q.QActivation(quantiser, name=f"q{index}"), x)
    for layer in (work.keras.layers.Activation("tanh"), work.keras.layers.ReLU(max_value=6)):
        work.add(q.QActivation(q.quantized_bits(6, 1, alpha=1), name=f"q_{layer.name}"), layer(x))
    inputs = rng.uniform(-4.5, 4.5, (400, 10))
    check_all(work.run(tmp_path, inputs, exact=True, compiled=compiled), keras=True)


def add_own_form(work: Bench, rng: np.random.Generator) -> None:
    """Add hls4ml's own functions with random types, tables of any size, and every rounding and overflow."""

    def kind(low: int, high: int, integer: int) -> str:
        rounding, overflow = rng.choice([each.value for each in Rounding]), rng.choice([e.value for e in Overflow])
        return f"ap_fixed<{rng.integers(low, high)},{integer},AP_{rounding},AP_{overflow}>"

    layers = work.keras.layers
    for name in ("sigmoid", "tanh", "softplus", "softsign", "selu", "elu"):
        for size in (1024, 64, int(rng.integers(3, 1100))):
            table = {"table_size": size, "table_t": kind(6, 19, 4)}
            work.add(layers.Activation(name, name=f"{name}_{size}"), Precision={"result": kind(6, 17, 4)}, **table)
    for name in ("linear", "relu", "relu6", "hard_sigmoid", "hard_tanh", "leaky_relu"):
        work.add(layers.Activation(name, name=f"own_{name}"), Precision={"result": kind(6, 13, 4)})
    for layer in (
        layers.LeakyReLU(negative_slope=0.3, name="leaky03"), layers.ELU(0.7, name="elu07"), layers.PReLU(name="prelu"),
        layers.ReLU(max_value=1, name="relu_one"), layers.ReLU(threshold=0.4, name="threshold"),
        layers.ReLU(threshold=1.1, name="threshold11"),
    ):  # fmt: skip
        work.add(layer, Precision={"result": kind(6, 13, 4), "param": "ap_fixed<9,2,AP_RND>"})
        if layer.name == "prelu":
            layer.set_weights([rng.integers(-120, 120, work.shape) / 128])


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "port"), [(0, "ap_fixed<12,5>"), (1, "ap_ufixed<11,4>"), (2, "ap_fixed<20,6>")])
def test_own_form_equals_csim(tmp_path, seed, port, monkeypatch):
    need_tools("cxx")
    work, rng = Bench((24,), port), np.random.default_rng(seed)
    add_own_form(work, rng)
    own = activations.HANDLERS["Activation"]

    def hls4ml_tangents(layer, inputs, outputs):
        """Describe hls4ml's tangents for binary networks, which no Keras layer asks for."""
        described = own(layer, inputs, outputs)
        name = layer.name.partition("x__")[2]
        return tuple(each | {"activation": name} for each in described) if name else described

    monkeypatch.setitem(activations.HANDLERS, "Activation", hls4ml_tangents)
    for name in () if "ufixed" in port else ("binary_tanh", "ternary_tanh"):
        layer = work.keras.layers.Activation("linear", name=f"x__{name}")
        work.add(layer, Precision={"result": "ap_fixed<4,2>"})
    inputs = np.concatenate([every_value(12, 7, (24,)), every_value(12, 11, (24,)), rng.uniform(-40, 40, (300, 24))])
    inputs = np.floor(inputs * 2**14) / 2**14
    results = work.run(tmp_path, inputs, exact=False)
    check_all(results, keras=False)


def test_entries_are_those_of_the_functions():
    x = 16.0 * (np.arange(64) - 32) / 64
    np.testing.assert_allclose(entries("sigmoid", 64), 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(entries("tanh", 64), np.tanh(x / 2), rtol=1e-6)
    np.testing.assert_allclose(entries("softplus", 64), np.log1p(np.exp(x)), rtol=1e-5)
    np.testing.assert_allclose(entries("softsign", 64), x / (1 + np.abs(x)), rtol=1e-6)
    np.testing.assert_allclose(entries("elu", 64), np.expm1(-8.0 * np.arange(64) / 64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [3, 64, 77, 100, 256])
def test_a_lookup_is_what_cpp_computes(size):
    spec, table_spec = FixedSpec(True, 9, 5), FixedSpec(True, 12, 2)
    codes = table_codes(entries("tanh", size), table_spec)
    nodes = lookup_nodes("y", "x", spec, (1,), Lookup(codes, table_spec, size, 3, size // 2), table_spec)
    graph = FixedGraph("net", (Input("x", (), (1,), spec), *nodes), ("y",), "test 1")
    x = np.arange(-256, 256)
    index = np.clip(np.trunc(x * size / 16.0 / 8.0).astype(int) + size // 2, 0, size - 1)
    np.testing.assert_array_equal(Emulator(graph).run(x[:, None])[:, 0], codes[index])
    traced, _ = run_graph(graph, x[::17, None])
    np.testing.assert_array_equal(traced["y"][:, 0], codes[index][::17])


def test_infinite_entries_saturate_or_vanish():
    saturating = FixedSpec(True, 6, 3, Rounding.RND, Overflow.SAT)
    assert list(table_codes(np.array([np.inf, -np.inf]), saturating)) == [31, -32]
    assert list(table_codes(np.array([np.inf, -np.inf]), FixedSpec(True, 6, 3))) == [0, 0]


def test_too_large_tables_and_indices_are_refused():
    table_spec, wide = FixedSpec(True, 12, 2), FixedSpec(True, 40, 36)
    lookup = Lookup(np.zeros(1024, dtype=np.int64), table_spec, 1024, 4, 512)
    with pytest.raises(UnsupportedError, match="overflows the int"):
        lookup_nodes("y", "x", wide, (1,), lookup, table_spec)
    lookup = Lookup(np.zeros(2**17, dtype=np.int64), table_spec, 2**17, 4, 2**16)
    with pytest.raises(UnsupportedError, match="a table of 131072 entries; use at most 32768"):
        lookup_nodes("y", "x", FixedSpec(True, 8, 4), (1,), lookup, table_spec)


def test_functions_without_a_quantiser_are_refused():
    keras = import_keras()
    x = keras.Input((3,))
    for layers in functions(keras):
        layer = layers[-1]
        keras.Model(x, layer(x))
        assert not is_native(layer)
        assert not is_fused(layer)
        with pytest.raises(UnsupportedError, match="has no exact firmware by itself; put a QActivation layer"):
            check_activation(f"layer {layer.name!r}", layer)


@pytest.mark.parametrize("quantiser", ["binary(alpha=1)", "quantized_po2(4)", "quantized_bits(1, 0, alpha=1)"])
def test_functions_are_not_fused_where_floats_would_round(quantiser):
    keras, qkeras = import_keras(), import_qkeras()
    x = keras.Input((3,))
    layer = keras.layers.Activation("tanh")
    keras.Model(x, qkeras.QActivation(quantiser)(layer(x)))
    with pytest.raises(UnsupportedError, match="has no exact firmware by itself"):
        check_activation("layer 'tanh'", layer)


def test_a_function_that_is_read_twice_needs_a_quantiser_each_time():
    keras, qkeras = import_keras(), import_qkeras()
    x = keras.Input((3,))
    layer = keras.layers.Activation("tanh")
    y = layer(x)
    quantised = qkeras.QActivation("quantized_bits(6, 0, alpha=1)")(y)
    assert is_fused(layer)
    keras.Model(x, [keras.layers.Add()([y, x]), quantised])
    assert not is_fused(layer)


def test_slopes_of_many_bits_are_not_native():
    keras = import_keras()
    assert is_native(keras.layers.LeakyReLU(negative_slope=0.25))
    assert not is_native(keras.layers.LeakyReLU(negative_slope=0.3))
    slopes = keras.layers.PReLU()
    slopes.build((None, 2))
    slopes.set_weights([np.array([0.5, 0.1])])
    assert not is_native(slopes)


@pytest.mark.parametrize(
    ("name", "text"), [("gelu", "hls4ml has no function gelu"), ("silu", "hls4ml has no function silu")]
)
def test_functions_that_hls4ml_lacks_are_refused(tmp_path, name, text):
    work = Bench((3,), "ap_fixed<9,4>")
    work.add(work.keras.layers.Activation(name, name="f"))
    with pytest.raises(UnsupportedError, match=f"hls4ml has no function {name}"):
        work.convert(tmp_path, exact=False)


def test_tables_of_too_wide_inputs_are_refused(tmp_path):
    work = bench(bits=22, integer=3, features=2)
    work.add(work.qkeras.QActivation(work.qkeras.quantized_tanh(8, use_real_tanh=True), name="q"))
    with pytest.raises(UnsupportedError, match=r"layer 'q': the truth table of .* reads 22 bits .*at most 20"):
        work.convert(tmp_path, exact=True)
    work = bench(bits=19, integer=1, features=2)
    work.add(work.qkeras.QActivation(work.qkeras.quantized_tanh(12, use_real_tanh=True), name="q"))
    with pytest.raises(UnsupportedError, match="needs a table with an index of 19 bits; at most 16 are supported"):
        work.convert(tmp_path, exact=True)
