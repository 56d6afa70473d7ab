"""Networks from a card: the float reference and its quantised twin of QKeras or HGQ2, both ending in logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from l1dl.card import (
    ConvCard,
    DenseCard,
    FlattenCard,
    GlobalPoolCard,
    LayerCard,
    ModelCard,
    PoolCard,
    QuantiserCard,
)
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_hgq, import_keras, import_qkeras
from l1dl.models.scaler import Scaler, fold_scaler

Shape = tuple[int, ...]


def input_spec(card: ModelCard) -> FixedSpec:
    """Return the type of the firmware's input port, as QKeras' ``quantized_bits`` quantises to it."""
    quantiser = card.quantisation.input
    return FixedSpec(
        signed=quantiser.signed,
        width=quantiser.bits,
        integer=quantiser.integer + quantiser.signed,
        rounding=Rounding.RND_CONV,
        overflow=Overflow.SAT,
    )


def check_layers(card: ModelCard, shape: Shape) -> None:
    """Refuse a card whose layers do not fit the shape of the data, (F,) or (H, W, C).

    Raises
    ------
    InputError
        A kernel is larger than its image, or windows do not cover it; the text names the layer.
    """
    for name, layer in card.model.named():
        where = f"model card {card.name!r}, layer {name}"
        if isinstance(layer, ConvCard):
            shape = (*(_windows(layer, size, where, shape) for size in shape[:2]), layer.filters)
        elif isinstance(layer, PoolCard):
            if any(size % layer.size for size in shape[:2]):
                fitting = [size for size in range(2, min(shape[:2]) + 1) if not any(side % size for side in shape[:2])]
                allowed = f"size = {', '.join(map(str, fitting))}" if fitting else "no pooling of this image"
                msg = (
                    f"{where}: windows of {layer.size} pixels do not cover {_pixels(shape)} pixels; allowed: {allowed}"
                )
                raise InputError(msg)
            shape = (shape[0] // layer.size, shape[1] // layer.size, shape[2])
        elif isinstance(layer, GlobalPoolCard):
            shape = shape[2:]
        elif isinstance(layer, FlattenCard):
            shape = (int(np.prod(shape)),)
        elif isinstance(layer, DenseCard):
            shape = (layer.units,)


def _windows(layer: ConvCard, size: int, where: str, shape: Shape) -> int:
    """Return the number of places of a kernel along an axis of `size` pixels."""
    if layer.padding == "same":
        return -(-size // layer.stride)
    if layer.kernel > size:
        msg = (
            f"{where}: a kernel of {layer.kernel} pixels is larger than its image of {_pixels(shape)}; "
            'take a smaller kernel, or padding = "same"'
        )
        raise InputError(msg)
    return (size - layer.kernel) // layer.stride + 1


def _pixels(shape: Shape) -> str:
    return " x ".join(str(size) for size in shape[:2])


class _Layers(Protocol):
    """What the float reference and its twin make of the layers of a card."""

    def inputs(self, x: Any, scaler: Scaler | None) -> Any:
        """Return the inputs as the first layer reads them."""

    def conv(self, layer: ConvCard, name: str) -> Any:
        """Return a convolution."""

    def dense(self, layer: DenseCard | None, units: int, name: str) -> Any:
        """Return a dense layer; None stands for the logits."""

    def relu(self, layer: LayerCard, name: str) -> Any:
        """Return a ReLU."""

    def average(self, x: Any, name: str) -> Any:
        """Return an average as the next layer reads it."""


class _FloatLayers:
    """Layers of the float reference."""

    def __init__(self, card: ModelCard) -> None:
        self._card, self._layers = card, import_keras(card.training.backend).layers

    def inputs(self, x: Any, scaler: Scaler | None) -> Any:
        return _scaling_layer(scaler)(x) if self._card.data.inputs == "physical" and scaler is not None else x

    def conv(self, layer: ConvCard, name: str) -> Any:
        return self._layers.Conv2D(layer.filters, layer.kernel, strides=layer.stride, padding=layer.padding, name=name)

    def dense(self, layer: DenseCard | None, units: int, name: str) -> Any:  # noqa: ARG002
        return self._layers.Dense(units, name=name)

    def relu(self, layer: LayerCard, name: str) -> Any:  # noqa: ARG002
        return self._layers.ReLU(name=name)

    def average(self, x: Any, name: str) -> Any:  # noqa: ARG002
        return x


class _QuantisedLayers:
    """Layers of the quantised model: those of QKeras, all with ``alpha=1``."""

    def __init__(self, card: ModelCard) -> None:
        import_keras(card.training.backend)
        self._card, self._types, self._qkeras = card, card.quantisation, import_qkeras()

    def inputs(self, x: Any, scaler: Scaler | None) -> Any:
        quantiser = self._types.input
        x = self._activation(self._bits(quantiser, signed=quantiser.signed), f"quantised_{x.name}")(x)
        if self._types.scaled_input is not None and scaler is not None:
            x = _scaling_layer(fold_scaler(scaler, input_spec(self._card)))(x)
            x = self._activation(self._bits(self._types.scaled_input), "scaled_features")(x)
        return x

    def conv(self, layer: ConvCard, name: str) -> Any:
        return self._qkeras.QConv2D(
            layer.filters,
            layer.kernel,
            strides=layer.stride,
            padding=layer.padding,
            **self._constants(layer),
            name=name,
        )

    def dense(self, layer: DenseCard | None, units: int, name: str) -> Any:
        return self._qkeras.QDense(units, **self._constants(layer), name=name)

    def relu(self, layer: LayerCard, name: str) -> Any:
        quantiser = getattr(layer, "activation", None) or self._types.activation
        assert quantiser is not None
        return self._activation(self._qkeras.quantized_relu(quantiser.bits, quantiser.integer), name)

    def average(self, x: Any, name: str) -> Any:
        types = self._types.activation
        assert types is not None
        return self._activation(self._qkeras.quantized_relu(types.bits, types.integer), name)(x)

    def _constants(self, layer: ConvCard | DenseCard | None) -> dict[str, Any]:
        weight = (layer and layer.weight) or self._types.weight
        bias = (layer and layer.bias) or self._types.bias
        assert weight is not None
        assert bias is not None
        return {"kernel_quantizer": self._bits(weight), "bias_quantizer": self._bits(bias)}

    def _bits(self, quantiser: QuantiserCard, *, signed: bool = True) -> Any:
        return self._qkeras.quantized_bits(quantiser.bits, quantiser.integer, keep_negative=signed, alpha=1)

    def _activation(self, quantiser: Any, name: str) -> Any:
        return self._qkeras.QActivation(quantiser, name=name)


class _Hgq2Layers(_FloatLayers):
    """Layers of the quantised model: those of HGQ2 where there are weights; each quantises its inputs itself."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        assert card.hgq2 is not None
        self._hgq, self._settings = import_hgq(), card.hgq2

    def inputs(self, x: Any, scaler: Scaler | None) -> Any:
        types = self._card.quantisation
        port = input_spec(self._card)
        x = self._fixed(port, f"quantised_{x.name}")(x)
        if types.scaled_input is not None and scaler is not None:
            x = _scaling_layer(fold_scaler(scaler, port))(x)
            bits, integer = types.scaled_input.bits, types.scaled_input.integer + 1
            spec = replace(port, signed=True, width=bits, integer=integer)
            x = self._fixed(spec, "scaled_features")(x)
        return x

    def conv(self, layer: ConvCard, name: str) -> Any:
        return self._hgq.layers.QConv2D(
            layer.filters, layer.kernel, strides=layer.stride, padding=layer.padding, name=name, **self._trained(3)
        )

    def dense(self, layer: DenseCard | None, units: int, name: str) -> Any:  # noqa: ARG002
        return self._hgq.layers.QDense(units, name=name, **self._trained(1))

    def _trained(self, shared: int) -> dict[str, Any]:
        """Return the quantisers of a layer; values along the first `shared` axes, batch included, share a type."""
        config, settings = self._hgq.quantizer.QuantizerConfig, self._settings
        overflow = {"wrap": "WRAP", "saturate": "SAT"}[settings.overflow]
        return {
            "kq_conf": config("kbi", "weight", b0=settings.weight_bits, i0=0),
            "bq_conf": config("kbi", "bias", b0=settings.weight_bits, i0=0),
            "iq_conf": config(
                "kif", "datalane", i0=3, f0=settings.activation_bits, overflow_mode=overflow,
                homogeneous_axis=tuple(range(shared)),
            ),
            "beta0": settings.beta[0],
        }  # fmt: skip

    def _fixed(self, spec: FixedSpec, name: str) -> Any:
        """Return a quantiser with one type that is not trained."""
        config = self._hgq.quantizer.QuantizerConfig(
            "kif", "datalane", k0=spec.signed, i0=spec.integer - spec.signed, f0=spec.fraction,
            round_mode=spec.rounding.value, overflow_mode=spec.overflow.value, trainable=False, ic=None, fc=None,
            homogeneous_axis=None, heterogeneous_axis=(),
        )  # fmt: skip
        return self._hgq.quantizer.Quantizer(config, name=name)


