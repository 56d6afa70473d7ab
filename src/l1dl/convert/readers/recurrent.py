"""Read LSTM and GRU as hls4ml's ``nnet_recurrent.h`` computes them, unrolled over the time steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1dl.convert.readers.common import codes_of, result_of, shape_of, sources_of, spec_of
from l1dl.convert.readers.exact import BIT, product_spec, scalar, source_spec, sum_spec
from l1dl.convert.readers.tables import activation_lookup, lookup_nodes, table_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, requantise
from l1dl.nodes import Activation, Affine, Dense, Function, Merge, Node, Operation, Rearrange

MAXIMUM_STEPS = 20
"""Longest sequence that is unrolled."""

_ACTIVATIONS = ("relu", "sigmoid", "tanh")
"""Activations that hls4ml's recurrent layers have."""


@dataclass(frozen=True)
class _Matrix:
    """A weight matrix and its bias."""

    weight: Codes
    weight_spec: FixedSpec
    bias: Codes
    bias_spec: FixedSpec


@dataclass
class _Unrolled:
    """A recurrent layer while its nodes are made.

    Attributes
    ----------
    units
        Number of values of the state.
    accumulator, state
        Types of the sums and gates, and of the states.
    table
        Size and type of the tables of both activations.
    """

    name: str
    units: int
    gates: int
    accumulator: FixedSpec
    state: FixedSpec
    table: tuple[int, FixedSpec]
    recurrent: _Matrix
    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, node: Node) -> str:
        """Add a node and return its name."""
        self.nodes[node.name] = node
        return node.name

    def spec(self, name: str) -> FixedSpec:
        """Return the type of a node's result."""
        return self.nodes[name].result

    def merge(self, name: str, a: str, b: str, operation: Operation, result: FixedSpec | None = None) -> str:
        """Combine two vectors; exactly unless a type is given."""
        combine = product_spec if operation is Operation.MULTIPLY else sum_spec
        spec = result or combine(self.name, self.spec(a), self.spec(b))
        return self.add(Merge(name, (a, b), (self.nodes[a].size,), spec, operation))

    def cut(self, name: str, source: str, first: int, size: int) -> str:
        """Take `size` values of a node, from `first` on."""
        index = np.arange(first, first + size)
        return self.add(Rearrange(name, (source,), (size,), self.spec(source), index))

    def activate(self, name: str, source: str, activation: str) -> str:
        """Apply an activation; its result has the accumulator's type."""
        shape = self.nodes[source].shape
        if activation == "relu":
            return self.add(Activation(name, (source,), shape, self.accumulator, Function.RELU))
        lookup = activation_lookup(activation, *self.table)
        for node in lookup_nodes(name, source, self.spec(source), shape, lookup, self.accumulator):
            self.add(node)
        return name

    def recur(self, name: str, state: str | None) -> str | None:
        """Multiply the state by the recurrent matrix; None for the initial state, which is zero."""
        if state is None:
            return None
        m = self.recurrent
        shape = (self.gates * self.units,)
        constants = m.weight, m.weight_spec, m.bias, m.bias_spec, self.accumulator
        return self.add(Dense(name, (state,), shape, self.accumulator, *constants))

    def add_recurrent(self, name: str, source: str, recurred: str | None, gates: tuple[int, int]) -> str:
        """Add a range of gates of the input's and of the state's products."""
        first, size = gates[0] * self.units, gates[1] * self.units
        part = self.cut(f"{name}_x", source, first, size)
        if recurred is None:
            return self._add_constant(name, part, self._initial()[first : first + size])
        other = self.cut(f"{name}_h", recurred, first, size)
        return self.merge(name, part, other, Operation.ADD, self.accumulator)

    def times_initial(self, name: str, gate: str, first: int) -> str:
        """Multiply a gate by the product of the initial state, a constant."""
        scale = self._initial()[first : first + self.units]
        constants = scale, self.accumulator, scalar(0), BIT
        return self.add(Affine(name, (gate,), (self.units,), self.accumulator, *constants))

    def _add_constant(self, name: str, source: str, codes: Codes) -> str:
        constants = scalar(1), BIT, codes, self.accumulator
        return self.add(Affine(name, (source,), self.nodes[source].shape, self.accumulator, *constants))

    def _initial(self) -> Codes:
        """Return what the recurrent matrix makes of a state of zeros."""
        return requantise(self.recurrent.bias, self.recurrent.bias_spec.fraction, self.accumulator)


def _read_recurrent(layer: Any) -> tuple[Node, ...]:
    _check(layer)
    kind, (source,), shape = layer.class_name, sources_of(layer), shape_of(layer)
    steps, features = (int(size) for size in layer.get_input_variable().shape)
    matrices = [
        _matrix(layer, weight, bias) for weight, bias in (("weight", "bias"), ("recurrent_weight", "recurrent_bias"))
    ]
    accumulator, result = spec_of(layer.get_attr("accum_t").precision), result_of(layer)
    gates = 4 if kind == "LSTM" else 3
    work = _Unrolled(layer.name, shape[-1], gates, accumulator, result, table_of(layer), matrices[1])
    names = [str(layer.get_attr(key)) for key in ("recurrent_activation", "activation")]
    m, size = matrices[0], gates * work.units
    states: list[str] = []
    memory: str | None = None
    for step in range(steps):
        part, index = f"{layer.name}__{step}", np.arange(step * features, (step + 1) * features)
        x = work.add(Rearrange(f"{part}_x", (source,), (features,), source_spec(layer), index))
        constants = m.weight, m.weight_spec, m.bias, m.bias_spec, accumulator
        x = work.add(Dense(f"{part}_wx", (x,), (size,), accumulator, *constants))
        state = states[-1] if states else None
        if kind == "LSTM":
            state, memory = _lstm_step(work, part, x, state, memory, names)
        else:
            state = _gru_step(work, part, x, state, names)
        states.append(state)
    taken = tuple(states) if len(shape) == 2 else (states[-1],)
    work.add(Rearrange(layer.name, taken, shape, result, np.arange(len(taken) * work.units).reshape(shape)))
    return tuple(work.nodes.values())


