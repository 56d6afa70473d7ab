"""Read convolutions and pooling: a window that moves over the image, and what is done with its values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.convert.readers.common import bias_of, check_kernel, codes_of, result_of, shape_of, sources_of, spec_of
from l1dl.convert.readers.exact import BIT, scalar, source_spec, unsigned
from l1dl.errors import UnsupportedError
from l1dl.fixed import MAXIMUM_WIDTH, Codes, FixedSpec, Rounding
from l1dl.nodes import Activation, Affine, Dense, Function, Node, Rearrange, Reduce, Reduction, Window


@dataclass(frozen=True)
class _Geometry:
    """How a kernel moves over an image."""

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """How many positions it takes along each axis."""
        return tuple(
            (size + before + after - kernel) // step + 1
            for size, kernel, step, before, after in zip(
                self.image, self.kernel, self.strides, self.padding[::2], self.padding[1::2], strict=True
            )
        )

    @property
    def is_point(self) -> bool:
        """Say whether each position sees one value of the image, and all are seen in order."""
        return set(self.kernel) | set(self.strides) == {1} and not any(self.padding)

    def counts(self) -> Codes:
        """Return how many values of the image each position sees, not counting the padding."""
        result = np.ones((), dtype=np.int64)
        for axis, count in enumerate(self.positions):
            start = np.arange(count) * self.strides[axis] - self.padding[2 * axis]
            end = np.minimum(start + self.kernel[axis], self.image[axis])
            result = np.multiply.outer(result, end - np.maximum(start, 0))
        return result


def _geometry(layer: Any, kernel: str) -> _Geometry:
    if layer.get_attr("data_format") not in ("channels_last", None):
        msg = f"layer {layer.name!r} has data_format {layer.get_attr('data_format')!r}; use channels_last"
        raise UnsupportedError(msg)
    for name in ("dilation", "dilation_width", "dilation_height"):
        if layer.get_attr(name, 1) not in (1, None):
            msg = f"layer {layer.name!r} has {name}={layer.get_attr(name)}, which hls4ml ignores; use 1"
            raise UnsupportedError(msg)
    plane = len(layer.get_input_variable().shape) == 3
    sides = (("height", "top", "bottom"), ("width", "left", "right")) if plane else (("width", "left", "right"),)
    return _Geometry(
        tuple(int(size) for size in layer.get_input_variable().shape[:-1]),
        tuple(int(layer.get_attr(f"{kernel}_{side}")) for side, _, _ in sides),
        tuple(int(layer.get_attr(f"stride_{side}")) for side, _, _ in sides),
        tuple(int(layer.get_attr(f"pad_{end}")) for _, *ends in sides for end in ends),
    )


def _window(layer: Any, geometry: _Geometry, shape: tuple[int, ...], fill: int = 0) -> Window:
    return Window(
        f"{layer.name}__window", sources_of(layer), shape, source_spec(layer),
        geometry.kernel, geometry.strides, geometry.padding, fill,
    )  # fmt: skip


def _read_conv(layer: Any) -> tuple[Node, ...]:
    """Read a convolution: the values under the kernel, as one vector, times a matrix."""
    check_kernel(layer)
    geometry, spec = _geometry(layer, "filt"), spec_of(layer.weights["weight"].type.precision)
    data = np.asarray(layer.weights["weight"].data, dtype=np.float64)
    if layer.get_attr("_weights_transposed"):
        data = np.moveaxis(data, 0, -1)
    matrix = data.reshape(-1, data.shape[-1])
    nodes: list[Node] = []
    sources = sources_of(layer)
    if not geometry.is_point:
        nodes.append(_window(layer, geometry, (*geometry.positions, len(matrix))))
        sources = (nodes[-1].name,)
    accumulator = spec_of(layer.get_attr("accum_t").precision)
    weight = codes_of(layer.name, matrix, spec)
    nodes.append(
        Dense(layer.name, sources, shape_of(layer), result_of(layer), weight, spec, *bias_of(layer), accumulator)
    )
    return tuple(nodes)


def _read_depthwise(layer: Any) -> tuple[Node, ...]:
    """Read a depthwise convolution: the values of each channel under the kernel, times a vector of its own."""
    check_kernel(layer)
    geometry, spec = _geometry(layer, "filt"), spec_of(layer.weights["weight"].type.precision)
    if layer.get_attr("_weights_transposed"):
        msg = (
            f"layer {layer.name!r}: depthwise convolutions have no exact reading with strategy 'resource'; use latency"
        )
        raise UnsupportedError(msg)
    channels, size = int(layer.get_input_variable().shape[-1]), math.prod(geometry.kernel)
    if int(layer.get_attr("n_filt")) != channels:
        msg = (
            f"layer {layer.name!r} has {layer.get_attr('n_filt')} filters for {channels} channels; hls4ml needs as many"
        )
        raise UnsupportedError(msg)
    window = _window(layer, geometry, (*geometry.positions, size * channels))
    order = np.arange(window.size).reshape(*geometry.positions, size, channels)
    index = np.swapaxes(order, -1, -2).reshape(window.shape)
    sorted_by_channel = Rearrange(
        f"{layer.name}__channels", (window.name,), window.shape, window.result, np.ascontiguousarray(index)
    )
    data = np.asarray(layer.weights["weight"].data, dtype=np.float64).reshape(size, channels)
    weight = codes_of(layer.name, data.T.reshape(channels, size, 1), spec)
    accumulator = spec_of(layer.get_attr("accum_t").precision)
    dense = Dense(
        layer.name, (sorted_by_channel.name,), shape_of(layer), result_of(layer),
        weight, spec, *bias_of(layer), accumulator,
    )  # fmt: skip
    return window, sorted_by_channel, dense


def _read_pool(layer: Any) -> tuple[Node, ...]:
    geometry, channels = _geometry(layer, "pool"), int(layer.get_input_variable().shape[-1])
    shape, source = (*geometry.positions, math.prod(geometry.kernel), channels), source_spec(layer)
    axes = (len(geometry.image),)
    if _is_maximum(layer):
        # hls4ml sets the highest bit of what stands outside, which is half of the range of an unsigned type.
        fill = source.minimum_code if source.signed else 1 << (source.width - 1)
        window = _window(layer, geometry, shape, fill)
        return window, *_maximum(layer, window.name, axes)
    window = _window(layer, geometry, shape)
    whole = np.asarray(math.prod(geometry.kernel), dtype=np.int64)
    counts = whole if layer.get_attr("count_pad") else geometry.counts()
    return window, *_average(layer, window.name, axes, counts)


def _read_global_pool(layer: Any) -> tuple[Node, ...]:
    image = tuple(int(size) for size in layer.get_input_variable().shape[:-1])
    (source,), axes = sources_of(layer), tuple(range(len(image)))
    if _is_maximum(layer):
        return _maximum(layer, source, axes)
    return _average(layer, source, axes, np.asarray(math.prod(image), dtype=np.int64))


def _is_maximum(layer: Any) -> bool:
    return str(layer.get_attr("pool_op")).lower() == "max"


def _maximum(layer: Any, source: str, axes: tuple[int, ...]) -> tuple[Node, ...]:
    """Take the maximum; the C++ returns it as ``accum_t``."""
    shape, result = shape_of(layer), result_of(layer)
    accumulator = spec_of(layer.get_attr("accum_t").precision)
    if accumulator == result:
        return (Reduce(layer.name, (source,), shape, result, Reduction.MAXIMUM, axes),)
    part = Reduce(f"{layer.name}__maximum", (source,), shape, accumulator, Reduction.MAXIMUM, axes)
    return part, Activation(layer.name, (part.name,), shape, result, Function.LINEAR)


def _average(layer: Any, source: str, axes: tuple[int, ...], counts: Codes) -> tuple[Node, ...]:
    """Divide the sum by a whole number: ``y /= n`` drops what is below the last bit of ``accum_t``, towards zero."""
    shape, result = shape_of(layer), result_of(layer)
    accumulator = spec_of(layer.get_attr("accum_t").precision)
    total = Reduce(f"{layer.name}__sum", (source,), shape, accumulator, Reduction.SUM, axes)
    nodes: list[Node] = [total]
    if np.any(counts != 1):
        scale, spec = _reciprocal(layer.name, counts, accumulator)
        quotient = FixedSpec(
            accumulator.signed, accumulator.width, accumulator.integer, Rounding.TRN_ZERO, accumulator.overflow
        )
        scale = scale.reshape((*counts.shape, 1)) if counts.ndim else scale
        nodes.append(Affine(f"{layer.name}__mean", (nodes[-1].name,), shape, quotient, scale, spec, scalar(0), BIT))
    return (*nodes, Activation(layer.name, (nodes[-1].name,), shape, result, Function.LINEAR))


def _reciprocal(where: str, counts: Codes, accumulator: FixedSpec) -> tuple[Codes, FixedSpec]:
    """Return factors whose products, dropped towards zero, are the quotients of all sums.

    With ``c = ceil(2**f / n)`` the product exceeds ``y / n`` by less than ``|y| / 2**f``. A quotient that is not
    whole lies at least ``1 / n`` below the next whole number, which is enough if ``|y| * n < 2**f``.
    """
    largest = int(counts.max())
    exact = largest & (largest - 1) == 0 and not np.any(counts & (counts - 1))
    fraction = largest.bit_length() - 1 if exact else accumulator.width + largest.bit_length()
    codes = -((-1 << fraction) // counts)
    width = int(codes.max()).bit_length()
    if width + accumulator.width > MAXIMUM_WIDTH:
        msg = f"layer {where!r} divides {accumulator} by up to {largest}, which needs too many bits; narrow accum_t"
        raise UnsupportedError(msg)
    return codes, unsigned(width, width - fraction)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "PointwiseConv1D", "PointwiseConv2D"), _read_conv),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _read_depthwise),
    **dict.fromkeys(("Pooling1D", "Pooling2D"), _read_pool),
    **dict.fromkeys(("GlobalPooling1D", "GlobalPooling2D"), _read_global_pool),
}
