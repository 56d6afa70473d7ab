"""The QKeras twin of a Keras layer with weights: types from its weights, rounded to nearest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.models.flat import Call

Array = npt.NDArray[np.floating[Any]]

PLAIN = (
    "Dense", "Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
)  # fmt: skip
"""Layers of Keras that have a twin."""

_KEPT = ("units", "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias")
"""Options that a layer and its twin share."""


@dataclass(frozen=True, eq=False)
class Twin:
    """What stands for a layer.

    Attributes
    ----------
    call
        The layer of QKeras; inputs and output are those of the original.
    first
        For a separable convolution the depthwise half, which a quantiser follows; None otherwise.
    gain
        The largest factor between the values before and after `first`.
    """

    call: Call
    first: Call | None = None
    gain: float = 1.0


def integer_bits(peak: float) -> int:
    """Return the integer bits (without the sign) of a type that holds magnitudes up to `peak`; may be negative."""
    return math.floor(math.log2(peak)) + 1 if peak > 0 else 0


def quantised(bits: int, integer: int) -> dict[str, Any]:
    """Return the configuration of a signed quantiser."""
    return {"class_name": "quantized_bits", "config": {"bits": bits, "integer": integer, "alpha": 1}}


def relu(bits: int, integer: int) -> tuple[dict[str, Any], int]:
    """Return the configuration of a ReLU quantiser with at least one fractional bit, and its fractional bits."""
    bits = max(bits, integer + 1)
    return {"class_name": "quantized_relu", "config": {"bits": bits, "integer": integer}}, bits - integer


def quantiser_fraction(activation: Any) -> int | None:
    """Return the fractional bits of a quantiser's values, where bits and integer bits say it."""
    config = activation.get("config") if isinstance(activation, Mapping) else getattr(activation, "get_config", dict)()
    name = activation.get("class_name") if isinstance(activation, Mapping) else type(activation).__name__
    if name not in ("quantized_bits", "quantized_relu") or not isinstance(config, Mapping):
        return None
    sign = name == "quantized_bits" and config.get("keep_negative", True)
    return int(config["bits"]) - int(config["integer"]) - int(bool(sign))


def weight_quantiser(weights: Array, bits: int, fraction: int | None = None) -> dict[str, Any]:
    """Return the configuration of the quantiser that fits weights.

    Parameters
    ----------
    fraction
        Most fractional bits that make sense, e.g. those of the products for a bias.
    """
    integer = integer_bits(float(np.max(np.abs(weights), initial=0.0)))
    if fraction is not None:
        bits = max(2, min(bits, fraction + integer + 1))
    return quantised(bits, integer)


