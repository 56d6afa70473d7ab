"""Types that a user gives for a plain model: taken as they are, where they belong, and refused where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, decode, encode, parse_spec
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.fit import FitSettings
from l1dl.models.given_types import read_types
from l1dl.models.prepare import prepare_model


@pytest.fixture(autouse=True)
def _keras() -> None:
    need_packages("keras", "qkeras", "jax")


def net() -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(4)
    layers = keras.layers
    x = inputs = keras.Input((5,), name="x")
    x = layers.Dense(8, activation="tanh", bias_initializer="he_normal", name="one")(x)
    x = layers.Dense(6, use_bias=False, name="two")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dense(3, bias_initializer="he_normal", name="three")(x)
    return keras.Model(inputs, layers.Softmax(name="probabilities")(x), name="net")


TYPES = {
    "x": "fixed<9,4,RND,SAT>",
    "one.sum": "fixed<8,4,TRN,SAT>",
    "one": "fixed<7,1,RND_CONV,SAT>",
    "relu": "ufixed<7,3,TRN,WRAP>",
    "three.weight": "fixed<5,1,TRN_ZERO,SAT_SYM>",
    "three.bias": "fixed<6,1,RND_INF,WRAP>",
    "three.result": "fixed<12,5,RND_ZERO,SAT_ZERO>",
}


def events(count: int = 300) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1.5, (count, 5)).astype(np.float32)


def layers_of(model: Any) -> dict[str, Any]:
    return {layer.name: layer for layer in model.layers}


def test_given_types_are_taken_without_calibration_data() -> None:
    model = net()
    prepared = prepare_model(model, None, FitSettings(types=TYPES))
    layers = layers_of(prepared.model)
    places = {
        "quantised_x": "x", "one_quantised": "one.sum", "one_tanh_quantised": "one", "relu_quantised": "relu",
        "three_quantised": "three.result",
    }  # fmt: skip
    assert {name: str(layers[name].activation.spec) for name in places} == {
        name: str(parse_spec(TYPES[key])) for name, key in places.items()
    }
    assert "bn" not in layers  # folded
    assert {name for name in layers if name.endswith("_quantised")} == {*places} - {"quantised_x"}
    for weight, part, before in zip(
        layers["three"].get_weights(), ("weight", "bias"), model.get_layer("three").get_weights(), strict=True
    ):
        spec = parse_spec(TYPES[f"three.{part}"])
        np.testing.assert_array_equal(weight, decode(encode(before, spec), spec))
    assert layers["two"].kernel_quantizer_internal.bits == 8  # fitted to the weights
    given = next(note for note in prepared.notes if note.startswith("Types were given"))
    assert "x fixed<9,4,RND,SAT>, one.sum fixed<8,4,TRN,SAT>" in given
    assert any("fitted to the weights, for 2 weight layers (8 bits)" in note for note in prepared.notes)


def test_what_is_not_given_is_fitted_to_calibration_data() -> None:
    prepared = prepare_model(net(), [events()], FitSettings(activation_bits=10, types={"relu": FixedSpec(False, 9, 4)}))
    layers = layers_of(prepared.model)
    assert layers["relu_quantised"].activation.spec == FixedSpec(False, 9, 4)
    assert layers["one_tanh_quantised"].activation.bits == 10
    assert any("fitted to 300 calibration events" in note for note in prepared.notes)


def test_a_type_before_a_normalisation_keeps_it_apart() -> None:
    prepared = prepare_model(net(), [events()], FitSettings(types={"two": "fixed<10,4,RND,SAT>", "bn": "fixed<9,4>"}))
    names = list(layers_of(prepared.model))
    assert names[names.index("two") :][:4] == ["two", "two_quantised", "bn", "bn_quantised"]


def test_a_shared_layer_has_its_type_at_each_use() -> None:
    keras = import_keras()
    shared = keras.layers.Dense(3, activation="relu", name="shared")
    inputs = [keras.Input((4,), name=name) for name in "ab"]
    model = keras.Model(inputs, keras.layers.Add(name="plus")([shared(each) for each in inputs]), name="net")
    types = dict.fromkeys(("a", "b", "shared"), "fixed<8,3,RND,SAT>")
    prepared = prepare_model(model, None, FitSettings(types=types))
    found = [layer.activation.spec for layer in prepared.model.layers if type(layer).__name__ == "QActivation"]
    assert found == [parse_spec("fixed<8,3,RND,SAT>")] * 4


def test_names_of_the_model_as_it_was_brought_count() -> None:
    keras = import_keras()
    inputs = keras.Input((4,), name="input")
    model = keras.Model(inputs, keras.layers.Dense(2, name="1st-layer")(inputs), name="net")
    types = {"input": "fixed<6,2>", "1st-layer.weight": "fixed<4,1>", "1st-layer": "fixed<8,3>"}
    layers = layers_of(prepare_model(model, None, FitSettings(types=types)).model)
    assert str(layers["n1st_layer"].kernel_quantizer_internal.spec) == "fixed<4,1>"
    assert {"quantised_input_layer", "n1st_layer_quantised"} <= set(layers)


def test_constants_outside_their_type_are_counted() -> None:
    prepared = prepare_model(net(), [events()], FitSettings(types={"one.weight": "fixed<5,-1,RND,SAT>"}))
    kernel = net().get_layer("one").get_weights()[0]
    count = int(np.count_nonzero((kernel >= 0.25) | (kernel < -0.25 - 2**-6)))
    assert any(
        note.startswith(f"{count} values of 'one.weight' are outside fixed<5,-1,RND,SAT>") for note in prepared.notes
    )


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"tow": "fixed<8,3>"}, "'tow', which the firmware does not have; did you mean 'two'?; its inputs and layers"),
        ({"probabilities": "fixed<8,3>"}, "'probabilities', which the firmware does not have"),
        ({"one.wieght": "fixed<8,3>"}, "'wieght' is no part of a layer; did you mean 'weight'?; allowed are result,"),
        ({"one": "fixed<8>"}, "'one': 'fixed<8>' is no fixed-point type"),
        ({"one.weight": "fixed<30,3>"}, "'one.weight': the type fixed<30,3> has 30 bits; Keras computes in float32"),
        ({"relu.weight": "fixed<8,3>"}, "layer 'relu' (ReLU) has no weight that takes a type"),
        ({"relu.sum": "fixed<8,3>"}, "layer 'relu' (ReLU) has no activation of its own"),
        ({"x.bias": "fixed<8,3>"}, "'x' is an input, which has no bias"),
        ({"one": "fixed<8,3>", "one.result": "fixed<8,2>"}, "two types are given for the result of 'one'"),
        ({"x": "fixed<8,3>"}, "no type is given for the values of 'one.sum', 'one', 'relu', and there"),
        ({**TYPES, "x": "fixed<24,4>"}, "layer 'one': with inputs of fixed<24,4> and weights of fixed<8,"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused(types: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as error:
        prepare_model(net(), None, FitSettings(types=types))
    assert words in str(error.value), str(error.value)


def test_a_type_without_a_bias_is_refused() -> None:
    keras = import_keras()
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="bare")(inputs), name="net")
    with pytest.raises(InputError, match=r"'bare.bias', but layer 'bare' \(Dense\) has no bias"):
        prepare_model(model, None, FitSettings(types={"x": "fixed<6,2>", "bare.bias": "fixed<6,2>"}))


def test_what_is_quantised_already_takes_no_type() -> None:
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(6, 1, alpha=1)
    inputs = keras.Input((3,), name="x")
    x = qkeras.QActivation(bits, name="entry")(inputs)
    x = qkeras.QDense(2, kernel_quantizer=bits, bias_quantizer=bits, name="last")(x)
    model = keras.Model(inputs, x, name="net")
    for key, words in (("last", r"layer 'last' \(QDense\) has quantisers of its own"), ("x", "is quantised in the")):
        with pytest.raises(InputError, match=words):
            prepare_model(model, None, FitSettings(types={key: "fixed<8,3>"}))


def test_sums_and_products_beyond_a_float_are_refused() -> None:
    keras = import_keras()
    inputs = [keras.Input((4,), name=name) for name in "ab"]
    types = {"a": "fixed<16,2,RND,SAT>", "b": "fixed<16,14,RND,SAT>"}
    for kind in (keras.layers.Add, keras.layers.Multiply):
        model = keras.Model(inputs, kind(name="both")(inputs), name="net")
        with pytest.raises(InputError, match=r"layer 'both': with inputs of fixed<16,2.* more than the 24 that Keras"):
            prepare_model(model, None, FitSettings(types={**types, "both": "fixed<16,8>"}))


def test_slopes_and_scales_beyond_a_float_are_refused() -> None:
    keras = import_keras()
    inputs = keras.Input((4,), name="x")
    types = {"x": "fixed<20,4,RND,SAT>"}
    for layer in (keras.layers.LeakyReLU(negative_slope=0.3, name="own"), keras.layers.BatchNormalization(name="own")):
        model = keras.Model(inputs, layer(inputs), name="net")
        if layer.weights:
            layer.set_weights([np.full(4, value) for value in (1.7, 0.3, 0.1, 0.9)])
        with pytest.raises(InputError, match=r"layer 'own': with inputs of fixed<20,4.* more than the 24 that Keras"):
            prepare_model(model, None, FitSettings(types={**types, "own": "fixed<16,4>"}))
        prepare_model(model, None, FitSettings(types={"x": "fixed<12,4,RND,SAT>", "own": "fixed<16,4>"}))


def test_an_embedding_takes_a_type_of_its_entries() -> None:
    keras = import_keras()
    keras.utils.set_random_seed(1)
    inputs = keras.Input((2,), dtype="int32", name="ids")
    model = keras.Model(inputs, keras.layers.Embedding(8, 3, name="entries")(inputs), name="net")
    before = model.get_weights()[0]
    spec = parse_spec("fixed<5,-3,TRN,SAT>")
    layers = layers_of(prepare_model(model, None, FitSettings(types={"entries.weight": spec})).model)
    np.testing.assert_array_equal(layers["entries"].get_weights()[0], decode(encode(before, spec), spec))
    with pytest.raises(InputError, match="input 'ids' holds the numbers of an embedding's entries"):
        prepare_model(model, None, FitSettings(types={"ids": spec}))


def test_types_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "types.toml"
    path.write_text('x = "fixed<8,3>"\n[dense]\nresult = "fixed<9,4>"\nweight = "fixed<6,1>"\n')
    assert read_types(path) == {"x": "fixed<8,3>", "dense": "fixed<9,4>", "dense.weight": "fixed<6,1>"}
    path.write_text("x = 8")
    with pytest.raises(InputError, match="x = 8 is no type"):
        read_types(path)
    path.write_text("x = ")
    with pytest.raises(InputError, match="cannot be read"):
        read_types(path)
    with pytest.raises(InputError, match="file of types not found"):
        read_types(tmp_path / "none.toml")
