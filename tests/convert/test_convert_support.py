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


def test_models_without_anything_special_are_supported(build, dense, libraries):
    keras, qkeras = libraries
    check_supported(build())
    relu = qkeras.QActivation(qkeras.quantized_relu(6, 1), name="relu")
    check_supported(build(dense(), relu))
    frozen = keras.layers.BatchNormalization(trainable=False, epsilon=0.0, name="scaling")
    check_supported(build(frozen, qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="scaled")))
    check_supported(build(dense(use_bias=False)))
    check_supported(build(dense(activation="linear")))
    check_supported(build(dense(activation=qkeras.quantized_relu(6, 1))))
    check_supported(build(keras.layers.Dropout(0.1, name="drop")))
    twice = dense(name="twice")
    check_supported(build(dense(name="first"), twice, twice))


def test_layers_without_quantised_weights(build, libraries):
    keras, _ = libraries
    text = (
        r"layer 'plain' \(Dense\) has unquantised weights; use QDense with quantisers, or let `l1dl deploy` fit types"
    )
    with pytest.raises(UnsupportedError, match=text):
        check_supported(build(keras.layers.Dense(3, name="plain")))


def test_unknown_layers(build, libraries):
    keras, _ = libraries
    text = r"layer 'layer' \(LayerNormalization\) is not supported; supported are Activation, Add, Average"
    with pytest.raises(UnsupportedError, match=text):
        check_supported(build(keras.layers.LayerNormalization(name="layer")))


def test_a_softmax_ends_a_model(build, libraries):
    keras, qkeras = libraries
    check_supported(build(final=keras.layers.Softmax(name="chances")))
    with pytest.raises(UnsupportedError, match=r"layer 'chances' \(Softmax\) feeds another layer; a softmax is"):
        check_supported(build(keras.layers.Softmax(name="chances")))
    with pytest.raises(UnsupportedError, match=r"layer 'chances' \(Softmax\) has the axes \[-1\]; a softmax is"):
        check_supported(build(final=keras.layers.Softmax(axis=[-1], name="chances")))
    quantiser = qkeras.QActivation(qkeras.quantized_bits(8, 0, alpha=1), name="bits")
    with pytest.raises(UnsupportedError, match=r"'chances' .*: the function softmax has no exact firmware by itself"):
        check_supported(build(keras.layers.Activation("softmax", name="chances"), quantiser))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dilation_rate": 2}, r"layer 'conv' \(QConv2D\) has dilation_rate=.*2.*, which has no exact firmware"),
        ({"groups": 2}, r"layer 'conv' \(QConv2D\) has groups=2, which has no exact firmware; use groups=1"),
        ({"data_format": "channels_first"}, r"layer 'conv' \(QConv2D\) has data_format='channels_first', which has no"),
    ],
)
def test_options_of_convolutions(libraries, options, text):
    keras, qkeras = libraries
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    inputs = keras.Input((6, 6, 6))
    x = qkeras.QActivation(bits, name="port")(inputs)
    conv = qkeras.QConv2D(2, 2, kernel_quantizer=bits, bias_quantizer=bits, name="conv", **options)
    with pytest.raises(UnsupportedError, match=text):
        check_supported(keras.Model(inputs, conv(x)))


def test_what_qkeras_cannot_compute(libraries):
    keras, qkeras = libraries
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    inputs = keras.Input((6, 2))
    x = qkeras.QActivation(bits, name="port")(inputs)
    conv = qkeras.QConv1D(2, 2, padding="causal", kernel_quantizer=bits, bias_quantizer=bits, name="conv")
    with pytest.raises(UnsupportedError, match=r"layer 'conv' \(QConv1D\) has padding='causal', which QKeras cannot"):
        check_supported(keras.Model(inputs, conv(x)))
    if keras.backend.backend() != "tensorflow":
        norm = qkeras.QBatchNormalization(name="norm")
        with pytest.raises(
            UnsupportedError, match="QKeras computes it on TensorFlow only; set KERAS_BACKEND=tensorflow"
        ):
            check_supported(keras.Model(inputs, norm(x)))


def test_weights_without_a_quantiser(build, dense, libraries):
    _, qkeras = libraries
    bare = qkeras.QDense(2, bias_quantizer=qkeras.quantized_bits(4, 0, alpha=1), name="bare")
    with pytest.raises(UnsupportedError, match=r"layer 'bare' \(QDense\) has no quantiser as kernel_quantizer"):
        check_supported(build(bare))
    bare = qkeras.QDense(2, kernel_quantizer=qkeras.quantized_bits(4, 0, alpha=1), name="bare")
    with pytest.raises(UnsupportedError, match=r"layer 'bare' \(QDense\) has no quantiser as bias_quantizer"):
        check_supported(build(bare))