def rounded(weights: Array, quantiser: Mapping[str, Any]) -> Array:
    """Return weights on the grid of their quantiser."""
    bits, integer = quantiser["config"]["bits"], quantiser["config"]["integer"]
    step = 2.0 ** (integer + 1 - bits)
    codes = np.clip(np.rint(np.asarray(weights, np.float64) / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values: Array = (codes * step).astype(np.float32)
    return values


def sums_of_codes(call: Call, bits: int) -> float:
    """Return the largest sum of magnitudes of weight codes over the inputs of one output, at least one."""
    largest = 1.0
    for kernel in _kernels(call):
        quantiser = weight_quantiser(kernel, bits)
        step = 2.0 ** (quantiser["config"]["integer"] + 1 - bits)
        magnitudes = np.abs(rounded(kernel, quantiser)) / step
        largest = max(largest, float(magnitudes.reshape(-1, kernel.shape[-1]).sum(axis=0).max()))
    return largest


def make_twin(call: Call, bits: int, bias_bits: int, source_fraction: int | None) -> Twin:
    """Return the twin of a layer.

    Parameters
    ----------
    bits, bias_bits
        Bits of its weights and of its biases.
    source_fraction
        Fractional bits of its inputs, if known: a bias needs no more than the products have.

    Raises
    ------
    UnsupportedError
        The layer has an option without a twin.
    """
    if call.options.get("data_format", "channels_last") != "channels_last":
        msg = f"layer {call.name!r} ({call.kind}) has data_format={call.options['data_format']!r}; use 'channels_last'"
        raise UnsupportedError(msg)
    kernels = _kernels(call)
    bias = call.weights[-1] if call.options.get("use_bias", True) else None
    options = {key: call.options[key] for key in _KEPT if key in call.options}
    if call.kind.startswith("Separable"):
        ones = {"kernel_size": 1, "strides": 1, "padding": "valid", "dilation_rate": 1}
        spatial = {key: value for key, value in options.items() if key not in ("filters", "use_bias")}
        depthwise, first_fraction = _depthwise(call, f"{call.name}_depthwise", spatial, call.weights[0], bits)
        point = f"QConv{call.kind[-2:]}"
        pointwise = {**options, **ones}
        if call.kind.endswith("1D"):
            pointwise.pop("data_format", None)
        second, _ = _convolution(call, call.name, point, pointwise, kernels[-1], bias, bits, bias_bits, None)
        gain = float(np.abs(kernels[0]).reshape(-1, kernels[0].shape[-1]).sum(axis=0).max())
        assert first_fraction is not None
        return Twin(second, depthwise, gain)
    if call.kind == "DepthwiseConv2D":
        made, fraction = _depthwise(call, call.name, options, call.weights[0], bits)
        return Twin(_with_bias(made, bias, bias_bits, _product(source_fraction, fraction)))
    kind = {"Dense": "QDense", "Conv2D": "QConv2D"}.get(call.kind, "QConv1D")
    if kind == "QConv1D":
        options.pop("data_format", None)
    if call.kind == "DepthwiseConv1D":
        options["filters"] = kernels[0].shape[-1]
    made, _ = _convolution(call, call.name, kind, options, kernels[0], bias, bits, bias_bits, source_fraction)
    return Twin(made)


def _convolution(
    call: Call, name: str, kind: str, options: Mapping[str, Any], kernel: Array, bias: Array | None, bits: int,
    bias_bits: int, source_fraction: int | None,
) -> tuple[Call, int]:  # fmt: skip
    quantiser = weight_quantiser(kernel, bits)
    fraction = _fraction(quantiser)
    made = replace(
        call, name=name, kind=kind, options={**options, "kernel_quantizer": quantiser},
        weights=(rounded(kernel, quantiser),),
    )  # fmt: skip
    return _with_bias(made, bias, bias_bits, _product(source_fraction, fraction)), fraction


def _depthwise(call: Call, name: str, options: Mapping[str, Any], kernel: Array, bits: int) -> tuple[Call, int]:
    """Return a depthwise convolution without bias; in one dimension one with zeros between the channels."""
    if call.kind.endswith("1D"):
        full = _kernels(call)[0]
        bare = {key: value for key, value in options.items() if key != "data_format"}
        bare |= {"filters": full.shape[-1], "use_bias": False}
        return _convolution(call, name, "QConv1D", bare, full, None, bits, bits, None)
    quantiser = weight_quantiser(kernel, bits)
    bare = {**options, "depth_multiplier": call.options.get("depth_multiplier", 1), "use_bias": False}
    made = replace(
        call, name=name, kind="QDepthwiseConv2D", options={**bare, "depthwise_quantizer": quantiser},
        weights=(rounded(kernel, quantiser),),
    )  # fmt: skip
    return made, _fraction(quantiser)


def _with_bias(call: Call, bias: Array | None, bits: int, fraction: int | None) -> Call:
    if bias is None:
        return replace(call, options={**call.options, "use_bias": False})
    quantiser = weight_quantiser(bias, bits, fraction)
    options = {**call.options, "use_bias": True, "bias_quantizer": quantiser}
    return replace(call, options=options, weights=(*call.weights, rounded(bias, quantiser)))


def _kernels(call: Call) -> list[Array]:
    """Return the kernels of a layer, each of shape (*kernel, inputs, outputs) with zeros where nothing is connected."""
    kernel = np.asarray(call.weights[0])
    groups = int(call.options.get("groups", 1) or 1)
    if call.kind.startswith(("Depthwise", "Separable")):
        channels, multiplier = kernel.shape[-2:]
        full = np.zeros((*kernel.shape[:-2], channels, channels * multiplier), kernel.dtype)
        for channel in range(channels):
            full[..., channel, channel * multiplier : (channel + 1) * multiplier] = kernel[..., channel, :]
        return [full, np.asarray(call.weights[1])] if call.kind.startswith("Separable") else [full]
    if groups > 1:
        each, outputs = kernel.shape[-2], kernel.shape[-1] // groups
        full = np.zeros((*kernel.shape[:-2], each * groups, kernel.shape[-1]), kernel.dtype)
        for group in range(groups):
            columns = slice(group * outputs, (group + 1) * outputs)
            full[..., group * each : (group + 1) * each, columns] = kernel[..., columns]
        return [full]
    return [kernel]


def _fraction(quantiser: Mapping[str, Any]) -> int:
    return int(quantiser["config"]["bits"] - quantiser["config"]["integer"] - 1)


def _product(left: int | None, right: int) -> int | None:
    return None if left is None else left + right
