"""FixedGraph → ALIR: the network as additions, shifts, selections and lookups of fixed-point signals.

The walk over the graph. What each kind of node becomes stands in `l1dl.rtl.lowerings`, conversions between
types in `l1dl.rtl.conversion`.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.emulate.bounds import check_graph
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.nodes import Input
from l1dl.rtl.lowerings import Lowering, Signals, lower_node
from l1dl.rtl.matrix import MatrixSolver
from l1dl.rtl.passes import exact_passes, optimise, simplify
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
    with exact_passes(), _no_collection():
        return _program(graph, lower_nodes(graph, _all_inputs(graph)), outputs or graph.outputs)


@dataclass(frozen=True, eq=False)
class Traced:
    """A network as a program, and the program that `l1dl.rtl.cost` reads.

    Attributes
    ----------
    program
        What `lower` returns.
    every
        The same with one round of the optimiser; its outputs are the results of all nodes.
    nodes
        Name and number of values of each node that is no input, in the order of the outputs of `every`.
    """

    program: Any
    every: Any
    nodes: tuple[tuple[str, int], ...]


def trace_layers(graph: FixedGraph, matrices: MatrixSolver | None = None) -> Traced:
    """Trace a graph as `lower` does, and remember which signals are the results of which node.

    Parameters
    ----------
    matrices
        What has solved the matrices of similar graphs; those that are equal are not solved again.

    Raises
    ------
    UnsupportedError
        A value has more bits than the RTL compiler handles.
    """
    from alkaid.trace.passes import add_surrogate

    with exact_passes(), _no_collection():
        results = lower_nodes(graph, _all_inputs(graph), matrices)
        names = [node.name for node in graph.nodes if not isinstance(node, Input)]
        every = add_surrogate(simplify(_trace(graph, results, names)))
        program = _program(graph, results, graph.outputs)
    return Traced(program, every, tuple((name, graph[name].size) for name in names))


def _program(graph: FixedGraph, results: Mapping[str, Signals], outputs: Sequence[str]) -> Any:
    return optimise(_trace(graph, results, outputs))


def _trace(graph: FixedGraph, results: Mapping[str, Signals], outputs: Sequence[str]) -> Any:
    from alkaid.trace import trace

    first = np.concatenate([results[node.name].ravel() for node in graph.inputs])
    last = np.concatenate([results[name].ravel() for name in outputs])
    return trace(list(first), list(last), optimize=False)


def lower_nodes(
    graph: FixedGraph, inputs: Sequence[Signals], matrices: MatrixSolver | None = None
) -> dict[str, Signals]:
    """Replay a graph on signals; return the signals of every node.

    Parameters
    ----------
    inputs
        For each input of the graph the signals of its values, which have the type of the input.
    matrices
        What has solved the matrices of similar graphs.

    Raises
    ------
    UnsupportedError
        A value has more bits than the RTL compiler handles.
    """
    check_graph(graph)
    lowering = Lowering(matrices)
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


def _all_inputs(graph: FixedGraph) -> list[Signals]:
    return [_inputs(node) for node in graph.inputs]


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
