"""What every reader of an hls4ml node needs: its types, shape, sources and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding, encode


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
    """Return the codes of constants as the firmware loads them.

    hls4ml writes a constant with as many decimal digits as its type has fractional bits, which is exact for
    what the type holds; the C++ converts what it reads to the type.

    Raises
    ------
    UnsupportedError
        A constant is NaN or infinite.
    """
    real = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(real)):
        msg = f"layer {where!r} has constants that are NaN or infinite"
        raise UnsupportedError(msg)
    scaled = np.ldexp(real, spec.fraction)
    if np.any(scaled != np.rint(scaled)):
        digits = max(0, spec.fraction)
        real = np.array([float(f"{value:.{digits}f}") for value in real.ravel()]).reshape(real.shape)
    return encode(real, spec)


def bias_of(layer: Any) -> tuple[Codes, FixedSpec]:
    """Return the codes and the type of a layer's biases."""
    bias = layer.weights["bias"]
    spec = spec_of(bias.type.precision)
    return codes_of(layer.name, bias.data, spec), spec


STRATEGIES = ("latency", "resource")
"""Strategies whose C++ adds up products that are converted to the accumulator one by one."""


def check_kernel(layer: Any) -> None:
    """Refuse a layer of products whose C++ is none that the readers know.

    Raises
    ------
    UnsupportedError
        The text names the layer and the reason.
    """
    strategy = str(layer.get_attr("strategy", "latency")).lower()
    if strategy not in STRATEGIES:
        msg = f"layer {layer.name!r} has strategy {strategy!r}; supported are {', '.join(STRATEGIES)}"
        raise UnsupportedError(msg)
    weight = layer.weights["weight"]
    kind, width = type(weight.type.precision).__name__, weight.type.precision.width
    if (
        kind.endswith("IntegerPrecisionType")
        and weight.type.precision.signed
        and width == 2
        and np.any(weight.data < -1)
    ):
        # hls4ml takes two signed bits for -1, 0 and 1, and multiplies by -2 as if it were 1.
        msg = f"layer {layer.name!r} has weights of -2 in two bits, which hls4ml reads as 1; use three bits"
        raise UnsupportedError(msg)
    source = layer.get_input_variable().type.precision
    if all(type(each).__name__.endswith("IntegerPrecisionType") and each.width == 1 and not each.signed
           for each in (source, weight.type.precision)):  # fmt: skip
        msg = f"layer {layer.name!r} multiplies single bits, which hls4ml takes for -1 and 1; use ap_ufixed<1,1>"
        raise UnsupportedError(msg)
