"""Teach hls4ml 1.3.0 to read QKeras layers on Keras 3.

hls4ml's parsers for QKeras expect Keras 2: a layer's configuration and a weight reader. The handler
below hands them both, for one layer at a time. hls4ml's quantiser wrapper calls ``.numpy()`` on its
result, which JAX arrays lack; `_Quantiser` converts them instead. Both go when an hls4ml release
reads QKeras on Keras 3 itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from l1dl.models.backend import import_keras

HANDLED = ("QDense", "QActivation", "BatchNormalization")


def register() -> None:
    """Register the handlers with hls4ml; calling it again does nothing new."""
    from hls4ml.converters.keras_v3 import layer_handlers

    for kind in HANDLED:
        layer_handlers[kind] = _handle


def _handle(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Return hls4ml's description of one layer, made by its Keras 2 parser."""
    from hls4ml.converters.keras_v2_to_hls import layer_handlers as parsers

    kind = type(layer).__name__
    description, _ = parsers[kind](
        {"class_name": kind, "config": layer.get_config()},
        [tensor.name for tensor in inputs],
        [list(tensor.shape) for tensor in inputs],
        _Weights(layer),
    )
    for role in ("weight_quantizer", "bias_quantizer"):
        if description.get(role) is not None:
            description[role] = _quantiser(description[role].qkeras_config)
    description["input_keras_tensor_names"] = [tensor.name for tensor in inputs]
    description["output_keras_tensor_names"] = [tensor.name for tensor in outputs]
    return (description,)


class _Weights:
    """Reads the weights of one layer, as hls4ml's Keras 2 parsers ask for them."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def get_weights_data(self, layer_name: str, name: str | Sequence[str]) -> Any:
        """Return the weight called `name` (or the list of them), or None."""
        if not isinstance(name, str):
            return [self.get_weights_data(layer_name, each) for each in name]
        for weight in self._layer.weights:
            if weight.name.split("/")[-1] == name:
                return import_keras().ops.convert_to_numpy(weight)
        return None


def _quantiser(config: dict[str, Any]) -> Any:
    from hls4ml.model.quantizers import QKerasQuantizer

    class _Quantiser(QKerasQuantizer):  # type: ignore[misc]
        def __call__(self, data: Any) -> Any:
            quantised = self.quantizer_fn(np.asarray(data, dtype=np.float32))
            return import_keras().ops.convert_to_numpy(quantised)

    return _Quantiser(config)
