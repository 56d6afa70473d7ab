"""Random graphs over all kinds of nodes, small enough for the slow reference and for RTL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    NODE_KINDS,
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
    Input,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)
from l1dl.ports import Ports, join

KINDS = tuple(NODE_KINDS)
"""Names of all kinds of nodes."""

LARGEST = 96
"""Most values of one node."""

ADDITIVE = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)
"""Roundings with which the order of a sum does not matter."""


def random_spec(
    rng: np.random.Generator,
    *,
    widths: tuple[int, int] = (1, 12),
    integers: tuple[int, int] = (-3, 6),
    roundings: tuple[Rounding, ...] = tuple(Rounding),
    overflows: tuple[Overflow, ...] = tuple(Overflow),
) -> FixedSpec:
    """Return a random type; the ends of `widths` and `integers` are included."""
    return FixedSpec(
        bool(rng.integers(2)),
        int(rng.integers(*widths, endpoint=True)),
        int(rng.integers(*integers, endpoint=True)),
        roundings[rng.integers(len(roundings))],
        overflows[rng.integers(len(overflows))],
    )


def random_codes(rng: np.random.Generator, spec: FixedSpec, shape: tuple[int, ...]) -> np.ndarray:
    """Return random codes over the whole range of a type."""
    return rng.integers(spec.minimum_code, spec.maximum_code, shape, dtype=np.int64, endpoint=True)


def random_rows(rng: np.random.Generator, ports: Ports, events: int) -> np.ndarray:
    """Return rows of random codes for some ports, over the whole range of their types."""
    return join([random_codes(rng, port.spec, (events, *port.shape)) for port in ports])


def random_graph(
    seed: int,
    *,
    layers: int = 3,
    kinds: Sequence[str] = KINDS,
    roundings: tuple[Rounding, ...] = tuple(Rounding),
    overflows: tuple[Overflow, ...] = tuple(Overflow),
    name: str = "net",
) -> FixedGraph:
    """Return a random network: one to three inputs, branches, one or more outputs, random types.

    Parameters
    ----------
    layers
        Number of nodes besides the inputs; an input that none of them reads gets one more.
    kinds
        Kinds of nodes to draw from.
    roundings, overflows
        Modes to draw from. Accumulators always wrap, so that no sum depends on its order; some truncate
        each product.
    """
    draw = Draw(seed, roundings, overflows)
    shape = draw.shape()
    draw.add_input(shape)
    for _ in range(int(draw.rng.choice([0, 0, 1, 2]))):
        draw.add_input(draw.broadcastable(shape) if draw.chance(0.5) else draw.shape())
    choices = [kind for kind in kinds if kind != "input"]
    for _ in range(layers):
        draw.add(choices[draw.rng.integers(len(choices))])
    return draw.finish(name) if layers else FixedGraph(name, tuple(draw.nodes), ("x",), "test 1")


def graph_of(
    kind: str,
    seed: int,
    *,
    roundings: tuple[Rounding, ...] = tuple(Rounding),
    overflows: tuple[Overflow, ...] = tuple(Overflow),
    name: str = "net",
) -> FixedGraph:
    """Return a small random network with at least one node of a kind."""
    draw = Draw(seed, roundings, overflows)
    shape = draw.image() if kind in ("window", "reduce") else draw.shape()
    if kind == "argmax":
        shape = (*shape[:-1], draw.between(2, 5))
    draw.add_input(shape)
    if kind in ("merge", "rearrange", "input") and draw.chance(0.8):
        draw.add_input(draw.broadcastable(shape))
    draw.add("activation" if kind == "input" else kind)
    return draw.finish(name)


class Draw:
    """A random network under construction; `add` appends a node of a kind that reads earlier ones."""

    def __init__(self, seed: int, roundings: tuple[Rounding, ...], overflows: tuple[Overflow, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.roundings, self.overflows = roundings, overflows
        self.nodes: list[Node] = []
        self.layers = 0

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def between(self, low: int, high: int) -> int:
        """Return a random whole number; both ends are included."""
        return int(self.rng.integers(low, high, endpoint=True))

    def pick(self, options: Sequence):
        return options[self.rng.integers(len(options))]

    # --- types and shapes

    def spec(self, **limits) -> FixedSpec:
        limits = {"widths": (1, 8), **limits}
        return random_spec(self.rng, roundings=self.roundings, overflows=self.overflows, **limits)

    def around(self, integer: int) -> FixedSpec:
        """Return a type that suits numbers of so many integer bits, mostly."""
        if self.chance(0.1):
            return self.spec()
        return self.spec(widths=(2, 8), integers=(integer - 3, integer + 1))

    def codes(self, spec: FixedSpec, shape: tuple[int, ...]) -> np.ndarray:
        return random_codes(self.rng, spec, shape)

    def image(self) -> tuple[int, ...]:
        if self.chance(0.5):
            return self.between(2, 6), self.between(1, 3)
        return self.between(2, 6), self.between(2, 6), self.between(1, 2)

    def shape(self) -> tuple[int, ...]:
        return (self.between(1, 6),) if self.chance(0.5) else self.image()

    def broadcastable(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape that broadcasts to `shape`."""
        kept = shape[self.between(0, len(shape) - 1) :]
        return tuple(1 if self.chance(0.3) else size for size in kept)

    # --- the network

    def add_input(self, shape: tuple[int, ...]) -> None:
        count = sum(isinstance(node, Input) for node in self.nodes)
        self.nodes.append(Input("xyz"[count], (), shape, self.spec(widths=(2, 8))))

    def add(self, kind: str) -> None:
        node = _MAKERS[kind](self, f"n{self.layers}")
        self.layers += 1
        self.nodes.append(node)

    def source(self, suits: Callable[[Node], bool] = lambda node: True) -> Node | None:
        """Return one of the nodes that suit, mostly a late one."""
        nodes = [node for node in self.nodes if suits(node)]
        if not nodes:
            return None
        return nodes[-1] if self.chance(0.6) else self.pick(nodes)

    def finish(self, name: str) -> FixedGraph:
        """Return the network; its outputs are the nodes that no other one reads, and sometimes one more."""
        for node in self.unread():
            if isinstance(node, Input):
                spec = self.around(node.result.integer)
                last = Activation(f"n{self.layers}", (node.name,), node.shape, spec, self.pick(list(Function)))
                self.nodes.append(last)
                self.layers += 1
        outputs = [node.name for node in self.unread()]
        inner = [node.name for node in self.nodes if node.name not in outputs and not isinstance(node, Input)]
        if inner and self.chance(0.2):
            outputs.append(self.pick(inner))
        self.rng.shuffle(outputs)
        return FixedGraph(name, tuple(self.nodes), tuple(outputs), "test 1")

    def unread(self) -> list[Node]:
        read = {source for node in self.nodes for source in node.inputs}
        return [node for node in self.nodes if node.name not in read]


