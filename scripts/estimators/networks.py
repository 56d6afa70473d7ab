"""Draw networks as a conversion yields them: Gaussian weights, quantised; dense or convolutional, some pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Dense, Function, Input, Node, Rearrange, Reduce, Reduction, Window


@dataclass
class Network:
    """A network that grows layer by layer.

    Attributes
    ----------
    weight_bits, activation_bits
        Widths of the types.
    sparsity
        Share of the weights of each layer, the smallest ones, that are zero.
    """

    rng: np.random.Generator
    weight_bits: int
    activation_bits: int
    sparsity: float
    nodes: list[Node] = field(default_factory=list)

    @property
    def last(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    def input(self, shape: tuple[int, ...], spec: FixedSpec) -> None:
        """Begin with values of a shape."""
        self.nodes.append(Input("x", (), shape, spec))

    def dense(self, units: int) -> None:
        """Add a dense layer along the last axis, with sums that lose nothing."""
        source = self.last
        count, bits = source.shape[-1], self.weight_bits
        real = self.rng.normal(0, self.rng.uniform(0.8, 1.6) * math.sqrt(2 / count), (count, units))
        real[np.abs(real) < np.quantile(np.abs(real), self.sparsity)] = 0
        spec = FixedSpec(signed=True, width=bits, integer=1)
        weight, bias = _quantised(real, spec), _quantised(self.rng.normal(0, 0.3, units), spec)
        fraction = source.result.fraction + spec.fraction
        largest = int(np.abs(weight).sum(axis=0).max()) << source.result.width
        integer = max(largest + (1 << (bits + source.result.width)), 2).bit_length() + 1 - fraction
        wide = FixedSpec(signed=True, width=integer + fraction, integer=integer)
        name = f"dense_{len(self.nodes)}"
        self.nodes.append(
            Dense(name, (source.name,), (*source.shape[:-1], units), wide, weight, spec, bias, spec, wide)
        )

    def relu(self) -> None:
        """Add a ReLU."""
        spec = FixedSpec(
            signed=False,
            width=self.activation_bits,
            integer=min(2, self.activation_bits - 1),
            rounding=Rounding.RND_CONV,
            overflow=Overflow.SAT,
        )
        self._add(Activation, self.last.shape, spec, Function.RELU)

    def conv(self, filters: int, kernel: int) -> None:
        """Add a convolution without padding and a ReLU."""
        rows, columns, channels = self.last.shape
        shape = (rows - kernel + 1, columns - kernel + 1, kernel * kernel * channels)
        self._add(Window, shape, self.last.result, (kernel, kernel), (1, 1), (0, 0, 0, 0), 0)
        self.dense(filters)
        self.relu()

    def pool(self) -> None:
        """Add a maximum over squares of two by two pixels."""
        rows, columns, channels = self.last.shape
        shape = (rows // 2, columns // 2, 4, channels)
        self._add(Window, shape, self.last.result, (2, 2), (2, 2), (0, 0, 0, 0), 0)
        self._add(Reduce, (*shape[:2], channels), self.last.result, Reduction.MAXIMUM, (2,))

    def flatten(self) -> None:
        """Put all values in a row."""
        size = self.last.size
        self._add(Rearrange, (size,), self.last.result, np.arange(size))

    def _add(self, kind: type[Node], shape: tuple[int, ...], spec: FixedSpec, *fields: object) -> None:
        name = f"{kind.__name__.lower()}_{len(self.nodes)}"
        self.nodes.append(kind(name, (self.last.name,), shape, spec, *fields))


def _quantised(real: np.ndarray, spec: FixedSpec) -> Codes:
    return np.clip(np.rint(real / spec.step), spec.minimum_code, spec.maximum_code).astype(np.int64)


def draw(seed: int) -> tuple[str, FixedGraph]:
    """Return kind and graph of the network of a seed: 4 to 64 wide, 1 to 4 layers, 3 to 8 bits."""
    rng = np.random.default_rng(seed)
    bits = int(rng.integers(3, 8, endpoint=True))
    activation = int(np.clip(bits + rng.integers(-1, 2), 3, 8))
    pruned = rng.random() < 0.35
    net = Network(rng, bits, activation, float(rng.uniform(0.25, 0.75)) if pruned else 0.0)
    kind = "cnn" if rng.random() < 0.2 else "dense"
    _draw_cnn(net) if kind == "cnn" else _draw_dense(net)
    name = f"net_{seed}"
    graph = FixedGraph(name, tuple(net.nodes), (net.last.name,), "random")
    return ("pruned " if pruned else "") + kind, graph


def _draw_dense(net: Network) -> None:
    def width(low: int, high: int) -> int:
        return round(float(np.exp(net.rng.uniform(np.log(low), np.log(high)))))

    inputs = int(net.rng.integers(6, 10, endpoint=True))
    net.input(
        (width(4, 32),),
        FixedSpec(signed=True, width=inputs, integer=3, rounding=Rounding.RND_CONV, overflow=Overflow.SAT),
    )
    for _ in range(int(net.rng.integers(0, 3, endpoint=True))):
        net.dense(width(4, 64))
        net.relu()
    net.dense(width(1, 10))


def _draw_cnn(net: Network) -> None:
    size = int(net.rng.integers(5, 8, endpoint=True))
    net.input((size, size, 1), FixedSpec(signed=False, width=int(net.rng.integers(3, 6, endpoint=True)), integer=1))
    net.conv(int(net.rng.integers(2, 4, endpoint=True)), int(net.rng.integers(2, 3, endpoint=True)))
    if net.rng.random() < 0.7:
        net.pool()
    net.flatten()
    net.dense(int(net.rng.integers(4, 12, endpoint=True)))
    net.relu()
    net.dense(int(net.rng.integers(2, 10, endpoint=True)))
