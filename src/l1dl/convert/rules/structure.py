"""Rules of layers without weights that merge, move or quantise values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from l1dl.convert.quantisers import check_quantiser
from l1dl.convert.rules.products import add_affine
from l1dl.convert.support import kind_of, plain_kind, where_of
from l1dl.convert.writer import Writer
from l1dl.errors import UnsupportedError


def merge(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Merge tensors element by element, two at a time."""
    kind, count = plain_kind(layer), len(sources)
    shape = np.broadcast_shapes(*(tuple(source.shape[1:]) for source in sources))
    # In streams hls4ml broadcasts nothing at all.
    sources = [_expand(writer, source, shape, index, wholly=writer.stream) for index, source in enumerate(sources)]
    if all(math.prod(source.shape[1:]) < math.prod(shape) for source in sources):
        sources[0] = _expand(writer, sources[0], shape, 0, wholly=True)
    if kind == "Average" and count > 2:
        if count & (count - 1):
            msg = f"{where_of(layer)} averages {count} tensors; use 2, 4, 8, … of them, or Add and a scale"
            raise UnsupportedError(msg)
        total = chain(writer, "Add", sources, "sum")
        return add_affine(writer, total, np.full(shape[-1], 1 / count), np.zeros(shape[-1]), "")
    return chain(writer, kind, sources, "")


def chain(writer: Writer, kind: str, sources: list[Any], part: str, **options: Any) -> Any:
    """Merge the first two tensors, the result with the third, and so on."""
    result = sources[0]
    for index, source in enumerate(sources[1:], start=1):
        last = index == len(sources) - 1
        result = writer.add(kind, [result, source], part=part if last else f"{part}{index}", options=options)
    return result if len(sources) > 1 else writer.copy(result)


def _expand(writer: Writer, source: Any, shape: tuple[int, ...], index: int, *, wholly: bool = False) -> Any:
    """Repeat a tensor along axes that hls4ml cannot broadcast: it repeats whole tensors only."""
    own = (1,) * (len(shape) - len(source.shape) + 1) + tuple(source.shape[1:])
    if len(own) != len(source.shape) - 1:
        source = writer.reshape(source, own, f"operand{index}")
    leading = next((axis for axis, size in enumerate(own) if size > 1), len(own))
    for axis, (size, wanted) in enumerate(zip(own, shape, strict=True)):
        if size != wanted and (wholly or axis > leading):
            source = writer.repeat(source, axis, wanted, f"operand{index}_{axis}")
    return source


def concatenate(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Join tensors, two at a time; those of more axes than hls4ml has as matrices."""
    rank = len(sources[0].shape)
    axis = layer.axis if layer.axis < 0 else layer.axis - rank
    if rank <= 4:
        return chain(writer, "Concatenate", sources, "", axis=axis)
    shape = list(sources[0].shape[1:])
    outer = math.prod(shape[: axis + rank - 1])
    flat = [
        writer.reshape(source, (outer, math.prod(source.shape[1:]) // outer), f"operand{index}")
        for index, source in enumerate(sources)
    ]
    shape[axis] = sum(source.shape[axis] for source in sources)
    return writer.reshape(chain(writer, "Concatenate", flat, "joined", axis=-1), shape)


def dot(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a product of two vectors."""
    if any(len(source.shape) != 2 for source in sources):
        msg = f"{where_of(layer)} multiplies tensors of shape {sources[0].shape[1:]}; only vectors are supported"
        raise UnsupportedError(msg)
    return writer.add("Dot", sources, options={"axes": -1})


def reshape(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add another shape."""
    source, shape = sources[0], layer.output.shape[1:]
    if len(shape) == 1 and kind_of(source._keras_history.operation) == "Permute":
        # hls4ml would drop the Permute, and reorder the weights of a dense layer behind as for one certain permutation.
        source = writer.copy(source)
    return writer.reshape(source, shape)


def permute(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add another order of the axes."""
    shape = sources[0].shape[1:]
    moved = [axis for axis in layer.dims if shape[axis - 1] > 1]
    if moved == sorted(moved):  # the order of the values stays; hls4ml would drop the layer
        return writer.reshape(sources[0], [shape[axis - 1] for axis in layer.dims])
    return writer.add("Permute", sources[0], options={"dims": layer.dims})


def repeat_vector(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Repeat a vector as an upsampling of one row."""
    row = writer.reshape(sources[0], (1, *sources[0].shape[1:]), "row")
    return writer.add("UpSampling1D", row, options={"size": layer.n})


def quantiser(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add a quantiser."""
    check_quantiser(where_of(layer), "activation", layer.activation, "activation")
    return writer.quantise(sources[0], layer.activation)


def same(writer: Writer, layer: Any, sources: list[Any]) -> Any:
    """Add the same layer again."""
    copy = type(layer).from_config({**layer.get_config(), "name": writer.name})
    result = copy(sources[0] if len(sources) == 1 else sources)
    copy.set_weights(layer.get_weights())
    return result
