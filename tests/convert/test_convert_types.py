"""Types that a user gives for plain layers of Keras, in every mode: Keras, C++, emulator and RTL agree in every bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.convert.convert import convert_model
from l1dl.convert.quantisers import Form, check_quantiser, quantiser_form, quantiser_spec
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_layers, keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.fit_settings import FitSettings
from l1dl.models.fixed_point import fixed_point
from l1dl.models.prepare import prepare_model
from l1dl.ports import decode_rows
from l1dl.rtl.lower import lower

EVENTS = 300


@pytest.fixture(autouse=True)
def _packages() -> None:
    need_packages("keras", "qkeras", "jax", "hls4ml", "alkaid")


def vectors() -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((6,), name="x")
    x = layers.Dense(7, activation="relu", name="first")(x)
    y = layers.Dense(7, name="second")(x)
    x = layers.Add(name="plus")([x, y])
    x = layers.Dense(4, activation="tanh", name="third")(x)
    x = layers.LeakyReLU(negative_slope=0.25, name="leaky")(layers.Dense(4, name="fourth")(x))
    return keras.Model(inputs, layers.Dense(3, name="out")(x), name="vectors")


def series() -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((7, 2), name="x")
    x = layers.Conv1D(3, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(max_value=6.0, name="relu")(x)
    x = layers.MaxPooling1D(2, name="pool")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x), name="series")


def image() -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((5, 5, 2), name="x")
    x = layers.Conv2D(3, 2, activation="relu", name="conv")(x)
    x = layers.SeparableConv2D(2, 2, name="separable")(x)
    x = layers.AveragePooling2D(3, name="mean")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x), name="image")


MODELS: dict[str, Callable[[], Any]] = {"vectors": vectors, "series": series, "image": image}
PARTS: dict[str, str] = {
    "vectors": "x first second plus third.sum third* fourth leaky out",
    "series": "x norm relu pool out",
    "image": "x conv separable mean* out",
}
"""Results that get a type; those with a star are computed in floats, so that theirs must round to nearest."""

WEIGHTED = {
    "vectors": "first second third fourth out",
    "series": "conv out",
    "image": "conv separable out",
}


def random_types(name: str, seed: int) -> dict[str, FixedSpec]:
    """Return a type in random modes for every result, weight and bias."""
    rng = np.random.default_rng(seed)

    def spec(low: int, high: int, integer: tuple[int, int], roundings: list[Rounding]) -> FixedSpec:
        width = int(rng.integers(low, high))
        rounding, overflow = rng.choice(np.array(roundings)), rng.choice(np.array(list(Overflow)))
        return FixedSpec(bool(rng.integers(4)), width, int(rng.integers(*integer)), rounding, overflow)

    nearest = [rounding for rounding in Rounding if not rounding.value.startswith("TRN")]
    types = {
        part.rstrip("*"): spec(6, 11, (2, 5), nearest if part.endswith("*") else list(Rounding))
        for part in PARTS[name].split()
    }
    for layer in WEIGHTED[name].split():
        types[f"{layer}.weight"] = replace(spec(4, 7, (0, 2), list(Rounding)), signed=True)
        types[f"{layer}.bias"] = spec(3, 9, (0, 3), list(Rounding))
    return types


def lively(model: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.name else rng.normal(0, 0.7, weight.shape)
            for weight in model.weights
        ]
    )
    return model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_given_types_agree_in_every_meaning(name: str, seed: int, tmp_path: Path) -> None:
    need_tools("cxx")
    types = random_types(name, seed)
    model = lively(MODELS[name](), seed)
    prepared = prepare_model(model, None, FitSettings(types=types))
    conversion = convert_model(prepared.model, tmp_path / "hls")
    graph, emulator = conversion.graph, Emulator(conversion.graph)
    for part, spec in types.items():
        layer, _, what = part.partition(".")
        if what in ("", "sum") and not part.startswith(("third", "mean")):
            own = {"x": "x", "first": "first_relu_quantised", "conv": "conv_relu_quantised"}
            assert graph[own.get(layer, f"{layer}_quantised")].result == spec, part
    rng = np.random.default_rng(seed + 100)
    # Beyond the range of the port too, and on no grid.
    x = rng.normal(0, 2.0 ** (types["x"].integer - 1), (EVENTS, *model.inputs[0].shape[1:])).astype(np.float32)
    codes = emulator.encode(x)
    emulated = emulator.run(codes)
    assert len(np.unique(emulated, axis=0)) > 1
    np.testing.assert_array_equal(keras_outputs(prepared.model, [x], graph), emulated)
    trace = emulator.trace(codes)
    layers = keras_layers(prepared.model, [x], graph)
    assert len(layers) > 5
    for layer, found in layers.items():
        np.testing.assert_array_equal(found, trace[layer], err_msg=layer)
    values = decode_rows(codes, graph.input_ports)
    compiled = Csim(conversion.project, tmp_path / "csim", optimise=0).run(values)
    np.testing.assert_array_equal(exact_rows(compiled, graph.output_ports), emulated)
    np.testing.assert_array_equal(lower(graph).predict(values, n_threads=1), emulator.decode(emulated))


MODES = [
    FixedSpec(signed, width, integer, rounding, overflow)
    for rounding in Rounding
    for overflow in Overflow
    for signed, width, integer in ((True, 5, 2), (False, 5, 2), (True, 4, 4), (False, 3, 4), (True, 3, -1))
]
"""Every mode; types of whole numbers and of even ones too."""


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_mode_agrees_in_keras_csim_and_emulator(compiled: bool, tmp_path: Path) -> None:
    if compiled:
        need_tools("cxx")
    from side_by_side import Bench, check_all, every_value

    bench = Bench((16,), "ap_fixed<9,4>")
    quantiser = bench.qkeras.QActivation(fixed_point("fixed<9,4,TRN_ZERO,SAT_SYM>"), name="quantised")
    bench.config["quantised"] = {}
    bench.source = quantiser(bench.input)
    for index, spec in enumerate(MODES):
        bench.add(bench.qkeras.QActivation(fixed_point(spec), name=f"q{index}"))
    check_all(bench.run(tmp_path, every_value(9, 5, (16,)), exact=True, compiled=compiled), keras=True)


def test_a_type_that_wraps_to_another_sign_is_not_cut(tmp_path: Path) -> None:
    """hls4ml would cut what stands before a plain linear layer to the bits of both, and extend it with another sign."""
    keras, qkeras = import_keras(), import_qkeras()
    x = inputs = keras.Input((2,), name="x")
    x = qkeras.QActivation(fixed_point("fixed<6,1,RND,SAT>"), name="entry")(x)
    small = fixed_point("fixed<4,0>")
    outputs = [
        qkeras.QActivation(fixed_point(text), name=f"{name}_wrapped")(
            qkeras.QDense(1, kernel_quantizer=small, use_bias=False, name=name)(values)
        )
        for name, values, text in (
            ("down", x, "ufixed<8,4>"),
            ("up", qkeras.QActivation(fixed_point("ufixed<6,3>"), name="plus")(x), "fixed<5,2>"),
        )
    ]
    model = keras.Model(inputs, outputs, name="signs")
    for layer in ("down", "up"):
        model.get_layer(layer).set_weights([np.array([[0.4], [0.3]], np.float32)])
    conversion = convert_model(model, tmp_path / "hls")
    emulator = Emulator(conversion.graph)
    values = np.random.default_rng(1).uniform(-1, 1, (200, 2)).astype(np.float32)
    emulated = emulator.run(emulator.encode([values]))
    assert (np.ptp(emulated, axis=0) > 10).all()
    np.testing.assert_array_equal(keras_outputs(model, [values], conversion.graph), emulated)


def test_the_form_of_a_type_is_its_spec() -> None:
    for text in ("fixed<8,3>", "ufixed<6,2,RND,SAT>", "fixed<4,4,RND_CONV,SAT_SYM>"):
        quantiser = fixed_point(text)
        check_quantiser("layer 'a'", "activation", quantiser, "input")
        assert quantiser_form(quantiser) is Form.LINEAR
        assert quantiser_spec(quantiser) == quantiser.spec


def test_floats_of_a_function_are_not_truncated(tmp_path: Path) -> None:
    keras, qkeras = import_keras(), import_qkeras()
    inputs = keras.Input((2,), name="x")
    x = qkeras.QActivation(fixed_point("fixed<6,3,RND,SAT>"), name="entry")(inputs)
    x = keras.layers.Activation("tanh", name="curve")(x)
    model = keras.Model(inputs, qkeras.QActivation(fixed_point("fixed<6,1>"), name="cut")(x), name="net")
    with pytest.raises(UnsupportedError, match=r"function tanh.*or with a type that rounds to nearest"):
        convert_model(model, tmp_path / "hls")
