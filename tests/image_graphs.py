"""Random networks on images, as graphs: windows, layers per pixel, pooling, skips, and a head behind them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from graphs import ADDITIVE, random_codes, random_rows, random_spec

from l1dl.emulate.bounds import check_graph
from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    Activation,
    Affine,
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

WIDTHS = (2, 7)


class ImageGraph:
    """A graph that grows node by node.

    Attributes
    ----------
    image
        Whether the newest node is still an image.
    """

    def __init__(self, seed: int, *, shape: tuple[int, ...] | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        axes = int(self.rng.integers(1, 3))
        sizes = tuple(int(size) for size in self.rng.integers(3, 9, axes))
        shape = shape or (*sizes, int(self.rng.integers(1, 3)))
        self.nodes: list[Node] = [Input("image", (), shape, self.spec())]
        self.image = True
        self.outputs: list[str] = []

    def spec(self, **options) -> FixedSpec:
        """Return a random narrow type."""
        return random_spec(self.rng, widths=WIDTHS, integers=(-1, 4), **options)

    def add(self, node: Node) -> Node:
        """Add a node, and return it."""
        self.nodes.append(node)
        return node

    def name(self) -> str:
        """Return the next name."""
        return f"n{len(self.nodes)}"

    def window(self, source: Node, kernel: tuple[int, ...], strides: tuple[int, ...], padding: tuple[int, ...]) -> Node:
        """Slide a kernel over an image; the values of each window stand in one axis for the taps, one for channels."""
        spec = source.result if self.rng.random() < 0.7 else self.spec()
        fill = int(random_codes(self.rng, source.result, ()))
        draft = Window(self.name(), (source.name,), (1,), spec, kernel, strides, padding, fill)
        shape = (*draft.positions(source), math.prod(kernel), source.shape[-1])
        return self.add(replace(draft, shape=shape))

    def random_window(self) -> Node | None:
        """Slide a random kernel."""
        source, rng = self.nodes[-1], self.rng
        image = source.shape[:-1]
        kernel = tuple(int(rng.integers(1, min(4, size + 1))) for size in image)
        strides = tuple(int(rng.integers(1, 3)) for _ in image)
        same = rng.random() < 0.5
        padding = []
        for length in kernel:
            total = length - 1 if same else 0
            padding += [total // 2, total - total // 2]
        return self.window(source, kernel, strides, tuple(padding))

    def dense(self, source: Node, outputs: int) -> Node:
        """Multiply the last axis with a matrix."""
        weights, bias = self.spec(), self.spec()
        fraction = source.result.fraction + weights.fraction
        integer = int(self.rng.integers(3, 8))
        extra = 0 if self.rng.random() < 0.8 else -1
        accumulator = FixedSpec(signed=True, width=max(2, integer + fraction + extra), integer=integer)
        codes = random_codes(self.rng, weights, (source.shape[-1], outputs))
        shape = (*source.shape[:-1], outputs)
        return self.add(Dense(
            self.name(), (source.name,), shape, self.spec(), codes, weights,
            random_codes(self.rng, bias, (outputs,)), bias, accumulator,
        ))  # fmt: skip

    def convolve(self) -> Node:
        """Slide a kernel, and multiply its values with a matrix."""
        window = self.random_window()
        flat = (*window.shape[:-2], window.shape[-2] * window.shape[-1])
        index = np.arange(window.size).reshape(flat)
        return self.dense(self.add(Rearrange(self.name(), (window.name,), flat, window.result, index)),
                          int(self.rng.integers(1, 4)))  # fmt: skip

    def pool(self) -> Node:
        """Take the maximum, or the sum, of the values under a kernel."""
        window = self.random_window()
        shape = (*window.shape[:-2], window.shape[-1])
        operation = Reduction.MAXIMUM if self.rng.random() < 0.6 else Reduction.SUM
        spec = self.spec(roundings=ADDITIVE, overflows=(Overflow.WRAP,))
        return self.add(Reduce(self.name(), (window.name,), shape, spec, operation, (len(shape) - 1,)))

    def local(self) -> Node:
        """Change every value on its own."""
        source, rng, name = self.nodes[-1], self.rng, self.name()
        scale, offset = self.spec(), self.spec()
        same = (source.shape[-1],) if rng.random() < 0.8 else source.shape
        common = name, (source.name,), source.shape, self.spec()
        index = FixedSpec(bool(rng.integers(2)), int(rng.integers(1, 5)), int(rng.integers(0, 3)))
        return self.add([
            lambda: Activation(*common, Function.RELU),
            lambda: Activation(*common, Function.LINEAR),
            lambda: Affine(*common, random_codes(rng, scale, same), scale, random_codes(rng, offset, same), offset),
            lambda: LeakyRelu(*common, random_codes(rng, scale, same), scale),
            lambda: Clip(*common, 0.0, 1.0),
            lambda: Table(*common, index, random_codes(rng, scale, (2**index.width,)), scale),
            lambda: Rearrange(*common, np.flip(np.arange(source.size).reshape(source.shape), -1).copy()),
        ][rng.integers(7)]())  # fmt: skip

    def skip(self) -> Node | None:
        """Merge the newest image with an earlier one of the same shape."""
        newest = self.nodes[-1]
        others = [node for node in self.nodes[:-1] if node.shape == newest.shape]
        if not others:
            return None
        other = others[self.rng.integers(len(others))]
        operation = list(Operation)[self.rng.integers(len(Operation))]
        return self.add(Merge(self.name(), (newest.name, other.name), newest.shape, self.spec(), operation))

    def head(self) -> Node:
        """Leave the image: by a sum or a maximum over it, or as one long vector; then a matrix or two."""
        source, rng = self.nodes[-1], self.rng
        if rng.random() < 0.4:
            operation = Reduction.MAXIMUM if rng.random() < 0.5 else Reduction.SUM
            spec = self.spec(roundings=ADDITIVE, overflows=(Overflow.WRAP,))
            axes = tuple(range(len(source.shape) - 1))
            source = self.add(Reduce(self.name(), (source.name,), source.shape[-1:], spec, operation, axes))
        else:
            order = np.arange(source.size)
            if rng.random() < 0.3:
                rng.shuffle(order)
            source = self.add(Rearrange(self.name(), (source.name,), (source.size,), source.result, order))
        for _ in range(int(rng.integers(1, 3))):
            source = self.dense(source, int(rng.integers(1, 4)))
        return source

    def graph(self) -> FixedGraph:
        """Return the graph with what nothing reads as outputs."""
        read = {name for node in self.nodes for name in node.inputs}
        outputs = tuple(node.name for node in self.nodes if node.name not in read)
        return FixedGraph("net", tuple(self.nodes), outputs, "test 1")


def random_image_graph(seed: int, *, layers: int = 4, head: bool = True) -> FixedGraph:
    """Return the first random network on images from `seed` on that all back ends can compute, and that varies."""
    for trial in range(seed, seed + 10_000_000, 100_000):
        made = ImageGraph(trial)
        for _ in range(layers):
            kinds = [made.convolve, made.convolve, made.pool, made.local, made.local, made.skip]
            kinds[made.rng.integers(len(kinds))]()
        if head:
            made.head()
        graph = made.graph()
        try:
            check_graph(graph)
        except UnsupportedError:
            continue
        rows = random_rows(np.random.default_rng(seed), graph.input_ports, 30)
        if len(np.unique(Emulator(graph).run(rows), axis=0)) > 5:
            return graph
    raise AssertionError(seed)


# --- small networks with known geometry

CODE, WIDE = FixedSpec(signed=True, width=4, integer=4), FixedSpec(signed=True, width=16, integer=16)


def convolution(size: int = 6, *, channels: int = 2, stride: int = 1, padding: int = 1) -> list:
    """Return an input, a 3x3 window and a layer behind it."""
    rng = np.random.default_rng(1)
    image = Input("image", (), (size, size, 1), CODE)
    count = (size + 2 * padding - 3) // stride + 1
    window = Window("taps", ("image",), (count, count, 9), CODE, (3, 3), (stride, stride), (padding,) * 4, 0)
    return [image, window, dense("conv", window, channels, rng)]


def dense(name: str, source, outputs: int, rng) -> Dense:
    weight = rng.integers(-8, 8, (source.shape[-1], outputs))
    bias = rng.integers(-8, 8, outputs)
    return Dense(name, (source.name,), (*source.shape[:-1], outputs), WIDE, weight, CODE, bias, CODE, WIDE)


def flat(source) -> Rearrange:
    return Rearrange("flat", (source.name,), (source.size,), source.result, np.arange(source.size))


def net(*nodes, outputs=None) -> FixedGraph:
    return FixedGraph("net", tuple(nodes), outputs or (nodes[-1].name,), "test 1")


def headed() -> FixedGraph:
    """Return a convolution, its values side by side, and a matrix behind them."""
    nodes = convolution()
    small = Activation("small", ("conv",), nodes[-1].shape, CODE, Function.RELU)
    behind = flat(small)
    return net(*nodes, small, behind, dense("head", behind, 3, np.random.default_rng(2)))


def skipping() -> FixedGraph:
    """Return a convolution whose result is added to its input."""
    nodes = convolution(channels=1)
    return net(*nodes, Merge("sum", ("conv", "image"), nodes[-1].shape, WIDE, Operation.ADD))


def seen(name: str, source: Node, kernel: int) -> list[Node]:
    """Return a square window around each pixel, and the sums of what it sees."""
    taps, (*size, _) = f"{name}_taps", source.shape
    edges = (kernel // 2,) * 4
    return [
        Window(taps, (source.name,), (*size, kernel**2, 1), CODE, (kernel, kernel), (1, 1), edges, 0),
        Reduce(name, (taps,), (*size, 1), CODE, Reduction.SUM, (2,)),
    ]


def branching(size: int, kernels: tuple[int, int]) -> FixedGraph:
    """Return the sum of what two windows of different size see of the same image."""
    image = Input("image", (), (size, size, 1), CODE)
    branches = [*seen("wide", image, kernels[0]), *seen("near", image, kernels[1])]
    return net(image, *branches, Merge("sum", ("wide", "near"), image.shape, WIDE, Operation.ADD))


def random_branches(seed: int, size: int = 6, nodes: int = 6) -> FixedGraph:
    """Return a random network of windows and sums, all of whose images come together at the end."""
    rng = np.random.default_rng(seed)
    image = Input("image", (), (size, size, 1), CODE)
    images, found = [image], [image]
    for index in range(nodes):
        first, second = (images[place] for place in rng.integers(0, len(images), 2))
        if rng.random() < 0.6 or first is second:
            found += seen(f"window{index}", first, int(rng.choice([3, 5])))
        else:
            found.append(Merge(f"sum{index}", (first.name, second.name), image.shape, CODE, Operation.ADD))
        images.append(found[-1])
    read = {name for node in found for name in node.inputs}
    last, *others = [node for node in images if node.name not in read]
    for index, other in enumerate(others):
        last = Merge(f"end{index}", (last.name, other.name), image.shape, WIDE, Operation.ADD)
        found.append(last)
    return net(*found)
