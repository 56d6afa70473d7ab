"""Read hls4ml's softmax, in its four implementations, as tables, sums and products (``nnet_activation.h``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.convert.readers.common import result_of, shape_of, sources_of, spec_of
from l1dl.convert.readers.exact import signed, source_spec, sum_spec, unsigned
from l1dl.convert.readers.tables import Lookup, as_float, exp_float, lookup_nodes, table_codes
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, decode
from l1dl.nodes import (
    MAXIMUM_INDEX_WIDTH,
    Activation,
    ArgMax,
    Function,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
)

_LEGACY_TABLE = signed(18, 8)
"""Type of the tables of the legacy softmax: hls4ml does not pass ``table_t`` on to it."""


@dataclass(frozen=True)
class _Softmax:
    """The slices of one softmax, and its types.

    Attributes
    ----------
    slices, size
        Number of vectors, and the values of each.
    order
        Positions of the values in the input, shape (slices, size).
    """

    name: str
    source: str
    shape: tuple[int, ...]
    slices: int
    size: int
    order: Any
    input: FixedSpec
    result: FixedSpec

    def node(self, part: str) -> str:
        return f"{self.name}__{part}"


def _read_softmax(layer: Any) -> tuple[Node, ...]:
    softmax = _slices(layer)
    first = Rearrange(
        softmax.node("slices"), (softmax.source,), (softmax.slices, softmax.size), softmax.input, softmax.order
    )
    implementation = str(layer.get_attr("implementation"))
    middle = _IMPLEMENTATIONS[implementation](layer, softmax)
    back = np.argsort(softmax.order.ravel()).reshape(softmax.shape)
    last = Rearrange(softmax.name, (middle[-1].name,), softmax.shape, softmax.result, back)
    return (first, *middle, last)


def _slices(layer: Any) -> _Softmax:
    (source,), shape = sources_of(layer), shape_of(layer)
    outer, inner = int(layer.get_attr("n_outer", 1)), int(layer.get_attr("n_inner", 1))
    total = math.prod(shape)
    size = total // outer // inner
    order = np.arange(total).reshape(outer, size, inner).transpose(0, 2, 1).reshape(outer * inner, size)
    return _Softmax(layer.name, source, shape, outer * inner, size, order, source_spec(layer), result_of(layer))


def _argmax(_layer: Any, softmax: _Softmax) -> tuple[Node, ...]:
    shape = softmax.slices, softmax.size
    return (ArgMax(softmax.node("argmax"), (softmax.node("slices"),), shape, softmax.result),)


def _stable(layer: Any, softmax: _Softmax) -> tuple[Node, ...]:
    """``exp(x - max(x))``, normalised."""
    shape, slices = (softmax.slices, softmax.size), softmax.node("slices")
    norm = _norm_spec(layer, softmax.input)
    size = _size(layer, "exp_table_size")
    if layer.get_attr("inp_norm_t") is None and softmax.input.signed:  # hls4ml shrinks a table that is too large
        size = min(_size(layer, "inv_table_size"), 2**norm.width)
    largest, distance = softmax.node("largest"), softmax.node("distance")
    return (
        Reduce(largest, (slices,), shape[:1], softmax.input, Reduction.MAXIMUM, (1,)),
        Rearrange(f"{largest}_each", (largest,), shape, softmax.input, _repeat(*shape)),
        Merge(distance, (f"{largest}_each", slices), shape, norm, Operation.SUBTRACT),
        *_normalised(layer, softmax, distance, norm, size, sign=-1.0),
    )


def _latency(layer: Any, softmax: _Softmax) -> tuple[Node, ...]:
    """``exp(x)``, normalised."""
    return _normalised(layer, softmax, softmax.node("slices"), softmax.input, _size(layer, "exp_table_size"), sign=1.0)


def _normalised(
    layer: Any, softmax: _Softmax, source: str, spec: FixedSpec, size: int, *, sign: float
) -> tuple[Node, ...]:
    """Return the nodes of ``exp(sign * x) * (1 / sum(exp(sign * x)))``, both functions by tables."""
    shape, part = (softmax.slices, softmax.size), softmax.node
    exp_spec, inverse_spec = _type(layer, "exp_table_t"), _type(layer, "inv_table_t")
    accumulator = _type(layer, "accum_t")
    total_spec = exp_spec if layer.get_attr("inv_inp_t").name == "model_default_t" else _type(layer, "inv_inp_t")
    scale = float(layer.get_attr("exp_scale", 1.0))
    index, values = _top_bits(softmax.name, spec, size)
    exp_codes = table_codes(exp_float(as_float(sign * as_float(values * np.float32(scale)))), exp_spec)
    inverse_index, values = _top_bits(softmax.name, total_spec, _size(layer, "inv_table_size"))
    with np.errstate(divide="ignore"):
        inverse = table_codes(as_float(np.divide(1.0, values)), inverse_spec)
    return (
        Table(part("exp"), (source,), shape, accumulator, index, exp_codes, exp_spec),
        *_sum(softmax, accumulator),
        Activation(part("total"), (part("sum"),), shape[:1], total_spec, Function.LINEAR),
        Table(part("inverse"), (part("total"),), shape[:1], inverse_spec, inverse_index, inverse, inverse_spec),
        Rearrange(part("inverse_each"), (part("inverse"),), shape, inverse_spec, _repeat(*shape)),
        Merge(part("product"), (part("exp"), part("inverse_each")), shape, softmax.result, Operation.MULTIPLY),
    )


def _sum(softmax: _Softmax, spec: FixedSpec) -> tuple[Node, ...]:
    """Return the nodes of the sum over each slice; a tree of pairs as in C++ where the order counts."""
    source, total = softmax.node("exp"), softmax.node("sum")
    if spec.overflow is Overflow.WRAP or softmax.size == 1:
        return (Reduce(total, (source,), (softmax.slices,), spec, Reduction.SUM, (1,)),)
    nodes: list[Node] = []

    def tree(first: int, size: int) -> str:
        name = f"{softmax.name}__sum_{first}_{size}"
        if size == 1:
            index = np.arange(softmax.slices) * softmax.size + first
            nodes.append(Rearrange(name, (source,), (softmax.slices,), spec, index))
            return name
        left = 1 << ((size - 1).bit_length() - 1)
        both = tree(first, left), tree(first + left, size - left)
        name = total if size == softmax.size else name
        nodes.append(Merge(name, both, (softmax.slices,), spec, Operation.ADD))
        return name

    tree(0, softmax.size)
    return tuple(nodes)


def _legacy(layer: Any, softmax: _Softmax) -> tuple[Node, ...]:
    """``1 / sum_j exp(x_j - x_i)``, the difference from -8 to 8 and the sum from 0 to 64."""
    slices, size, part = softmax.slices, softmax.size, softmax.node
    cube = (softmax.slices, softmax.size, softmax.size)
    spec = _type(layer, "table_t")
    if spec != _LEGACY_TABLE:
        msg = f"layer {softmax.name!r} asks for table_t {spec}; hls4ml's legacy softmax always takes {_LEGACY_TABLE}"
        raise UnsupportedError(msg)
    grid = np.arange(slices * size).reshape(slices, size)
    exp_size, inverse_size = _size(layer, "exp_table_size"), _size(layer, "inv_table_size")
    steps = np.arange(exp_size, dtype=np.float64)
    exp = table_codes(exp_float(as_float(16.0 * (steps - exp_size / 2.0) / exp_size)), spec)
    steps = as_float(64.0 * np.arange(1, inverse_size) / inverse_size)
    inverse = table_codes(np.concatenate([[0.0], 1.0 / steps]), spec)
    difference = sum_spec(softmax.name, softmax.input, softmax.input, negative=True)
    exp_lookup = Lookup(exp, spec, exp_size, 4, 8 * exp_size // 16)
    inverse_lookup = Lookup(inverse, spec, inverse_size, 6, 0)
    ends = {"rows": np.broadcast_to(grid[:, :, None], cube), "columns": np.broadcast_to(grid[:, None, :], cube)}
    return (
        *(Rearrange(part(end), (part("slices"),), cube, softmax.input, index.copy()) for end, index in ends.items()),
        Merge(part("difference"), (part("columns"), part("rows")), cube, difference, Operation.SUBTRACT),
        *lookup_nodes(part("exp"), part("difference"), difference, cube, exp_lookup, spec),
        Reduce(part("sum"), (part("exp"),), cube[:2], spec, Reduction.SUM, (2,)),
        *lookup_nodes(part("inverse"), part("sum"), spec, cube[:2], inverse_lookup, softmax.result),
    )


_IMPLEMENTATIONS: dict[str, Callable[[Any, _Softmax], tuple[Node, ...]]] = {
    "stable": _stable,
    "latency": _latency,
    "argmax": _argmax,
    "legacy": _legacy,
}


def _norm_spec(layer: Any, source: FixedSpec) -> FixedSpec:
    """Return the type of the distance from the maximum; hls4ml's default is that of the input without its sign."""
    if layer.get_attr("inp_norm_t") is not None:
        return _type(layer, "inp_norm_t")
    return unsigned(source.width - source.signed, source.integer - source.signed)


def _top_bits(name: str, spec: FixedSpec, size: int) -> tuple[FixedSpec, Any]:
    """Return the type of a table's index, the top bits of `spec`, and the value that each entry stands for."""
    bits = max(size - 1, 1).bit_length()
    if size != 2**bits or bits > min(spec.width, MAXIMUM_INDEX_WIDTH):
        msg = (
            f"layer {name!r} has a softmax table of {size} entries for an index of type {spec}; hls4ml's C++ would "
            f"read outside the table: use a power of two, at most {2 ** min(spec.width, MAXIMUM_INDEX_WIDTH)}"
        )
        raise UnsupportedError(msg)
    index = FixedSpec(spec.signed, bits, spec.integer)
    return index, decode(np.arange(index.minimum_code, index.maximum_code + 1), index)


def _repeat(slices: int, size: int) -> Any:
    return np.repeat(np.arange(slices), size).reshape(slices, size)


def _size(layer: Any, key: str) -> int:
    return int(layer.get_attr(key, layer.get_attr("table_size")))


def _type(layer: Any, key: str) -> FixedSpec:
    return spec_of(layer.get_attr(key).precision)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {"Softmax": _read_softmax}
