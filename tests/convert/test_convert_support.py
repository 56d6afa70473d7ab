"""What has no exact firmware is refused by name, before anything is converted."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_packages

from l1dl.convert.support import check_supported
from l1dl.errors import InputError, UnsupportedError


@pytest.fixture(scope="module")
def libraries():
    need_packages("keras", "qkeras", "jax")
    from l1dl.models.backend import import_keras, import_qkeras

    return import_keras(), import_qkeras()


@pytest.fixture
def build(libraries):
    """Return a function that builds a model of an input quantiser, the given layers and a final dense layer."""
    keras, qkeras = libraries

    def build(*layers, quantise=True, name="net", input_name="features", final=None):
        x = inputs = keras.Input((3,), name=input_name)
        if quantise:
            x = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="port")(x)
        for layer in layers:
            x = layer(x)
        bits = qkeras.quantized_bits(4, 0, alpha=1)
        final = final or qkeras.QDense(2, kernel_quantizer=bits, bias_quantizer=bits, name="logits")
        return keras.Model(inputs, final(x), name=name)

    return build


@pytest.fixture
def dense(libraries):
    _, qkeras = libraries

    def dense(kernel=None, bias=None, **options):
        bits = qkeras.quantized_bits(4, 0, alpha=1)
        name = options.pop("name", "hidden")
        return qkeras.QDense(4, kernel_quantizer=kernel or bits, bias_quantizer=bias or bits, name=name, **options)

    return dense


def test_a_plain_model_is_supported(build, dense, libraries):
    keras, qkeras = libraries
    check_supported(build())
    relu = qkeras.QActivation(qkeras.quantized_relu(6, 1), name="relu")
    check_supported(build(dense(), relu))
    frozen = keras.layers.BatchNormalization(trainable=False, name="scaling")
    check_supported(build(frozen, qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="scaled")))
    check_supported(build(dense(use_bias=False)))
    check_supported(build(dense(activation="linear")))


def test_unsupported_layers(build, libraries):
    keras, _ = libraries
    text = (
        r"layer 'plain' \(Dense\) is not supported; supported are InputLayer, QDense, QActivation, BatchNormalization"
    )
    with pytest.raises(UnsupportedError, match=text):
        check_supported(build(keras.layers.Dense(3, name="plain")))
    with pytest.raises(UnsupportedError, match=r"layer 'drop' \(Dropout\) is not supported"):
        check_supported(build(keras.layers.Dropout(0.1, name="drop")))
    with pytest.raises(UnsupportedError, match=r"layer 'soft' \(Softmax\) is not supported"):
        check_supported(build(final=keras.layers.Softmax(name="soft")))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"alpha": "auto"}, r"quantized_bits with alpha='auto' has no exact firmware; use alpha=1"),
        ({"alpha": "auto_po2"}, r"quantized_bits with alpha='auto_po2' has no exact firmware"),
        ({"alpha": None}, r"quantized_bits with alpha=(None|'auto_po2') has no exact firmware; use alpha=1"),
        ({"alpha": 2.0}, r"quantized_bits with alpha=2.0 has no exact firmware"),
        (
            {"alpha": 1, "symmetric": 1},
            r"quantized_bits with symmetric=(1|True) has no exact firmware; use symmetric=0",
        ),
        ({"alpha": 1, "keep_negative": False}, r"quantized_bits with keep_negative=(0|False) has no exact firmware"),
        (
            {"alpha": 1, "use_stochastic_rounding": True},
            r"quantized_bits with use_stochastic_rounding=True has no exact firmware",
        ),
        ({"alpha": 1, "qnoise_factor": 0.5}, r"quantized_bits with qnoise_factor=.* has no exact firmware"),
    ],
)
def test_options_of_weight_quantisers(build, dense, libraries, options, text):
    _, qkeras = libraries
    quantiser = qkeras.quantized_bits(4, 0, **options)
    with pytest.raises(UnsupportedError, match=r"layer 'hidden' \(QDense\): " + text):
        check_supported(build(dense(quantiser)))
    with pytest.raises(UnsupportedError, match=r"layer 'hidden' \(QDense\): " + text):
        check_supported(build(dense(bias=quantiser)))
    with pytest.raises(UnsupportedError, match=r"layer 'act' \(QActivation\): " + text):
        check_supported(build(qkeras.QActivation(quantiser, name="act")))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"negative_slope": 0.25},
            r"quantized_relu with negative_slope=0.25 has no exact firmware; use negative_slope=0",
        ),
        ({"use_sigmoid": 1}, r"quantized_relu with use_sigmoid=1 has no exact firmware"),
        ({"use_stochastic_rounding": True}, r"quantized_relu with use_stochastic_rounding=True"),
        ({"relu_upper_bound": 1.5}, r"quantized_relu with relu_upper_bound=1.5"),
        ({"is_quantized_clip": False}, r"quantized_relu with is_quantized_clip=False"),
    ],
)
def test_options_of_relu(build, libraries, options, text):
    _, qkeras = libraries
    activation = qkeras.QActivation(qkeras.quantized_relu(6, 1, **options), name="relu")
    with pytest.raises(UnsupportedError, match=r"layer 'relu' \(QActivation\): " + text):
        check_supported(build(activation))


def test_other_quantisers(build, dense, libraries):
    _, qkeras = libraries
    with pytest.raises(
        UnsupportedError, match=r"layer 'hidden' \(QDense\) has quantiser .* as kernel_quantizer; supported"
    ):
        check_supported(build(dense(qkeras.ternary(alpha=1))))
    with pytest.raises(UnsupportedError, match=r"has quantiser .* as kernel_quantizer; supported are quantized_bits"):
        check_supported(build(dense(qkeras.quantized_relu(4))))
    with pytest.raises(
        UnsupportedError, match=r"layer 'tanh' \(QActivation\) has quantiser .* as activation; supported"
    ):
        check_supported(build(qkeras.QActivation(qkeras.quantized_tanh(4), name="tanh")))
    bare = qkeras.QDense(2, bias_quantizer=qkeras.quantized_bits(4, 0, alpha=1), name="bare")
    with pytest.raises(UnsupportedError, match=r"layer 'bare' \(QDense\) has no quantiser as kernel_quantizer"):
        check_supported(build(bare))
    bare = qkeras.QDense(2, kernel_quantizer=qkeras.quantized_bits(4, 0, alpha=1), name="bare")
    with pytest.raises(UnsupportedError, match=r"layer 'bare' \(QDense\) has no quantiser as bias_quantizer"):
        check_supported(build(bare))


def test_missing_input_quantiser(build):
    text = r"model 'net' has no input quantiser, so its firmware would truncate the inputs; begin it with QActivation"
    with pytest.raises(UnsupportedError, match=text):
        check_supported(build(quantise=False))


def test_input_quantisers_are_signed(build, libraries):
    _, qkeras = libraries
    relu = qkeras.QActivation(qkeras.quantized_relu(8, 2), name="port")
    with pytest.raises(UnsupportedError, match=r"layer 'port' \(QActivation\) has quantiser .*relu.* at the input"):
        check_supported(build(relu, quantise=False))


def test_shared_layers(build, libraries):
    _, qkeras = libraries
    bits = qkeras.quantized_bits(8, 2, alpha=1)
    twice = qkeras.QDense(3, kernel_quantizer=bits, bias_quantizer=bits, name="twice")
    with pytest.raises(
        UnsupportedError, match=r"layer 'twice' \(QDense\) is used 2 times; shared layers are not supported"
    ):
        check_supported(build(twice, twice))


@pytest.mark.parametrize(
    "name", ["input", "output", "reg", "wire", "module", "signed", "int", "float", "double", "auto"]
)
def test_reserved_names(build, dense, name):
    with pytest.raises(
        UnsupportedError, match=f"the name '{name}' is a keyword of the generated code; rename the layer"
    ):
        check_supported(build(dense(name=name)))


def test_names(build, dense):
    with pytest.raises(UnsupportedError, match="the name 'class' is a keyword of the generated code"):
        check_supported(build(input_name="class"))
    with pytest.raises(InputError, match=r"name 'a-b' is not allowed; use a letter followed by"):
        check_supported(build(dense(name="a-b")))


def test_activations_of_dense_layers(build, dense, libraries):
    _, qkeras = libraries
    for activation in (qkeras.quantized_relu(6, 1), "relu"):
        text = r"layer 'hidden' \(QDense\) has an activation of its own; use a QActivation layer behind it"
        with pytest.raises(UnsupportedError, match=text):
            check_supported(build(dense(activation=activation)))


def test_trainable_batch_normalisation(build, libraries):
    keras, _ = libraries
    with pytest.raises(
        UnsupportedError, match=r"layer 'norm' \(BatchNormalization\) is trainable; only a frozen scaling"
    ):
        check_supported(build(keras.layers.BatchNormalization(name="norm")))


def test_two_inputs_or_outputs(libraries):
    keras, qkeras = libraries
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    act = qkeras.QActivation(qkeras.quantized_bits(4, 0, alpha=1), name="act")
    with pytest.raises(UnsupportedError, match=r"model 'two' has 2 inputs and 1 outputs; one of each is supported"):
        check_supported(keras.Model([a, b], act(a), name="two"))
    x = act(a)
    other = qkeras.QActivation(qkeras.quantized_bits(5, 0, alpha=1), name="other")(x)
    with pytest.raises(UnsupportedError, match=r"has 1 inputs and 2 outputs"):
        check_supported(keras.Model(a, [x, other], name="two"))


def test_only_vectors(libraries):
    keras, qkeras = libraries
    x = keras.Input((2, 3), name="x")
    act = qkeras.QActivation(qkeras.quantized_bits(4, 0, alpha=1), name="act")
    with pytest.raises(UnsupportedError, match=r"layer 'x' \(InputLayer\) has an output of shape .*; only vectors"):
        check_supported(keras.Model(x, act(x)))


def test_branches(libraries, dense):
    keras, qkeras = libraries
    inputs = keras.Input((3,), name="features")
    x = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="port")(inputs)
    both = keras.layers.Add(name="add")([dense(name="a")(x), dense(name="b")(x)])
    with pytest.raises(UnsupportedError, match=r"layer 'add' \(Add\) is not supported"):
        check_supported(keras.Model(inputs, both))


def test_quantised_values_are_those_of_the_type(libraries):
    """The types that the conversion promises are what the quantisers compute, for every code and between."""
    _, qkeras = libraries
    from l1dl.convert.quantisers import quantiser_spec
    from l1dl.fixed import decode, encode

    for bits in (1, 2, 5, 8):
        for integer in (-1, 0, 1, 3):
            quantisers = [qkeras.quantized_bits(bits, integer, alpha=1)] if bits > 1 else []
            if integer >= 0:
                quantisers.append(qkeras.quantized_relu(bits, integer))
            for quantiser in quantisers:
                spec = quantiser_spec(quantiser)
                x = (np.arange(-4 * 2**bits, 4 * 2**bits + 1) * spec.step / 4).astype(np.float32)
                np.testing.assert_array_equal(
                    np.asarray(quantiser(x)), decode(encode(x, spec), spec), err_msg=str(spec)
                )
