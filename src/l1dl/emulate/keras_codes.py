"""The quantised Keras model as integer codes, for whole networks and layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.check import compared_layers
from l1dl.convert.prepare import prepare
from l1dl.convert.reference import answers_of, keras_inputs, predict_rows
from l1dl.convert.writer import Facts
from l1dl.emulate.compare import exact_codes, exact_rows
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras
from l1dl.models.flat import flatten_model
from l1dl.ports import Arrays, split


def keras_outputs(model: Any, x: Arrays, graph: FixedGraph) -> Codes:
    """Return rows of the output codes of the Keras model for real inputs, one array for each input port."""
    return exact_rows(predict_rows(model, x, graph.input_ports), graph.output_ports)


def within_vocabulary(model: Any, rows: Codes, graph: FixedGraph) -> npt.NDArray[np.bool_]:
    """Say which rows of input codes Keras can compute: an embedding has no entry for numbers beyond its vocabulary."""
    within = np.ones(len(rows), dtype=bool)
    if not any(type(layer).__name__ == "Embedding" for layer in model._flatten_layers()):
        return within
    flat = flatten_model(model)
    for index, part in enumerate(split(rows, graph.input_ports)):
        for call in flat.consumers(index):
            if call.kind == "Embedding":
                within &= np.all(part.reshape(len(rows), -1) < int(call.options["input_dim"]), axis=1)
    return within


def keras_layers(model: Any, x: Arrays, graph: FixedGraph) -> dict[str, Codes]:
    """Return, for each layer of the prepared model, node name → codes of shape (events, *shape).

    The inputs are left out: they are real numbers in Keras.
    """
    prepared = prepare(model, Facts(_padded_pools(graph)))
    layers = compared_layers(prepared, graph)
    probe = import_keras().Model(prepared.model.inputs, [layer.output for layer in layers])
    values = answers_of(probe, keras_inputs(probe, x, graph.input_ports))
    return {
        layer.name: exact_codes(value, graph[layer.name].result) for layer, value in zip(layers, values, strict=True)
    }


def _padded_pools(graph: FixedGraph) -> frozenset[str]:
    """Return the pooling layers that the conversion padded by a layer of their own."""
    return frozenset(node.name.removesuffix("_padded") for node in graph.nodes if node.name.endswith("_padded"))
