"""The rewritten model computes what the original computes, layer by layer of the same name."""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import FAMILIES, random_inputs
from support import need_packages

from l1dl.convert.convert import convert_model, input_ports
from l1dl.convert.prepare import prepare
from l1dl.convert.reference import predict_rows
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.fixed import FixedSpec
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.ports import as_rows, decode_rows, encode_rows, split

PLAIN = {
    "Activation", "Add", "Average", "AveragePooling1D", "AveragePooling2D", "BatchNormalization", "Concatenate",
    "Conv1D", "Conv2D", "Cropping1D", "Cropping2D", "Dense", "DepthwiseConv2D", "Dot", "Embedding",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "InputLayer",
    "MaxPooling1D", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "Permute", "QActivation", "Reshape",
    "Subtract", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _packages():
    need_packages("keras", "qkeras", "jax")


def on_grid(model, events=50, seed=1):
    """Return inputs that the ports represent, as arrays."""
    ports = input_ports(model)
    rows = encode_rows(as_rows(random_inputs(ports, events, seed), ports), ports)
    return list(split(decode_rows(rows, ports), ports)), ports


def same(model, events=50):
    """Check that the rewritten model gives the same outputs; return it."""
    prepared = prepare(model)
    x, ports = on_grid(model, events)
    expected = predict_rows(model, x, ports)
    np.testing.assert_array_equal(predict_rows(prepared.model, x, ports), expected)
    assert len(np.unique(expected, axis=0)) > 1
    return prepared


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_the_same(family, seed):
    prepared = same(FAMILIES[family](seed))
    kinds = {type(layer).__name__ for layer in prepared.model.layers}
    assert kinds <= PLAIN
    names = [layer.name.lower() for layer in prepared.model.layers]
    assert len(set(names)) == len(names)


def port(bits=6, integer=1, name="port"):
    qkeras = import_qkeras()
    return qkeras.QActivation(qkeras.quantized_bits(bits, integer, alpha=1), name=name)


@pytest.mark.parametrize(
    ("shape", "other"),
    [((3, 4), (4,)), ((3, 4), (1, 4)), ((3, 4), (3, 1)), ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (2, 3, 1)),
     ((2, 1, 4), (1, 3, 4)), ((2, 3, 4), (1, 3, 1)), ((2, 3, 4), (1, 1, 1)), ((2, 1), (1, 3))],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["Add", "Multiply"])
def test_merges_broadcast_as_in_keras(kind, shape, other):
    keras = import_keras()
    a, b = keras.Input(shape, name="left"), keras.Input(other, name="right")
    merged = getattr(keras.layers, kind)(name="merged")([port(name="first")(a), port(name="second")(b)])
    prepared = same(keras.Model([a, b], merged))
    merge = prepared.model.get_layer("merged")
    # What is left for hls4ml to broadcast repeats as a whole.
    full = merge.output.shape[1:]
    for tensor in merge.input:
        size = int(np.prod(tensor.shape[1:]))
        index = (np.arange(np.prod(full)) % size).reshape(full)
        spread = np.broadcast_to(np.arange(size).reshape(tensor.shape[1:]), full)
        np.testing.assert_array_equal(index, spread)


def test_names_that_hls4ml_misreads_are_changed():
    keras = import_keras()
    source = keras.Input((2, 3), name="features")
    x = keras.layers.Permute((2, 1), name="perm")(port()(source))
    x = keras.layers.Flatten(name="t")(x)
    prepared = same(keras.Model(source, keras.layers.Reshape((3, 2), name="T")(x)))
    names = [layer.name for layer in prepared.model.layers]
    assert names[2:] == ["perm_1", "t_1_copy", "t_1", "T", "T_copy"]


