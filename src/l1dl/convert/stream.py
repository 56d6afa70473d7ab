"""Projects with ``io_stream``: what hls4ml's streaming C++ cannot do, and the proof that it has the same arithmetic.

The C++ passes an image on pixel by pixel, in packs of all channels. A model's graph is read from the conversion with
``io_parallel``. That with ``io_stream`` has layers besides that move values (copies of streams, padding, other packs);
all others must have the same types and constants, and read the same values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from l1dl.convert.activations import function_name
from l1dl.convert.check import same_padding
from l1dl.convert.model_graph import read_with
from l1dl.convert.prepare import Prepared
from l1dl.convert.readers import READERS
from l1dl.convert.readers.common import result_of, shape_of, sources_of
from l1dl.convert.support import kind_of, where_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Merge, Node, Rearrange, Window

MAXIMUM_READERS = 7
"""Readers that hls4ml can copy a stream for."""

_SPAN = 1 << 40
"""More than the values of any node."""


def check_streamable(prepared: Prepared) -> None:
    """Refuse what hls4ml's C++ cannot stream, or streams wrongly.

    Raises
    ------
    UnsupportedError
        The text names the layer, the reason and what to use instead.
    """
    model = prepared.model
    read = [tensor for layer in model.layers for tensor in _inputs(layer)] + list(model.outputs)
    readers = Counter(tensor._keras_history.operation.name for tensor in read)
    for layer in model.layers:
        reason = _OBSTACLES[kind_of(layer)](layer) if kind_of(layer) in _OBSTACLES else None
        if readers[layer.name] > MAXIMUM_READERS:
            reason = f"is read {readers[layer.name]} times; hls4ml copies a stream {MAXIMUM_READERS} times at most"
        if reason:
            msg = f"{where_of(layer)} {reason}; use io_parallel"
            raise UnsupportedError(msg)


def _inputs(layer: Any) -> list[Any]:
    if kind_of(layer) == "InputLayer":
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _pooling(layer: Any) -> str | None:
    sizes, steps = tuple(layer.pool_size), tuple(layer.strides)
    if any(same_padding(layer)):
        never = "padding='valid' is fine, and max pooling of values that are never negative"
        return f"pads its input, at which hls4ml's C++ stops in io_stream ({never})"
    if len(sizes) == 2 and sizes != steps:
        return f"has strides {steps} other than its pool size {sizes}, at which hls4ml's C++ stops in io_stream"
    return None


def _rows(layer: Any) -> str | None:
    """hls4ml passes on kernels of one row in a loop that has no vertical strides."""
    kernel, steps, rows = tuple(layer.kernel_size), tuple(layer.strides), layer.input.shape[1]
    if kernel[0] == 1 and steps[0] > 1 and rows > 1 and not (kernel == (1, 1) and kind_of(layer) == "Conv2D"):
        return f"has the kernel {kernel} and strides {steps}, of which hls4ml's C++ ignores the vertical one"
    return None


def _clipped(layer: Any) -> str | None:
    name = function_name(layer)
    return f"has the function {name}, which hls4ml's streams lack" if name in ("relu1", "relu6") else None


_OBSTACLES: dict[str, Callable[[Any], str | None]] = {
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), _pooling),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D"), _rows),
    **dict.fromkeys(("Activation", "ReLU"), _clipped),
    "Dot": lambda _: "multiplies vectors, which hls4ml's streams cannot",
}
"""Class of a layer → why it cannot be streamed, if it cannot."""


def check_same_arithmetic(model_graph: Any, graph: FixedGraph) -> None:
    """Prove that hls4ml computes in streams with the types and constants of a graph, and on the same values.

    Parameters
    ----------
    model_graph
        The ``hls4ml.model.ModelGraph`` with ``io_stream``.

    Raises
    ------
    UnsupportedError
        A node differs; the text names it.
    """
    numbers: dict[str, int] = {}
    streamed = _computations(read_with({**READERS, **_COPIES}, model_graph, graph.name), numbers)
    wanted = _computations(graph, numbers)
    for name in sorted(streamed.keys() ^ wanted.keys()):
        where = "lacks" if name in wanted else "adds"
        msg = f"hls4ml's io_stream {where} the node {name!r}, which changes values"
        raise UnsupportedError(msg)
    for name, computation in wanted.items():
        if streamed[name] != computation:
            msg = f"hls4ml computes {name!r} differently in io_stream: with other types, constants or inputs"
            raise UnsupportedError(msg)


def _read_copy(layer: Any) -> tuple[Node, ...]:
    shape = shape_of(layer)
    index = np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64).reshape(shape)
    return (Rearrange(layer.name, sources_of(layer), shape, result_of(layer), index),)


_COPIES: Mapping[str, Callable[[Any], tuple[Node, ...]]] = {"Clone": _read_copy, "Repack": _read_copy}
"""Kinds of hls4ml layers that only streams have → their reader."""


def _computations(graph: FixedGraph, numbers: dict[str, int]) -> dict[str, tuple[Any, ...]]:
    """Return what each node computes: its fields, and which value of which node each of its inputs is.

    Nodes that only move values are left out: whoever reads them reads what they move.

    Parameters
    ----------
    numbers
        Name of a node → its number, by which its values are marked; grows.
    """
    found: dict[str, tuple[Any, ...]] = {}
    origins: dict[str, Codes] = {}
    for node in graph.nodes:
        sources = graph.sources(node)
        inputs = [origins[source.name] for source in sources]
        places: tuple[str, ...] = ()
        if isinstance(node, (Rearrange, Window)):
            places = ("index", "kernel", "strides", "padding", "fill")
            inputs = [_moved(node, sources, inputs)]
            if all(_plain(source.result) == _plain(node.result) for source in sources):
                origins[node.name] = inputs[0]
                continue
        if isinstance(node, Merge):
            inputs = [np.broadcast_to(each, node.shape) for each in inputs]
        values = [getattr(node, field.name) for field in fields(node) if field.name not in ("inputs", *places)]
        found[node.name] = (*map(_frozen, values), *map(_frozen, inputs))
        first = numbers.setdefault(node.name, len(numbers)) * _SPAN
        origins[node.name] = first + np.arange(node.size, dtype=np.int64).reshape(node.shape)
    found["the outputs"] = tuple(_frozen(origins[name]) for name in graph.outputs)
    return found


def _moved(node: Rearrange | Window, sources: tuple[Node, ...], inputs: list[Codes]) -> Codes:
    """Return the marks of values in their new order; what is filled in has a negative one, made of its code."""
    if isinstance(node, Rearrange):
        index, fill = node.index, 0
    else:
        index, fill = node.places(sources[0].shape), node.fill
    values = np.concatenate([each.ravel() for each in inputs])
    return np.where(index < 0, -1 - 2 * abs(fill) - (fill < 0), values[np.maximum(index, 0)])


def _plain(spec: FixedSpec) -> tuple[bool, int, int]:
    """Return which numbers a type holds."""
    return spec.signed, spec.width, spec.integer


def _frozen(value: Any) -> Any:
    """Return what compares as a whole, of an array of codes or marks."""
    return (value.shape, value.astype(np.int64).tobytes()) if isinstance(value, np.ndarray) else value
