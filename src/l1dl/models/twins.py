"""The QKeras twin of a Keras layer with weights: types from its weights, rounded to nearest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode, encode, parse_spec
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


def given_quantiser(spec: FixedSpec) -> dict[str, Any]:
    """Return the configuration of the quantiser of a type that is given."""
    return {"class_name": "fixed_point", "config": {"spec": str(spec)}}


def type_of(activation: Any) -> FixedSpec | None:
    """Return the type of a quantiser's values, where its options say it."""
    config = activation.get("config") if isinstance(activation, Mapping) else getattr(activation, "get_config", dict)()
    name = activation.get("class_name") if isinstance(activation, Mapping) else type(activation).__name__
    if name == "fixed_point" and isinstance(config, Mapping):
        return parse_spec(config["spec"])
    if name not in ("quantized_bits", "quantized_relu") or not isinstance(config, Mapping):
        return None
    signed = name == "quantized_bits" and bool(config.get("keep_negative", True))
    bits, integer = int(config["bits"]), int(config["integer"]) + signed
    return FixedSpec(signed, bits, integer, Rounding.RND_CONV, Overflow.SAT)


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
    spec = type_of(quantiser)
    assert spec is not None
    values: Array = decode(encode(weights, spec), spec).astype(np.float32)
    return values


@dataclass(frozen=True)
class ConstantTypes:
    """The types of a layer's constants: given, or fitted within a number of bits.

    Attributes
    ----------
    bits, bias_bits
        Bits of weights and of biases whose type is not given.
    weight, bias
        The types that are given.
    """

    bits: int
    bias_bits: int
    weight: FixedSpec | None = None
    bias: FixedSpec | None = None

    def of_weight(self, kernel: Array) -> dict[str, Any]:
        """Return the configuration of the quantiser of a kernel."""
        return weight_quantiser(kernel, self.bits) if self.weight is None else given_quantiser(self.weight)

    def of_bias(self, bias: Array, fraction: int | None) -> dict[str, Any]:
        """Return that of a bias, which by itself has no more than `fraction` fractional bits."""
        return weight_quantiser(bias, self.bias_bits, fraction) if self.bias is None else given_quantiser(self.bias)


def overflow_notes(call: Call, types: ConstantTypes) -> list[str]:
    """Return a sentence for each given type of a layer's constants that does not reach all of them."""
    count = len(call.weights) - (call.kind in PLAIN and bool(call.options.get("use_bias", True)))
    notes = []
    for part, spec, values in (
        ("weight", types.weight, call.weights[:count]),
        ("bias", types.bias, call.weights[count:]),
    ):
        if spec is None:
            continue
        moved = [np.abs(rounded(each, given_quantiser(spec)) - each) >= spec.step for each in values]
        beyond = sum(int(np.count_nonzero(each)) for each in moved)
        if beyond:
            notes.append(f"{beyond} values of '{call.name}.{part}' are outside {spec}; its overflow mode changes them.")
    return notes


def sums_of_codes(call: Call, types: ConstantTypes) -> float:
    """Return the largest sum of magnitudes of weight codes over the inputs of one output, at least one."""
    largest = 1.0
    for kernel in kernels_of(call):
        quantiser = types.of_weight(kernel)
        magnitudes = np.abs(rounded(kernel, quantiser)) * 2.0 ** _fraction(quantiser)
        largest = max(largest, float(magnitudes.reshape(-1, kernel.shape[-1]).sum(axis=0).max()))
    return largest


