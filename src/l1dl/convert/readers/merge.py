"""Read layers with two inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from l1dl.convert.readers.common import result_of, shape_of, sources_of, spec_of
from l1dl.errors import UnsupportedError
from l1dl.nodes import Activation, Function, Merge, Node, Operation, Rearrange, Reduce, Reduction


def _operands(layer: Any) -> list[tuple[str, tuple[int, ...], Any]]:
    """Return name, shape and type of what a node reads."""
    variables = [layer.get_input_variable(name) for name in layer.inputs]
    return [
        (source, tuple(int(size) for size in variable.shape), spec_of(variable.type.precision))
        for source, variable in zip(sources_of(layer), variables, strict=True)
    ]


def _read_merge(layer: Any) -> tuple[Node, ...]:
    """Read an element-wise operation; the C++ begins again with the first value where an operand ends."""
    name = str(layer.get_attr("op")).lower()
    operations = {operation.value: operation for operation in Operation}
    if name not in operations:
        msg = f"operation {name!r} of layer {layer.name!r} is not supported; supported are {', '.join(operations)}"
        raise UnsupportedError(msg)
    shape = shape_of(layer)
    nodes: list[Node] = []
    sources = []
    for position, (source, own, spec) in enumerate(_operands(layer)):
        size = math.prod(own)
        index = (np.arange(math.prod(shape), dtype=np.int64) % size).reshape(shape)
        if not _broadcasts_to(own, shape, index):
            nodes.append(Rearrange(f"{layer.name}__operand{position}", (source,), shape, spec, index))
            source = nodes[-1].name  # noqa: PLW2901
        sources.append(source)
    return (*nodes, Merge(layer.name, tuple(sources), shape, result_of(layer), operations[name]))


def _broadcasts_to(own: tuple[int, ...], shape: tuple[int, ...], index: Any) -> bool:
    try:
        spread = np.broadcast_to(np.arange(math.prod(own)).reshape(own), shape)
    except ValueError:
        return False
    return bool(np.array_equal(spread, index))


def _read_concatenate(layer: Any) -> tuple[Node, ...]:
    (first, shape, _), (second, other, _) = _operands(layer)
    rank, axis = len(shape), int(layer.get_attr("axis"))
    # As the C++ chooses: the batch counts as an axis, and what it does not know is the first one.
    counted = {-1: rank - 1, rank: rank - 1}
    if rank == 3:
        counted |= {-2: 1, 2: 1}
    at = counted.get(axis, 0)
    split = math.prod(shape)
    parts = [np.arange(split).reshape(shape), split + np.arange(math.prod(other)).reshape(other)]
    index = np.ascontiguousarray(np.concatenate(parts, axis=at), dtype=np.int64)
    return (Rearrange(layer.name, (first, second), shape_of(layer), result_of(layer), index),)


def _read_dot(layer: Any) -> tuple[Node, ...]:
    """Read a product of two vectors; each product and each partial sum is converted to ``accum_t``."""
    (first, shape, _), (second, _, _) = _operands(layer)
    accumulator, result = spec_of(layer.get_attr("accum_t").precision), result_of(layer)
    product, column, total = (f"{layer.name}__{part}" for part in ("products", "column", "sum"))
    rows = np.arange(shape[0], dtype=np.int64)[:, None]
    return (
        Merge(product, (first, second), shape, accumulator, Operation.MULTIPLY),
        Rearrange(column, (product,), rows.shape, accumulator, rows),
        Reduce(total, (column,), (1,), accumulator, Reduction.SUM, (0,)),
        Activation(layer.name, (total,), (1,), result, Function.LINEAR),
    )


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    "Merge": _read_merge,
    "Concatenate": _read_concatenate,
    "Dot": _read_dot,
}
