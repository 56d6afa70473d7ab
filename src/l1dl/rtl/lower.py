"""FixedGraph → ALIR: the network as additions, shifts and selections of fixed-point signals.

Constant matrix products are turned into shared adder graphs by distributed arithmetic
(C. Sun et al., "da4ml: Distributed Arithmetic for Real-time Neural Networks on FPGAs",
arXiv:2507.04535), which the library alkaid implements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from l1dl.emulate.bounds import check_graph
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding, decode, encode, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Node
from l1dl.rtl.passes import exact_passes

CARRY_SIZE = 8
"""Bits of one carry chain of the target family (CARRY8 of UltraScale+), for the delay estimate."""

_ROUNDINGS = {Rounding.TRN: "TRN", Rounding.RND: "RND", Rounding.RND_CONV: "RND_CONV"}
_OVERFLOWS = {Overflow.WRAP: "WRAP", Overflow.SAT: "SAT", Overflow.SAT_SYM: "SAT_SYM"}


def lower(graph: FixedGraph, outputs: tuple[str, ...] | None = None) -> Any:
    """Trace a graph into one combinational ALIR program.

    Parameters
    ----------
    outputs
        Nodes whose results are the program's outputs; those of the graph by default.

    Returns
    -------
    An ``alkaid.types.CombLogic`` from the flattened inputs to the flattened outputs.

    Raises
    ------
    UnsupportedError
        A node, a rounding or an overflow mode has no RTL.
    """
    from alkaid.trace import HWConfig, trace
    from alkaid.trace.fixed_variable_array import FVArray

    check_graph(graph)
    signals: dict[str, Any] = {}
    for node in graph.nodes:
        if isinstance(node, Input):
            keep, integer, fraction = _kif(node.result)
            shape = node.shape
            signals[node.name] = FVArray.from_kif(
                np.full(shape, keep), np.full(shape, integer), np.full(shape, fraction),
                hwconf=HWConfig(1, CARRY_SIZE, -1), solver_options={},
            )  # fmt: skip
        else:
            signals[node.name] = _LOWERINGS[type(node)](node, signals[node.inputs[0]], graph)
    flat_inputs = np.concatenate([np.asarray(signals[node.name]).ravel() for node in graph.inputs])
    flat_outputs = np.concatenate([np.asarray(signals[name]).ravel() for name in outputs or graph.outputs])
    with exact_passes():
        return trace(flat_inputs, flat_outputs, keep_dead_inputs=True)


def _dense(node: Node, x: Any, graph: FixedGraph) -> Any:
    assert isinstance(node, Dense)
    source = graph[node.inputs[0]].result
    weight = _exact_float32(node.name, node.weight, node.weight_spec)
    bias = requantise(node.bias, node.bias_spec.fraction, node.accumulator)
    if node.accumulator.fraction < source.fraction + node.weight_spec.fraction:
        total = _quantise(x[:, None] * weight, node.accumulator, node.name).sum(axis=0)
    elif not weight[[signal.low != signal.high for signal in np.asarray(x)]].any():  # alkaid fails where nothing varies
        total = (x[:, None] * weight).sum(axis=0)
    else:
        total = x @ weight
    total = total + _exact_float32(node.name, bias, node.accumulator)
    return _quantise(_quantise(total, node.accumulator, node.name), node.result, node.name)


def _affine(node: Node, x: Any, _graph: FixedGraph) -> Any:
    assert isinstance(node, Affine)
    scale = _exact_float32(node.name, node.scale, node.scale_spec)
    offset = _exact_float32(node.name, node.offset, node.offset_spec)
    return _quantise(x * scale + offset, node.result, node.name)


def _activation(node: Node, x: Any, _graph: FixedGraph) -> Any:
    assert isinstance(node, Activation)
    return _quantise(x.relu() if node.function is Function.RELU else x, node.result, node.name)


_LOWERINGS: dict[type[Node], Callable[[Node, Any, FixedGraph], Any]] = {
    Dense: _dense,
    Affine: _affine,
    Activation: _activation,
}


def _quantise(x: Any, spec: FixedSpec, where: str) -> Any:
    if spec.rounding not in _ROUNDINGS or spec.overflow not in _OVERFLOWS:
        known = ", ".join([*_ROUNDINGS.values(), *_OVERFLOWS.values()])
        msg = f"layer {where!r}: no RTL for type {spec}; the modes {known} have one"
        raise UnsupportedError(msg)
    from alkaid.trace.fixed_variable_array import FVArray

    signals = np.empty(x.shape, dtype=object)
    signals.ravel()[:] = [_convert(signal, spec) for signal in np.asarray(x).ravel()]
    return FVArray(signals, x.solver_options, hwconf=x.hwconf)


def _convert(signal: Any, spec: FixedSpec) -> Any:
    """Convert one signal, around what alkaid 0.8 converts wrongly.

    That is: constants to unsigned or evenly rounding types; and halves to even, where adding a half
    clears the dropped bits of the signal or it rounds to a constant.
    """
    if signal.low == signal.high:
        constant = float(decode(encode([signal.low], spec), spec)[0])
        return signal.from_const(constant, hwconf=signal.hwconf)
    keep, integer, fraction = _kif(spec)
    overflow, rounding = _OVERFLOWS[spec.overflow], _ROUNDINGS[spec.rounding]
    if spec.rounding is not Rounding.RND_CONV or fraction >= int(signal.kif[2]):
        return signal.quantize(keep, integer, fraction, overflow_mode=overflow, round_mode=rounding)
    if spec.overflow is not Overflow.WRAP:
        lowest = spec.minimum_code + (spec.signed and spec.overflow is Overflow.SAT_SYM)
        signal = signal.max_of(lowest * spec.step).min_of(spec.maximum_code * spec.step)
        return _convert(signal, replace(spec, overflow=Overflow.WRAP))
    half = signal + spec.step / 2
    if half.kif[2] == signal.kif[2] and np.floor(half.low / spec.step) != np.floor(half.high / spec.step):
        return signal.quantize(keep, integer, fraction, overflow_mode=overflow, round_mode=rounding)
    smallest = 2.0 ** -int(signal.kif[2])
    odd = signal.quantize(0, 1 - fraction, fraction) * (smallest / spec.step)
    return _convert(signal + (spec.step / 2 - smallest) + odd, replace(spec, rounding=Rounding.TRN))


def _kif(spec: FixedSpec) -> tuple[int, int, int]:
    """Return sign bit, integer bits without sign, and fractional bits."""
    return int(spec.signed), spec.integer - int(spec.signed), spec.fraction


def _exact_float32(where: str, codes: Codes, spec: FixedSpec) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return constants as reals; the RTL compiler reads them as float32, so they must fit its significand."""
    values = decode(codes, spec)
    if np.any(values.astype(np.float32) != values):
        msg = f"layer {where!r} has constants of more than 24 significant bits, which the RTL compiler cannot read"
        raise UnsupportedError(msg)
    return values
