"""Multilayer perceptrons from a card: the float reference and the QKeras twin, both ending in logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1dl.card import ModelCard, QuantiserCard
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.scaler import Scaler, fold_scaler


def input_spec(card: ModelCard) -> FixedSpec:
    """Return the type of the firmware's input port."""
    return signed_spec(card.quantisation.input)


def signed_spec(quantiser: QuantiserCard) -> FixedSpec:
    """Return the type that QKeras' ``quantized_bits(bits, integer, alpha=1)`` quantises to."""
    return FixedSpec(
        signed=True,
        width=quantiser.bits,
        integer=quantiser.integer + 1,
        rounding=Rounding.RND_CONV,
        overflow=Overflow.SAT,
    )


def build_float(card: ModelCard, scaler: Scaler, classes: int) -> Any:
    """Return the float reference, a ``keras.Model`` from features (F,) to logits (C,)."""
    keras = import_keras(card.training.backend)
    x = inputs = keras.Input((len(scaler.mean),), name="features")
    if card.data.inputs == "physical":
        x = _scaling_layer(scaler)(x)
    for index, units in enumerate(card.model.hidden):
        x = keras.layers.Dense(units, activation="relu", name=f"dense_{index}")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name=f"{card.name}_float")


def build_quantised(card: ModelCard, scaler: Scaler, classes: int) -> Any:
    """Return the quantised model, a ``keras.Model`` of QKeras layers from features (F,) to logits (C,)."""
    keras, qkeras = import_keras(card.training.backend), import_qkeras()
    types = card.quantisation

    def bits(quantiser: QuantiserCard) -> Any:
        return qkeras.quantized_bits(quantiser.bits, quantiser.integer, alpha=1)

    def dense(units: int, name: str) -> Any:
        return qkeras.QDense(units, kernel_quantizer=bits(types.weight), bias_quantizer=bits(types.bias), name=name)

    x = inputs = keras.Input((len(scaler.mean),), name="features")
    x = qkeras.QActivation(bits(types.input), name="quantised_features")(x)
    if types.scaled_input is not None:
        x = _scaling_layer(fold_scaler(scaler, input_spec(card)))(x)
        x = qkeras.QActivation(bits(types.scaled_input), name="scaled_features")(x)
    for index, units in enumerate(card.model.hidden):
        x = dense(units, f"dense_{index}")(x)
        relu = qkeras.quantized_relu(types.activation.bits, types.activation.integer)
        x = qkeras.QActivation(relu, name=f"relu_{index}")(x)
    return keras.Model(inputs, dense(classes, "logits")(x), name=card.name)


def _scaling_layer(scaler: Scaler) -> Any:
    """Return the scaling as a frozen layer: ``x * (1 / scale) + (-mean / scale)``."""
    keras = import_keras()
    layer = keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")
    layer.build((None, len(scaler.mean)))
    ones, zeros = np.ones(len(scaler.mean)), np.zeros(len(scaler.mean))
    layer.set_weights([1.0 / scaler.scale, -scaler.mean / scaler.scale, zeros, ones])
    return layer
