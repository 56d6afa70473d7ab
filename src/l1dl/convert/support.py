"""Which layers, quantisers and options l1dl converts exactly; everything else is refused by name."""

from __future__ import annotations

from typing import Any

from l1dl.errors import UnsupportedError
from l1dl.graph import check_identifier
from l1dl.reserved import RESERVED

_EXACT_OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "quantized_bits": {
        "alpha": (1,),
        "symmetric": (0,),
        "keep_negative": (1,),
        "use_stochastic_rounding": (False,),
        "qnoise_factor": (1,),
        "scale_axis": (None,),
        "elements_per_scale": (None,),
        "post_training_scale": (None,),
    },
    "quantized_relu": {
        "use_sigmoid": (0,),
        "negative_slope": (0,),
        "use_stochastic_rounding": (False,),
        "relu_upper_bound": (None,),
        "is_quantized_clip": (True,),
        "qnoise_factor": (1,),
        "enable_bitshift": (False,),
    },
}
"""Quantiser → option → values that the firmware reproduces exactly."""

_LAYERS = ("InputLayer", "QDense", "QActivation", "BatchNormalization")


def check_supported(model: Any) -> None:
    """Refuse a Keras model with anything that cannot be converted exactly.

    Raises
    ------
    UnsupportedError
        The text names the layer, the option, its value and what to use instead.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        msg = f"model {model.name!r} has {counts}; one of each is supported"
        raise UnsupportedError(msg)
    first = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"][:1]
    if not first or type(first[0]).__name__ != "QActivation":
        msg = (
            f"model {model.name!r} has no input quantiser, so its firmware would truncate the inputs; "
            "begin it with QActivation(quantized_bits(bits, integer, alpha=1))"
        )
        raise UnsupportedError(msg)
    for layer in model.layers:
        _check_layer(layer)
    if type(first[0].activation).__name__ != "quantized_bits":
        msg = (
            f"layer {first[0].name!r} (QActivation) has quantiser {type(first[0].activation).__name__} at the input; "
            "hls4ml needs quantized_bits there"
        )
        raise UnsupportedError(msg)


def _check_layer(layer: Any) -> None:
    kind = type(layer).__name__
    where = f"layer {layer.name!r} ({kind})"
    if kind not in _LAYERS:
        msg = f"{where} is not supported; supported are {', '.join(_LAYERS)}"
        raise UnsupportedError(msg)
    check_identifier(layer.name)
    if layer.name in RESERVED:
        msg = f"{where}: the name {layer.name!r} is a keyword of the generated code; rename the layer"
        raise UnsupportedError(msg)
    if len(layer._inbound_nodes) > 1:
        msg = f"{where} is used {len(layer._inbound_nodes)} times; shared layers are not supported"
        raise UnsupportedError(msg)
    if len(layer.output.shape) != 2:
        msg = f"{where} has an output of shape {layer.output.shape}; only vectors (batch, size) are supported"
        raise UnsupportedError(msg)
    if kind == "QDense":
        _check_quantiser(where, "kernel_quantizer", layer.kernel_quantizer_internal, ("quantized_bits",))
        if layer.use_bias:
            _check_quantiser(where, "bias_quantizer", layer.bias_quantizer_internal, ("quantized_bits",))
        if layer.activation is not None and getattr(layer.activation, "__name__", "") != "linear":
            msg = f"{where} has an activation of its own; use a QActivation layer behind it"
            raise UnsupportedError(msg)
    elif kind == "QActivation":
        _check_quantiser(where, "activation", layer.activation, tuple(_EXACT_OPTIONS))
        _check_fraction(where, layer.activation)
    elif kind == "BatchNormalization" and layer.trainable:
        msg = f"{where} is trainable; only a frozen scaling in front of a quantiser converts exactly (trainable=False)"
        raise UnsupportedError(msg)


def _check_fraction(where: str, quantiser: Any) -> None:
    """Refuse types of whole numbers: hls4ml makes them integer types, which neither round nor saturate."""
    name, bits, integer = type(quantiser).__name__, int(quantiser.bits), int(quantiser.integer)
    if bits - integer - (name == "quantized_bits") <= 0:
        msg = (
            f"{where}: {name}({bits}, {integer}) has no fractional bit, and hls4ml would neither round nor saturate; "
            "use more bits or fewer integer bits"
        )
        raise UnsupportedError(msg)


def _check_quantiser(where: str, option: str, quantiser: Any, allowed: tuple[str, ...]) -> None:
    name = type(quantiser).__name__
    if quantiser is None or name not in allowed:
        found = "no quantiser" if quantiser is None else f"quantiser {getattr(quantiser, '__name__', name)}"
        msg = f"{where} has {found} as {option}; supported are {', '.join(allowed)}"
        raise UnsupportedError(msg)
    for key, values in _EXACT_OPTIONS[name].items():
        value = getattr(quantiser, key, values[0])
        if not any(value is exact or (isinstance(value, (int, float)) and value == exact) for exact in values):
            msg = f"{where}: {name} with {key}={value!r} has no exact firmware; use {key}={values[0]!r}"
            raise UnsupportedError(msg)
