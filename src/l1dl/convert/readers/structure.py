"""Read layers that only move values: each is a list of where every value of the result comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l1dl.convert.readers.common import result_of, shape_of, sources_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes
from l1dl.nodes import Node, Rearrange


def _rearrange(layer: Any, index: Codes) -> tuple[Node, ...]:
    shape = shape_of(layer)
    order = np.ascontiguousarray(index.reshape(shape))
    return (Rearrange(layer.name, sources_of(layer), shape, result_of(layer), order),)


def _positions(layer: Any) -> Codes:
    """Return the position of each value of the input, in its shape."""
    shape = tuple(int(size) for size in layer.get_input_variable().shape)
    return np.arange(np.prod(shape, dtype=np.int64), dtype=np.int64).reshape(shape)


def _read_reshape(layer: Any) -> tuple[Node, ...]:
    return _rearrange(layer, _positions(layer))


def _read_transpose(layer: Any) -> tuple[Node, ...]:
    return _rearrange(layer, np.transpose(_positions(layer), [int(axis) for axis in layer.get_attr("perm")]))


def _ends(layer: Any, what: str) -> list[tuple[int, int]]:
    """Return the values that are added or cut before and after each axis of the image."""
    if layer.get_attr("data_format") == "channels_first":
        msg = f"layer {layer.name!r} has data_format 'channels_first'; use channels_last"
        raise UnsupportedError(msg)
    plane = len(layer.get_input_variable().shape) == 3
    names = (("top", "bottom"), ("left", "right")) if plane else (("left", "right"),)
    pairs = [(layer.get_attr(f"{what}_{before}"), layer.get_attr(f"{what}_{after}")) for before, after in names]
    return [(int(before), int(after)) for before, after in pairs]


def _read_padding(layer: Any) -> tuple[Node, ...]:
    return _rearrange(layer, np.pad(_positions(layer), [*_ends(layer, "pad"), (0, 0)], constant_values=-1))


def _read_cropping(layer: Any) -> tuple[Node, ...]:
    positions = _positions(layer)
    kept = [slice(before, size - after) for (before, after), size in
            zip(_ends(layer, "crop"), positions.shape, strict=False)]  # fmt: skip
    return _rearrange(layer, positions[tuple(kept)])


def _read_resize(layer: Any) -> tuple[Node, ...]:
    """Read an upsampling; the index of the source is computed as the C++ does, in units of 2**-16."""
    if layer.get_attr("algorithm") != "nearest":
        msg = f"layer {layer.name!r} resizes by {layer.get_attr('algorithm')!r}; only 'nearest' is supported"
        raise UnsupportedError(msg)
    positions = _positions(layer)
    image = positions if positions.ndim == 3 else positions[None]
    size = [int(layer.get_attr(f"out_{side}")) for side in ("height", "width")]
    rows, columns = (
        (np.arange(new) * ((old << 16) // new + 1)) >> 16 for old, new in zip(image.shape[:2], size, strict=True)
    )
    return _rearrange(layer, image[np.ix_(rows, columns)])


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    "Reshape": _read_reshape,
    "Transpose": _read_transpose,
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D"), _read_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D"), _read_cropping),
    **dict.fromkeys(("Resize", "UpSampling1D", "UpSampling2D"), _read_resize),
}
