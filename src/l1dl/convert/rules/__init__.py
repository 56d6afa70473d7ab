"""How each layer of Keras and QKeras is written with the plain layers that conversion reads.

A rule takes the layer and its new sources, adds plain layers through the `Writer`, and returns the result. The
layer that yields the result has the name of the original. Weights become their quantised values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l1dl.convert import hgq2, softmax, unroll
from l1dl.convert.rules import pooling, products, structure
from l1dl.convert.support import kind_of, where_of
from l1dl.convert.writer import Writer
from l1dl.errors import UnsupportedError
from l1dl.models.engines import is_hgq

EMBEDDING = ("Embedding",)
"""Layers whose input is the number of an entry."""

PRESERVING = (
    "Concatenate", "Cropping1D", "Cropping2D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D",
    "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip
"""Layers that only move values, so that it does not matter whether a quantiser stands before or behind them."""

_UNQUANTISED = (
    "Conv1D", "Conv2D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "GRU", "LSTM", "SeparableConv1D",
    "SeparableConv2D", "SimpleRNN",
)  # fmt: skip

Rule = Callable[[Writer, Any, list[Any]], Any]


def check_layer(layer: Any) -> None:
    """Refuse a layer that has no rule, or an option that no rule knows.

    Raises
    ------
    UnsupportedError
        The text names the layer, and says what to use instead.
    """
    kind, where = kind_of(layer), where_of(layer)
    if kind in _UNQUANTISED:
        msg = (
            f"{where} has unquantised weights; use Q{kind} with quantisers, "
            "or let `l1dl deploy` fit types from calibration data"
        )
        raise UnsupportedError(msg)
    known = HGQ2_RULES if is_hgq(layer) else RULES
    if kind not in known:
        msg = f"{where} is not supported; supported are {', '.join(sorted(known))}"
        raise UnsupportedError(msg)
    demanded = {
        "data_format": (getattr(layer, "data_format", None), ("channels_last", None), "channels_last"),
        "dilation_rate": (np.max(getattr(layer, "dilation_rate", 1)), (1,), 1),
        "groups": (getattr(layer, "groups", 1), (1,), 1),
        "interpolation": (getattr(layer, "interpolation", "nearest"), ("nearest",), "nearest"),
        "mask_zero": (getattr(layer, "mask_zero", False), (False,), False),
        "normalize": (getattr(layer, "normalize", False), (False,), False),
    }
    if getattr(layer, "padding", None) == "causal":
        msg = f"{where} has padding='causal', which QKeras cannot compute; put ZeroPadding1D before it instead"
        raise UnsupportedError(msg)
    for option, (value, allowed, instead) in demanded.items():
        if value not in allowed:
            msg = f"{where} has {option}={value!r}, which has no exact firmware; use {option}={instead!r}"
            raise UnsupportedError(msg)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("QDense", "QDenseBatchnorm"), products.dense),
    **dict.fromkeys(("QConv1D", "QConv2D", "QConv2DBatchnorm"), products.conv),
    **dict.fromkeys(("QDepthwiseConv2D", "QDepthwiseConv2DBatchnorm"), products.depthwise),
    **dict.fromkeys(("QSeparableConv1D", "QSeparableConv2D"), products.separable),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D"), pooling.max_pool),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D"), pooling.global_max_pool),
    **dict.fromkeys(
        ("AveragePooling1D", "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
         "QAveragePooling2D", "QGlobalAveragePooling2D"),
        pooling.average_pool,
    ),
    **dict.fromkeys(("BatchNormalization", "QBatchNormalization"), products.normalise),
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), structure.merge),
    "Concatenate": structure.concatenate,
    "Dot": structure.dot,
    **dict.fromkeys(("Flatten", "Reshape"), structure.reshape),
    "Permute": structure.permute,
    "RepeatVector": structure.repeat_vector,
    **dict.fromkeys(("Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"),
                    structure.same),
    "Embedding": products.embedding,
    "QActivation": structure.quantiser,
    "Softmax": softmax.softmax,
    **unroll.RULES,
    **dict.fromkeys(("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU"), structure.same),
}  # fmt: skip
"""Class of a layer of Keras or QKeras → its rule."""

HGQ2_RULES: dict[str, Rule] = {
    "Quantizer": hgq2.quantiser,
    **dict.fromkeys(("QDense", "QBatchNormDense"), hgq2.quantising(products.dense)),
    **dict.fromkeys(("QConv1D", "QConv2D"), hgq2.quantising(products.conv)),
    **dict.fromkeys(("QMaxPooling1D", "QMaxPooling2D"), hgq2.quantising(pooling.max_pool)),
    **dict.fromkeys(("QGlobalMaxPooling1D", "QGlobalMaxPooling2D"), hgq2.quantising(pooling.global_max_pool)),
    **dict.fromkeys(("QAdd", "QMaximum", "QMinimum", "QMultiply", "QSubtract"), hgq2.quantising(structure.merge)),
}
"""Class of a layer of HGQ2, some of which are called as those of QKeras → its rule."""


def rule_of(layer: Any) -> Rule:
    """Return the rule of a layer that `check_layer` has accepted."""
    return (HGQ2_RULES if is_hgq(layer) else RULES)[kind_of(layer)]
