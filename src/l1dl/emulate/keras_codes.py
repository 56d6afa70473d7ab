"""The quantised Keras model as integer codes, for whole networks and layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.emulate.compare import NO_CODE
from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras
from l1dl.train.train import predict


def exact_codes(values: npt.NDArray[np.float64], spec: FixedSpec) -> Codes:
    """Return the codes of values that should lie on the grid of `spec`; `NO_CODE` where one does not."""
    scaled = np.ldexp(values.astype(np.float64), spec.fraction)
    whole = np.rint(scaled)
    inside = (whole == scaled) & (whole >= spec.minimum_code) & (whole <= spec.maximum_code)
    return np.where(inside, whole, 0.0).astype(np.int64) + np.where(inside, 0, NO_CODE)


def keras_outputs(model: Any, x: npt.NDArray[np.float32], graph: FixedGraph) -> Codes:
    """Return the output codes of the Keras model for real inputs (events, F)."""
    return exact_codes(predict(model, x), graph[graph.outputs[0]].result)


def keras_layers(model: Any, x: npt.NDArray[np.float32], graph: FixedGraph) -> dict[str, Codes]:
    """Return, for each node of the graph, the codes of the Keras layer that computes the same.

    A quantiser that the conversion fused into the layer before it stands for both.
    """
    keras = import_keras()
    names = {node.name for node in graph.nodes}
    layer_of: dict[str, Any] = {}
    current = None
    for layer in model.layers:
        if layer.name in names:
            current = layer.name
        if current is not None:
            layer_of[current] = layer
    probe = keras.Model(model.inputs, [layer.output for layer in layer_of.values()])
    outputs = probe.predict(x, batch_size=16384, verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return {
        name: exact_codes(np.asarray(output, dtype=np.float64), graph[name].result)
        for name, output in zip(layer_of, outputs, strict=True)
    }
