"""The operations of a FixedGraph: a dozen kinds, from which every layer is composed.

Each kind states its arithmetic exactly, in real numbers and conversions: ``T(x)`` is the conversion of
the exact number x to type T, with T's rounding and overflow. A back end has one function for each kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NoReturn

import numpy as np

from l1dl.errors import InputError
from l1dl.fixed import Codes, FixedSpec

MAXIMUM_INDEX_WIDTH = 16
"""Widest index of a `Table`, in bits."""


class Function(Enum):
    """The element-wise function of an `Activation`."""

    LINEAR = "linear"
    RELU = "relu"


class Operation(Enum):
    """What a `Merge` does with two operands."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    AVERAGE = "average"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"


class Reduction(Enum):
    """What a `Reduce` does along its axes."""

    SUM = "sum"
    MAXIMUM = "maximum"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of the network.

    Attributes
    ----------
    name
        Unique identifier.
    inputs
        Names of the nodes whose results it reads.
    shape
        Shape of its result, without the batch axis.
    result
        Type of its result.
    """

    kind: ClassVar[str]

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    result: FixedSpec

    @property
    def size(self) -> int:
        """Number of values of the result."""
        return math.prod(self.shape)

    def constants(self, sources: Sequence[Node]) -> Mapping[str, tuple[tuple[int, ...], FixedSpec]]:  # noqa: ARG002
        """Return field name → shape and type of the codes that the node must hold."""
        return {}

    def check(self, sources: Sequence[Node]) -> None:
        """Check number and shapes of the inputs; `sources` are the nodes that it reads.

        Raises
        ------
        InputError
            They do not fit this kind of node.
        """
        self._count(sources, 1)
        self._shape(sources[0].shape)

    def _count(self, sources: Sequence[Node], wanted: int) -> None:
        if len(sources) != wanted:
            plural = "" if wanted == 1 else "s"
            msg = f"node {self.name!r} ({self.kind}) must read {wanted} node{plural}, it reads {len(sources)}"
            raise InputError(msg)

    def _shape(self, wanted: tuple[int, ...]) -> None:
        if self.shape != wanted:
            msg = f"node {self.name!r} ({self.kind}) has shape {self.shape}; its inputs ask for {wanted}"
            raise InputError(msg)

    def _refuse(self, why: str) -> NoReturn:
        msg = f"node {self.name!r} ({self.kind}) {why}"
        raise InputError(msg)


@dataclass(frozen=True, eq=False)
class Input(Node):
    """A model input: ``result(x)`` of real values."""

    kind = "input"

    def check(self, sources: Sequence[Node]) -> None:
        """Check that nothing is read."""
        self._count(sources, 0)


@dataclass(frozen=True, eq=False)
class Dense(Node):
    """A constant matrix along the last axis: ``result(accumulator(bias) + sum_i accumulator(x_i * weight_ij))``.

    Each product, the bias and each partial sum are converted to `accumulator`, as in hls4ml's
    latency strategy; the sum is converted to `result`. All vectors along the leading axes share the matrix.

    Attributes
    ----------
    weight
        Codes of type `weight_spec`, shape (n_in, n_out); or (groups, n_in, n_out): the last axis of the
        input is then cut into groups of n_in values with a matrix each, and so is that of the result.
    bias
        Codes of type `bias_spec`, shape (n_out,), with groups (groups * n_out,).
    """

    kind = "dense"

    weight: Codes
    weight_spec: FixedSpec
    bias: Codes
    bias_spec: FixedSpec
    accumulator: FixedSpec

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.weight) if self.weight.ndim == 3 else 1

    def constants(self, sources: Sequence[Node]) -> Mapping[str, tuple[tuple[int, ...], FixedSpec]]:
        """Return what weight and bias must be."""
        grouped = () if self.weight.ndim != 3 else (self.groups,)
        matrix = (*grouped, sources[0].shape[-1] // max(self.groups, 1), self.shape[-1] // max(self.groups, 1))
        return {"weight": (matrix, self.weight_spec), "bias": (self.shape[-1:], self.bias_spec)}

    def check(self, sources: Sequence[Node]) -> None:
        """Check that the leading axes stay, and that the groups divide the last one."""
        self._count(sources, 1)
        if not sources[0].shape or not self.shape:
            self._refuse("needs an axis to sum over")
        self._shape((*sources[0].shape[:-1], self.shape[-1]))
        if self.groups == 0 or sources[0].shape[-1] % self.groups or self.shape[-1] % self.groups:
            self._refuse(f"cannot cut {sources[0].shape[-1]} values into {self.groups} groups")


@dataclass(frozen=True, eq=False)
class Affine(Node):
    """A scale and an offset: ``result(x * scale + offset)``, without an intermediate rounding.

    Attributes
    ----------
    scale, offset
        Codes of type `scale_spec` and `offset_spec`, of shapes that broadcast to that of the result.
    """

    kind = "affine"

    scale: Codes
    scale_spec: FixedSpec
    offset: Codes
    offset_spec: FixedSpec

    def constants(self, sources: Sequence[Node]) -> Mapping[str, tuple[tuple[int, ...], FixedSpec]]:  # noqa: ARG002
        """Return what scale and offset must be."""
        return {
            "scale": (_broadcastable(self.scale, self.shape), self.scale_spec),
            "offset": (_broadcastable(self.offset, self.shape), self.offset_spec),
        }


@dataclass(frozen=True, eq=False)
class Activation(Node):
    """``result(x)`` or ``result(max(x, 0))``, element by element."""

    kind = "activation"

    function: Function


@dataclass(frozen=True, eq=False)
class Clip(Node):
    """``result(min(max(x, low), high))``, element by element; the bounds are dyadic numbers."""

    kind = "clip"

    low: float
    high: float

    def check(self, sources: Sequence[Node]) -> None:
        """Check that the bounds are in order."""
        super().check(sources)
        if not -math.inf < self.low <= self.high < math.inf:
            self._refuse(f"has the bounds {self.low} and {self.high}")


@dataclass(frozen=True, eq=False)
class LeakyRelu(Node):
    """``result(x)`` where x > 0, ``result(slope * x)`` elsewhere.

    Attributes
    ----------
    slope
        Codes of type `slope_spec`, of a shape that broadcasts to that of the result.
    """

    kind = "leaky_relu"

    slope: Codes
    slope_spec: FixedSpec

    def constants(self, sources: Sequence[Node]) -> Mapping[str, tuple[tuple[int, ...], FixedSpec]]:  # noqa: ARG002
        """Return what the slope must be."""
        return {"slope": (_broadcastable(self.slope, self.shape), self.slope_spec)}


@dataclass(frozen=True, eq=False)
class Table(Node):
    """A lookup: ``result(table[index(x)])``.

    Attributes
    ----------
    index
        Type that x is converted to; its lowest code picks the first entry. At most `MAXIMUM_INDEX_WIDTH` bits.
    table
        Codes of type `table_spec`, shape (2 ** index.width, *extra): one entry for each code of `index`.
        With extra axes (an embedding) the result has the shape of the input followed by them.
    """

    kind = "table"

    index: FixedSpec
    table: Codes
    table_spec: FixedSpec

    def constants(self, sources: Sequence[Node]) -> Mapping[str, tuple[tuple[int, ...], FixedSpec]]:  # noqa: ARG002
        """Return what the table must be."""
        return {"table": ((2**self.index.width, *self.table.shape[1:]), self.table_spec)}

    def check(self, sources: Sequence[Node]) -> None:
        """Check the width of the index and the shape."""
        self._count(sources, 1)
        if self.index.width > MAXIMUM_INDEX_WIDTH:
            self._refuse(f"has an index of {self.index.width} bits; at most {MAXIMUM_INDEX_WIDTH} are supported")
        self._shape((*sources[0].shape, *self.table.shape[1:]))


@dataclass(frozen=True, eq=False)
class Merge(Node):
    """``result(a operation b)`` of two nodes, whose shapes broadcast to that of the result.

    The average is ``result((a + b) / 2)``.
    """

    kind = "merge"

    operation: Operation

    def check(self, sources: Sequence[Node]) -> None:
        """Check that there are two operands that broadcast."""
        self._count(sources, 2)
        try:
            shape = np.broadcast_shapes(*(source.shape for source in sources))
        except ValueError:
            self._refuse(f"cannot broadcast the shapes {sources[0].shape} and {sources[1].shape}")
        self._shape(shape)


@dataclass(frozen=True, eq=False)
class Reduce(Node):
    """The sum or the maximum along some axes.

    The sum is taken in order of the axes, each partial sum converted to `result`; the maximum is ``result(max)``.

    Attributes
    ----------
    axes
        Axes of the input (without the batch axis) that vanish, in ascending order, not negative.
    """

    kind = "reduce"

    operation: Reduction
    axes: tuple[int, ...]

    def check(self, sources: Sequence[Node]) -> None:
        """Check the axes."""
        self._count(sources, 1)
        shape = sources[0].shape
        if not self.axes or list(self.axes) != sorted(set(self.axes) & set(range(len(shape)))):
            self._refuse(f"cannot reduce the axes {self.axes} of shape {shape}")
        self._shape(tuple(size for axis, size in enumerate(shape) if axis not in self.axes))


@dataclass(frozen=True, eq=False)
class ArgMax(Node):
    """``result(1)`` at the first maximum along the last axis, zero elsewhere."""

    kind = "argmax"

    def check(self, sources: Sequence[Node]) -> None:
        """Check that there is an axis."""
        super().check(sources)
        if not self.shape:
            self._refuse("needs an axis to search")


@dataclass(frozen=True, eq=False)
class Window(Node):
    """The values under a kernel that moves over an image: what a line buffer holds.

    The input has the shape (*image, channels). For each position the kernel's values are listed in the
    order (*kernel, channels), so that the result has the shape (*positions, *kernel, channels), or any
    other of the same size. Values are converted to `result`.

    Attributes
    ----------
    kernel, strides
        Size and step of the kernel along each axis of the image.
    padding
        Values added before and after each axis: (before 0, after 0, before 1, after 1, …).
    fill
        The code, of the input's type, of what stands outside the image.
    """

    kind = "window"

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    fill: int

    def positions(self, source: Node) -> tuple[int, ...]:
        """Return how many positions the kernel takes along each axis of the image."""
        padded = [
            size + self.padding[2 * axis] + self.padding[2 * axis + 1] for axis, size in enumerate(source.shape[:-1])
        ]
        return tuple(
            (size - kernel) // step + 1 for size, kernel, step in zip(padded, self.kernel, self.strides, strict=True)
        )

    @property
    def pads(self) -> list[tuple[int, int]]:
        """How many values stand before and after each axis of the source, the channels included."""
        return [*zip(self.padding[::2], self.padding[1::2], strict=True), (0, 0)]

    def slide(self, padded: np.ndarray) -> np.ndarray:
        """Return the values under the kernel in each of its places.

        Parameters
        ----------
        padded
            Images of any dtype with the padding around them; axes may stand before those of the image.

        Returns
        -------
        Shape (…, *shape of the node).
        """
        first = padded.ndim - len(self.kernel) - 1
        axes = tuple(range(first, first + len(self.kernel)))
        steps: tuple[Any, ...] = (slice(None),) * first + tuple(slice(None, None, step) for step in self.strides)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=axes)[steps]
        # (…, *positions, channels, *kernel): the channels belong behind the kernel.
        result: np.ndarray = np.moveaxis(windows, first + len(axes), -1).reshape(*padded.shape[:first], *self.shape)
        return result

    def places(self, shape: tuple[int, ...]) -> Codes:
        """Return for each value of the result its place among those of a source of this shape; -1 outside of it."""
        places = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        return self.slide(np.pad(places, self.pads, constant_values=-1))

    def check(self, sources: Sequence[Node]) -> None:
        """Check the geometry and the fill."""
        self._count(sources, 1)
        source = sources[0]
        axes = len(source.shape) - 1
        if axes < 1 or not len(self.kernel) == len(self.strides) == len(self.padding) / 2 == axes:
            self._refuse(f"has the kernel {self.kernel} for an input of shape {source.shape}")
        if min(self.kernel) < 1 or min(self.strides) < 1 or min(self.padding) < 0:
            self._refuse(f"has the kernel {self.kernel}, strides {self.strides} and padding {self.padding}")
        positions = self.positions(source)
        if min(positions) < 1 or self.size != math.prod((*positions, *self.kernel, source.shape[-1])):
            self._refuse(f"has shape {self.shape} for {positions} positions of the kernel {self.kernel}")
        if not source.result.minimum_code <= self.fill <= source.result.maximum_code:
            self._refuse(f"fills with the code {self.fill}, which {source.result} does not have")


@dataclass(frozen=True, eq=False)
class Rearrange(Node):
    """Values in another order: reshaping, transposing, padding, cropping, repeating, concatenating.

    Attributes
    ----------
    index
        For each value of the result its position among the flattened values of all inputs, one input
        after the other; -1 for zero. Shape of the result. Values are converted to `result`.
    """

    kind = "rearrange"

    index: Codes

    def check(self, sources: Sequence[Node]) -> None:
        """Check that the index stays inside the inputs."""
        if not sources:
            self._count(sources, 1)
        self._shape(self.index.shape)
        if self.index.dtype != np.int64:
            self._refuse(f"has an index of {self.index.dtype}; it must be int64")
        total = sum(source.size for source in sources)
        if self.index.size and not -1 <= self.index.min() <= self.index.max() < total:
            self._refuse(f"takes values {self.index.min()} to {self.index.max()} of {total}")


NODE_KINDS: dict[str, type[Node]] = {
    kind.kind: kind
    for kind in (
        Input, Dense, Affine, Activation, Clip, LeakyRelu, Table, Merge, Reduce, ArgMax, Window, Rearrange,
    )
}  # fmt: skip


def check_node(node: Node, sources: Sequence[Node]) -> None:
    """Check a node against the nodes that it reads: number, shapes, and the ranges of its codes.

    Raises
    ------
    InputError
        Something does not fit.
    """
    if not all(size > 0 for size in node.shape):
        msg = f"node {node.name!r} has the empty shape {node.shape}"
        raise InputError(msg)
    node.check(sources)
    for name, (shape, spec) in node.constants(sources).items():
        codes: Codes = getattr(node, name)
        if codes.shape != shape or codes.dtype != np.int64:
            msg = f"{node.name}.{name} must be int64 of shape {shape}, got {codes.dtype} of shape {codes.shape}"
            raise InputError(msg)
        if codes.size and (codes.min() < spec.minimum_code or codes.max() > spec.maximum_code):
            msg = f"{node.name}.{name} has codes outside {spec}: {codes.min()} to {codes.max()}"
            raise InputError(msg)
    for value in vars(node).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False


def _broadcastable(codes: Codes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of `codes` if it broadcasts to `shape`, else `shape`."""
    try:
        return codes.shape if np.broadcast_shapes(codes.shape, shape) == shape else shape
    except ValueError:
        return shape
