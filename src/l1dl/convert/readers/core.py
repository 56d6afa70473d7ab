"""Read inputs, dense layers and scalings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from l1dl.convert.readers.common import codes_of, result_of, shape_of, sources_of, spec_of
from l1dl.nodes import Affine, Dense, Input, Node


def _read_input(layer: Any) -> tuple[Node, ...]:
    return (Input(layer.name, (), shape_of(layer), result_of(layer)),)


def _read_dense(layer: Any) -> tuple[Node, ...]:
    weight, bias = layer.weights["weight"], layer.weights["bias"]
    weight_spec, bias_spec = spec_of(weight.type.precision), spec_of(bias.type.precision)
    node = Dense(
        layer.name,
        sources_of(layer),
        shape_of(layer),
        result_of(layer),
        codes_of(layer.name, weight.data, weight_spec),
        weight_spec,
        codes_of(layer.name, bias.data, bias_spec),
        bias_spec,
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
        codes_of(layer.name, scale.data, scale_spec),
        scale_spec,
        codes_of(layer.name, offset.data, offset_spec),
        offset_spec,
    )
    return (node,)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    "Input": _read_input,
    "Dense": _read_dense,
    "BatchNormalization": _read_affine,
    "ApplyAlpha": _read_affine,
}
