"""Read hls4ml's ModelGraph into a FixedGraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from l1dl.convert.readers import READERS
from l1dl.convert.readers.common import source_of
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.nodes import Input, Node


def read_model_graph(model_graph: Any, name: str) -> FixedGraph:
    """Return the FixedGraph of an hls4ml ModelGraph.

    Parameters
    ----------
    model_graph
        The ``hls4ml.model.ModelGraph`` after its optimiser passes.

    Raises
    ------
    UnsupportedError
        A node has no exact reading.
    """
    io_type = model_graph.config.get_config_value("IOType")
    if io_type != "io_parallel":
        msg = f"hls4ml's io_type is {io_type!r}; the arithmetic of l1dl's graphs is that of io_parallel"
        raise UnsupportedError(msg)
    return read_with(READERS, model_graph, name)


def read_with(readers: Mapping[str, Callable[[Any], tuple[Node, ...]]], model_graph: Any, name: str) -> FixedGraph:
    """Return the FixedGraph of an hls4ml ModelGraph as these readers, by hls4ml's class names, read it."""
    nodes: list[Node] = []
    for layer in model_graph.get_layers():
        reader = readers.get(layer.class_name)
        if reader is None:
            msg = f"hls4ml made a node {layer.name!r} of kind {layer.class_name}, which l1dl does not read"
            raise UnsupportedError(msg)
        nodes.extend(reader(layer))
    inputs = [source_of(model_graph, tensor) for tensor in model_graph.inputs]
    nodes.sort(key=lambda node: inputs.index(node.name) if isinstance(node, Input) else len(inputs))
    outputs = tuple(source_of(model_graph, output) for output in model_graph.outputs)
    return FixedGraph(name, tuple(nodes), outputs, f"hls4ml {version('hls4ml')}")
