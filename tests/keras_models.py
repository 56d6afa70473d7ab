"""Random quantised Keras models, a function for each family of layers; the same seed gives the same model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l1dl.models.backend import import_keras, import_qkeras

Rng = np.random.Generator


class Layers:
    """Makes quantised layers with random types."""

    def __init__(self, rng: Rng) -> None:
        self.keras, self.qkeras, self.rng = import_keras(), import_qkeras(), rng
        self.layers = self.keras.layers

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def bits(self, low: int = 2, high: int = 8) -> Any:
        """A quantiser of weights."""
        return self.qkeras.quantized_bits(self.integer(low, high), self.integer(0, 1), alpha=1)

    def port(self, name: str, low: int = 4, high: int = 10) -> Any:
        """A quantiser of inputs."""
        bits = self.integer(low, high)
        return self.qkeras.QActivation(
            self.qkeras.quantized_bits(bits, min(self.integer(0, 3), bits - 2), alpha=1), name=name
        )

    def act(self, name: str, *, signed: bool | None = None) -> Any:
        """A quantiser of activations."""
        bits = self.integer(3, 8)
        if self.rng.integers(2) if signed is None else signed:
            return self.qkeras.QActivation(
                self.qkeras.quantized_bits(bits, self.integer(-1, min(3, bits - 1)), alpha=1), name=name
            )
        return self.qkeras.QActivation(self.qkeras.quantized_relu(bits, self.integer(0, bits)), name=name)

    def dense(self, units: int, name: str, **options: Any) -> Any:
        return self.qkeras.QDense(
            units, kernel_quantizer=self.bits(), bias_quantizer=self.bits(), name=name,
            use_bias=bool(self.rng.integers(4)), **options,
        )  # fmt: skip

    def conv(self, axes: int, filters: int, name: str, **options: Any) -> Any:
        """A convolution along one or two axes with a random kernel, stride and padding."""
        kernel = tuple(self.integer(1, 3) for _ in range(axes))
        strides = tuple(self.integer(1, 2) for _ in range(axes))
        layer = getattr(self.qkeras, f"QConv{axes}D")
        return layer(
            filters, kernel, strides=strides[0] if axes == 1 else strides, padding=self.padding(),
            kernel_quantizer=self.bits(), bias_quantizer=self.bits(), name=name, **options,
        )  # fmt: skip

    def padding(self) -> str:
        return str(self.rng.choice(["valid", "same"]))

    def scaling(self, name: str) -> Any:
        """A normalisation; `randomise` gives it the statistics of a trained one."""
        return self.layers.BatchNormalization(name=name)


def randomise(model: Any, rng: Rng) -> Any:
    """Give all layers random weights; return the model."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomise(layer, rng)
            continue
        values = []
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True):
            if "variance" in variable.name:
                values.append(rng.uniform(0.3, 3, value.shape))
            elif "iteration" in variable.name:
                values.append(value)
            elif "gamma" in variable.name:
                values.append(rng.choice([-1, 1], value.shape) * rng.uniform(0.5, 1.5, value.shape))
            else:
                values.append(rng.normal(0, 0.7, value.shape))
        layer.set_weights(values)
    return model


def perceptron(seed: int) -> Any:
    """Dense layers, with or without a frozen scaling by powers of two behind the input."""
    rng = np.random.default_rng(seed)
    make = Layers(rng)
    features = make.integer(2, 6)
    x = inputs = make.keras.Input((features,), name="features")
    x = make.port("port", 4, 16)(x)
    scaling = make.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")
    scaled = bool(rng.integers(2))
    if scaled:
        x = make.port("scaled", 4, 8)(scaling(x))
    layers = make.integer(1, 3)
    for index in range(layers):
        x = make.dense(make.integer(2, 10), f"dense_{index}")(x)
        if index < layers - 1:
            x = make.act(f"act_{index}")(x)
    model = randomise(make.keras.Model(inputs, x, name=f"dense{seed}"), rng)
    if scaled:
        scale, offset = 2.0 ** rng.integers(-2, 3, features), rng.integers(-16, 17, features) / 16
        scaling.set_weights([scale, offset, np.zeros(features), np.ones(features)])
    return model