def make_twin(call: Call, types: ConstantTypes, source_fraction: int | None) -> Twin:
    """Return the twin of a layer.

    Parameters
    ----------
    types
        Those of its weights and of its biases.
    source_fraction
        Fractional bits of its inputs, if known: a bias needs no more than the products have.

    Raises
    ------
    UnsupportedError
        The layer has an option without a twin.
    InputError
        A type is given for a bias that it does not have.
    """
    if call.options.get("data_format", "channels_last") != "channels_last":
        msg = f"layer {call.name!r} ({call.kind}) has data_format={call.options['data_format']!r}; use 'channels_last'"
        raise UnsupportedError(msg)
    kernels = kernels_of(call)
    bias = call.weights[-1] if call.options.get("use_bias", True) else None
    if bias is None and types.bias is not None:
        msg = f"a type is given for '{call.name}.bias', but layer {call.name!r} ({call.kind}) has no bias"
        raise InputError(msg)
    options = {key: call.options[key] for key in _KEPT if key in call.options}
    if call.kind.startswith("Separable"):
        ones = {"kernel_size": 1, "strides": 1, "padding": "valid", "dilation_rate": 1}
        spatial = {key: value for key, value in options.items() if key not in ("filters", "use_bias")}
        depthwise, first_fraction = _depthwise(call, f"{call.name}_depthwise", spatial, call.weights[0], types)
        point = f"QConv{call.kind[-2:]}"
        pointwise = {**options, **ones}
        if call.kind.endswith("1D"):
            pointwise.pop("data_format", None)
        second, _ = _convolution(call, call.name, point, pointwise, kernels[-1], bias, types, None)
        gain = float(np.abs(kernels[0]).reshape(-1, kernels[0].shape[-1]).sum(axis=0).max())
        assert first_fraction is not None
        return Twin(second, depthwise, gain)
    if call.kind == "DepthwiseConv2D":
        made, fraction = _depthwise(call, call.name, options, call.weights[0], types)
        return Twin(_with_bias(made, bias, types, _product(source_fraction, fraction)))
    kind = {"Dense": "QDense", "Conv2D": "QConv2D"}.get(call.kind, "QConv1D")
    if kind == "QConv1D":
        options.pop("data_format", None)
    if call.kind == "DepthwiseConv1D":
        options["filters"] = kernels[0].shape[-1]
    made, _ = _convolution(call, call.name, kind, options, kernels[0], bias, types, source_fraction)
    return Twin(made)


def _convolution(
    call: Call, name: str, kind: str, options: Mapping[str, Any], kernel: Array, bias: Array | None,
    types: ConstantTypes, source_fraction: int | None,
) -> tuple[Call, int]:  # fmt: skip
    quantiser = types.of_weight(kernel)
    fraction = _fraction(quantiser)
    made = replace(
        call, name=name, kind=kind, options={**options, "kernel_quantizer": quantiser},
        weights=(rounded(kernel, quantiser),),
    )  # fmt: skip
    return _with_bias(made, bias, types, _product(source_fraction, fraction)), fraction


def _depthwise(
    call: Call, name: str, options: Mapping[str, Any], kernel: Array, types: ConstantTypes
) -> tuple[Call, int]:
    """Return a depthwise convolution without bias; in one dimension one with zeros between the channels."""
    if call.kind.endswith("1D"):
        full = kernels_of(call)[0]
        bare = {key: value for key, value in options.items() if key != "data_format"}
        bare |= {"filters": full.shape[-1], "use_bias": False}
        return _convolution(call, name, "QConv1D", bare, full, None, types, None)
    quantiser = types.of_weight(kernel)
    bare = {**options, "depth_multiplier": call.options.get("depth_multiplier", 1), "use_bias": False}
    made = replace(
        call, name=name, kind="QDepthwiseConv2D", options={**bare, "depthwise_quantizer": quantiser},
        weights=(rounded(kernel, quantiser),),
    )  # fmt: skip
    return made, _fraction(quantiser)


def _with_bias(call: Call, bias: Array | None, types: ConstantTypes, fraction: int | None) -> Call:
    if bias is None:
        return replace(call, options={**call.options, "use_bias": False})
    quantiser = types.of_bias(bias, fraction)
    options = {**call.options, "use_bias": True, "bias_quantizer": quantiser}
    return replace(call, options=options, weights=(*call.weights, rounded(bias, quantiser)))


def kernels_of(call: Call) -> list[Array]:
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
    spec = type_of(quantiser)
    assert spec is not None
    return spec.fraction


def _product(left: int | None, right: int) -> int | None:
    return None if left is None else left + right
