"""What every reader of an hls4ml node needs: its types, shape, sources and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding


def spec_of(precision: Any) -> FixedSpec:
    """Return the FixedSpec of an hls4ml precision type."""
    kind = type(precision).__name__
    if not kind.endswith(("FixedPrecisionType", "IntegerPrecisionType")):  # back ends wrap them: APFixedPrecisionType
        msg = f"hls4ml type {precision} ({kind}) is not supported"
        raise UnsupportedError(msg)
    if precision.saturation_bits:
        msg = f"hls4ml type {precision}: saturation bits are not supported"
        raise UnsupportedError(msg)
    return FixedSpec(
        precision.signed,
        precision.width,
        precision.integer,
        Rounding[precision.rounding_mode.name],
        Overflow[precision.saturation_mode.name],
    )


def result_of(layer: Any) -> FixedSpec:
    """Return the type of an hls4ml node's output."""
    return spec_of(layer.get_output_variable().type.precision)


def shape_of(layer: Any) -> tuple[int, ...]:
    """Return the shape of an hls4ml node's output, without the batch axis."""
    return tuple(int(size) for size in layer.get_output_variable().shape)


def sources_of(layer: Any) -> tuple[str, ...]:
    """Return the names of the nodes that an hls4ml node reads."""
    return tuple(source_of(layer.model, name) for name in layer.inputs)


def source_of(model_graph: Any, name: str) -> str:
    """Return the node that produces the tensor called `name` (hls4ml names outputs after their node)."""
    for layer in model_graph.get_layers():
        if name == layer.name or name in layer.outputs:
            return str(layer.name)
    msg = f"hls4ml refers to {name!r}, which no node produces"
    raise UnsupportedError(msg)


def codes_of(where: str, values: npt.ArrayLike, spec: FixedSpec) -> Codes:
    """Return the codes of constants; values off the grid or out of range would be changed by the firmware."""
    scaled = np.ldexp(np.asarray(values, dtype=np.float64), spec.fraction)
    codes = np.rint(scaled).astype(np.int64)
    if np.any(codes != scaled) or (codes.size and (codes.min() < spec.minimum_code or codes.max() > spec.maximum_code)):
        msg = f"hls4ml gave a constant of layer {where!r} the type {spec}, which does not hold it exactly"
        raise UnsupportedError(msg)
    return codes
