"""Rules of pooling layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l1dl.convert.quantisers import check_quantiser
from l1dl.convert.rules.products import add_depthwise
from l1dl.convert.support import kind_of, plain_kind, same_ends, where_of
from l1dl.convert.writer import Writer, activate, linear_part
from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_keras


def max_pool(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a max pooling layer."""
    options = {"pool_size": layer.pool_size, "strides": layer.strides, "padding": layer.padding}
    source = sources[0]
    if writer.name in writer.facts.pad_pools:
        # hls4ml fills an unsigned type with half of its largest value; zero is the lowest one.
        source = writer.pad(source, same_ends(source.shape[1:-1], layer.pool_size, layer.strides))
        options["padding"] = "valid"
    return writer.add(plain_kind(layer), source, options=options)


def average_pool(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add an average pooling layer; a quantised divisor is a depthwise convolution with equal weights."""
    source, quantiser = sources[0], getattr(layer, "average_quantizer_internal", None)
    whole = "Global" in kind_of(layer)
    size = tuple(source.shape[1:-1]) if whole else layer.pool_size
    if quantiser is None:
        return activate(writer, _plain_average(writer, layer, source, size), layer)
    padding = "valid" if whole else layer.padding
    if padding != "valid":
        msg = f"{where_of(layer)} has padding={padding!r} and average_quantizer; use padding='valid' or no quantiser"
        raise UnsupportedError(msg)
    check_quantiser(where_of(layer), "average_quantizer", quantiser, "weight")
    factor = np.asarray(import_keras().ops.convert_to_numpy(quantiser(np.float32(1 / math.prod(size)))))
    kernel = np.full((*size, source.shape[-1], 1), factor)
    geometry = {"kernel_size": size, "strides": size if whole else layer.strides, "padding": padding}
    flat = whole and not layer.keepdims
    result = add_depthwise(
        writer, source, kernel, np.zeros(source.shape[-1]), geometry, "mean" if flat else linear_part(layer)
    )
    if flat:
        result = writer.reshape(result, source.shape[-1:], linear_part(layer))
    return activate(writer, result, layer)


def _plain_average(writer: Writer, layer: Any, source: Any, size: tuple[int, ...]) -> Any:
    """Add a pooling layer; division by other than a power of two becomes part of the quantiser's table."""
    whole, axes = "Global" in kind_of(layer), len(size)
    padding = "valid" if whole else layer.padding
    strides = size if whole else layer.strides
    if _divides_exactly(source.shape[1:-1], size, strides, padding):
        if whole:
            return _without_axes(writer, f"GlobalAveragePooling{axes}D", layer, source, linear_part(layer))
        options = {"pool_size": size, "strides": strides, "padding": padding}
        return writer.add(f"AveragePooling{axes}D", source, part=linear_part(layer), options=options)
    if padding != "valid":
        msg = f"{where_of(layer)} averages over different numbers of values; use padding='valid' or 2 by 2 windows"
        raise UnsupportedError(msg)
    if axes == 1:
        source, size, strides = writer.reshape(source, (1, *source.shape[1:]), "row"), (1, *size), (1, *strides)
    channels = source.shape[-1]
    geometry = {"kernel_size": size, "strides": strides, "padding": padding}
    total = add_depthwise(writer, source, np.ones((*size, channels, 1)), np.zeros(channels), geometry, "sum")
    shape = layer.output.shape[1:]
    if tuple(total.shape[1:]) != tuple(shape):
        total = writer.reshape(total, shape, "total")
    return writer.add("Activation", total, part=linear_part(layer), options={"activation": Division(size)})


def _divides_exactly(image: Sequence[int], size: Sequence[int], strides: Sequence[int], padding: str) -> bool:
    """Say whether each window sees as many values as a power of two."""
    counts = np.ones(1, dtype=np.int64)
    ends = same_ends(image, size, strides) if padding == "same" else (0, 0) * len(image)
    for length, pool, step, before in zip(image, size, strides, ends[::2], strict=True):
        positions = -(-length // step) if padding == "same" else (length - pool) // step + 1
        start = np.arange(positions) * step - before
        counts = np.multiply.outer(counts, np.minimum(start + pool, length) - np.maximum(start, 0)).ravel()
    return not np.any(counts & (counts - 1))


class Division:
    """Divides a sum by the number of values in a window, with the rounding of Keras's average pooling.

    Compilers multiply by the rounded reciprocal instead, so numbers are sent through a pooling layer.
    """

    def __init__(self, size: Sequence[int]) -> None:
        self._size = tuple(size)
        self.__name__ = f"division by {math.prod(size)}"

    def __call__(self, total: Any) -> Any:
        """Return the average of windows with these sums."""
        keras = import_keras()
        try:
            values = np.asarray(keras.ops.convert_to_numpy(total), dtype=np.float32)
        except (TypeError, ValueError, AttributeError, NotImplementedError):  # a tensor that stands for any numbers
            return total / math.prod(self._size)
        source = keras.Input((*self._size, 1))
        model = keras.Model(source, keras.layers.GlobalAveragePooling2D()(source))
        parts = []
        for part in np.array_split(values.ravel(), max(1, values.size >> 14)):
            windows = np.zeros((len(part), math.prod(self._size)), dtype=np.float32)
            windows[:, 0] = part
            parts.append(model.predict(windows.reshape(-1, *self._size, 1), batch_size=1 << 14, verbose=0).ravel())
        return keras.ops.convert_to_tensor(np.concatenate(parts).reshape(values.shape))


def global_max_pool(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a maximum over the whole image."""
    return _without_axes(writer, plain_kind(layer), layer, sources[0], "")


def _without_axes(writer: Writer, kind: str, layer: Any, source: Any, part: str) -> Any:
    """Add a global pooling layer; hls4ml always drops the axes of the image."""
    result = writer.add(kind, source, part="mean" if layer.keepdims else part)
    return writer.reshape(result, layer.output.shape[1:], part) if layer.keepdims else result
