"""Teach hls4ml 1.3.0 to read QKeras layers on Keras 3, and the layers of Keras that it reads on Keras 2 only.

hls4ml's parsers for Keras 2 expect a layer's configuration and a weight reader. The handler below hands them
both, for one layer at a time. hls4ml's quantiser wrapper calls ``.numpy()`` on its result, which JAX arrays
lack; `_Quantiser` converts them instead. All of it goes when an hls4ml release reads QKeras on Keras 3 itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from l1dl.convert import activations, hgq2, softmax
from l1dl.models.backend import import_keras

PARSED = (
    "QDense", "QConv1D", "QConv2D", "QDepthwiseConv2D", "QSeparableConv1D", "QSeparableConv2D", "BatchNormalization",
    "Embedding", "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip
"""Layers that hls4ml's parsers for Keras 2 read."""

Descriptions = tuple[dict[str, Any], ...]


def register() -> None:
    """Register the handlers with hls4ml; calling it again does nothing new."""
    from hls4ml.converters.keras_v3 import layer_handlers

    for kind in PARSED:
        layer_handlers[kind] = _parse
    for kind in activations.QUANTISING:
        layer_handlers[kind] = _activation


@contextlib.contextmanager
def handlers() -> Iterator[None]:
    """Register the handlers, and for a time also those that take the place of hls4ml's own."""
    from hls4ml.converters.keras_v3 import layer_handlers

    register()
    before = dict(layer_handlers)
    inner = layer_handlers["keras.src.layers.core.input_layer.InputLayer"]

    def read_input(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Descriptions:
        """Describe an input whose type is given, and not hls4ml's to find."""
        return tuple({**each, "trusted": True} for each in inner(layer, inputs, outputs))

    for key in list(layer_handlers):
        if key.rpartition(".")[2] in activations.HANDLERS:
            layer_handlers[key] = _activation
    layer_handlers["keras.src.layers.core.input_layer.InputLayer"] = read_input
    layer_handlers["keras.src.layers.activations.softmax.Softmax"] = softmax.describe
    layer_handlers[hgq2.HANDLED] = hgq2.describe
    try:
        yield
    finally:
        layer_handlers.clear()
        layer_handlers.update(before)


def _activation(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Descriptions:
    kind = type(layer).__name__
    activations.check_activation(f"layer {layer.name!r} ({kind})", layer)
    return tuple(_kept(each) for each in activations.HANDLERS[kind](layer, inputs, outputs))


def _kept(description: dict[str, Any]) -> dict[str, Any]:
    """Keep a conversion as a layer of its own.

    hls4ml moves the type of ``linear`` to the layer before it, even if that is a quantiser, a model output or a
    layer that must not change its type, and drops it where it repeats a type. It looks for the name in lower case.
    """
    own = description.get("trusted", False) or description["name"].endswith("_copy")
    if description.get("activation") == "linear" and own:
        return {**description, "activation": "Linear"}
    return description


def _parse(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Descriptions:
    """Return hls4ml's description of one layer, made by its Keras 2 parser."""
    from hls4ml.converters.keras_v2_to_hls import layer_handlers as parsers

    kind = type(layer).__name__
    description, _ = parsers[kind](
        {"class_name": kind, "config": layer.get_config()},
        [tensor.name for tensor in inputs],
        [list(tensor.shape) for tensor in inputs],
        _Weights(layer),
    )
    for role in ("weight", "depthwise", "pointwise", "bias"):
        quantiser = description.get(f"{role}_quantizer")
        if quantiser is not None:
            description[f"{role}_quantizer"] = _quantiser(quantiser.qkeras_config)
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
