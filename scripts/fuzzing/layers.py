"""Draw random layers: one method for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fuzzing.quantisers import Quantisers

FUNCTIONS = ("elu", "exponential", "gelu", "hard_sigmoid", "hard_tanh", "selu", "sigmoid", "silu", "softplus",
             "softsign", "tanh")  # fmt: skip
"""Functions of Keras that become part of the table of the quantiser behind them."""

Setter = Callable[[np.random.Generator, str, tuple[int, ...]], Any]
"""Returns the values of a weight, from a generator, the weight's name and its shape."""


@dataclass
class Drawn:
    """A layer that was drawn.

    Attributes
    ----------
    calls
        What it is applied to: each call has one or more tensors.
    follow
        Draws the quantiser behind each result; None where none is needed.
    sums
        Whether a function without a quantiser may stand before that quantiser.
    behind
        The layers that follow, once they are drawn.
    """

    layer: Any
    calls: Sequence[Sequence[Any]]
    follow: Callable[[], Any] | None = None
    sums: bool = False
    behind: list[Any] = field(default_factory=list)


class Layers(Quantisers):
    """Draws layers that fit a tensor, and notes their kinds."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.layers = self.keras.layers
        self.kinds: list[str] = []
        self.setters: dict[str, Setter] = {}
        self.vocabularies: dict[str, int] = {}

    def name(self, kind: str) -> str:
        """Note a layer of a kind, and return its name."""
        self.kinds.append(kind)
        return f"{kind.lower()}_{len(self.kinds)}"

    def quantise(self, tensor: Any, draw: Callable[[], Any]) -> Any:
        """Return a tensor behind a new quantiser."""
        return self.qkeras.QActivation(draw(), name=self.name("QActivation"))(tensor)

    def embedding(self, numbers: Any, width: int) -> Any:
        """Return the entries of a table, quantised behind it or in it."""
        count = self.vocabularies[numbers.name] = self.integer(3, 12)
        layer = self.layers.Embedding(count, width, name=self.name("Embedding"))
        follow = self.choice([self.typed, self.any_quantiser, None])
        result = layer(numbers)
        if follow != self.typed:
            self.setters[layer.name] = lambda rng, _name, shape: rng.integers(-32, 33, shape) / 8
        return self.quantise(result, follow) if follow else result

    def own_activation(self, source: Any) -> tuple[dict[str, Any], Callable[[], Any] | None]:
        """Return the option for a layer's own activation, and what must follow; no tables of wide sums."""
        kind, narrow = self.rng.random(), _is_narrow(source, 5)
        if kind < 0.2:
            return {"activation": self.grid() if narrow else self.typed()}, None
        if kind < 0.3 and narrow:
            function = self.choice(["relu", "tanh", "hard_sigmoid"])
            self.quantisers.append(f"own activation {function}")
            return {"activation": function}, self.grid
        return {}, self.any_quantiser if kind < 0.4 and narrow else self.typed

    def dense(self, source: Any) -> Drawn:
        """Return a dense layer along the last axis."""
        kind = self.choice(["QDense", "QDense", "QDense", "QDenseBatchnorm"])
        own, follow = self.own_activation(source)
        layer = getattr(self.qkeras, kind)(
            self.integer(2, 6), kernel_quantizer=self.weights(), bias_quantizer=self.bias(),
            use_bias=self.chance(0.8), name=self.name(kind), **own,
        )  # fmt: skip
        return Drawn(layer, [[source]], follow, sums=not own)

    def convolve(self, source: Any) -> Drawn:
        """Return a convolution."""
        axes = len(source.shape) - 2
        kernel = tuple(self.integer(1, min(3, source.shape[axis + 1])) for axis in range(axes))
        own, follow = self.own_activation(source)
        options: dict[str, Any] = {"padding": self.choice(["valid", "same"]), "bias_quantizer": self.bias(), **own}
        options |= {"use_bias": self.chance(0.8), "strides": self.integer(1, 2)}
        kinds = ["QConv2D", "QConv2D", "QConv2DBatchnorm", "QDepthwiseConv2D", "QDepthwiseConv2DBatchnorm",
                 "QSeparableConv2D"]  # fmt: skip
        kind = self.choice(["QConv1D", "QConv1D", "QSeparableConv1D"] if axes == 1 else kinds)
        if kind in ("QConv2D", "QConv2DBatchnorm") and self.chance(0.3):
            options["strides"] = (self.integer(1, 2), self.integer(1, 2))
        if "Depthwise" not in kind:
            options["filters"] = self.integer(1, 4)
        if "Depthwise" in kind or "Separable" in kind:
            options |= {"depthwise_quantizer": self.weights(), "depth_multiplier": self.choice([1, 1, 2])}
        if "Separable" in kind:
            options["pointwise_quantizer"] = self.weights()
        elif "Depthwise" not in kind:
            options["kernel_quantizer"] = self.weights()
        layer = getattr(self.qkeras, kind)(kernel_size=kernel, name=self.name(kind), **options)
        return Drawn(layer, [[source]], follow, sums=not own)

    def recurrent(self, source: Any) -> Drawn:
        """Return an LSTM or GRU."""
        kind = self.choice(["QLSTM", "QGRU"])
        options: dict[str, Any] = {"reset_after": self.chance(0.5)} if kind == "QGRU" else {}
        if self.chance(0.3):
            options["recurrent_activation"] = "hard_sigmoid"
        else:
            options["recurrent_activation"] = self.make("gate", "quantized_sigmoid", self.integer(2, 5))
        real = _is_narrow(source, 6) and self.chance(0.3)  # a table, so that the sums before it must be narrow
        bits = self.integer(3, 4 if real else 6)
        weights = [self.make("weight", "quantized_bits", 3, 0, alpha=1) if real else self.weights() for _ in range(2)]
        layer = getattr(self.qkeras, kind)(
            self.integer(1, 3), kernel_quantizer=weights[0], recurrent_quantizer=weights[1],
            bias_quantizer=self.make("bias", "quantized_bits", bits, 0, alpha=1), use_bias=self.chance(0.8),
            activation=self.make("gate", "quantized_tanh", bits, use_real_tanh=real),
            state_quantizer=self.make("state", "quantized_bits", bits, self.integer(0, 1), alpha=1),
            return_sequences=self.chance(0.5), go_backwards=self.chance(0.3), name=self.name(kind), **options,
        )  # fmt: skip
        return Drawn(layer, [[source]], self.typed)

    def pool(self, source: Any) -> Drawn | None:
        """Return a pooling layer."""
        function, axes = self.choice(["Max", "Average"]), f"{len(source.shape) - 2}D"
        quantised = function == "Average" and axes == "2D" and self.chance(0.4)
        module, first = (self.qkeras, "Q") if quantised else (self.layers, "")
        options: dict[str, Any] = {}
        if quantised and self.chance(0.7):
            options["average_quantizer"] = self.make("divisor", "quantized_bits", self.integer(4, 8), 0, alpha=1)
        follow = self.grid if function == "Average" else None
        if self.chance(0.3):
            kind = f"{first}Global{function}Pooling{axes}"
            options["keepdims"] = self.chance(0.4)
            return Drawn(getattr(module, kind)(name=self.name(kind), **options), [[source]], follow)
        kind = f"{first}{function}Pooling{axes}"
        if min(source.shape[1:-1]) < 2:
            return None
        size, strides = self.integer(2, min(3, *source.shape[1:-1])), self.choice([None, None, 1, 2])
        if function == "Max" or (size == 2 and not options.get("average_quantizer")):
            options["padding"] = self.choice(["valid", "same"])
        layer = getattr(module, kind)(pool_size=size, strides=strides, name=self.name(kind), **options)
        return Drawn(layer, [[source]], follow)

    def pad(self, source: Any) -> Drawn:
        """Return a layer that pads, crops or repeats pixels."""
        axes = len(source.shape) - 2
        kind = f"{self.choice(['ZeroPadding', 'Cropping', 'UpSampling'])}{axes}D"
        if kind.startswith("UpSampling"):
            sizes: Any = tuple(self.integer(1, 2) for _ in range(axes))
        else:
            sizes = tuple((self.integer(0, 2), self.integer(0, 1)) for _ in range(axes))
        layer = getattr(self.layers, kind)(sizes if axes == 2 else sizes[0], name=self.name(kind))
        return Drawn(layer, [[source]])

    def reshape(self, source: Any) -> Drawn:
        """Return a layer that changes the order or the shape."""
        rank, size = len(source.shape) - 1, size_of(source)
        kind = self.choice(["Flatten", "Reshape", "Permute"] if rank > 1 else ["Reshape"])
        if kind == "Flatten":
            return Drawn(self.layers.Flatten(name=self.name(kind)), [[source]])
        if kind == "Permute":
            order = tuple(int(axis) + 1 for axis in self.rng.permutation(rank))
            return Drawn(self.layers.Permute(order, name=self.name(kind)), [[source]])
        shape = []
        for _ in range(self.choice([1, 1, 1, 2, 2, 3])):
            shape.append(self.choice([factor for factor in range(1, size + 1) if size % factor == 0]))
            size //= shape[-1]
        return Drawn(self.layers.Reshape((*shape, size), name=self.name(kind)), [[source]])

    def repeat(self, source: Any) -> Drawn:
        """Return a layer that repeats a vector."""
        return Drawn(self.layers.RepeatVector(self.integer(2, 3), name=self.name("RepeatVector")), [[source]])

    def quantiser(self, source: Any) -> Drawn:
        """Return a quantiser."""
        return Drawn(self.qkeras.QActivation(self.any_quantiser(), name=self.name("QActivation")), [[source]])

    def function(self, source: Any) -> Drawn:
        """Return an element-wise function."""
        layers = self.layers
        kind = self.choice([*FUNCTIONS, "linear", "relu", "relu6", "ReLU", "ReLU", "LeakyReLU", "PReLU", "ELU",
                            "Dropout"])  # fmt: skip
        name = self.name(kind)
        if kind == "ReLU":
            options = self.choice([{}, {"max_value": 1.0}, {"max_value": 6.0}, {"negative_slope": 0.25},
                                   {"negative_slope": 0.1}, {"threshold": 0.5},
                                   {"max_value": 2.5, "negative_slope": 0.125}])  # fmt: skip
            self.kinds[-1] = " ".join(["ReLU", *options])
            plain = not {"negative_slope", "threshold"} & set(options)
            return Drawn(layers.ReLU(**options, name=name), [[source]], None if plain else self.grid)
        if kind == "LeakyReLU":
            slope = self.choice([0.5, 0.25, 0.125, 0.3])
            follow = self.grid if slope == 0.3 else self.typed
            return Drawn(layers.LeakyReLU(negative_slope=slope, name=name), [[source]], follow)
        if kind == "PReLU":
            self.setters[name] = lambda rng, _name, shape: rng.integers(-8, 9, shape) / 8
            axes = list(range(1, len(source.shape) - 1)) or None
            return Drawn(layers.PReLU(shared_axes=axes, name=name), [[source]], self.typed)
        if kind == "ELU":
            return Drawn(layers.ELU(alpha=self.choice([1.0, 0.3]), name=name), [[source]], self.grid)
        if kind == "Dropout":
            return Drawn(layers.Dropout(0.2, name=name), [[source]])
        follow = None if kind in ("linear", "relu", "relu6") else self.grid
        return Drawn(layers.Activation(kind, name=name), [[source]], follow)

    def plain_function(self) -> Any:
        """Return a function that is exact for sums of any width."""
        kind = self.choice(["linear", "relu", "Dropout", "LeakyReLU"])
        name = self.name(kind)
        options = {"Dropout": {"rate": 0.2}, "LeakyReLU": {"negative_slope": 0.5}}
        if kind in options:
            return getattr(self.layers, kind)(name=name, **options[kind])
        return self.layers.Activation(kind, name=name)

    def scale(self, source: Any) -> Drawn:
        """Return a normalisation: frozen with short constants, or as trained, with a type behind it."""
        if self.chance(0.3) or not _is_narrow(source):
            layer = self.layers.BatchNormalization(epsilon=0.0, trainable=False, name=self.name("BatchNormalization"))
            self.setters[layer.name] = _short_scaling
            return Drawn(layer, [[source]], self.typed)
        quantised = self.chance(0.3) and self.keras.backend.backend() == "tensorflow"
        kind = "QBatchNormalization" if quantised else "BatchNormalization"
        module = self.qkeras if quantised else self.layers
        layer = getattr(module, kind)(name=self.name(kind))
        if not quantised:
            self.kinds[-1] += ", trained"
        return Drawn(layer, [[source]], self.typed)


def _short_scaling(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Any:
    """Return a weight of a normalisation that scales by powers of two."""
    if name == "gamma":
        return 2.0 ** rng.integers(-2, 2, shape)
    return rng.integers(-16, 17, shape) / 8 if name == "beta" else np.full(shape, float("variance" in name))


def size_of(tensor: Any) -> int:
    """Return how many values a tensor has."""
    return math.prod(tensor.shape[1:])


def _is_narrow(tensor: Any, most: int = 10) -> bool:
    """Say whether a tensor has few bits, since it comes from a quantiser that is no power of two."""
    operation = tensor._keras_history.operation
    if type(operation).__name__ != "QActivation" or "po2" in type(operation.activation).__name__:
        return False
    return bool(getattr(operation.activation, "bits", most) <= most)
