"""Read hls4ml's ModelGraph into a FixedGraph, and prove that nothing of the Keras model got lost."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding
from l1dl.graph import Activation, Affine, Dense, FixedGraph, Function, Input, Node
from l1dl.models.backend import import_keras


def read_model_graph(model: Any, model_graph: Any, name: str) -> FixedGraph:
    """Return the FixedGraph of an hls4ml ModelGraph.

    Parameters
    ----------
    model
        The Keras model that it was made from; weights are compared with it.
    model_graph
        The ``hls4ml.model.ModelGraph`` after its optimiser passes.

    Raises
    ------
    UnsupportedError
        A node has no exact reading, or hls4ml lost or changed something.
    """
    nodes = []
    for layer in model_graph.get_layers():
        reader = _READERS.get(layer.class_name)
        if reader is None:
            msg = f"hls4ml made a node {layer.name!r} of kind {layer.class_name}, which l1dl does not read"
            raise UnsupportedError(msg)
        nodes.append(reader(layer))
    outputs = tuple(_source(model_graph, output) for output in model_graph.outputs)
    graph = FixedGraph(name, tuple(nodes), outputs, f"hls4ml {version('hls4ml')}")
    _check_against_keras(model, graph)
    return graph


def spec_of(precision: Any) -> FixedSpec:
    """Return the FixedSpec of an hls4ml precision type."""
    kind = type(precision).__name__
    if not kind.endswith(("FixedPrecisionType", "IntegerPrecisionType")):  # back ends wrap them: APFixedPrecisionType
        msg = f"hls4ml type {precision} ({kind}) is not supported"
        raise UnsupportedError(msg)
    if precision.saturation_bits:
        msg = f"hls4ml type {precision}: saturation bits are not supported"
        raise UnsupportedError(msg)
    return FixedSpec(
        precision.signed,
        precision.width,
        precision.integer,
        Rounding[precision.rounding_mode.name],
        Overflow[precision.saturation_mode.name],
    )


def quantiser_spec(quantiser: Any) -> FixedSpec:
    """Return the type that a QKeras ``quantized_bits`` or ``quantized_relu`` quantises to."""
    signed = type(quantiser).__name__ == "quantized_bits"
    integer = int(quantiser.integer) + signed
    return FixedSpec(signed, int(quantiser.bits), integer, Rounding.RND_CONV, Overflow.SAT)


def _read_input(layer: Any) -> Node:
    return Input(layer.name, (), _shape(layer), _result(layer))


def _read_dense(layer: Any) -> Node:
    weight, bias = layer.weights["weight"], layer.weights["bias"]
    weight_spec, bias_spec = spec_of(weight.type.precision), spec_of(bias.type.precision)
    return Dense(
        layer.name,
        _sources(layer),
        _shape(layer),
        _result(layer),
        _codes(layer.name, weight.data, weight_spec),
        weight_spec,
        _codes(layer.name, bias.data, bias_spec),
        bias_spec,
        spec_of(layer.get_attr("accum_t").precision),
    )


def _read_affine(layer: Any) -> Node:
    scale, offset = layer.weights["scale"], layer.weights["bias"]
    scale_spec, offset_spec = spec_of(scale.type.precision), spec_of(offset.type.precision)
    return Affine(
        layer.name,
        _sources(layer),
        _shape(layer),
        _result(layer),
        _codes(layer.name, scale.data, scale_spec),
        scale_spec,
        _codes(layer.name, offset.data, offset_spec),
        offset_spec,
    )


def _read_activation(layer: Any) -> Node:
    name = layer.get_attr("activation").lower()
    functions = {function.value: function for function in Function}
    if name not in functions:
        msg = f"activation {name!r} of layer {layer.name!r} is not supported; supported are {', '.join(functions)}"
        raise UnsupportedError(msg)
    return Activation(layer.name, _sources(layer), _shape(layer), _result(layer), functions[name])


_READERS: dict[str, Callable[[Any], Node]] = {
    "Input": _read_input,
    "Dense": _read_dense,
    "BatchNormalization": _read_affine,
    "ApplyAlpha": _read_affine,
    "Activation": _read_activation,
}


def _result(layer: Any) -> FixedSpec:
    return spec_of(layer.get_output_variable().type.precision)


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in layer.get_output_variable().shape)


def _sources(layer: Any) -> tuple[str, ...]:
    return tuple(_source(layer.model, name) for name in layer.inputs)


def _source(model_graph: Any, name: str) -> str:
    """Return the node that produces the tensor called `name` (hls4ml names outputs after their node)."""
    for layer in model_graph.get_layers():
        if name == layer.name or name in layer.outputs:
            return str(layer.name)
    msg = f"hls4ml refers to {name!r}, which no node produces"
    raise UnsupportedError(msg)


def _codes(where: str, values: npt.ArrayLike, spec: FixedSpec) -> Codes:
    """Return the codes of constants; values off the grid or out of range would be changed by the firmware."""
    scaled = np.ldexp(np.asarray(values, dtype=np.float64), spec.fraction)
    codes = np.rint(scaled).astype(np.int64)
    if np.any(codes != scaled) or (codes.size and (codes.min() < spec.minimum_code or codes.max() > spec.maximum_code)):
        msg = f"hls4ml gave a constant of layer {where!r} the type {spec}, which does not hold it exactly"
        raise UnsupportedError(msg)
    return codes


def _check_against_keras(model: Any, graph: FixedGraph) -> None:
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
