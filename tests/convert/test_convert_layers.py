"""hls4ml's C++ and the graphs that are read from its models agree, also for types that a user gives."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.convert.convert import HlsProject, convert_model
from l1dl.convert.model_graph import read_model_graph
from l1dl.convert.qkeras_handlers import register
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.fixed import Overflow, Rounding
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.nodes import Window
from l1dl.ports import decode_rows, encode_rows, join

EVENTS = 150


@pytest.fixture(scope="module", autouse=True)
def _packages():
    need_packages("keras", "qkeras", "jax", "hls4ml")
    need_tools("cxx")


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        values = [
            rng.uniform(0.5, 2, variable.shape) if "variance" in variable.name else rng.normal(0, 0.7, variable.shape)
            for variable in layer.weights
        ]
        if values:
            layer.set_weights(values)
    return model


def planes():
    """Return plain layers on an image, side by side."""
    keras = import_keras()
    layers, x = keras.layers, keras.Input((5, 6, 3), name="img")
    outputs = [
        layers.Conv2D(2, (3, 2), strides=(2, 1), padding="same", name="conv")(x),
        layers.DepthwiseConv2D(2, strides=2, padding="same", name="depthwise")(x),
        layers.Conv2D(2, 1, name="point")(x),
        layers.Conv2D(2, 1, strides=2, name="point_steps")(x),
        layers.MaxPooling2D((3, 2), strides=2, padding="same", name="top")(x),
        layers.AveragePooling2D((3, 2), strides=2, padding="same", name="mean")(x),
        layers.AveragePooling2D((2, 3), name="mean_inside")(x),
        layers.GlobalAveragePooling2D(name="whole_mean")(x),
        layers.GlobalMaxPooling2D(name="whole_top")(x),
        layers.BatchNormalization(name="norm")(x),
        layers.Dense(2, name="dense")(x),
        layers.ZeroPadding2D(((1, 0), (2, 1)), name="padded")(x),
        layers.Cropping2D(((1, 0), (2, 1)), name="cropped")(x),
        layers.UpSampling2D((2, 3), name="larger")(x),
        layers.Permute((2, 3, 1), name="turned")(x),
        layers.Concatenate(axis=2, name="joined")([x, x]),
    ]
    return randomise(keras.Model(x, outputs, name="planes"))


def lines():
    """Return plain layers on one axis and on vectors, with several inputs."""
    keras = import_keras()
    layers = keras.layers
    x, y = keras.Input((6, 3), name="seq"), keras.Input((6, 3), name="seq2")
    v, w = keras.Input((3,), name="vec"), keras.Input((3,), name="vec2")
    ids = keras.Input((4,), name="ids")
    outputs = [
        layers.Conv1D(2, 3, strides=2, padding="same", name="conv")(x),
        layers.Conv1D(2, 3, padding="causal", name="causal")(x),
        layers.Conv1D(2, 1, name="point")(x),
        layers.MaxPooling1D(3, strides=2, padding="same", name="top")(x),
        layers.AveragePooling1D(3, strides=2, padding="same", name="mean")(x),
        layers.GlobalAveragePooling1D(name="whole_mean")(x),
        layers.GlobalMaxPooling1D(name="whole_top")(x),
        layers.Dense(2, name="matrix")(x),
        layers.Dense(2, name="dense")(v),
        layers.BatchNormalization(name="norm")(v),
        *(getattr(layers, kind)(name=f"{kind.lower()}_both")([x, y])
          for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")),
        layers.Add(name="add_row")([x, layers.Reshape((1, 3), name="row")(v)]),
        layers.Concatenate(axis=-1, name="wide")([x, y]),
        layers.Concatenate(axis=1, name="long")([x, y]),
        layers.Dot(axes=1, name="dot")([v, w]),
        layers.Embedding(16, 2, name="entries")(ids),
        layers.ZeroPadding1D((1, 2), name="padded")(x),
        layers.Cropping1D((1, 2), name="cropped")(x),
        layers.UpSampling1D(3, name="larger")(x),
        layers.Permute((2, 1), name="turned")(x),
    ]  # fmt: skip
    return randomise(keras.Model([x, y, v, w, ids], outputs, name="lines"))


def given_type(rng, *, accumulator):
    """Return a random type; accumulators wrap, since a saturating sum depends on its order."""
    width, integer, sign = rng.integers(4, 14), rng.integers(1, 7), "" if rng.integers(3) else "u"
    rounding, overflow = rng.choice(list(Rounding)).value, rng.choice(list(Overflow)).value
    if accumulator:
        rounding, overflow = rng.choice(["TRN", "RND", "RND_MIN_INF"]), "WRAP"
    return f"{sign}fixed<{width},{integer},{rounding},{overflow}>"


def convert_with(model, work, seed, strategy="Latency"):
    """Convert with random types, not bit-exactly; return project and graph."""
    import hls4ml

    register()
    rng = np.random.default_rng(seed)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
        config["Model"]["Strategy"] = strategy
        for name, entries in config["LayerName"].items():
            entries["Precision"] = {
                key: given_type(rng, accumulator=key == "accum") for key in entries.get("Precision", {})
            }
            if name == "ids":
                entries["Precision"]["result"] = "uint<4>"
        model_graph = hls4ml.converters.convert_from_keras_model(
            model, hls_config=config, backend="Vitis", output_dir=str(work / "hls"), project_name="top", bit_exact=False
        )
        graph = read_model_graph(model_graph, "top")
        model_graph.write()
    return HlsProject(work / "hls", "top", graph.input_ports, graph.output_ports), graph


def check_given_types(model, work, seed, **options):
    project, graph = convert_with(model, work, seed, **options)
    rng, ports = np.random.default_rng(seed), graph.input_ports
    ends = [(port.spec.minimum_code, port.spec.maximum_code) for port in ports]
    drawn = join([rng.integers(low, high, (EVENTS, port.size), endpoint=True)
                  for (low, high), port in zip(ends, ports, strict=True)])  # fmt: skip
    rows = encode_rows(decode_rows(drawn, ports), ports)  # a symmetric type never yields its lowest code
    emulator = Emulator(graph)
    expected = emulator.run(rows)
    assert len(np.unique(expected, axis=0)) > EVENTS / 2
    values = Csim(project, work / "csim", optimise=0).run(decode_rows(rows, ports))
    np.testing.assert_array_equal(exact_rows(values, graph.output_ports), expected)


def test_given_types_of_planes(tmp_path):
    check_given_types(planes(), tmp_path, 1)


def test_given_types_of_lines(tmp_path):
    check_given_types(lines(), tmp_path, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
@pytest.mark.parametrize("build", [planes, lines])
def test_many_given_types(build, seed, tmp_path):
    check_given_types(build(), tmp_path, seed)


@pytest.mark.slow
def test_the_strategy_resource(tmp_path):
    keras = import_keras()
    layers, x = keras.layers, keras.Input((4, 4, 2), name="img")
    y = layers.Reshape((16, 2), name="line")(x)
    outputs = [
        layers.Conv2D(2, 2, name="conv")(x),
        layers.Conv1D(3, 2, name="conv_line")(y),
        layers.Dense(2, name="dense")(layers.Flatten(name="flat")(x)),
    ]
    check_given_types(randomise(keras.Model(x, outputs, name="resource")), tmp_path, 1, strategy="Resource")


def test_what_hls4ml_gets_wrong_is_right(tmp_path):
    """One model with everything that hls4ml 1.3.0 converts wrongly, or not at all, when it is left alone."""
    keras, qkeras = import_keras(), import_qkeras()
    layers = keras.layers

    def bits(width=6, integer=1):
        return qkeras.quantized_bits(width, integer, alpha=1)

    def dense(units, name):
        return qkeras.QDense(units, kernel_quantizer=bits(4, 0), bias_quantizer=bits(4, 0), name=name)

    source = keras.Input((4, 3, 2), name="image")
    x = qkeras.QActivation(bits(), name="port")(source)
    relu = qkeras.QActivation(qkeras.quantized_relu(4, 2), name="relu")(x)
    # A quantiser behind a quantiser, and behind an output: hls4ml gives its type to the layer before it.
    again = qkeras.QActivation(bits(3, 1), name="again")(relu)
    # The padding of an unsigned maximum is half of its range.
    top = layers.MaxPooling2D(3, strides=2, padding="same", name="top")(relu)
    # Permute, flatten and dense: hls4ml drops both and reorders the weights as for one certain permutation.
    turned = layers.Permute((2, 1, 3), name="perm")(x)
    logits = dense(3, "logits")(layers.Flatten(name="flat")(turned))
    # A positive axis counts the batch or not, depending on who reads it.
    joined = layers.Concatenate(axis=1, name="joined")([relu, x])
    # Upsampling has one type in C++, but takes that of a quantiser behind it.
    larger = qkeras.QActivation(bits(4, 1), name="larger_act")(layers.UpSampling2D(2, name="larger")(relu))
    # Types without fractional bits lose their rounding and saturation.
    whole = qkeras.QActivation(bits(3, 2), name="whole")(dense(2, "matrix")(x))
    # A weight quantiser of a dense layer on more than one axis is dropped.
    model = keras.Model(source, [relu, again, top, logits, joined, larger, whole], name="traps")
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.7, value.shape) for value in model.get_weights()])
    conversion = convert_model(model, tmp_path / "hls")
    graph, emulator = conversion.graph, Emulator(conversion.graph)
    values = rng.normal(0, 1.5, (300, 4, 3, 2)).astype(np.float32)
    codes = emulator.encode(values)
    expected = emulator.run(codes)
    np.testing.assert_array_equal(keras_outputs(model, values, graph), expected)
    csim = Csim(conversion.project, tmp_path / "csim", optimise=0).run(decode_rows(codes, graph.input_ports))
    np.testing.assert_array_equal(exact_rows(csim, graph.output_ports), expected)
    assert isinstance(graph["top__window"], Window)
    assert not any(graph["top__window"].padding)
    assert "top_padded" in {node.name for node in graph.nodes}


def test_streams_are_refused(tmp_path):
    import hls4ml

    keras = import_keras()
    source = keras.Input((4,), name="features")
    model = keras.Model(source, keras.layers.Dense(2, name="dense")(source))
    with contextlib.redirect_stdout(io.StringIO()):
        model_graph = hls4ml.converters.convert_from_keras_model(
            model, backend="Vitis", io_type="io_stream", output_dir=str(tmp_path / "hls"), project_name="top"
        )
    with pytest.raises(UnsupportedError, match="hls4ml's io_type is 'io_stream'"):
        read_model_graph(model_graph, "top")


def test_a_table_that_is_too_short_is_refused(tmp_path):
    keras = import_keras()
    source = keras.Input((4,), name="ids")
    model = keras.Model(source, keras.layers.Embedding(11, 2, name="entries")(source))
    with pytest.raises(UnsupportedError, match=r"'entries' has 11 entries for inputs of 4 bits.* pad the table to 16"):
        convert_with(model, tmp_path, 1)
