"""A node of an image as a node of one beat: the same arithmetic, for the pixels of the beat only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from l1dl.fixed import Codes
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    LeakyRelu,
    Merge,
    Node,
    Rearrange,
    Reduce,
    Table,
)

AnyNode = TypeVar("AnyNode", bound=Node)


def leading_axes(shape: tuple[int, ...], positions: tuple[int, ...]) -> int | None:
    """Return how many axes of a shape stand for the positions of an image; None where none do."""
    if shape[: len(positions)] == positions:
        return len(positions)
    wanted = math.prod(positions)
    return next((axes for axes in range(len(shape) + 1) if math.prod(shape[:axes]) == wanted), None)


def localise(node: Node, sources: Sequence[Node], positions: tuple[int, ...], beat: int) -> Node | None:
    """Return the node for one beat; None if a value depends on other positions than its own.

    Parameters
    ----------
    sources
        The nodes that it reads, for whole images with these positions.
    beat
        Positions of a beat: the first axis of the new node.
    """
    if math.prod(positions) == 1:
        return node
    axes = leading_axes(node.shape, positions)
    theirs = [leading_axes(source.shape, positions) for source in sources]
    if axes is None or any(each is None for each in theirs) or type(node) not in _LOCAL:
        return None
    shape = (beat, *node.shape[axes:])
    return _LOCAL[type(node)](node, sources, [each or 0 for each in theirs], shape, math.prod(positions))


def _same(node: Node, sources: Sequence[Node], axes: list[int], shape: tuple[int, ...], _positions: int) -> Node | None:
    """Keep a node that works value by value, or along the last axis."""
    behind = {len(source.shape) - leading for source, leading in zip(sources, axes, strict=True)}
    if isinstance(node, (Dense, ArgMax)) and (0 in behind or len(shape) < 2):
        return None
    if isinstance(node, Merge) and any(source.shape != node.shape for source in sources):
        return None
    return replace(node, shape=shape)


def _constants(*names: str) -> Callable[..., Node | None]:
    """Return a rule for a node with constants, which must be the same at all positions."""

    def rule(
        node: Any, _sources: Sequence[Node], _axes: list[int], shape: tuple[int, ...], positions: int
    ) -> Node | None:
        found: dict[str, Codes] = {}
        for name in names:
            codes = np.broadcast_to(getattr(node, name), node.shape).reshape(positions, *shape[1:])
            if np.any(codes != codes[:1]):
                return None
            found[name] = np.ascontiguousarray(codes[0])
        changed: Node = replace(node, shape=shape, **found)
        return changed

    return rule


def _reduce(node: Node, _sources: Sequence[Node], axes: list[int], shape: tuple[int, ...], _positions: int) -> Any:
    assert isinstance(node, Reduce)
    if min(node.axes) < axes[0]:
        return None
    return replace(node, shape=shape, axes=tuple(axis - axes[0] + 1 for axis in node.axes))


def _rearrange(node: Node, sources: Sequence[Node], _axes: list[int], shape: tuple[int, ...], positions: int) -> Any:
    assert isinstance(node, Rearrange)
    beat, index = shape[0], node.index.reshape(positions, -1)
    local = np.full((beat, index.shape[1]), -1, dtype=np.int64)
    start, first = 0, 0
    for source in sources:
        size = source.size // positions
        inside = (index >= start) & (index < start + source.size)
        position, place = np.divmod(index - start, size)
        wrong = inside & (position != np.arange(positions)[:, None])
        if np.any(wrong) or np.any(inside != inside[:1]) or np.any(np.where(inside, place, 0) != place[:1] * inside):
            return None
        lanes = first + np.arange(beat)[:, None] * size + place[:1]
        local = np.where(inside[:1], lanes, local)
        start, first = start + source.size, first + beat * size
    return replace(node, shape=shape, index=np.ascontiguousarray(local.reshape(shape)))


_LOCAL: dict[type[Node], Callable[..., Node | None]] = {
    **dict.fromkeys((Activation, ArgMax, Clip, Dense, Merge, Table), _same),
    Affine: _constants("scale", "offset"),
    LeakyRelu: _constants("slope"),
    Reduce: _reduce,
    Rearrange: _rearrange,
}
"""What each kind of node becomes; a window is no node of one beat."""
