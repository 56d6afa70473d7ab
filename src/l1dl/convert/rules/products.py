"""Rules of layers with weights: dense, convolutions, normalisations, embeddings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1dl.convert.constants import affine_constants, check_scaling, kernel_and_bias, separable_kernels
from l1dl.convert.quantisers import check_width, quantise_constants
from l1dl.convert.support import kind_of, same_ends, where_of
from l1dl.convert.writer import Writer, activate, is_active, linear_part, only_quantiser
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.models.backend import import_keras


def dense(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a matrix along the last axis."""
    kernel, bias = kernel_and_bias(layer)
    shape = sources[0].shape[1:]
    deep, active = len(shape) > 3, is_active(layer)  # hls4ml has dense layers on up to three axes
    source = writer.reshape(sources[0], (math.prod(shape[:-1]), shape[-1]), "flat") if deep else sources[0]
    options = {"units": kernel.shape[1]}
    result = writer.add(
        "Dense", source, part="matrix" if deep else linear_part(layer), weights=[kernel, bias], options=options
    )
    if deep:
        result = writer.reshape(result, (*shape[:-1], kernel.shape[1]), "linear" if active else "")
    return activate(writer, result, layer)


def _geometry(layer: Any) -> dict[str, Any]:
    return {"kernel_size": layer.kernel_size, "strides": layer.strides, "padding": layer.padding}


def _padded(writer: Writer, source: Any, geometry: dict[str, Any], part: str) -> tuple[Any, dict[str, Any]]:
    """Pad an image for ``io_stream``; where it has other readers, hls4ml would lead its own padding to one of them."""
    if not writer.stream or geometry["padding"] != "same":
        return source, geometry
    ends = same_ends(source.shape[1:-1], geometry["kernel_size"], geometry["strides"])
    if any(ends):
        source = writer.pad(source, ends, f"{part}_padded" if part else "padded")
    return source, geometry | {"padding": "valid"}


def conv(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a convolution."""
    kernel, bias = kernel_and_bias(layer)
    kind, part = f"Conv{kernel.ndim - 2}D", linear_part(layer)
    source, geometry = _padded(writer, sources[0], _geometry(layer), part)
    options = {**geometry, "filters": kernel.shape[-1]}
    result = writer.add(kind, source, part=part, weights=[kernel, bias], options=options)
    return activate(writer, result, layer)


def depthwise(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a depthwise convolution."""
    kernel, bias = kernel_and_bias(layer)
    result = add_depthwise(writer, sources[0], kernel, bias, _geometry(layer), linear_part(layer))
    return activate(writer, result, layer)


def add_depthwise(writer: Writer, source: Any, kernel: Any, bias: Any, geometry: dict[str, Any], part: str) -> Any:
    """Add a depthwise convolution; hls4ml has those with one filter for each channel, others become full ones."""
    height, width, channels, multiplier = kernel.shape
    source, geometry = _padded(writer, source, geometry, part)
    if multiplier == 1:
        return writer.add("DepthwiseConv2D", source, part=part, weights=[kernel, bias], options=geometry)
    full = np.zeros((height, width, channels, channels * multiplier))
    for channel in range(channels):
        full[:, :, channel, channel * multiplier : (channel + 1) * multiplier] = kernel[:, :, channel]
    options = {**geometry, "filters": channels * multiplier}
    return writer.add("Conv2D", source, part=part, weights=[full, bias], options=options)


def separable(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a depthwise and a pointwise convolution; those along one axis as images of one row."""
    depthwise, pointwise, bias = separable_kernels(layer)
    source, geometry = sources[0], _geometry(layer)
    line = depthwise.ndim == 3
    if line:
        depthwise, pointwise = depthwise[None], pointwise[None]
        source = writer.reshape(source, (1, *source.shape[1:]), "row")
        geometry |= {"kernel_size": (1, *layer.kernel_size), "strides": layer.strides * 2}
    zeros = np.zeros(depthwise.shape[2] * depthwise.shape[3])
    middle = add_depthwise(writer, source, depthwise, zeros, geometry, "depthwise")
    options = {"kernel_size": 1, "filters": pointwise.shape[-1]}
    part = "pointwise" if line else linear_part(layer)
    result = writer.add("Conv2D", middle, part=part, weights=[pointwise, bias], options=options)
    if line:
        result = writer.reshape(result, result.shape[2:], linear_part(layer))
    return activate(writer, result, layer)


def normalise(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a scale and an offset for each channel."""
    if kind_of(layer) == "QBatchNormalization" and import_keras().backend.backend() != "tensorflow":
        msg = f"{where_of(layer)}: QKeras computes it on TensorFlow only; set KERAS_BACKEND=tensorflow"
        raise UnsupportedError(msg)
    axis = layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis
    if axis not in (-1, len(sources[0].shape) - 1):
        msg = f"{where_of(layer)} has axis={axis}; use the last axis (axis=-1)"
        raise UnsupportedError(msg)
    scale, offset = writer.facts.scalings.get(writer.name, (None, None))
    if scale is None:
        scale, offset = affine_constants(layer)
        try:
            check_scaling(where_of(layer), scale, offset)
        except UnsupportedError:
            quantiser = only_quantiser(writer.readers)
            if quantiser is None:
                raise
            writer.wide[writer.name] = layer, quantiser
    return add_affine(writer, sources[0], scale, offset, "")


def add_affine(writer: Writer, source: Any, scale: Any, offset: Any, part: str) -> Any:
    """Add ``source * scale + offset``."""
    still, one, shape = np.zeros_like(offset), np.ones_like(scale), source.shape[1:]
    options = {"epsilon": 0.0, "trainable": False}
    deep = len(shape) > 3  # hls4ml has scalings on up to three axes; on more it reads beyond the constants
    source = writer.reshape(source, (math.prod(shape[:-1]), shape[-1]), "flat") if deep else source
    result = writer.add(
        "BatchNormalization", source, part="scaled" if deep else part, weights=[scale, offset, still, one],
        options=options,
    )  # fmt: skip
    return writer.reshape(result, shape, part) if deep else result


def embedding_spec(layer: Any) -> FixedSpec:
    """Return the type of the input of an embedding: whole numbers that count its entries."""
    width = max(1, (int(layer.input_dim) - 1).bit_length())
    return FixedSpec(signed=False, width=width, integer=width)


def embedding(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add an embedding with an entry for every code of its input; those beyond the vocabulary are zero."""
    table = np.asarray(layer.get_weights()[0], dtype=np.float64)
    quantiser = only_quantiser(writer.readers)
    if quantiser is not None:  # what is quantised behind the table may as well be quantised in it
        table = quantise_constants(f"{where_of(layer)}: the table", quantiser, table)
    check_width(f"{where_of(layer)}: the table", table)
    padded = np.zeros((2 ** embedding_spec(layer).width, table.shape[1]))
    padded[: len(table)] = table
    shape = sources[0].shape[1:]
    flat = len(shape) != 1
    source = writer.reshape(sources[0], (math.prod(shape),), "flat") if flat else sources[0]
    options = {"input_dim": len(padded), "output_dim": table.shape[1]}
    result = writer.add("Embedding", source, part="entries" if flat else "", weights=[padded], options=options)
    return writer.reshape(result, (*shape, table.shape[1])) if flat else result