def build_float(card: ModelCard, scaler: Scaler | None, shape: Shape, classes: int) -> Any:
    """Return the float reference, a ``keras.Model`` from features (F,) or an image (H, W, C) to logits (C,).

    Parameters
    ----------
    scaler
        The scaling of features; None with ``inputs = "unscaled"``.
    shape
        Shape of one object.
    """
    return _build(card, _FloatLayers(card), scaler, shape, classes, f"{card.name}_float")


def build_quantised(card: ModelCard, scaler: Scaler | None, shape: Shape, classes: int) -> Any:
    """Return the quantised model, a ``keras.Model`` of layers of the card's engine; parameters as of `build_float`."""
    make: _Layers = _Hgq2Layers(card) if card.model.engine == "hgq2" else _QuantisedLayers(card)
    return _build(card, make, scaler, shape, classes, card.name)


def _build(card: ModelCard, make: _Layers, scaler: Scaler | None, shape: Shape, classes: int, name: str) -> Any:
    check_layers(card, shape)
    keras = import_keras()
    inputs = keras.Input(shape, name="image" if len(shape) == 3 else "features")
    x = make.inputs(inputs, scaler)
    for index, (layer_name, layer) in enumerate(card.model.named()):
        if isinstance(layer, ConvCard):
            x = make.relu(layer, f"relu_{index}")(make.conv(layer, layer_name)(x))
        elif isinstance(layer, DenseCard):
            x = make.relu(layer, f"relu_{index}")(make.dense(layer, layer.units, layer_name)(x))
        elif isinstance(layer, FlattenCard):
            x = keras.layers.Flatten(name=layer_name)(x)
        elif isinstance(layer, (PoolCard, GlobalPoolCard)):
            x = _pool(keras, layer, layer_name)(x)
            x = make.average(x, f"average_{index}") if layer.function == "average" else x
    return keras.Model(inputs, make.dense(None, classes, "logits")(x), name=name)


def _pool(keras: Any, layer: PoolCard | GlobalPoolCard, name: str) -> Any:
    kind = "Max" if layer.function == "max" else "Average"
    if isinstance(layer, GlobalPoolCard):
        return getattr(keras.layers, f"Global{kind}Pooling2D")(name=name)
    return getattr(keras.layers, f"{kind}Pooling2D")(layer.size, name=name)


def _scaling_layer(scaler: Scaler) -> Any:
    """Return the scaling as a frozen layer: ``x * (1 / scale) + (-mean / scale)``."""
    keras = import_keras()
    layer = keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")
    layer.build((None, len(scaler.mean)))
    ones, zeros = np.ones(len(scaler.mean)), np.zeros(len(scaler.mean))
    layer.set_weights([1.0 / scaler.scale, -scaler.mean / scaler.scale, zeros, ones])
    return layer