def images(seed: int) -> Any:
    """Convolutions of all kinds, pooling and trained normalisations in two dimensions."""
    rng = np.random.default_rng(seed)
    make = Layers(rng)
    inputs = make.keras.Input((make.integer(5, 7), make.integer(5, 7), make.integer(1, 3)), name="image")
    x = make.port("port")(inputs)
    x = make.conv(2, make.integer(2, 4), "conv")(x)
    x = make.act("conv_act")(make.scaling("norm")(x))
    size = make.integer(2, 3)
    pool = make.layers.MaxPooling2D(size, strides=make.integer(1, 2), padding="same", name="top")
    x = pool(x)
    kinds = {
        "depthwise": make.qkeras.QDepthwiseConv2D(
            2, padding=make.padding(), depthwise_quantizer=make.bits(), bias_quantizer=make.bits(), name="second"
        ),
        "separable": make.qkeras.QSeparableConv2D(
            2, 2, depthwise_quantizer=make.bits(), pointwise_quantizer=make.bits(), bias_quantizer=make.bits(),
            depth_multiplier=make.integer(1, 2), padding="same", name="second",
        ),
        "folded": make.qkeras.QConv2DBatchnorm(
            2, 2, kernel_quantizer=make.bits(4), bias_quantizer=make.bits(4), padding="same", name="second"
        ),
        "folded_depthwise": make.qkeras.QDepthwiseConv2DBatchnorm(
            2, depthwise_quantizer=make.bits(4), bias_quantizer=make.bits(4), padding="same", name="second"
        ),
        "pointwise": make.dense(3, "second"),
    }  # fmt: skip
    x = make.act("second_act", signed=True)(kinds[list(kinds)[seed % len(kinds)]](x))
    average = make.layers.AveragePooling2D(2, strides=1, padding=make.padding(), name="mean")
    x = average(x) if min(x.shape[1:3]) > 1 else x
    whole = [make.layers.GlobalAveragePooling2D(name="whole"), make.layers.GlobalMaxPooling2D(name="whole")]
    y = make.act("whole_act", signed=True)(whole[seed % 2](x))
    x = make.layers.Flatten(name="flat")(x)
    x = make.dense(2, "logits")(make.act("flat_act")(x))
    return randomise(make.keras.Model(inputs, [x, y], name=f"image{seed}"), rng)


def lines(seed: int) -> Any:
    """Convolutions, pooling, padding and other moves in one dimension, with an embedding as a second input."""
    rng = np.random.default_rng(seed)
    make = Layers(rng)
    steps, width = make.integer(5, 8), make.integer(2, 3)
    inputs, numbers = make.keras.Input((steps, 2), name="line"), make.keras.Input((steps,), dtype="int32", name="ids")
    x = make.port("port")(inputs)
    entries = make.act("entries_act", signed=True)(make.layers.Embedding(8, width, name="entries")(numbers))
    x = make.conv(1, width, "conv")(x)
    x = make.act("conv_act")(x)
    x = make.layers.ZeroPadding1D((1, 2), name="padded")(x)
    pools = [make.layers.MaxPooling1D, make.layers.AveragePooling1D]
    y = pools[seed % 2](2, strides=make.integer(1, 2), padding=make.padding(), name="pool")(entries)
    x = make.layers.Concatenate(axis=1, name="both")([x, y])
    x = make.layers.Cropping1D((1, 1), name="cropped")(x)
    x = make.layers.UpSampling1D(2, name="wide")(make.layers.Permute((2, 1), name="turned")(x))
    separable = make.qkeras.QSeparableConv1D(
        2, 2, depthwise_quantizer=make.bits(), pointwise_quantizer=make.bits(), bias_quantizer=make.bits(),
        padding=make.padding(), name="separable", activation=make.qkeras.quantized_relu(5, 2),
    )  # fmt: skip
    x = make.layers.Flatten(name="flat")(make.layers.Permute((2, 1), name="back")(separable(x)))
    whole = [make.layers.GlobalMaxPooling1D, make.layers.GlobalAveragePooling1D][seed % 2]
    y = make.act("whole_act")(whole(name="whole")(entries))
    return randomise(make.keras.Model([inputs, numbers], [make.dense(2, "logits")(x), y], name=f"line{seed}"), rng)