def _lstm_step(
    work: _Unrolled, part: str, x: str, state: str | None, memory: str | None, activations: list[str]
) -> tuple[str, str]:
    """Return the new state and memory; the gates stand in the order input, forget, cell, output."""
    recurred = work.recur(f"{part}_uh", state)
    gate = {
        name: work.activate(
            f"{part}_{name}",
            work.add_recurrent(f"{part}_{name}_sum", x, recurred, (index, 1)),
            activations[name == "cell"],
        )
        for index, name in enumerate(("input", "forget", "cell", "output"))
        if name != "forget" or memory is not None
    }
    fresh = work.state if memory is None else None
    new = work.merge(f"{part}_fresh", gate["cell"], gate["input"], Operation.MULTIPLY, fresh)
    if memory is not None:
        kept = work.merge(f"{part}_kept", memory, gate["forget"], Operation.MULTIPLY)
        new = work.merge(f"{part}_memory", new, kept, Operation.ADD, work.state)
    seen = work.activate(f"{part}_seen", new, activations[1])
    return work.merge(f"{part}_state", gate["output"], seen, Operation.MULTIPLY, work.state), new


def _gru_step(work: _Unrolled, part: str, x: str, state: str | None, activations: list[str]) -> str:
    """Return the new state; the gates stand in the order update, reset, candidate."""
    units, recurred = work.units, work.recur(f"{part}_uh", state)
    update, reset = (
        work.activate(f"{part}_{name}", work.add_recurrent(f"{part}_{name}_sum", x, recurred, (i, 1)), activations[0])
        for i, name in enumerate(("update", "reset"))
    )
    if recurred is None:
        past = work.times_initial(f"{part}_past", reset, 2 * units)
    else:
        past = work.cut(f"{part}_past_uh", recurred, 2 * units, units)
        past = work.merge(f"{part}_past", reset, past, Operation.MULTIPLY, work.accumulator)
    total = work.cut(f"{part}_candidate_x", x, 2 * units, units)
    total = work.merge(f"{part}_candidate_sum", total, past, Operation.ADD, work.accumulator)
    candidate = work.activate(f"{part}_candidate", total, activations[1])
    rest_spec = sum_spec(work.name, BIT, work.accumulator, negative=True)
    constants = scalar(-1), FixedSpec(signed=True, width=1, integer=1), scalar(1), BIT
    rest = work.add(Affine(f"{part}_rest", (update,), (units,), rest_spec, *constants))
    fresh = work.merge(f"{part}_fresh", candidate, rest, Operation.MULTIPLY, work.state if state is None else None)
    if state is None:
        return fresh
    kept = work.merge(f"{part}_kept", state, update, Operation.MULTIPLY)
    return work.merge(f"{part}_state", fresh, kept, Operation.ADD, work.state)


def _check(layer: Any) -> None:
    """Refuse what hls4ml's C++ does not have, or does otherwise than Keras."""
    steps = int(layer.get_input_variable().shape[0])
    before = layer.class_name == "GRU" and layer.get_attr("apply_reset_gate") != "after"
    wrong = {
        f"has {steps} time steps; at most {MAXIMUM_STEPS} are unrolled": steps > MAXIMUM_STEPS,
        "returns its state": layer.get_attr("return_state"),
        "takes an initial state": layer.get_attr("pass_initial_states") or len(layer.inputs) != 1,
        "runs backwards, which hls4ml's C++ ignores": layer.get_attr("direction", "forward") != "forward",
        "has PyTorch's order of gates": layer.get_attr("pytorch") is True,
        "has reset_after=False, which hls4ml's C++ computes as if it were True": before,
    }
    types = [result_of(layer), source_spec(layer), spec_of(layer.get_attr("accum_t").precision)]
    if layer.class_name == "LSTM":
        text = ", ".join(str(spec) for spec in types)
        wrong[f"has different types of result, input and accumulator ({text}); its C++ needs one for all three"] = (
            len(set(types)) != 1
        )
    for key in ("activation", "recurrent_activation"):
        name = layer.get_attr(key)
        wrong[f"has {key}={name!r}; hls4ml has {', '.join(_ACTIVATIONS)} there"] = name not in _ACTIVATIONS
    reasons = [reason for reason, found in wrong.items() if found]
    if reasons:
        msg = f"layer {layer.name!r} ({layer.class_name}) {reasons[0]}"
        raise UnsupportedError(msg)


def _matrix(layer: Any, weight: str, bias: str) -> _Matrix:
    variables = layer.weights[weight], layer.weights[bias]
    specs = [spec_of(variable.type.precision) for variable in variables]
    codes = [codes_of(layer.name, variable.data, spec) for variable, spec in zip(variables, specs, strict=True)]
    return _Matrix(codes[0], specs[0], codes[1], specs[1])


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {"LSTM": _read_recurrent, "GRU": _read_recurrent}
