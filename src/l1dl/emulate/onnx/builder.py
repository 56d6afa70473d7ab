"""The operators of an ONNX graph under construction, and the tensors between them.

The values of a node stand in a `Tensor`: the real value is its content times ``2**-fraction``. In floats that
fraction is free, since a multiplication by a power of two is exact: it is chosen so that few operators only
move the binary point. In int64 the content is the code itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.emulate.bounds import Operand, Range

DType = np.dtype[Any]
Array = npt.NDArray[Any]
Attribute = int | DType | tuple[int, ...]

FLOAT32: DType = np.dtype(np.float32)
FLOAT64: DType = np.dtype(np.float64)
INT32: DType = np.dtype(np.int32)
INT64: DType = np.dtype(np.int64)

SIGNIFICAND = {FLOAT32: 24, FLOAT64: 53}
"""Bits of a float's significand: whole numbers up to 2**bits are exact."""

FARTHEST = 30
"""The most places that constants move the binary point, so that no float comes near the ends of its exponents."""


@dataclass(frozen=True)
class Tensor:
    """Values on their way through the graph.

    Attributes
    ----------
    name
        Name of the operator's output that they are.
    dtype
        float32, float64 or int64.
    fraction
        The real value is the content times ``2**-fraction``; in int64, that of the node's type.
    """

    name: str
    dtype: DType
    fraction: int


@dataclass(frozen=True)
class Source:
    """What a node reads: a tensor, and what is proved of the codes in it."""

    tensor: Tensor
    operand: Operand

    @property
    def codes(self) -> Range:
        """The codes that can occur."""
        return self.operand.codes

    @property
    def fraction(self) -> int:
        """Number of fractional bits of the codes."""
        return self.operand.fraction

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without the batch axis."""
        return self.operand.shape


@dataclass(frozen=True)
class Op:
    """One operator of the default domain."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: tuple[tuple[str, Attribute], ...]


class Builder:
    """Collects operators and constants; an operator that is there already is not added again.

    Attributes
    ----------
    ops
        The operators, in order.
    constants
        Name → content.
    scope
        What names of new operators and constants begin with. A ``/`` follows, which no node has in its name.
    """

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.constants: dict[str, Array] = {}
        self.scope = ""
        self._known: dict[Any, str] = {}

    def apply(self, kind: str, *inputs: str | Array, **attributes: Attribute) -> str:
        """Add an operator and return the name of its output; arrays among the inputs become constants."""
        names = tuple(value if isinstance(value, str) else self.constant(value) for value in inputs)
        ordered = tuple(sorted(attributes.items()))
        key = (kind, names, ordered)
        if key not in self._known:
            self._known[key] = f"{self.scope}/{kind}_{len(self.ops)}"
            self.ops.append(Op(kind, names, self._known[key], ordered))
        return self._known[key]

    def constant(self, content: Array) -> str:
        """Return the name of a constant."""
        key = (content.dtype.str, content.shape, content.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.scope}/constant_{len(self.constants)}"
            self.constants[self._known[key]] = content
        return self._known[key]

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """Give each event the shape `shape`."""
        return self.apply("Reshape", name, np.array([-1, *shape], dtype=np.int64))

    def finish(self, outputs: Sequence[tuple[str, str]]) -> list[Op]:
        """Return the operators, so that each tensor of some (tensor, name) leaves the graph under its name."""
        made = {op.output for op in self.ops}
        names: dict[str, str] = {}
        copies: list[Op] = []
        for tensor, name in outputs:
            if tensor in made and tensor not in names:
                names[tensor] = name
            else:
                copies.append(Op("Identity", (tensor,), name, ()))
        return [
            Op(op.kind, tuple(names.get(name, name) for name in op.inputs), names.get(op.output, op.output),
               op.attributes)
            for op in (*self.ops, *copies)
        ]  # fmt: skip


def is_thin(shape: tuple[int, ...]) -> bool:
    """Say whether operators with a constant are slow: onnxruntime takes values one by one along a last axis of one."""
    return len(shape) > 1 and shape[-1] == 1


def narrowest(*largest: int) -> DType:
    """Return the narrowest dtype that holds all whole numbers up to the largest of these in magnitude."""
    return next((dtype for dtype, bits in SIGNIFICAND.items() if max(largest) <= 1 << bits), INT64)


def magnitude(*ranges: Range) -> int:
    """Return the largest absolute value."""
    return max(abs(end) for values in ranges for end in values)


def near(natural: int, wanted: int | None) -> int:
    """Return the wanted number of fractional bits, unless it is too far from the natural one."""
    return natural if wanted is None or abs(wanted - natural) > FARTHEST else wanted


def scaled(builder: Builder, tensor: Tensor, fraction: int) -> Tensor:
    """Return the same values with another number of fractional bits."""
    shift = fraction - tensor.fraction
    if shift == 0:
        return tensor
    # Whatever is shifted farther than that to the left was proved to be zero.
    factor = np.array(1 << min(shift, 62)) if tensor.dtype == INT64 else np.ldexp(1.0, min(shift, 100))
    assert shift > 0 or tensor.dtype != INT64
    return Tensor(builder.apply("Mul", tensor.name, np.asarray(factor, tensor.dtype)), tensor.dtype, fraction)


def read(builder: Builder, source: Source, dtype: DType) -> Tensor:
    """Return the values of a source in a dtype that holds its codes."""
    tensor = source.tensor
    far = abs(tensor.fraction - source.fraction) > FARTHEST
    if tensor.dtype == dtype and not far:
        return tensor
    if dtype == INT64 or far:
        tensor = scaled(builder, tensor, source.fraction)
    if tensor.dtype == dtype:
        return tensor
    return Tensor(builder.apply("Cast", tensor.name, to=dtype), dtype, tensor.fraction)
