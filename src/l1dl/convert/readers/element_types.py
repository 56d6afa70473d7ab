"""Read a quantiser whose values have types of their own: one node for each type, and one that puts them in order.

The values of one type are picked and converted by a `Rearrange`; another one joins them, in a type that holds
them all. So a back end needs nothing new, and in the RTL each value keeps the bits of its own type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l1dl.convert.readers.common import result_of, shape_of, sources_of
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.element_types import ElementTypes, types_of_bits
from l1dl.nodes import Activation, Function, Node, Rearrange


def _read_quantiser(layer: Any) -> tuple[Node, ...]:
    shape = shape_of(layer)
    masks = [np.broadcast_to(np.asarray(mask)[0] if np.ndim(mask) > 1 else mask, shape) for mask in layer.mask_kbi]
    types = types_of_bits(masks[0], masks[1], masks[2], Rounding[layer.RND], Overflow[layer.SAT])
    return quantiser_nodes(layer.name, sources_of(layer)[0], shape, types, result_of(layer))


def quantiser_nodes(
    name: str, source: str, shape: tuple[int, ...], types: ElementTypes, result: FixedSpec
) -> tuple[Node, ...]:
    """Return the nodes that convert each value to a type of its own.

    Parameters
    ----------
    source
        The node that is read.
    shape
        Its shape, and that of the result.
    types
        The type of each of its flattened values.
    result
        A type that holds all of their numbers.
    """
    distinct = [spec for spec in dict.fromkeys(types) if spec is not None]
    if len(distinct) == 1 and None not in types:
        return (Activation(name, (source,), shape, distinct[0], Function.LINEAR),)
    nodes: list[Node] = []
    order = np.full(len(types), -1, dtype=np.int64)
    start = 0
    for number, spec in enumerate(distinct):
        picked = np.array([place for place, each in enumerate(types) if each == spec], dtype=np.int64)
        nodes.append(Rearrange(f"{name}__type{number}", (source,), picked.shape, spec, picked))
        order[picked] = np.arange(start, start + len(picked))
        start += len(picked)
    names = tuple(node.name for node in nodes) or (source,)
    return (*nodes, Rearrange(name, names, shape, result, order.reshape(shape)))


def types_of(group: Sequence[Node]) -> ElementTypes | None:
    """Return the types that the nodes of a quantiser convert its values to; None if they move values as well."""
    *parts, last = group
    if isinstance(last, Activation):
        return (last.result,) * last.size if not parts and last.function is Function.LINEAR else None
    if not isinstance(last, Rearrange) or not all(isinstance(part, Rearrange) for part in parts):
        return None
    picked = [(place, part.result) for part in parts if isinstance(part, Rearrange) for place in part.index.tolist()]
    found: list[FixedSpec | None] = []
    for position, place in enumerate(last.index.ravel().tolist()):
        origin, spec = (position, None) if place < 0 else picked[place]
        if origin != position:
            return None
        found.append(spec)
    return tuple(found)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {"FixedPointQuantizer": _read_quantiser}
