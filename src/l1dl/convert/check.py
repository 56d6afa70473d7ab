"""Prove that nothing of a Keras model got lost in hls4ml: every layer, connection, weight and type is in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert import hgq2
from l1dl.convert.activations import is_fused
from l1dl.convert.prepare import Prepared
from l1dl.convert.quantisers import Form, quantiser_form, quantiser_spec
from l1dl.convert.readers.element_types import types_of
from l1dl.convert.support import kind_of, same_ends, where_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, decode
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras
from l1dl.nodes import Affine, Dense, Node, Table, Window

Group = tuple[Node, ...]
"""The nodes that one layer is composed of; the last one yields its result."""


def groups_of(graph: FixedGraph) -> dict[str, Group]:
    """Return layer name → the nodes that the layer is composed of, in order."""
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes:
        groups.setdefault(node.name.partition("__")[0], []).append(node)
    return {name: tuple(nodes) for name, nodes in groups.items()}


def check_against_keras(prepared: Prepared, graph: FixedGraph) -> None:
    """Prove that a graph holds all of a Keras model that was prepared for conversion.

    Raises
    ------
    UnsupportedError
        A layer, a connection, a constant or a type differs; the text names it.
    """
    groups = groups_of(graph)
    layers = {layer.name: layer for layer in prepared.model.layers}
    extra = [name for name in groups if name not in layers]
    if extra:
        msg = f"hls4ml added nodes that are no layers of the model: {', '.join(extra)}"
        raise UnsupportedError(msg)
    for layer in layers.values():
        if layer.name in groups:
            _check_layer(layer, groups[layer.name], groups)
            _check_type(layer, groups[layer.name], prepared.ports)
        elif not is_fused(layer):
            msg = f"{where_of(layer)} is missing from hls4ml's graph"
            raise UnsupportedError(msg)
    wanted = tuple(_source(tensor, groups) for tensor in prepared.model.outputs)
    if graph.outputs != wanted:
        msg = f"the outputs of hls4ml's graph are {graph.outputs}; those of Keras are {wanted}"
        raise UnsupportedError(msg)


def _source(tensor: Any, groups: Mapping[str, Group]) -> str:
    """Return the layer that yields a tensor; a function that a table came to include stands for what it reads."""
    layer = tensor._keras_history.operation
    if layer.name not in groups and is_fused(layer):
        return _source(layer.input, groups)
    return str(layer.name)


def _check_layer(layer: Any, group: Group, groups: Mapping[str, Group]) -> None:
    if kind_of(layer) != "InputLayer":
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        wanted = [_source(tensor, groups) for tensor in inputs]
        own = {node.name for node in group}
        found = [name for node in group for name in node.inputs if name not in own]
        if set(found) != set(wanted) or (len(found) == len(wanted) and found != wanted):
            msg = f"{where_of(layer)} reads {found} in hls4ml's graph; in Keras it reads {wanted}"
            raise UnsupportedError(msg)
    if group[-1].shape != tuple(layer.output.shape[1:]):
        msg = f"{where_of(layer)} has shape {group[-1].shape} in hls4ml's graph; in Keras {layer.output.shape[1:]}"
        raise UnsupportedError(msg)
    _check_geometry(layer, group)
    _check_constants(layer, group[-1])


def _check_type(layer: Any, group: Group, ports: Mapping[str, FixedSpec]) -> None:
    if hgq2.is_quantiser(layer):
        if types_of(group) != hgq2.layer_types(layer):
            msg = f"hls4ml gave the values of layer {layer.name!r} other types than HGQ2 quantises them to"
            raise UnsupportedError(msg)
        return
    node, wanted = group[-1], ports.get(layer.name)
    if kind_of(layer) == "QActivation" and not is_fused(layer.input._keras_history.operation):
        wanted = None if quantiser_form(layer.activation) is Form.TABLE else quantiser_spec(layer.activation)
    if wanted is not None and node.result != wanted:
        msg = f"hls4ml gave layer {node.name!r} the type {node.result}; Keras quantises to {wanted}"
        raise UnsupportedError(msg)


def _check_geometry(layer: Any, group: Group) -> None:
    """Check how a kernel moves: size, steps and padding."""
    windows = [node for node in group if isinstance(node, Window)]
    kernel = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    if not windows or kernel is None:
        return
    wanted = tuple(kernel), tuple(layer.strides), same_padding(layer)
    found = windows[0].kernel, windows[0].strides, windows[0].padding
    if found != wanted:
        names = "kernel, strides and padding"
        msg = f"{where_of(layer)} has the {names} {found} in hls4ml's graph; in Keras {wanted}"
        raise UnsupportedError(msg)


def same_padding(layer: Any) -> tuple[int, ...]:
    """Return what a layer adds before and after each axis of its input."""
    kernel = layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size
    if layer.padding == "same":
        return same_ends(layer.input.shape[1:-1], kernel, layer.strides)
    return tuple(end for length in kernel for end in ((length - 1, 0) if layer.padding == "causal" else (0, 0)))


def _check_constants(layer: Any, node: Node) -> None:
    kind = kind_of(layer)
    if kind not in ("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "Embedding"):
        return
    weights = [np.asarray(each, dtype=np.float64) for each in layer.get_weights()]
    if isinstance(node, Dense):
        kernel, bias = weights
        if kind == "DepthwiseConv2D":
            kernel = np.moveaxis(kernel.reshape(-1, node.groups), 0, 1)
        _check_equal(node.name, "weights", node.weight, node.weight_spec, kernel.reshape(node.weight.shape))
        _check_equal(node.name, "biases", node.bias, node.bias_spec, bias)
    elif isinstance(node, Affine):
        gamma, beta, _, _ = weights  # of a prepared layer: mean 0, variance 1 and epsilon 0
        _check_equal(node.name, "scale", node.scale, node.scale_spec, gamma)
        _check_equal(node.name, "offset", node.offset, node.offset_spec, beta)
    elif isinstance(node, Table):
        _check_equal(node.name, "entries", node.table, node.table_spec, weights[0])
    else:
        msg = f"{where_of(layer)} became {node.kind} in hls4ml's graph"
        raise UnsupportedError(msg)


def _check_equal(layer: str, what: str, codes: Codes, spec: FixedSpec, values: npt.NDArray[Any]) -> None:
    different = int(np.count_nonzero(decode(codes, spec) != values))
    if different:
        msg = f"{different} of {values.size} {what} of layer {layer!r} differ between hls4ml and Keras"
        raise UnsupportedError(msg)


def compared_layers(prepared: Prepared, graph: FixedGraph) -> list[Any]:
    """Return the layers whose values are those of the node of the same name."""
    keras, names = import_keras(), {node.name for node in graph.nodes}
    return [
        layer
        for layer in prepared.model.layers
        if layer.name in names
        and layer.name not in prepared.wide
        and not isinstance(layer, keras.layers.InputLayer)
        and not is_fused(layer)
        and kind_of(layer) != "Softmax"
    ]
