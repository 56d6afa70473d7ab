"""What each kind of node becomes, one function for each; `l1dl.nodes` defines their arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.fixed import Codes, FixedSpec, requantise
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)  # fmt: skip
from l1dl.rtl.conversion import convert, rounded
from l1dl.rtl.lookup import look_up
from l1dl.rtl.matrix import MatrixSolver
from l1dl.rtl.signals import (
    Signal,
    at_least,
    at_most,
    both,
    constant,
    exact_float,
    exact_values,
    inverted,
    is_constant,
    key_of,
    larger,
    multiplied,
    negative,
    smaller,
    times,
    total,
    where_negative,
)  # fmt: skip

Signals = npt.NDArray[Any]
"""Signals of one node, an object array of its shape."""


class Lowering:
    """What is kept while a graph is lowered, so that nothing is made twice."""

    def __init__(self, matrices: MatrixSolver | None = None) -> None:
        self.matrices = MatrixSolver() if matrices is None else matrices
        self._converted: dict[Any, Signal] = {}

    def convert(self, x: Signal, spec: FixedSpec) -> Signal:
        """Convert a signal to a type."""
        key = (key_of(x), spec)
        if key not in self._converted:
            self._converted[key] = convert(x, spec)
        return self._converted[key]

    def convert_all(self, signals: Signals, spec: FixedSpec) -> Signals:
        """Convert an array of signals to a type."""
        return _each(lambda x: self.convert(x, spec), signals)


def lower_node(node: Node, sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    """Return the signals of a node that is no input; `inputs` are those of the nodes that it reads, `sources`."""
    result = _LOWERINGS[type(node)](node, sources, inputs, lowering)
    assert result.shape == node.shape, f"{node.kind} {node.name} has shape {node.shape}, its signals {result.shape}"
    return result


def _each(function: Callable[..., Signal], *arrays: Any) -> Signals:
    """Apply a function to the elements of arrays that broadcast."""
    operands = np.broadcast_arrays(*arrays)
    result = np.empty(operands[0].shape, dtype=object)
    for place in np.ndindex(result.shape):
        result[place] = function(*(operand[place] for operand in operands))
    return result


def _filled(shape: tuple[int, ...], signals: Sequence[Signal]) -> Signals:
    result = np.empty(shape, dtype=object)
    for place, signal in zip(np.ndindex(shape), signals, strict=True):
        result[place] = signal
    return result


def _dense(node: Node, sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Dense)
    accumulator = node.accumulator
    bias = exact_values(requantise(node.bias, node.bias_spec.fraction, accumulator), accumulator)
    weight = node.weight.reshape(node.groups, *node.weight.shape[-2:])
    vectors = inputs[0].reshape(-1, node.groups, weight.shape[1])
    lossy = accumulator.fraction < sources[0].result.fraction + node.weight_spec.fraction
    sums = []
    for vector in vectors:
        for group, codes in zip(vector, weight, strict=True):
            sums += _products(list(group), codes, node, lowering, lossy=lossy)
    results = _filled(node.shape, sums) + np.broadcast_to(bias, node.shape)
    return lowering.convert_all(lowering.convert_all(results, accumulator), node.result)


def _products(x: list[Signal], codes: Codes, node: Dense, lowering: Lowering, *, lossy: bool) -> list[Signal]:
    """Return one vector times a matrix; products that lose bits on their way into the accumulator come one by one."""
    step, accumulator = node.weight_spec.step, node.accumulator
    if not lossy:
        return lowering.matrices.product(x, codes, step)
    exact = np.zeros_like(codes)
    terms: list[list[Signal]] = [[] for _ in range(codes.shape[1])]
    for row, signal in enumerate(x):
        products: dict[int, Signal] = {}
        for column, code in enumerate(codes[row].tolist()):
            if not is_constant(signal) and signal.step * step * (code & -code) >= accumulator.step:
                exact[row, column] = code
            elif code:
                if code not in products:
                    products[code] = lowering.convert(times(signal, exact_float(code * Fraction(step))), accumulator)
                terms[column].append(products[code])
    for column, rest in enumerate(lowering.matrices.product(x, exact, step)):
        terms[column].append(rest)
    return [total(column) for column in terms]


def _affine(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Affine)
    scale, offset = exact_values(node.scale, node.scale_spec), exact_values(node.offset, node.offset_spec)
    return lowering.convert_all(_each(lambda x, a, b: times(x, a) + float(b), inputs[0], scale, offset), node.result)


def _activation(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Activation)
    relu = node.function is Function.RELU
    values = _each(lambda x: at_least(x, 0.0), inputs[0]) if relu else inputs[0]
    return lowering.convert_all(values, node.result)


def _clip(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Clip)
    return lowering.convert_all(_each(lambda x: at_most(at_least(x, node.low), node.high), inputs[0]), node.result)


def _leaky_relu(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, LeakyRelu)
    slope = exact_values(node.slope, node.slope_spec)

    def leaky(x: Signal, factor: float) -> Signal:
        return at_least(x, 0.0) if factor == 0 else where_negative(x, times(x, factor), x)

    return lowering.convert_all(_each(leaky, inputs[0], slope), node.result)


def _table(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Table)
    entries = requantise(node.table, node.table_spec.fraction, node.result)
    columns = entries.reshape(len(entries), -1).T
    found: dict[Any, list[Signal]] = {}
    for x in inputs[0].flat:
        if key_of(x) not in found:
            found[key_of(x)] = [look_up(x, column, node.index, node.result, lowering.convert) for column in columns]
    return _filled(node.shape, [signal for x in inputs[0].flat for signal in found[key_of(x)]])


_OPERATIONS: dict[Operation, Callable[[Signal, Signal], Signal]] = {
    Operation.ADD: lambda a, b: total([a, b]),
    Operation.SUBTRACT: lambda a, b: total([a, -b]),
    Operation.AVERAGE: lambda a, b: total([a, b]) * 0.5,
    Operation.MAXIMUM: larger,
    Operation.MINIMUM: smaller,
    Operation.MULTIPLY: multiplied,
}


def _merge(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Merge)
    return lowering.convert_all(_each(_OPERATIONS[node.operation], *inputs), node.result)


def _reduce(node: Node, sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Reduce)
    x = np.moveaxis(inputs[0], node.axes, range(-len(node.axes), 0)).reshape(node.size, -1)
    if node.operation is Reduction.MAXIMUM:
        results = [_tree(larger, list(row)) for row in x]
    elif sources[0].result.fraction > node.result.fraction and x.shape[1] > 1:
        # `check_graph` allows only roundings for which rounding each term is the same as each partial sum.
        results = [total(rounded(signal, node.result.fraction, node.result.rounding) for signal in row) for row in x]
    else:
        results = [total(row) for row in x]
    return lowering.convert_all(_filled(node.shape, results), node.result)


def _tree(operation: Callable[[Signal, Signal], Signal], items: list[Any]) -> Any:
    """Combine neighbours until one is left; their order stays."""
    while len(items) > 1:
        pairs = zip(items[::2], items[1::2], strict=False)
        items = [operation(a, b) for a, b in pairs] + items[len(items) // 2 * 2 :]
    return items[0]


def _argmax(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, ArgMax)
    one = lowering.convert(constant(1.0), node.result).low
    bits: list[Signal] = []
    for row in inputs[0].reshape(-1, node.shape[-1]):
        _, winners = _tree(_winner, [(x, [constant(1.0)]) for x in row])
        bits += [times(bit, one) for bit in winners]
    return _filled(node.shape, bits)


_Candidate = tuple[Signal, list[Signal]]
"""The largest of some values, and for each of them the bit that says whether it is the one."""


def _winner(first: _Candidate, second: _Candidate) -> _Candidate:
    behind = total([first[0], -second[0]])
    loses = negative(behind)
    wins = inverted(loses)
    bits = [both(bit, wins) for bit in first[1]] + [both(bit, loses) for bit in second[1]]
    return where_negative(behind, second[0], first[0]), bits


def _window(node: Node, sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Window)
    fill = constant(float(exact_values(np.array([node.fill]), sources[0].result)[0]))
    shape = inputs[0].shape
    padded = np.empty(tuple(size + sum(ends) for size, ends in zip(shape, node.pads, strict=True)), object)
    padded[...] = fill
    padded[tuple(slice(first, first + size) for size, (first, _) in zip(shape, node.pads, strict=True))] = inputs[0]
    return lowering.convert_all(node.slide(padded), node.result)


def _rearrange(node: Node, _sources: Sequence[Node], inputs: Sequence[Signals], lowering: Lowering) -> Signals:
    assert isinstance(node, Rearrange)
    values = [*(signal for array in inputs for signal in array.flat), constant(0.0)]  # the index -1 takes the zero
    return _filled(node.shape, [lowering.convert(values[index], node.result) for index in node.index.flat])


_Lower = Callable[[Node, Sequence[Node], Sequence[Signals], Lowering], Signals]

_LOWERINGS: dict[type[Node], _Lower] = {
    Dense: _dense,
    Affine: _affine,
    Activation: _activation,
    Clip: _clip,
    LeakyRelu: _leaky_relu,
    Table: _table,
    Merge: _merge,
    Reduce: _reduce,
    ArgMax: _argmax,
    Window: _window,
    Rearrange: _rearrange,
}
