"""A softmax at the end of a model: hls4ml's stable form, with types that keep it right to about 2^-11.

Its tables never give Keras's float values, so Keras is compared at what the softmax reads (`before_softmax`),
and the compiled C++, the emulator and the RTL on the softmax itself, in every bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from l1dl.convert.support import kind_of, where_of
from l1dl.convert.writer import Writer
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras

DISTANCE = FixedSpec(signed=False, width=10, integer=3, rounding=Rounding.RND, overflow=Overflow.SAT)
"""Distance from the largest value: beyond 8 it counts as 8, which leaves 2^-11.5 of the exponential."""

PROBABILITY = FixedSpec(signed=False, width=12, integer=1, rounding=Rounding.RND, overflow=Overflow.SAT)
"""Exponentials, the inverse of their sum, and the results: 0 to 1 in steps of 2^-11."""

SUM_FRACTION = 7
"""Fractional bits of the sum of the exponentials, which the inverse is looked up by."""


def sum_spec(size: int) -> FixedSpec:
    """Return the type of the sum of `size` exponentials."""
    integer = size.bit_length()
    width = integer + SUM_FRACTION
    return FixedSpec(signed=False, width=width, integer=integer, rounding=Rounding.RND, overflow=Overflow.SAT)


def softmax(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a softmax at the end of the model."""
    if writer.readers or not isinstance(layer.axis, int):
        what = f"has the axes {list(layer.axis)}" if not writer.readers else "feeds another layer"
        msg = f"{where_of(layer)} {what}; a softmax is supported at the end of a model, along one axis"
        raise UnsupportedError(msg)
    return writer.add("Softmax", sources[0], options={"axis": layer.axis})


def describe(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Describe a softmax to hls4ml, types included."""
    shape = tuple(inputs[0].shape[1:])
    axis = layer.axis if layer.axis >= 0 else len(shape) + 1 + layer.axis
    total = sum_spec(shape[axis - 1])
    description = {
        "name": layer.name,
        "class_name": "Softmax",
        "module": layer.__module__,
        "activation": "softmax",
        "implementation": "stable",
        "axis": -1 if axis == len(shape) else axis,
        "n_in": math.prod(shape),
        "n_outer": math.prod(shape[: axis - 1]),
        "n_inner": math.prod(shape[axis:]),
        "inp_norm_t": _precision(DISTANCE),
        "exp_table_t": _precision(PROBABILITY),
        "exp_table_size": 2**DISTANCE.width,
        "inv_inp_t": _precision(total),
        "inv_table_t": _precision(PROBABILITY),
        "inv_table_size": 2**total.width,
        "_bit_exact": True,
        "trusted": True,
        "input_keras_tensor_names": [tensor.name for tensor in inputs],
        "output_keras_tensor_names": [tensor.name for tensor in outputs],
    }
    return (description,)


def before_softmax(model: Any) -> Any:
    """Return a Keras model that yields what a final softmax reads; the model itself where there is none."""
    tensors = []
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        tensors.append(layer.input if kind_of(layer) == "Softmax" else tensor)
    if all(ours is theirs for ours, theirs in zip(tensors, model.outputs, strict=True)):
        return model
    return import_keras().Model(model.inputs, tensors, name=model.name)


def softmax_axes(model: Any) -> list[int | None]:
    """Return for each output of a Keras model the axis of its final softmax, counted from the end; None without."""
    axes = []
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        last = len(tensor.shape)
        axes.append((layer.axis - last if layer.axis >= 0 else layer.axis) if kind_of(layer) == "Softmax" else None)
    return axes


def graph_before_softmax(graph: FixedGraph) -> FixedGraph:
    """Return the graph whose outputs are what a final softmax reads; the graph itself where there is none."""
    reads = {name: _source(graph, name) for name in graph.outputs}
    cut = {name for name, source in reads.items() if source != name}
    if not cut:
        return graph
    nodes = tuple(node for node in graph.nodes if node.name.partition("__")[0] not in cut)
    return replace(graph, nodes=nodes, outputs=tuple(reads[name] for name in graph.outputs))


def _source(graph: FixedGraph, output: str) -> str:
    """Return what the softmax called `output` reads; `output` itself if it is none."""
    first = f"{output}__slices"
    return graph[first].inputs[0] if any(node.name == first for node in graph.nodes) else output


def _precision(spec: FixedSpec) -> Any:
    from hls4ml.model.types import FixedPrecisionType

    return FixedPrecisionType(spec.width, spec.integer, spec.signed, spec.rounding.value, spec.overflow.value)
