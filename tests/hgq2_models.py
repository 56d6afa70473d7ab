"""Small random models of HGQ2, whose types differ from value to value; some values have no bits, some wrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from l1dl.models.backend import import_hgq, import_keras

PORT = (1, 3, 4)
"""Sign, integer and fractional bits of the input."""


def quantised_input(shape: tuple[int, ...], **options: Any) -> tuple[Any, Any]:
    """Return an input, and the same behind its quantiser."""
    keras, quantizer = import_keras(), import_hgq().quantizer
    sign, integer, fraction = PORT
    settings = {"round_mode": "RND_CONV", "overflow_mode": "SAT", "trainable": False, **options}
    config = quantizer.QuantizerConfig(
        "kif", "datalane", k0=sign, i0=integer, f0=fraction, homogeneous_axis=None, heterogeneous_axis=(), **settings
    )
    inputs = keras.Input(shape, name="x")
    return inputs, quantizer.Quantizer(config, name="quantised")(inputs)


def values(rng: np.random.Generator, *, shared: int = 1) -> Any:
    """Return the configuration of a quantiser of values with random modes."""
    return import_hgq().quantizer.QuantizerConfig(
        "kif", "datalane", i0=2, f0=3, overflow_mode=str(rng.choice(["WRAP", "SAT", "SAT_SYM"])),
        round_mode=str(rng.choice(["TRN", "RND", "RND_CONV"])), homogeneous_axis=tuple(range(shared)),
    )  # fmt: skip


def draw_bits(model: Any, rng: np.random.Generator) -> Any:
    """Give a model random weights and random types: unsigned and signed ones, none, and some that are too narrow."""
    for part in model._flatten_layers():
        name = type(part).__name__
        if name in ("QDense", "QBatchNormDense", "QConv2D"):
            part.kernel.assign(rng.normal(0, 0.5, part.kernel.shape))
            if part.bias is not None:
                part.bias.assign(rng.normal(0, 0.3, part.bias.shape))
        if name == "QBatchNormDense":
            part.moving_mean.assign(rng.normal(0, 0.3, part.moving_mean.shape))
            part.moving_variance.assign(rng.uniform(0.5, 2, part.moving_variance.shape))
    for inner in trained_quantisers(model):
        inner._k.assign(rng.integers(0, 2, inner._k.shape))
        inner._i.assign(rng.integers(-1, 4, inner._i.shape))
        if hasattr(inner, "_f"):
            inner._f.assign(rng.integers(-2, 5, inner._f.shape))
        else:
            inner._b.assign(rng.integers(0, 7, inner._b.shape))
    return model


def trained_quantisers(model: Any) -> Iterator[Any]:
    """Yield the inner quantisers that are trained."""
    for part in model._flatten_layers():
        if hasattr(part, "get_minimal_i") and part.trainable:
            yield part


def dense(seed: int) -> Any:
    """Return dense layers with and without normalisation, quantised results and activations of their own."""
    keras, layers, rng = import_keras(), import_hgq().layers, np.random.default_rng(seed)
    inputs, x = quantised_input((5,))
    x = layers.QDense(7, activation="relu", iq_conf=values(rng), name="first")(x)
    x = layers.QBatchNormDense(6, iq_conf=values(rng), name="normed")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = layers.QDense(4, iq_conf=values(rng), enable_oq=True, oq_conf=values(rng), name="closed")(x)
    x = layers.QDense(3, iq_conf=values(rng), name="logits")(x)
    return draw_bits(keras.Model(inputs, x, name="dense_net"), rng)


def branches(seed: int) -> Any:
    """Return branches that are merged, behind two quantisers that are layers."""
    keras, layers, rng = import_keras(), import_hgq().layers, np.random.default_rng(seed)
    inputs, x = quantised_input((4,))
    left = layers.QDense(5, iq_conf=values(rng), name="left")(x)
    right = layers.Quantizer(values(rng), name="right")(layers.QDense(5, iq_conf=values(rng), name="other")(x))
    kind = rng.choice(["QAdd", "QSubtract", "QMultiply", "QMaximum", "QMinimum"])
    x = getattr(layers, kind)(iq_confs=[values(rng), values(rng)], name="merged")([left, right])
    x = layers.QDense(3, iq_conf=values(rng), use_bias=bool(rng.integers(2)), name="logits")(x)
    return draw_bits(keras.Model(inputs, x, name="branched"), rng)


def images(seed: int) -> Any:
    """Return convolutions with types by channel and by pixel, and pooling."""
    keras, layers, rng = import_keras(), import_hgq().layers, np.random.default_rng(seed)
    inputs, x = quantised_input((6, 6, 2))
    x = layers.QConv2D(3, 3, padding="same", iq_conf=values(rng, shared=3), activation="relu", name="conv")(x)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = layers.QConv2D(4, 2, iq_conf=values(rng, shared=1), name="pixels")(x)
    x = layers.QMaxPooling2D(2, iq_conf=values(rng, shared=3), name="largest")(x)
    x = keras.layers.Flatten(name="flat")(x)
    x = layers.QDense(3, iq_conf=values(rng), name="logits")(x)
    return draw_bits(keras.Model(inputs, x, name="image_net"), rng)


FAMILIES: dict[str, Callable[[int], Any]] = {"dense": dense, "branches": branches, "images": images}