def test_shared_and_nested_layers_become_copies():
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    shared = qkeras.QDense(3, kernel_quantizer=bits, bias_quantizer=bits, name="shared")
    source = keras.Input((3,), name="features")
    x = keras.layers.Dropout(0.5, name="drop")(port()(source))
    inner = keras.Sequential([keras.Input((3,)), keras.layers.GaussianNoise(0.1), shared], name="inner")
    prepared = same(keras.Model(source, inner(shared(x))))
    assert [layer.name for layer in prepared.model.layers] == ["features", "port", "shared", "shared_1"]
    kernels = [prepared.model.get_layer(name).get_weights()[0] for name in ("shared", "shared_1")]
    np.testing.assert_array_equal(*kernels)
    np.testing.assert_array_equal(kernels[0], np.asarray(bits(shared.kernel)))


def test_inputs_are_quantised_before_they_are_moved():
    keras = import_keras()
    source = keras.Input((2, 3), name="features")
    x = keras.layers.ZeroPadding1D(1, name="padded")(keras.layers.Permute((2, 1), name="turned")(source))
    model = keras.Model(source, port(4, 0)(x))
    prepared = prepare(model)
    assert [layer.name for layer in prepared.model.layers] == [
        "features", "features_quantised", "turned", "padded", "port",
    ]  # fmt: skip
    values = np.random.default_rng(1).normal(0, 1, (40, 2, 3)).astype(np.float32)  # off the grid
    np.testing.assert_array_equal(prepared.model.predict(values, verbose=0), model.predict(values, verbose=0))


def test_permuted_numbers_of_entries_are_copied_first(tmp_path):
    """hls4ml drops a ``Permute`` directly behind an input whose first size is 1."""
    need_packages("hls4ml")
    keras = import_keras()
    source = keras.Input((1, 2, 3), dtype="int32", name="ids")
    turned = keras.layers.Permute((1, 3, 2), name="turned")(source)
    model = keras.Model(source, port(6, 0, "entries_act")(keras.layers.Embedding(8, 2, name="entries")(turned)))
    graph = convert_model(model, tmp_path / "hls").graph
    ids = np.random.default_rng(1).integers(0, 8, (60, 1, 2, 3))
    emulator = Emulator(graph)
    codes = emulator.run(emulator.encode([ids]))
    np.testing.assert_array_equal(keras_outputs(model, [ids], graph), codes)
    assert len(np.unique(codes, axis=0)) > 50


def test_embeddings_have_an_entry_for_every_code():
    keras = import_keras()
    source = keras.Input((2, 3), dtype="int32", name="ids")
    entries = keras.layers.Embedding(11, 2, name="entries")(source)
    model = keras.Model(source, port(6, 0, "entries_act")(entries))
    prepared = prepare(model)
    assert prepared.ports == {"ids": FixedSpec(False, 4, 4)}
    table = next(layer for layer in prepared.model.layers if type(layer).__name__ == "Embedding").get_weights()[0]
    assert table.shape == (16, 2)
    assert not table[11:].any()
    ids = np.arange(66).reshape(11, 2, 3) % 11
    np.testing.assert_array_equal(prepared.model.predict(ids, verbose=0), model.predict(ids, verbose=0))


def test_quantised_averages_are_equal_weights():
    keras, qkeras = import_keras(), import_qkeras()
    factor = qkeras.quantized_bits(8, 0, alpha=1)
    source = keras.Input((5, 5, 2), name="image")
    x = port()(source)
    pool = qkeras.QAveragePooling2D(2, strides=1, average_quantizer=factor, name="pool")(x)
    whole = qkeras.QGlobalAveragePooling2D(
        average_quantizer=factor, activation=qkeras.quantized_bits(6, 1, alpha=1), name="whole"
    )(pool)
    prepared = same(keras.Model(source, [pool, whole]))
    assert {"pool", "whole", "whole_linear"} <= {layer.name for layer in prepared.model.layers}


def test_more_axes_than_hls4ml_has():
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    source = keras.Input((2, 2, 2, 3), name="box")
    x = port()(source)
    y = qkeras.QDense(3, kernel_quantizer=bits, bias_quantizer=bits, activation="relu", name="dense")(x)
    prepared = same(keras.Model(source, keras.layers.Concatenate(axis=2, name="joined")([x, y, x])))
    assert prepared.model.get_layer("joined").output.shape == (None, 2, 6, 2, 3)
