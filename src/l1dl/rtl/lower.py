"""FixedGraph → ALIR: the network as additions, shifts, selections and lookups of fixed-point signals.

The walk over the graph. What each kind of node becomes stands in `l1dl.rtl.lowerings`, conversions between
types in `l1dl.rtl.conversion`.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from l1dl.emulate.bounds import check_graph
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.nodes import Input
from l1dl.rtl.lowerings import Lowering, Signals, lower_node
from l1dl.rtl.passes import exact_passes, optimise
from l1dl.rtl.signals import Signal, code_range, hardware, is_constant


def lower(graph: FixedGraph, outputs: tuple[str, ...] | None = None) -> Any:
    """Trace a graph into one combinational ALIR program.

    Parameters
    ----------
    outputs
        Nodes whose results are the program's outputs; those of the graph by default.

    Returns
    -------
    An ``alkaid.types.CombLogic`` from rows of input values to rows of output values.

    Raises
    ------
    UnsupportedError
        A value has more bits than the RTL compiler handles.
    """
    from alkaid.trace import trace

    with exact_passes(), _no_collection():
        results = lower_nodes(graph, [_inputs(node) for node in graph.inputs])
        first = np.concatenate([results[node.name].ravel() for node in graph.inputs])
        last = np.concatenate([results[name].ravel() for name in outputs or graph.outputs])
        return optimise(trace(list(first), list(last), optimize=False))


def lower_nodes(graph: FixedGraph, inputs: Sequence[Signals]) -> dict[str, Signals]:
    """Replay a graph on signals; return the signals of every node.

    Parameters
    ----------
    inputs
        For each input of the graph the signals of its values, which have the type of the input.

    Raises
    ------
    UnsupportedError
        A value has more bits than the RTL compiler handles.
    """
    check_graph(graph)
    lowering = Lowering()
    seen: set[Any] = set()
    results = {node.name: signals for node, signals in zip(graph.inputs, inputs, strict=True)}
    for node in graph.nodes:
        if isinstance(node, Input):
            continue
        try:
            result = lower_node(node, graph.sources(node), [results[name] for name in node.inputs], lowering)
            _check_widths(result.flat, seen)
        except UnsupportedError as error:
            msg = f"layer {node.name!r}: {error}"
            raise UnsupportedError(msg) from None
        results[node.name] = result
    return results


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Leave the collector of reference cycles out: none arise here, and it took half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _inputs(node: Input) -> Signals:
    from alkaid.trace import FVariable

    spec, target = node.result, hardware()
    signals = np.empty(node.shape, dtype=object)
    for place in np.ndindex(node.shape):
        signals[place] = FVariable.from_kif(
            int(spec.signed), spec.integer - int(spec.signed), spec.fraction, hwconf=target
        )
    return signals


def _check_widths(results: Iterable[Signal], seen: set[Any]) -> None:
    """Refuse values with more bits than alkaid handles, among what the results are made of."""
    pending = list(results)
    while pending:
        signal = pending.pop()
        if signal.id not in seen:
            seen.add(signal.id)
            pending.extend(signal._from)
            if not is_constant(signal):
                code_range(signal)