def branches(seed: int) -> Any:
    """Merges with and without broadcasting, shared and nested layers, skip connections, two inputs, three outputs."""
    rng = np.random.default_rng(seed)
    make = Layers(rng)
    shape = (make.integer(2, 3), make.integer(2, 3), 2)
    inputs, vector = make.keras.Input(shape, name="image"), make.keras.Input((2,), name="vector")
    x, v = make.port("image_port")(inputs), make.port("vector_port")(vector)
    shared = make.dense(2, "shared")
    a, b = make.act("a")(shared(x)), make.act("b")(shared(shared(x)))
    inner = make.keras.Input((2,))
    nested = make.keras.Model(inner, make.act("a")(make.dense(2, "interior")(inner)), name="nested")
    c = nested(v)
    pairs = ["Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average"]
    rng.shuffle(pairs)
    row = make.layers.GlobalMaxPooling2D(keepdims=True, name="row")(b)
    column = make.layers.Reshape((*shape[:2], 1), name="column")(make.dense(1, "one")(a))
    column = make.act("column_act")(column)
    results = [a, b, row, make.layers.Reshape((1, 1, 2), name="vector_row")(c), column, x]
    total = results[0]
    for index, (kind, other) in enumerate(zip(pairs, results[1:], strict=False)):
        total = make.act(f"total_{index}", signed=True)(
            getattr(make.layers, kind)(name=f"merge_{index}")([total, other])
        )
    total = make.layers.Add(name="sum")([total, a, total])
    flat = make.layers.Flatten(name="flat")(make.layers.Dropout(0.3)(total))
    dot = make.layers.Dot(axes=1, name="dot")([c, v])
    logits = make.dense(2, "logits")(make.act("flat_act")(flat))
    repeated = make.layers.RepeatVector(3, name="repeated")(c)
    model = make.keras.Model([inputs, vector], [logits, dot, repeated], name=f"branch{seed}")
    return randomise(model, rng)


def corners(seed: int) -> Any:
    """What a random search found: a scaling on four axes, and functions that do nothing behind a matrix and a table."""
    rng = np.random.default_rng(seed)
    make = Layers(rng)
    inputs = make.keras.Input((2, make.integer(1, 2), 3, make.integer(1, 2)), name="deep")
    x = make.port("port", 4, 8)(inputs)
    scaling = make.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")
    x = make.act("scaled_act", signed=True)(scaling(x))
    x = make.dense(2, "first")(make.layers.Flatten(name="flat")(x))
    x = make.act("first_act", signed=True)(make.layers.Activation("linear", name="nothing")(x))
    x = make.qkeras.QActivation(make.qkeras.quantized_tanh(5), name="tanh_act")(x)
    x = make.dense(2, "logits")(make.layers.Activation("linear", name="nothing_again")(x))
    model = randomise(make.keras.Model(inputs, x, name=f"corner{seed}"), rng)
    channels = inputs.shape[-1]
    scale, offset = 2.0 ** rng.integers(-1, 2, channels), rng.integers(-8, 9, channels) / 8
    scaling.set_weights([scale, offset, np.zeros(channels), np.ones(channels)])
    return model


FAMILIES: dict[str, Callable[[int], Any]] = {
    "dense": perceptron, "images": images, "lines": lines, "branches": branches, "corners": corners,
}  # fmt: skip
"""Name of a family → its function."""


def random_inputs(ports: Any, events: int, seed: int) -> list[np.ndarray]:
    """Return real inputs for each port, also beyond its range; whole numbers where it counts entries."""
    rng = np.random.default_rng(seed)
    arrays = []
    for port in ports:
        shape = (events, *port.shape)
        if not port.spec.signed:
            arrays.append(rng.integers(0, port.spec.maximum_code, shape, endpoint=True))
            continue
        values = rng.uniform(-1.5, 1.5, shape) * 2.0 ** (port.spec.integer - 1)
        values[::2] *= rng.choice([0.01, 0.1, 0.5], (len(values[::2]), *([1] * len(port.shape))))
        arrays.append(values.astype(np.float32))
    return arrays
