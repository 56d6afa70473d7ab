"""Types from calibration data: close to the float model, on their grids, exact in float32; and what is stripped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support import need_packages

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.fit import FitSettings, missing_types
from l1dl.models.flat import assemble, flatten_model
from l1dl.models.fold import fold_normalisations
from l1dl.models.prepare import Prepared, prepare_model
from l1dl.models.strip import kept_function


@pytest.fixture(autouse=True)
def _keras() -> None:
    need_packages("keras", "qkeras", "jax")


def lively(model: Any, seed: int = 5) -> Any:
    """Give every weight a random value, those of batch normalisations too, and return the model."""
    rng = np.random.default_rng(seed)

    def values(weight: Any) -> np.ndarray:
        positive = "variance" in weight.name or "gamma" in weight.name
        return rng.uniform(0.5, 2, weight.shape) if positive else rng.normal(0, 0.5, weight.shape)

    model.set_weights([values(weight) for weight in model.weights])
    return model


def mlp(*, softmax: bool = True) -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((5,), name="x")
    x = layers.BatchNormalization(name="scaling")(x)
    x = layers.Dense(8, activation="relu", name="one")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    x = layers.Dense(6, use_bias=False, name="two")(x)
    x = layers.BatchNormalization(name="folded")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dense(3, activation="softmax" if softmax else None, name="logits")(x)
    return lively(keras.Model(inputs, x, name="mlp"))


def image() -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", groups=2, activation="relu", name="conv")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.SeparableConv2D(3, 2, padding="same", activation="elu", name="separable")(x)
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.LeakyReLU(negative_slope=0.3, name="leaky")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return lively(keras.Model(inputs, layers.Dense(2, name="out")(x), name="image_net"))


def series() -> Any:
    keras = import_keras()
    layers = keras.layers
    x = inputs = keras.Input((8, 3), name="series")
    x = layers.Conv1D(4, 3, activation="tanh", name="conv")(x)
    y = layers.SeparableConv1D(4, 3, padding="same", name="separable")(x)
    x = layers.Multiply(name="times")([layers.Add(name="plus")([x, y]), x])
    x = layers.DepthwiseConv1D(2, name="depthwise")(x)
    x = layers.Activation("sigmoid", name="sigmoid")(x)
    x = layers.Flatten(name="flat")(x)
    return lively(keras.Model(inputs, layers.Dense(2, name="out")(x), name="series_net"))


def branches() -> Any:
    keras = import_keras()
    layers = keras.layers
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    shared = layers.Dense(4, activation="relu", name="shared")
    left, right = shared(a), shared(b)
    joined = layers.Concatenate(name="join")([left, layers.PReLU(name="prelu")(right)])
    bounded = layers.ReLU(max_value=2.0, name="bounded")(layers.Dense(3, name="third")(joined))
    return lively(keras.Model([a, b], [layers.Dense(2, name="first")(bounded), bounded], name="branches"))


def events(model: Any, count: int = 400, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0.3, 1, (count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def answers(model: Any, x: Sequence[np.ndarray]) -> list[np.ndarray]:
    found = model.predict(list(x) if len(x) > 1 else x[0], verbose=0)
    return [np.asarray(part, np.float64) for part in (found if isinstance(found, list) else [found])]


def relative_rms(prepared: Prepared, x: Sequence[np.ndarray]) -> float:
    """Return the largest RMS difference between fitted and float model, over the spread of the values."""
    assert prepared.reference is not None
    pairs = zip(answers(prepared.model, x), answers(prepared.reference, x), strict=True)
    return max(float(np.sqrt(np.mean((ours - real) ** 2)) / np.std(real)) for ours, real in pairs)


MODELS = {"mlp": mlp, "image": image, "series": series, "branches": branches}


@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_is_close_and_comes_closer_with_more_bits(name: str) -> None:
    model = MODELS[name]()
    x, unseen = events(model), events(model, seed=2)
    losses = [
        relative_rms(prepare_model(model, x, FitSettings(weight_bits=bits, activation_bits=bits + 3)), unseen)
        for bits in (4, 8)
    ]
    assert 1e-4 < losses[1] < 0.06
    assert losses[1] < losses[0] / 3


@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_has_types_everywhere(name: str) -> None:
    model = MODELS[name]()
    prepared = prepare_model(model, events(model))
    assert missing_types(flatten_model(prepared.model)) is None
    kinds = {type(layer).__name__ for layer in prepared.model.layers}
    assert not kinds & {"Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "SeparableConv1D"}
    qkeras = import_qkeras()
    for layer in prepared.model.layers:
        for role in ("kernel", "depthwise", "bias"):
            quantiser = getattr(layer, f"{role}_quantizer_internal", None)
            if isinstance(quantiser, qkeras.quantized_bits):
                weight = np.asarray(getattr(layer, "depthwise_kernel" if role == "depthwise" else role))
                assert np.array_equal(np.asarray(quantiser(weight)), weight), layer.name


@pytest.mark.parametrize("name", ["mlp", "branches"])
def test_the_sums_of_a_fitted_model_are_exact_in_float32(name: str) -> None:
    """In float64 and with the order of all sums changed, every code is the same."""
    keras = import_keras()
    if keras.backend.backend() != "jax":
        pytest.skip("needs JAX, to compute in float64")
    import jax

    model = MODELS[name]()
    prepared = prepare_model(model, events(model))
    corners = [10 * part for part in events(model, seed=3)]
    narrow = answers(prepared.model, corners)
    try:
        jax.config.update("jax_enable_x64", True)
        keras.config.set_floatx("float64")
        wide = assemble(flatten_model(prepared.model))
        found = wide.predict(
            [part.astype(np.float64) for part in corners] if len(corners) > 1 else corners[0], verbose=0
        )
    finally:
        keras.config.set_floatx("float32")
        jax.config.update("jax_enable_x64", False)
    found = found if isinstance(found, list) else [found]
    for ours, theirs in zip(narrow, found, strict=True):
        assert np.ptp(ours) > 1
        assert np.array_equal(ours, np.asarray(theirs))


def test_normalisations_are_folded_where_they_can_be() -> None:
    flat, folded = fold_normalisations(flatten_model(image()))
    assert folded == ["bn"]
    x = events(image())
    for ours, theirs in zip(answers(assemble(flat), x), answers(image(), x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    prepared = prepare_model(mlp(), events(mlp()))
    kinds = {layer.name: type(layer).__name__ for layer in prepared.model.layers}
    assert kinds["scaling"] == "BatchNormalization"
    assert "folded" not in kinds
    frozen = prepared.model.get_layer("scaling")
    assert not frozen.trainable
    assert any("folded into the layers before them: folded" in note for note in prepared.notes)
    assert any("'scaling' became a fixed scale" in note for note in prepared.notes)


@pytest.mark.parametrize("keep", [False, True])
def test_a_final_softmax_is_cut_by_default(keep: bool) -> None:
    model = mlp()
    x = events(model)
    prepared = prepare_model(model, x, keep_softmax=keep)
    sums = answers(prepared.model, x)[0].sum(axis=1)
    assert bool(np.allclose(sums, 1, atol=1e-3)) is keep
    assert any("final softmax (of the last layer, 'logits') was cut off" in note for note in prepared.notes) is not keep
    right = answers(model, x)[0].argmax(axis=1)
    assert np.mean(answers(prepared.model, x)[0].argmax(axis=1) == right) > 0.97


def ending(form: str, function: str = "softmax") -> tuple[Any, Any]:
    """Return a quantised model that ends with a function, as a layer or inside one, and its last layer with weights."""
    keras, qkeras = import_keras(), import_qkeras()
    layers, bits = keras.layers, qkeras.quantized_bits(6, 1, alpha=1)
    inputs = keras.Input((3,), name="x")
    x = qkeras.QActivation(qkeras.quantized_bits(8, 3, alpha=1), name="entry")(inputs)
    own = function if form in ("QDense", "shared") else None
    last = qkeras.QDense(3, kernel_quantizer=bits, bias_quantizer=bits, activation=own, name="last")
    outputs: Any = last(x)
    if form == "Softmax":
        outputs = layers.Softmax(name="chances")(outputs)
    elif form == "Activation":
        outputs = layers.Activation(function, name="chances")(outputs)
    elif form == "shared":
        outputs = [outputs, layers.Concatenate(name="twice")([outputs, outputs])]
    return lively(keras.Model(inputs, outputs, name="net")), last


FORMS = ["Softmax", "Activation", "QDense", "shared"]


@pytest.mark.parametrize("form", FORMS)
def test_a_softmax_is_cut_in_every_form(form: str) -> None:
    model, last = ending(form)
    prepared = prepare_model(model, None)
    assert prepared.reference is None
    bits = last.kernel_quantizer_internal
    kernel, bias = (np.asarray(bits(weight)) for weight in last.get_weights())
    x = events(model)[0]
    expected = np.asarray(model.get_layer("entry")(x)) @ kernel + bias
    found = answers(prepared.model, [x])
    assert np.array_equal(found[0], expected)
    if form == "shared":
        assert np.allclose(found[1].sum(axis=1), 2, atol=1e-5)
    assert len(prepared.notes) == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_softmax_is_kept_as_a_layer_in_every_form(form: str) -> None:
    model, _ = ending(form)
    prepared = prepare_model(model, None, keep_softmax=True)
    assert (prepared.model is model) == (form == "Softmax")
    assert type(prepared.model.outputs[0]._keras_history.operation).__name__ == "Softmax"
    x = events(model)
    for found, expected in zip(answers(prepared.model, x), answers(model, x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ["was kept: firmware computes it with tables" in note for note in prepared.notes] == [True]
    if form != "shared":
        assert kept_function(prepared.model) == "softmax"


@pytest.mark.parametrize("form", ["Activation", "QDense"])
def test_a_sigmoid_is_kept_with_a_quantiser_behind_it(form: str) -> None:
    model, _ = ending(form, "sigmoid")
    prepared = prepare_model(model, None, keep_softmax=True)
    x = events(model)
    (found,), (expected,) = answers(prepared.model, x), answers(model, x)
    assert np.array_equal(found * 2**11, np.rint(found * 2**11))
    np.testing.assert_allclose(found, expected, atol=2**-12)
    assert kept_function(prepared.model) == "sigmoid"
    assert any("a quantiser rounds its values to steps of 2^-11" in note for note in prepared.notes)


def test_a_quantised_model_is_returned_as_it_is() -> None:
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(6, 1, alpha=1)
    inputs = keras.Input((3,), name="x")
    x = qkeras.QActivation(qkeras.quantized_bits(8, 3, alpha=1), name="entry")(inputs)
    model = keras.Model(
        inputs, qkeras.QDense(2, kernel_quantizer=bits, bias_quantizer=bits, name="last")(x), name="net"
    )
    prepared = prepare_model(model, None)
    assert prepared.model is model
    assert prepared.notes == ()


def test_a_mixed_model_keeps_its_quantisers() -> None:
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    x = inputs = keras.Input((4,), name="x")
    x = qkeras.QDense(6, kernel_quantizer=bits, bias_quantizer=bits, name="mine")(x)
    x = qkeras.QActivation(qkeras.quantized_relu(5, 1), name="relu")(x)
    x = keras.layers.Dense(2, name="plain")(x)
    model = lively(keras.Model(inputs, x, name="mixed"))
    prepared = prepare_model(model, events(model))
    layers = {layer.name: layer for layer in prepared.model.layers}
    assert layers["mine"].kernel_quantizer_internal.bits == 4
    assert (layers["relu"].activation.bits, layers["relu"].activation.integer) == (5, 1)
    assert layers["plain"].kernel_quantizer_internal.bits == 8
    assert [layer.name for layer in prepared.model.layers] == ["x", "quantised_x", "mine", "relu", "plain"]
    assert relative_rms(prepared, events(model, seed=2)) < 0.05


def test_the_budget_reaches_the_layers() -> None:
    model = mlp()
    settings = FitSettings(weight_bits=5, input_bits=9, activation_bits=7, layers={"two": 3, "relu": 6, "x": 10})
    layers = {layer.name: layer for layer in prepare_model(model, events(model), settings).model.layers}
    assert layers["one"].kernel_quantizer_internal.bits == 5
    assert layers["two"].kernel_quantizer_internal.bits == 3
    assert layers["relu"].activation.bits == 6
    assert layers["quantised_x"].activation.bits == 10
    assert layers["one_relu"].activation.bits == 7


def test_the_margin_gives_room() -> None:
    model = mlp()
    integers = []
    for margin in (0, 2):
        layers = {
            layer.name: layer
            for layer in prepare_model(model, events(model), FitSettings(margin_bits=margin)).model.layers
        }
        integers.append(layers["quantised_x"].activation.integer)
        peak = np.abs(events(model)[0]).max()
        assert 2.0 ** integers[-1] >= peak
    assert integers[1] == integers[0] + 2


def test_wide_sums_get_fewer_bits_and_say_so() -> None:
    keras = import_keras()
    x = inputs = keras.Input((300,), name="x")
    x = keras.layers.Dense(200, activation="relu", name="wide")(x)
    model = lively(keras.Model(inputs, keras.layers.Dense(2, name="out")(x), name="net"))
    prepared = prepare_model(model, events(model, 100), FitSettings(weight_bits=10))
    layers = {layer.name: layer for layer in prepared.model.layers}
    assert layers["wide_relu"].activation.bits < 12
    assert any("'wide_relu' have" in note for note in prepared.notes)
    with pytest.raises(InputError, match="use fewer weight bits"):
        prepare_model(model, events(model, 100), FitSettings(weight_bits=16))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight_bits": 1}, "weight_bits = 1 is not allowed; give 2 to 24 bits"),
        ({"input_bits": 30}, "input_bits = 30"),
        ({"margin_bits": -1}, "margin_bits = -1"),
        ({"layers": {"one": 99}}, "layer 'one' = 99"),
    ],
)
def test_a_bad_budget_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FitSettings(**settings)


def test_what_cannot_be_fitted_is_refused_by_name() -> None:
    keras = import_keras()
    layers = keras.layers
    with pytest.raises(InputError, match=r"bits are given for layer 'tow'.*did you mean 'two'"):
        prepare_model(mlp(), events(mlp()), FitSettings(layers={"tow": 4}))
    with pytest.raises(InputError, match=r"input 'x' has no quantiser.*--calibration"):
        prepare_model(mlp(), None)
    inputs = keras.Input((4, 2), name="x")
    recurrent = keras.Model(inputs, layers.LSTM(3, name="memory")(inputs), name="net")
    with pytest.raises(UnsupportedError, match=r"layer 'memory' \(LSTM\) cannot be given types.*QLSTM"):
        prepare_model(recurrent, events(recurrent))
    inputs = keras.Input((4, 4, 1), name="x")
    smooth = keras.Model(inputs, layers.UpSampling2D(interpolation="bilinear", name="up")(inputs), name="net")
    with pytest.raises(UnsupportedError, match=r"layer 'up'.*nearest"):
        prepare_model(smooth, events(smooth))
    inputs = keras.Input((4,), name="x")
    stepped = keras.Model(inputs, layers.ReLU(threshold=1.0, name="step")(inputs), name="net")
    with pytest.raises(UnsupportedError, match=r"layer 'step'.*threshold"):
        prepare_model(stepped, events(stepped))
    first = keras.Model(inputs, layers.Dense(2, name="huge")(inputs), name="net")
    first.set_weights([np.full((4, 2), 3e38, np.float32), np.zeros(2, np.float32)])
    with pytest.raises(InputError, match="'huge' gives NaN or infinity"):
        prepare_model(first, events(first))


def test_names_that_firmware_cannot_have_are_changed() -> None:
    keras = import_keras()
    inputs = keras.Input((4,), name="input")
    model = keras.Model(inputs, keras.layers.Dense(2, name="1st-layer")(inputs), name="net")
    prepared = prepare_model(model, events(model))
    assert [layer.name for layer in prepared.model.layers] == ["input_layer", "quantised_input_layer", "n1st_layer"]


def test_the_same_data_give_the_same_model() -> None:
    digests = []
    for _ in range(2):
        model = branches()
        prepared = prepare_model(model, events(model))
        digests.append([np.asarray(weight).tobytes() for weight in prepared.model.get_weights()])
    assert digests[0] == digests[1]
