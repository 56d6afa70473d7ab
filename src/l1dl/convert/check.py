"""Prove that nothing of a Keras model got lost in hls4ml: every layer, weight and type is in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.quantisers import quantiser_spec
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras
from l1dl.nodes import Affine, Dense, Node


def check_against_keras(model: Any, graph: FixedGraph) -> None:
    """Prove that every Keras layer is in the graph, with the same quantised weights and types."""
    keras = import_keras()
    nodes = {node.name: node for node in graph.nodes}
    fused: FixedSpec | None = None
    for layer in reversed(model.layers):  # a quantiser that hls4ml fused into the layer before it sets that one's type
        kind, node = type(layer).__name__, nodes.get(layer.name)
        if kind == "QActivation":
            wanted = quantiser_spec(layer.activation)
            if node is None:
                fused = wanted
                continue
            _check_type(node, fused or wanted)
        elif node is None:
            msg = f"layer {layer.name!r} ({kind}) is missing from hls4ml's graph"
            raise UnsupportedError(msg)
        elif fused is not None:
            _check_type(node, fused)
        fused = None
        if isinstance(node, Dense):
            kernel = keras.ops.convert_to_numpy(layer.kernel_quantizer_internal(layer.kernel))
            _check_constant(node.name, "weights", node.weight, node.weight_spec, kernel)
            if layer.use_bias:
                bias = keras.ops.convert_to_numpy(layer.bias_quantizer_internal(layer.bias))
                _check_constant(node.name, "biases", node.bias, node.bias_spec, bias)
        elif isinstance(node, Affine):
            gamma, beta, mean, variance = (np.asarray(value, dtype=np.float64) for value in layer.get_weights())
            scale = gamma / np.sqrt(variance + layer.epsilon)
            _check_constant(node.name, "scale", node.scale, node.scale_spec, scale)
            _check_constant(node.name, "offset", node.offset, node.offset_spec, beta - mean * scale)
    if fused is not None:  # a Sequential model does not list its input layer
        _check_type(graph.inputs[0], fused)


def _check_type(node: Node, wanted: FixedSpec) -> None:
    if node.result != wanted:
        msg = f"hls4ml gave layer {node.name!r} the type {node.result}; Keras quantises to {wanted}"
        raise UnsupportedError(msg)


def _check_constant(layer: str, what: str, codes: Codes, spec: FixedSpec, values: npt.NDArray[Any]) -> None:
    different = int(np.count_nonzero(np.ldexp(codes.astype(np.float64), -spec.fraction) != values))
    if different:
        msg = f"{different} of {values.size} {what} of layer {layer!r} differ between hls4ml and Keras"
        raise UnsupportedError(msg)
