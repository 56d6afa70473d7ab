"""Draw random quantisers of QKeras, of all kinds that have exact firmware."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1dl.models.backend import import_keras, import_qkeras


class Quantisers:
    """Draws numbers and quantisers from one random generator, and notes which quantisers it drew."""

    def __init__(self, seed: int) -> None:
        self.keras, self.qkeras, self.rng = import_keras(), import_qkeras(), np.random.default_rng(seed)
        self.quantisers: list[str] = []

    def integer(self, low: int, high: int) -> int:
        """Return a random integer; both ends are included."""
        return int(self.rng.integers(low, high, endpoint=True))

    def choice(self, options: Any) -> Any:
        """Return one of the options."""
        return options[self.integer(0, len(options) - 1)]

    def chance(self, probability: float) -> bool:
        """Return true with a probability."""
        return bool(self.rng.random() < probability)

    def make(self, role: str, name: str, *arguments: Any, **options: Any) -> Any:
        """Note a quantiser and what is special about it, and return it."""
        plain = {"alpha": (1, None) if role != "weight" else (1,)}
        special = [
            f"{key}={value}" if isinstance(value, str) else key
            for key, value in options.items()
            if value and value not in plain.get(key, ())
        ]
        bits = ["bits=1"] if arguments[:1] == (1,) else []
        self.quantisers.append(" ".join([role, name, *bits, *special]))
        return getattr(self.qkeras, name)(*arguments, **options)

    def port(self) -> Any:
        """Return a quantiser of a model's input: one that is a type by itself."""
        bits, kind = self.integer(3, 10), self.choice(["bits", "bits", "bits", "unsigned", "linear"])
        integer = self.integer(0, bits - 2)
        if kind == "linear":
            return self.make("input", "quantized_linear", bits, integer, self.integer(0, 1), alpha=None)
        return self.make(
            "input", "quantized_bits", bits, integer, symmetric=int(self.chance(0.2)), keep_negative=kind == "bits",
            alpha=1,
        )  # fmt: skip

    def typed(self) -> Any:
        """Return a quantiser of activations that is a type behind nothing or a ReLU."""
        bits = self.integer(2, 8)
        integer = self.integer(0, bits - 2 if self.chance(0.3) else min(2, bits - 2))  # most have fractional bits
        kind = self.choice(["relu", "relu", "bits", "bits", "bits", "bits", "bound", "odd", "linear", "tanh"])
        if kind == "relu":
            return self.make("activation", "quantized_relu", bits, integer + self.integer(0, 1))
        if kind == "bound":
            return self.make("activation", "quantized_relu", bits, integer + 1, relu_upper_bound=1.5)
        if kind == "linear":
            return self.make(
                "activation", "quantized_linear", bits, integer, self.integer(0, 1),
                keep_negative=self.chance(0.7), alpha=self.choice([None, 1, 0.5, 2.0]),
            )  # fmt: skip
        if kind == "tanh":
            return self.make("activation", "quantized_tanh", bits, symmetric=self.chance(0.5))
        odd = {"symmetric": self.integer(0, 1), "keep_negative": self.chance(0.5)} if kind == "odd" else {}
        return self.make("activation", "quantized_bits", bits, integer, alpha=1, **odd)

    def grid(self) -> Any:
        """Return a quantiser of activations that rounds any float to a grid: a type, or a table."""
        bits = self.integer(2, 7)
        pair = bits, self.integer(0, min(2, bits - 2))
        form = self.choice([{}, {}, {"symmetric": True}, {"use_real_sigmoid": True}])
        slope = {"negative_slope": self.choice([0.5, 0.25, 0.125])}
        bound = {"relu_upper_bound": self.choice([0.75, 1.5, 3.0]), "is_quantized_clip": False}
        kinds: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
            "quantized_sigmoid": ((bits,), form),
            "quantized_relu": (pair, self.choice([slope, bound, {"use_sigmoid": 1}])),
            "quantized_tanh": ((bits,), {"use_real_tanh": True}),
            "quantized_hswish": ((bits + 1, self.integer(0, 2)), {}),
            "quantized_bits": (pair, {"alpha": self.choice([0.5, 2.0])}),
        }
        name = self.choice(["typed", "typed", "typed", *kinds])
        if name == "typed":
            return self.typed()
        arguments, options = kinds[name]
        return self.make("activation", name, *arguments, **options)

    def any_quantiser(self) -> Any:
        """Return any quantiser of activations that has exact firmware behind fixed-point numbers."""
        kind = self.choice(["grid", "grid", "sign", "power", "function"])
        if kind == "sign":
            name = self.choice(["binary", "ternary", "stochastic_binary", "stochastic_ternary", "quantized_bits"])
            if name == "quantized_bits":
                return self.make("activation", name, 1, 0, alpha=1)
            options = {"use_01": True} if name == "binary" and self.chance(0.3) else {}
            return self.make("activation", name, alpha=self.choice([1, 1, 0.5]), **options)
        if kind == "power":
            name = self.choice(["quantized_po2", "quantized_relu_po2"])
            slope = {"negative_slope": 0.125} if name == "quantized_relu_po2" and self.chance(0.3) else {}
            return self.make("activation", name, self.integer(3, 4), self.choice([1, 2, 4]), **slope)
        if kind == "function":
            name = self.choice(["binary_tanh", "hard_tanh", "binary_sigmoid"])
            self.quantisers.append(f"activation {name}")
            return getattr(self.qkeras.quantizers, name)
        return self.grid()

    def weights(self) -> Any:
        """Return a quantiser of weights."""
        bits, scale = self.integer(2, 6), self.choice([1, 1, 1, 1, "auto_po2", None])
        kind = self.choice(["bits", "bits", "bits", "bits", "linear", "sign", "sign", "power", "other"])
        if kind == "bits":
            symmetric = int(self.chance(0.2))
            return self.make("weight", "quantized_bits", bits, self.integer(0, 1), symmetric=symmetric, alpha=scale)
        if kind == "linear":
            return self.make("weight", "quantized_linear", bits, self.integer(0, 1), alpha=scale)
        if kind == "sign":
            name = self.choice(["binary", "ternary", "stochastic_binary", "stochastic_ternary"])
            return self.make("weight", name, alpha=scale)
        if kind == "power":
            return self.make("weight", self.choice(["quantized_po2", "quantized_relu_po2"]), 4)
        name = self.choice(["quantized_relu", "quantized_tanh", "quantized_sigmoid", "quantized_hswish"])
        return self.make("weight", name, bits + 1)

    def bias(self) -> Any:
        """Return a quantiser of biases."""
        if self.chance(0.1):
            return self.make("bias", "quantized_po2", 4, 2)
        return self.make("bias", "quantized_bits", self.integer(3, 6), self.integer(0, 2), alpha=1)
