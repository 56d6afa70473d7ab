"""Draw random quantised networks, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fuzzing.layers import Drawn, Layers, size_of

LARGEST = 256
"""Values of the largest tensor that a network may have; fully parallel firmware grows with them."""

MOST_PARTS = 22
"""Layers and quantisers, those of nested models too, from which on a network gets no more."""

DEEPEST = 2
"""Nested models in each other."""


class Network(Layers):
    """A random network, built layer by layer: the first layers of a seed are the same for any number of layers."""

    def __init__(self, seed: int, layers: int) -> None:
        super().__init__(seed)
        self.seed = seed
        self.inputs: list[Any] = []
        self.used: set[int] = set()
        self.depth = 0
        self.tensors = [self.new_input() for _ in range(1 + self.chance(0.3))]
        for _ in range(layers):
            source = self.tensors[-1] if self.chance(0.6) else self.choice(self.tensors)
            if len(self.kinds) < MOST_PARTS:
                self.attach(source, self.methods(source))
        self.model = self.close(self.inputs, f"fuzz{seed}")
        self.set_weights()

    def close(self, inputs: Sequence[Any], name: str) -> Any:
        """Return the model of these inputs, whose outputs are all tensors that nothing reads."""
        ends = [tensor for tensor in self.tensors if id(tensor) not in self.used]
        return self.keras.Model(inputs, ends if len(ends) > 1 else ends[0], name=name)

    def new_input(self) -> Any:
        """Add an input with its quantiser, or one that counts the entries of an embedding."""
        shapes = [(self.integer(2, 8),), (self.integer(3, 6), self.integer(1, 3)),
                  (self.integer(3, 6), self.integer(3, 6), self.integer(1, 2))]  # fmt: skip
        shape = shapes[self.choice([0, 1, 1, 2, 2])] if not self.inputs else tuple(self.tensors_shape)
        self.tensors_shape = shape
        name, embedded = f"input_{len(self.inputs)}", len(shape) > 1 and self.chance(0.25)
        tensor = self.keras.Input(shape[:-1] if embedded else shape, name=name, dtype="int32" if embedded else None)
        self.inputs.append(tensor)
        if embedded:
            return self.embedding(tensor, shape[-1])
        if self.chance(0.15):  # a layer that only moves values may stand before the quantiser
            tensor = self.layers.Permute(tuple(range(1, len(shape) + 1)), name=self.name("Permute"))(tensor)
        return self.quantise(tensor, self.port)

    def methods(self, source: Any) -> list[Callable[[Any], Drawn | None]]:
        """Return what may read a tensor, each as often as it is wanted."""
        rank = len(source.shape) - 1
        options = [self.dense, self.function, self.function, self.quantiser, self.scale, self.merge, self.merge]
        options += [self.share] + [self.nest, self.sequence] * (self.depth < DEEPEST)
        if rank == 1:
            return [*options, self.dense, self.dense, self.repeat, self.reshape]
        if rank == 2:
            options += [self.recurrent] * (2 if source.shape[1] <= 4 else 0)
        if rank > 3:
            return [*options, self.reshape, self.reshape]
        return [*options, self.convolve, self.convolve, self.convolve, self.pool, self.pool, self.pad, self.reshape]

    def attach(self, source: Any, methods: Sequence[Callable[[Any], Drawn | None]]) -> Drawn | None:
        """Add one layer that fits a tensor, with quantisers behind it where its result needs them."""
        for _ in range(20):
            marks = len(self.kinds), len(self.quantisers)
            drawn = self.choice(methods)(source)
            if drawn is not None:
                try:
                    results = [self.apply(drawn, call) for call in drawn.calls]
                except ValueError:  # an image too small for the layer
                    results = [[]]
                flat = [tensor for result in results for tensor in result]
                if flat and all(0 < size_of(tensor) <= LARGEST for tensor in flat):
                    self.used.update(id(tensor) for call in drawn.calls for tensor in call)
                    self.tensors += flat
                    return drawn
            del self.kinds[marks[0] :], self.quantisers[marks[1] :]
        return None

    def apply(self, drawn: Drawn, call: Sequence[Any]) -> list[Any]:
        """Return the results of a layer for one call, quantised."""
        result = drawn.layer(list(call) if len(call) > 1 else call[0])
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        if any(not 0 < size_of(tensor) <= LARGEST for tensor in results):
            return []
        if drawn.follow:
            (tensor,) = results
            drawn.behind = [self.plain_function()] if drawn.sums and self.chance(0.15) else []
            drawn.behind.append(self.qkeras.QActivation(drawn.follow(), name=self.name("QActivation")))
            for layer in drawn.behind:
                tensor = layer(tensor)
            results = [tensor]
        return results

    def twin(self, source: Any) -> Any:
        """Return another tensor of the same shape."""
        others = [other for other in self.tensors if other is not source and other.shape == source.shape]
        if others and self.chance(0.8):
            return self.choice(others)
        return self.quantise(source, self.typed)

    def share(self, source: Any) -> Drawn | None:
        """Return a layer that is applied to two tensors."""
        methods = [self.dense, self.scale, self.function, self.quantiser]
        if len(source.shape) in (3, 4):
            methods += [self.convolve, self.convolve, self.pool]
        drawn = self.choice(methods)(source)
        if drawn is not None:
            drawn.calls = [[source], [self.twin(source)]]
            self.kinds.append("shared layer")
        return drawn

    def nest(self, source: Any) -> Drawn:
        """Return a functional model of one or two inputs, used once or twice."""
        count, uses = self.choice([1, 1, 2]), self.choice([1, 1, 2])
        twins = [self.twin(source) for _ in range(max(count, uses) - 1)]
        outer = self.tensors, self.used
        name = self.name("nested Model")
        entries = [self.layers.Input(source.shape[1:], name=f"{name.split()[-1]}_{index}") for index in range(count)]
        self.tensors, self.used, self.depth = list(entries), set(), self.depth + 1
        for _ in range(self.integer(1, 2)):
            inner = self.tensors[-1] if self.chance(0.7) else self.choice(self.tensors)
            self.attach(inner, self.methods(inner))
        model = self.close(entries, name.replace(" ", "_"))
        (self.tensors, self.used), self.depth = outer, self.depth - 1
        several = [source, *twins]
        calls = [several[:count]]
        if uses > 1:
            calls.append(several[::-1][:count])
            self.kinds.append("nested Model, shared")
        return Drawn(model, calls)

    def sequence(self, source: Any) -> Drawn | None:
        """Return a sequential model, used once or twice."""
        outer = self.tensors, self.used
        name = self.name("nested Sequential")
        entry = self.layers.Input(source.shape[1:], name=f"{name.split()[-1]}_0")
        self.tensors, self.used = [entry], set()
        parts = [entry]
        for _ in range(self.integer(1, 3)):
            inner = self.tensors[-1]
            methods = {self.share, self.nest, self.sequence, self.merge}
            drawn = self.attach(inner, [method for method in self.methods(inner) if method not in methods])
            parts += [drawn.layer, *drawn.behind] if drawn else []
        self.tensors, self.used = outer
        if len(parts) == 1:
            return None
        calls = [[source]]
        if self.chance(0.4):
            calls.append([self.twin(source)])
            self.kinds.append("nested Sequential, shared")
        return Drawn(self.keras.Sequential(parts, name=name.replace(" ", "_")), calls)

    def merge(self, source: Any) -> Drawn:
        """Return a layer that joins tensors, or an operator on two of them."""
        kinds = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "operator"]
        kind = self.choice(kinds + (["Dot"] if len(source.shape) == 2 else []))
        call = [source, self.partner(source, equal=kind in ("Concatenate", "Dot"))]
        if kind == "operator":
            sign = self.choice(["+", "-", "*"])
            self.kinds.append(f"operator {sign}")
            operators = {"+": lambda x: x[0] + x[1], "-": lambda x: x[0] - x[1], "*": lambda x: x[0] * x[1]}
            return Drawn(operators[sign], [call], self.typed)
        more = self.choice([0, 0, 0, 2]) if kind in ("Add", "Average", "Maximum", "Minimum", "Concatenate") else 0
        call += [self.partner(source, equal=kind == "Concatenate") for _ in range(more)]
        axis = {"axis": self.integer(1, len(source.shape) - 1)} if kind == "Concatenate" else {}
        options = {"axes": 1} if kind == "Dot" else axis
        layer = getattr(self.layers, kind)(name=self.name(kind), **options)
        still = kind in ("Maximum", "Minimum", "Concatenate")
        follow = None if still else self.choice([self.typed, self.typed, self.any_quantiser])
        return Drawn(layer, [call], follow, sums=follow == self.typed)

    def partner(self, source: Any, *, equal: bool) -> Any:
        """Return a tensor that can be merged with another one: of equal shape, or of one that can be repeated."""
        others = [other for other in self.tensors if other is not source and _fits(other, source, equal=equal)]
        return self.choice(others) if others else source

    def set_weights(self) -> None:
        """Give all weights random values, those of a layer the same ones whatever comes after it."""
        for layer in leaves(self.model):
            rng = np.random.default_rng([self.seed, *layer.name.encode()])
            setter = self.setters.get(layer.name, _trained)
            weights = zip(layer.weights, layer.get_weights(), strict=True)
            values = [value if "iteration" in weight.name else setter(rng, weight.name, value.shape)
                      for weight, value in weights]  # fmt: skip
            layer.set_weights(values)


def _trained(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Any:
    """Return a weight as after a training."""
    if "variance" in name:
        return rng.uniform(0.3, 3, shape)
    if "gamma" in name:
        return rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.7, shape)


def leaves(model: Any) -> Iterator[Any]:
    """Yield the layers of a model and of those nested in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from leaves(layer)
        else:
            yield layer


def _fits(other: Any, source: Any, *, equal: bool) -> bool:
    """Say whether the first tensor has the shape of the second one, or can be repeated to it."""
    if equal or len(other.shape) != len(source.shape):
        return bool(other.shape == source.shape)
    return all(own in (1, wanted) for own, wanted in zip(other.shape[1:], source.shape[1:], strict=True))
