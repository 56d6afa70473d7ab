"""The constants of layers as Keras uses them at inference: quantised, and folded where a layer folds a scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.hgq2 import quantised_constants
from l1dl.convert.quantisers import check_quantiser, quantise_constants, smallest_spec
from l1dl.convert.support import kind_of, where_of
from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_keras
from l1dl.models.engines import is_hgq

Constants = npt.NDArray[np.float64]

MAXIMUM_SCALE_WIDTH = 16
"""Widest scale of a normalisation that is taken as it is, in bits: Keras rounds the products of wider ones."""

MAXIMUM_OFFSET_WIDTH = 24
"""Widest offset of a normalisation, in bits."""


def kernel_and_bias(layer: Any) -> tuple[Constants, Constants]:
    """Return the quantised kernel of a layer, and its quantised bias or zeros."""
    if is_hgq(layer):
        return quantised_constants(layer)
    where = where_of(layer)
    role = "depthwise" if "Depthwise" in kind_of(layer) else "kernel"
    quantiser = _weight_quantiser(layer, role)
    folded = hasattr(layer, "batchnorm")
    if folded:
        kernel, bias = _folded(layer, role)
    else:
        kernel = _numbers(getattr(layer, "depthwise_kernel" if role == "depthwise" else "kernel"))
        bias = _numbers(layer.bias) if layer.use_bias else None
    quantised = quantise_constants(f"{where}: the kernel", quantiser, kernel)
    mask = getattr(layer, "_mask", None)
    if mask is not None:
        quantised = quantised * _numbers(mask)
    if bias is None:
        size = quantised.shape[-1] * (quantised.shape[-2] if role == "depthwise" else 1)
        return quantised, np.zeros(size)
    return quantised, quantise_constants(f"{where}: the bias", _weight_quantiser(layer, "bias"), bias)


def separable_kernels(layer: Any) -> tuple[Constants, Constants, Constants]:
    """Return the depthwise and the pointwise kernel and the bias of a separable convolution."""
    where = where_of(layer)
    kernels = [
        quantise_constants(
            f"{where}: the {role} kernel", _weight_quantiser(layer, role), _numbers(getattr(layer, f"{role}_kernel"))
        )
        for role in ("depthwise", "pointwise")
    ]
    if not layer.use_bias:
        return kernels[0], kernels[1], np.zeros(kernels[1].shape[-1])
    bias = quantise_constants(f"{where}: the bias", _weight_quantiser(layer, "bias"), _numbers(layer.bias))
    return kernels[0], kernels[1], bias


def affine_constants(layer: Any) -> tuple[Constants, Constants]:
    """Return scale and offset of a normalisation at inference."""
    ops = import_keras().ops
    gamma = _normalisation_weight(layer, "gamma") if layer.scale else None
    beta = _normalisation_weight(layer, "beta") if layer.center else None
    mean, variance = (_normalisation_weight(layer, name) for name in ("mean", "variance"))
    inverse = ops.rsqrt(variance + np.float32(layer.epsilon))
    inverse = inverse if gamma is None else inverse * gamma
    quantiser = getattr(layer, "inverse_quantizer_internal", None)
    inverse = inverse if quantiser is None else quantiser(inverse)
    shift = -mean * inverse if beta is None else beta - mean * inverse
    scale, offset = (np.asarray(ops.convert_to_numpy(each), dtype=np.float64) for each in (inverse, shift))
    return scale, offset


def check_scaling(where: str, scale: Constants, offset: Constants) -> None:
    """Refuse scale and offset of a normalisation so wide that Keras rounds what it computes with them."""
    for what, values, most in (("scale", scale, MAXIMUM_SCALE_WIDTH), ("offset", offset, MAXIMUM_OFFSET_WIDTH)):
        width = smallest_spec(values).width
        if width > most:
            msg = (
                f"{where} has a {what} that needs {width} bits, more than {most}, so that Keras rounds where firmware "
                "does not; put a QActivation with quantized_bits or quantized_relu behind it, and nothing else"
            )
            raise UnsupportedError(msg)


def _normalisation_weight(layer: Any, name: str) -> Any:
    variable = getattr(layer, name if name in ("gamma", "beta") else f"moving_{name}")
    quantiser = getattr(layer, f"{name}_quantizer_internal", None)
    values = _numbers(variable)
    return values if quantiser is None else import_keras().ops.convert_to_numpy(quantiser(values))


def _folded(layer: Any, role: str) -> tuple[Any, Any]:
    """Return kernel and bias of a layer with a folded normalisation, before they are quantised."""
    ops, norm = import_keras().ops, layer.batchnorm
    variance = _numbers(norm.moving_variance) + np.float32(norm.epsilon)
    # The layers differ in how they divide, and the last bit can decide about a rounding.
    inverse = _numbers(ops.rsqrt(variance) if role == "depthwise" else 1 / ops.sqrt(variance))
    inverse = inverse * _numbers(norm.gamma) if norm.scale else inverse
    bias = _numbers(layer.bias) if layer.use_bias else np.float32(0)
    bias = inverse * (bias - _numbers(norm.moving_mean))
    bias = bias + _numbers(norm.beta) if norm.center else bias
    kernel = _numbers(layer.depthwise_kernel if role == "depthwise" else layer.kernel)
    factor = inverse.reshape(kernel.shape[2:]) if role == "depthwise" else inverse
    return factor * kernel, bias


def _weight_quantiser(layer: Any, role: str) -> Any:
    quantiser = getattr(layer, f"{role}_quantizer_internal")
    check_quantiser(where_of(layer), f"{role}_quantizer", quantiser, "weight")
    return quantiser


def _numbers(values: Any) -> npt.NDArray[np.float32]:
    return np.asarray(import_keras().ops.convert_to_numpy(values), dtype=np.float32)