def test_missing_input_quantiser(build, libraries):
    keras, qkeras = libraries
    text = r"model 'net' has no input quantiser, so its firmware would truncate the inputs; begin it with QActivation"
    with pytest.raises(UnsupportedError, match=text):
        check_supported(build(quantise=False))
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    port = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="port")
    with pytest.raises(UnsupportedError, match=text):  # each input needs one
        check_supported(keras.Model([a, b], keras.layers.Add(name="sum")([port(a), b]), name="net"))


def test_inputs_that_nothing_reads(libraries):
    keras, qkeras = libraries
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    y = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="port")(a)
    try:
        model = keras.Model([a, b], y, name="net")
    except ValueError as error:  # Keras 3.12 makes no such model
        assert "not connected" in str(error)  # noqa: PT017
        return
    with pytest.raises(UnsupportedError, match="input 'b' of model 'net' reaches no output; remove it"):
        check_supported(model)


def test_input_quantisers_are_types(build, libraries):
    _, qkeras = libraries
    relu = qkeras.QActivation(qkeras.quantized_relu(8, 2), name="port")
    with pytest.raises(UnsupportedError, match=r"layer 'port' \(QActivation\) has quantiser .*relu.* at the input"):
        check_supported(build(relu, quantise=False))


def test_an_input_has_one_type(libraries):
    keras, qkeras = libraries
    source = keras.Input((3,), name="features")
    parts = [qkeras.QActivation(qkeras.quantized_bits(bits, 0, alpha=1), name=f"to_{bits}")(source) for bits in (4, 6)]
    text = r"input 'features' meets different quantisers: 'to_4' \(fixed<4,1.*\), 'to_6' .*; quantise it once"
    with pytest.raises(UnsupportedError, match=text):
        check_supported(keras.Model(source, keras.layers.Concatenate(name="both")(parts)))


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
    with pytest.raises(UnsupportedError, match=r"layer 'a__b' .*: two underscores stand between a layer and its parts"):
        check_supported(build(dense(name="a__b")))


def test_trained_normalisations_need_a_quantiser(build, dense, libraries):
    keras, qkeras = libraries
    norm = keras.layers.BatchNormalization(name="norm")
    model = build(norm, dense())
    norm.set_weights([np.full(3, 1.1), np.zeros(3), np.zeros(3), np.full(3, 0.7)])
    with pytest.raises(
        UnsupportedError, match=r"layer 'norm' .* has a scale that needs 2\d bits, .* put a QActivation"
    ):
        check_supported(model)
    norm = keras.layers.BatchNormalization(name="norm")
    model = build(norm, qkeras.QActivation(qkeras.quantized_bits(6, 2, alpha=1), name="act"), dense())
    norm.set_weights([np.full(3, 1.1), np.zeros(3), np.zeros(3), np.full(3, 0.7)])
    check_supported(model)


def test_averages_that_keras_rounds(libraries):
    keras, qkeras = libraries
    bits = qkeras.quantized_bits(6, 0, alpha=1)
    inputs = keras.Input((3, 3, 2))
    x = qkeras.QActivation(bits, name="port")(inputs)
    y = keras.layers.AveragePooling2D(3, strides=1, padding="same", name="mean")(x)
    with pytest.raises(UnsupportedError, match=r"layer 'mean' .* averages over different numbers of values"):
        check_supported(keras.Model(inputs, y))
    y = keras.layers.Average(name="mean")([x, x, x])
    with pytest.raises(UnsupportedError, match=r"layer 'mean' \(Average\) averages 3 tensors; use 2, 4, 8"):
        check_supported(keras.Model(inputs, y))
    y = keras.layers.Dot(axes=3, name="dot")([x, x])
    with pytest.raises(UnsupportedError, match=r"layer 'dot' \(Dot\) multiplies tensors of shape .*; only vectors"):
        check_supported(keras.Model(inputs, y))


def test_operations_on_tensors(libraries):
    keras, qkeras = libraries
    inputs = keras.Input((3,))
    x = qkeras.QActivation(qkeras.quantized_bits(6, 0, alpha=1), name="port")(inputs)
    check_supported(keras.Model(inputs, x + x))
    with pytest.raises(UnsupportedError, match=r"operation Multiply \('multiply.*'\) on a tensor is not supported"):
        check_supported(keras.Model(inputs, x * 2))
    with pytest.raises(UnsupportedError, match=r"operation Sin"):
        check_supported(keras.Model(inputs, keras.ops.sin(x)))


def test_dropout_that_is_always_on(libraries):
    keras, qkeras = libraries
    inputs = keras.Input((3,))
    x = qkeras.QActivation(qkeras.quantized_bits(6, 0, alpha=1), name="port")(inputs)
    with pytest.raises(UnsupportedError, match=r"layer 'drop' \(Dropout\) is called with training=True"):
        check_supported(keras.Model(inputs, keras.layers.Dropout(0.5, name="drop")(x, training=True)))


def test_other_models_are_refused(libraries):
    keras, _ = libraries

    class Own(keras.Model):
        pass

    with pytest.raises(UnsupportedError, match="is of class Own; only sequential and functional models are supported"):
        check_supported(Own(name="own"))


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