def _bits(count: int) -> int:
    return math.ceil(math.log2(count))


def _dense(draw: Draw, name: str) -> Node:
    source = draw.source()
    n_in = source.shape[-1]
    groups = draw.pick([1, 1, *(groups for groups in (2, 3, 4, 6) if n_in % groups == 0)])
    most = max(1, min(3, LARGEST * n_in // (source.size * groups)))
    n_out = draw.between(1, most)
    weight, bias = draw.spec(widths=(1, 7)), draw.spec(widths=(1, 7))
    shape = (n_in // groups, n_out)
    if groups > 1 or draw.chance(0.1):
        shape = (groups, *shape)
    natural = source.result.integer + weight.integer + _bits(n_in)
    width = draw.between(2, 16)
    full = source.result.fraction + weight.fraction
    fraction = full + draw.between(-4, 2)
    accumulator = FixedSpec(draw.chance(0.75), width, width - fraction, draw.pick(draw.roundings), Overflow.WRAP)
    return Dense(
        name, (source.name,), (*source.shape[:-1], groups * n_out),
        draw.around(min(natural, accumulator.integer)), draw.codes(weight, shape), weight,
        draw.codes(bias, (groups * n_out,)), bias, accumulator,
    )  # fmt: skip


def _constant_shape(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if draw.chance(0.4) else () if draw.chance(0.1) else draw.broadcastable(shape)


def _affine(draw: Draw, name: str) -> Node:
    source = draw.source()
    scale, offset = draw.spec(widths=(1, 7)), draw.spec(widths=(1, 7))
    return Affine(
        name, (source.name,), source.shape, draw.around(max(source.result.integer + scale.integer, offset.integer)),
        draw.codes(scale, _constant_shape(draw, source.shape)), scale,
        draw.codes(offset, _constant_shape(draw, source.shape)), offset,
    )  # fmt: skip


def _activation(draw: Draw, name: str) -> Node:
    source = draw.source()
    spec = draw.around(source.result.integer)
    return Activation(name, (source.name,), source.shape, spec, draw.pick(list(Function)))


def _clip(draw: Draw, name: str) -> Node:
    source = draw.source()
    spec = source.result
    finer = draw.between(0, 3)
    reach = spec.maximum_code - spec.minimum_code
    middle = spec.minimum_code + reach // 2 << finer
    low = draw.between(spec.minimum_code - reach // 4 << finer, middle)
    high = draw.between(low if draw.chance(0.2) else middle, spec.maximum_code + reach // 4 << finer)
    low, high = (float(np.ldexp(bound, -spec.fraction - finer)) for bound in (low, high))
    return Clip(name, (source.name,), source.shape, draw.around(spec.integer), low, high)


def _leaky_relu(draw: Draw, name: str) -> Node:
    source = draw.source()
    slope = draw.spec(widths=(1, 7), integers=(-3, 2))
    shape = _constant_shape(draw, source.shape)
    spec = draw.around(source.result.integer)
    return LeakyRelu(name, (source.name,), source.shape, spec, draw.codes(slope, shape), slope)


def _table(draw: Draw, name: str) -> Node:
    source = draw.source()
    integer = source.result.integer
    index = draw.spec(widths=(2, 6), integers=(integer - 2, integer + 1))
    table = draw.spec()
    extra = (draw.between(1, 3),) if draw.chance(0.25) and source.size * 3 <= LARGEST else ()
    return Table(
        name, (source.name,), (*source.shape, *extra), draw.around(table.integer),
        index, draw.codes(table, (2**index.width, *extra)), table,
    )  # fmt: skip


def _merge(draw: Draw, name: str) -> Node:
    def broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
        try:
            return math.prod(np.broadcast_shapes(shape, other)) <= LARGEST
        except ValueError:
            return False

    a = draw.source()
    others = [node for node in draw.nodes if broadcasts(a.shape, node.shape)]
    different = [node for node in others if node is not a]
    b = draw.pick(different or others or [a])
    if draw.chance(0.5):
        a, b = b, a
    operation = draw.pick(list(Operation))
    integers = a.result.integer, b.result.integer
    natural = sum(integers) if operation is Operation.MULTIPLY else max(integers) + 1
    shape = np.broadcast_shapes(a.shape, b.shape)
    return Merge(name, (a.name, b.name), shape, draw.around(natural), operation)


def _reduce(draw: Draw, name: str) -> Node:
    # A result without axes has no shape that a port could have, so one axis stays.
    source = draw.source(lambda node: len(node.shape) > 1)
    if source is None:
        shape = draw.nodes[-1].shape
        return _rearranged(draw, name, draw.nodes[-1], (*shape, 1))
    rank = len(source.shape)
    axes = tuple(sorted(draw.rng.choice(rank, draw.between(1, rank - 1), replace=False).tolist()))
    shape = tuple(size for axis, size in enumerate(source.shape) if axis not in axes)
    operation = draw.pick(list(Reduction))
    before, count = source.result, source.size // math.prod(shape)
    natural = before.integer + _bits(count)
    result = draw.around(natural)
    if operation is Reduction.SUM and count > 1:
        fraction, rounding, overflow = result.fraction, result.rounding, result.overflow
        if rounding not in ADDITIVE:
            fraction = max(fraction, before.fraction)
        signed, integer, width = result.signed, result.integer, result.width
        if overflow is not Overflow.WRAP and natural + 2 + fraction >= 1:
            # All sums fit, also those of values that are each rounded to a whole step.
            signed, integer = True, max(natural, _bits(count) + 1 - fraction) + 3
        else:
            overflow, integer = Overflow.WRAP, max(width, fraction - 8) - fraction
        width = max(integer + fraction, 1)
        result = FixedSpec(signed, width, width - fraction, rounding, overflow)
    return Reduce(name, (source.name,), shape, result, operation, axes)


def _argmax(draw: Draw, name: str) -> Node:
    source = draw.source()
    return ArgMax(name, (source.name,), source.shape, draw.spec(widths=(2, 6), integers=(1, 3)))


def _window(draw: Draw, name: str) -> Node:
    source = draw.source(lambda node: len(node.shape) > 1)
    if source is None:
        last = draw.nodes[-1]
        return _rearranged(draw, name, last, (last.shape[0], 1))
    image = source.shape[:-1]
    spec = source.result
    while True:
        kernel = tuple(draw.between(1, min(3, size)) for size in image)
        strides = tuple(draw.between(1, 3) for _ in image)
        padding = tuple(draw.between(0, 2) if draw.chance(0.4) else 0 for _ in range(2 * len(image)))
        fill = draw.between(spec.minimum_code, spec.maximum_code) if draw.chance(0.5) else 0
        result = draw.around(spec.integer) if draw.chance(0.5) else spec
        node = Window(name, (source.name,), (1,), result, kernel, strides, padding, fill)
        positions = node.positions(source)
        shape = (*positions, math.prod(kernel) * source.shape[-1])
        if draw.chance(0.5):
            shape = (*positions, *kernel, source.shape[-1])
        if math.prod(shape) <= max(LARGEST, source.size):
            return Window(name, (source.name,), shape, result, kernel, strides, padding, fill)


def _rearranged(draw: Draw, name: str, source: Node, shape: tuple[int, ...]) -> Node:
    index = np.arange(source.size).reshape(shape)
    return Rearrange(name, (source.name,), shape, source.result, index)


def _rearrange(draw: Draw, name: str) -> Node:
    sources = [draw.source() for _ in range(draw.between(1, 3))]
    sources = list({source.name: source for source in sources}.values())
    total = sum(source.size for source in sources)
    integer = max(source.result.integer for source in sources)
    result = draw.around(integer) if draw.chance(0.7) else sources[0].result
    style = draw.between(0, 3)
    if style == 0:  # concatenate
        index = np.arange(total)
    elif style == 1:  # transpose
        index = np.arange(sources[0].size).reshape(sources[0].shape)
        index = index.transpose(draw.rng.permutation(index.ndim))
    else:  # take some, repeat some, zeros between them
        shape = draw.image() if draw.chance(0.5) else (draw.between(1, 12),)
        index = draw.rng.integers(0, total, shape)
        if style == 3:
            index[draw.rng.random(shape) < 0.2] = -1
    index = np.ascontiguousarray(index, dtype=np.int64)
    names = tuple(source.name for source in sources)
    return Rearrange(name, names, index.shape, result, index)


_MAKERS: dict[str, Callable[[Draw, str], Node]] = {
    "dense": _dense,
    "affine": _affine,
    "activation": _activation,
    "clip": _clip,
    "leaky_relu": _leaky_relu,
    "table": _table,
    "merge": _merge,
    "reduce": _reduce,
    "argmax": _argmax,
    "window": _window,
    "rearrange": _rearrange,
}
