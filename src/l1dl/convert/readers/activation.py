"""Read element-wise functions: what hls4ml's ``nnet_activation.h`` computes, in nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from l1dl.convert.readers.common import codes_of, result_of, shape_of, sources_of, spec_of
from l1dl.convert.readers.exact import (
    BIT,
    exact_spec,
    product_spec,
    scalar,
    signed,
    source_spec,
    sum_spec,
    unsigned,
)
from l1dl.convert.readers.tables import Lookup, activation_lookup, entries, lookup_nodes, table_codes, table_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, encode
from l1dl.nodes import (
    MAXIMUM_INDEX_WIDTH,
    Activation,
    Affine,
    Clip,
    Function,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Table,
)

_SIGN = signed(1, 1, overflow=Overflow.SAT)
"""Converts negative numbers to the code -1, all others to 0."""
_TRIT = signed(2, 2)
_SELU_SCALE = unsigned(16, 1)

Reader = Callable[[Any], tuple[Node, ...]]


def _read_function(layer: Any) -> tuple[Node, ...]:
    name = layer.get_attr("activation").lower()
    if name not in _FUNCTIONS:
        msg = f"activation {name!r} of layer {layer.name!r} is not supported; supported are {', '.join(_FUNCTIONS)}"
        raise UnsupportedError(msg)
    return _FUNCTIONS[name](layer)


def _read_plain(layer: Any) -> tuple[Node, ...]:
    function = Function(layer.get_attr("activation").lower())
    return (Activation(layer.name, sources_of(layer), shape_of(layer), result_of(layer), function),)


def _read_clipped(layer: Any) -> tuple[Node, ...]:
    high = float(layer.get_attr("activation").lower().removeprefix("relu"))
    return (Clip(layer.name, sources_of(layer), shape_of(layer), result_of(layer), 0.0, high),)


def _read_function_table(layer: Any) -> tuple[Node, ...]:
    name, (source,) = layer.get_attr("activation").lower(), sources_of(layer)
    lookup = activation_lookup(name, *table_of(layer))
    return lookup_nodes(layer.name, source, source_spec(layer), shape_of(layer), lookup, result_of(layer))


def _read_hard(layer: Any) -> tuple[Node, ...]:
    """``clip(slope * x + shift, 0, 1)``, and for the tangent twice that minus one."""
    source, shape = sources_of(layer), shape_of(layer)
    specs = [spec_of(layer.get_attr(name).precision) for name in ("slope_t", "shift_t")]
    slope, shift = (encode(layer.get_attr(key), spec) for key, spec in zip(("slope", "shift"), specs, strict=True))
    low = 0.0
    if layer.get_attr("activation").lower() == "hard_tanh":  # 2 * clip(y, 0, 1) - 1 = clip(2 * y - 1, -1, 1)
        low, fraction = -1.0, max(specs[1].fraction - 1, 0)
        shift = shift * 2 ** (fraction - specs[1].fraction + 1) - (1 << fraction)
        specs = [
            FixedSpec(specs[0].signed, specs[0].width, specs[0].integer + 1),
            exact_spec(layer.name, specs[1].integer + 3, fraction, signed=True),
        ]
    wide = sum_spec(layer.name, product_spec(layer.name, source_spec(layer), specs[0]), specs[1])
    part = f"{layer.name}__line"
    return (
        Affine(part, source, shape, wide, slope, specs[0], shift, specs[1]),
        Clip(layer.name, (part,), shape, result_of(layer), low, 1.0),
    )


def _read_one_sided(layer: Any) -> tuple[Node, ...]:
    """ELU and SELU: a line above zero, a table below; one of the two summands is always zero."""
    name, (source,), shape = layer.get_attr("activation").lower(), sources_of(layer), shape_of(layer)
    spec, (size, table_spec) = source_spec(layer), table_of(layer)
    codes = table_codes(entries(name, size), table_spec)[::-1]  # the index falls from zero downwards
    positive = unsigned(spec.width, spec.integer)
    nodes: list[Node] = [Activation(f"{layer.name}__above", (source,), shape, positive, Function.RELU)]
    if name == "selu":
        scale = encode(1.0507009873554805, _SELU_SCALE)
        positive = product_spec(layer.name, positive, _SELU_SCALE)
        line = scale, _SELU_SCALE, scalar(0), BIT
        nodes.append(Affine(f"{layer.name}__scaled", (nodes[-1].name,), shape, positive, *line))
    else:
        alpha_spec = spec_of(layer.get_attr("param_t").precision)
        codes = codes * int(encode(layer.get_attr("activ_param", 1.0), alpha_spec))
        table_spec = product_spec(layer.name, alpha_spec, table_spec)
    both = nodes[-1].name, f"{layer.name}__below"
    lookup = Lookup(codes, table_spec, size, 3, size - 1)
    nodes += lookup_nodes(both[1], source, spec, shape, lookup, table_spec)
    return (*nodes, Merge(layer.name, both, shape, result_of(layer), Operation.ADD))


def _read_leaky(layer: Any) -> tuple[Node, ...]:
    spec = spec_of(layer.get_attr("param_t").precision)
    slope = np.asarray(encode(layer.get_attr("activ_param"), spec))
    return (LeakyRelu(layer.name, sources_of(layer), shape_of(layer), result_of(layer), slope, spec),)


def _read_prelu(layer: Any) -> tuple[Node, ...]:
    shape, weight = shape_of(layer), layer.weights["param"]
    spec = spec_of(weight.type.precision)
    if weight.data.size != int(np.prod(shape)):
        msg = f"layer {layer.name!r} has {weight.data.size} slopes for {shape} values; shared slopes must be repeated"
        raise UnsupportedError(msg)
    slope = encode(weight.data.reshape(shape), spec)
    return (LeakyRelu(layer.name, sources_of(layer), shape, result_of(layer), slope, spec),)


def _read_threshold(layer: Any) -> tuple[Node, ...]:
    """``x if x > theta else 0``, as x times the outcome of the comparison."""
    spec, shape, source = spec_of(layer.get_attr("param_t").precision), shape_of(layer), sources_of(layer)
    theta = encode(layer.get_attr("activ_param"), spec)
    above = _compare(layer, "above", theta, spec, negative=1, otherwise=0)
    return (*above, Merge(layer.name, (*source, above[-1].name), shape, result_of(layer), Operation.MULTIPLY))


def _read_binary_tanh(layer: Any) -> tuple[Node, ...]:
    table = np.array([-1, 1], dtype=np.int64)
    return (Table(layer.name, sources_of(layer), shape_of(layer), result_of(layer), _SIGN, table, _TRIT),)


def _read_ternary_tanh(layer: Any) -> tuple[Node, ...]:
    """1 above a half, -1 at minus a half and below, 0 between; twice x is first converted to the type of x."""
    shape, source, spec = shape_of(layer), sources_of(layer), source_spec(layer)
    double = f"{layer.name}__double"
    twice = Affine(double, source, shape, spec, scalar(2), unsigned(2, 2), scalar(0), BIT)
    above = _compare(layer, "above", scalar(1), BIT, negative=1, otherwise=0, source=double)
    below = _compare(layer, "below", scalar(-1), _SIGN, negative=0, otherwise=-1, source=double)
    both = above[-1].name, below[-1].name
    return (twice, *above, *below, Merge(layer.name, both, shape, result_of(layer), Operation.ADD))


def _compare(
    layer: Any, part: str, offset: Codes, spec: FixedSpec, *, negative: int, otherwise: int, source: str | None = None
) -> tuple[Node, ...]:
    """Return the nodes of ``negative if offset - x < 0 else otherwise``; `source` is read instead of the input."""
    shape, name = shape_of(layer), f"{layer.name}__{part}"
    wide = sum_spec(layer.name, source_spec(layer), spec, negative=True)
    table = np.array([negative, otherwise], dtype=np.int64)
    inputs = sources_of(layer) if source is None else (source,)
    line = Affine(f"{name}_line", inputs, shape, wide, scalar(-1), _SIGN, offset, spec)
    return (line, Table(name, (line.name,), shape, _TRIT, _SIGN, table, _TRIT))


def _read_truth_table(layer: Any) -> tuple[Node, ...]:
    """``table[x]``, indexed by the bits of x."""
    spec, weight = source_spec(layer), layer.weights["table"]
    table_spec = spec_of(weight.type.precision)
    codes = codes_of(layer.name, weight.data, table_spec)
    if codes.size != 2**spec.width or spec.width > MAXIMUM_INDEX_WIDTH:
        msg = f"layer {layer.name!r} has a table of {codes.size} entries for an input of type {spec}"
        raise UnsupportedError(msg)
    if spec.signed:  # entry 0 belongs to the code 0; the negative codes come last
        codes = np.roll(codes, codes.size // 2)
    index = _plain(spec)
    return (Table(layer.name, sources_of(layer), shape_of(layer), result_of(layer), index, codes, table_spec),)


def _plain(spec: FixedSpec) -> FixedSpec:
    return FixedSpec(spec.signed, spec.width, spec.integer)


_FUNCTIONS: dict[str, Reader] = {
    "linear": _read_plain,
    "relu": _read_plain,
    "relu1": _read_clipped,
    "relu6": _read_clipped,
    "sigmoid": _read_function_table,
    "tanh": _read_function_table,
    "softplus": _read_function_table,
    "softsign": _read_function_table,
    "elu": _read_one_sided,
    "selu": _read_one_sided,
    "hard_sigmoid": _read_hard,
    "hard_tanh": _read_hard,
    "leakyrelu": _read_leaky,
    "leaky_relu": _read_leaky,
    "thresholdedrelu": _read_threshold,
    "prelu": _read_prelu,
    "binary_tanh": _read_binary_tanh,
    "ternary_tanh": _read_ternary_tanh,
}
"""hls4ml's name of an activation → its reader."""

READERS: dict[str, Reader] = {
    "Activation": _read_function,
    "HardActivation": _read_function,
    "ParametrizedActivation": _read_function,
    "LeakyReLU": _read_function,
    "ThresholdedReLU": _read_function,
    "ELU": _read_function,
    "PReLU": _read_function,
    "TernaryTanh": _read_function,
    "UnaryLUT": _read_truth_table,
}
