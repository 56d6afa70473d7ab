"""Read inputs, dense layers, scalings and embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.readers.common import bias_of, check_kernel, codes_of, result_of, shape_of, sources_of, spec_of
from l1dl.convert.readers.exact import source_spec
from l1dl.errors import UnsupportedError
from l1dl.nodes import Affine, Dense, Input, Node, Table


def _read_input(layer: Any) -> tuple[Node, ...]:
    return (Input(layer.name, (), shape_of(layer), result_of(layer)),)


def _read_dense(layer: Any) -> tuple[Node, ...]:
    check_kernel(layer)
    weight = layer.weights["weight"]
    spec = spec_of(weight.type.precision)
    data = np.transpose(weight.data) if layer.get_attr("_weights_transposed") else weight.data
    node = Dense(
        layer.name,
        sources_of(layer),
        shape_of(layer),
        result_of(layer),
        codes_of(layer.name, data, spec),
        spec,
        *bias_of(layer),
        spec_of(layer.get_attr("accum_t").precision),
    )
    return (node,)


def _read_affine(layer: Any) -> tuple[Node, ...]:
    scale, offset = layer.weights["scale"], layer.weights["bias"]
    scale_spec, offset_spec = spec_of(scale.type.precision), spec_of(offset.type.precision)
    node = Affine(
        layer.name,
        sources_of(layer),
        shape_of(layer),
        result_of(layer),
        codes_of(layer.name, _spread(layer, scale.data), scale_spec),
        scale_spec,
        codes_of(layer.name, _spread(layer, offset.data), offset_spec),
        offset_spec,
    )
    return (node,)


def _spread(layer: Any, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return constants in a shape that broadcasts: one for each value, or one for each channel (``n_filt``)."""
    flat = np.ravel(np.asarray(values, dtype=np.float64))
    per_channel = layer.get_attr("n_filt", -1) not in (-1, None)
    return flat if per_channel or flat.size == 1 else flat.reshape(shape_of(layer))


def _read_embedding(layer: Any) -> tuple[Node, ...]:
    index, weight = source_spec(layer), layer.weights["embeddings"]
    entries, spec = np.asarray(weight.data, dtype=np.float64), spec_of(weight.type.precision)
    if index.signed or index.fraction:
        msg = f"layer {layer.name!r}: entries are counted by the type {index}; use an unsigned integer (ap_uint)"
        raise UnsupportedError(msg)
    if len(entries) < 2**index.width:
        msg = (
            f"layer {layer.name!r} has {len(entries)} entries for inputs of {index.width} bits, and hls4ml's C++ would "
            f"read beyond them; pad the table to {2**index.width} entries"
        )
        raise UnsupportedError(msg)
    codes = codes_of(layer.name, entries[: 2**index.width], spec)
    return (Table(layer.name, sources_of(layer), shape_of(layer), result_of(layer), index, codes, spec),)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    "Input": _read_input,
    "Dense": _read_dense,
    "BatchNormalization": _read_affine,
    "ApplyAlpha": _read_affine,
    "Embedding": _read_embedding,
}
