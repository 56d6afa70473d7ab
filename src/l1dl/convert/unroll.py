"""Write QLSTM and QGRU with dense layers, quantisers, products and sums, one set for each time step.

hls4ml computes quantised recurrent layers otherwise than QKeras, and not in its bit-exact mode; unrolled, they
are exact. `RULES` holds one function for each class: it takes the writer of the new model, the layer and its sources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.quantisers import check_quantiser, quantise_constants
from l1dl.convert.support import where_of
from l1dl.errors import UnsupportedError

MAXIMUM_STEPS = 20
"""Longest sequence that is unrolled."""

Matrix = npt.NDArray[np.float64]


class _Unrolled:
    """A recurrent layer that is being written."""

    def __init__(self, writer: Any, layer: Any) -> None:
        self.writer, self.layer, self.cell, self.where = writer, layer, layer.cell, where_of(layer)
        self.units = int(layer.cell.units)
        self.kernel = self._constants("kernel", "kernel_quantizer")
        self.recurrent = self._constants("recurrent_kernel", "recurrent_quantizer")
        self.bias = self._constants("bias", "bias_quantizer") if layer.cell.use_bias else None

    def _constants(self, name: str, option: str) -> Matrix:
        quantiser = getattr(self.cell, f"{option}_internal")
        check_quantiser(self.where, option, quantiser, "weight")
        return quantise_constants(f"{self.where}: {name}", quantiser, getattr(self.cell, name))

    def gate(self, values: npt.NDArray[np.float64], index: int) -> Matrix:
        """Return the part of a weight or bias that belongs to one gate."""
        return values[..., index * self.units : (index + 1) * self.units]

    def gate_bias(self, index: int) -> Matrix:
        """Return the bias of one gate of the input."""
        if self.bias is None:
            return np.zeros(self.units)
        return self.gate(self.bias if self.bias.ndim == 1 else self.bias[0], index)

    def dense(self, part: str, sources: list[Any], kernels: list[Matrix], bias: Matrix) -> Any:
        """Return the sum of products of tensors and matrices."""
        source = sources[0]
        if len(sources) > 1:
            source = self.writer.add("Concatenate", sources, part=f"{part}_joined", options={"axis": -1})
        weights = [np.concatenate(kernels), bias]
        return self.writer.add("Dense", source, part=part, weights=weights, options={"units": len(bias)})

    def activate(self, part: str, source: Any, option: str) -> Any:
        """Apply one of the cell's quantisers: ``activation`` or ``recurrent_activation``."""
        return self.writer.quantise(source, getattr(self.cell, option), part=part)

    def keep(self, part: str, state: Any) -> Any:
        """Quantise a state for the next step."""
        quantiser = self.cell.state_quantizer_internal
        return state if quantiser is None else self.writer.quantise(state, quantiser, part=part)

    def merge(self, part: str, kind: str, *sources: Any) -> Any:
        """Combine two tensors."""
        return self.writer.add(kind, list(sources), part=part)


Step = Callable[[_Unrolled, str, str, Any, tuple[Any, ...]], tuple[Any, ...]]
"""Takes the layer, the names of the parts and of the result, the input and the states; returns the states."""


def _rule(step: Step) -> Callable[[Any, Any, list[Any]], Any]:
    """Return the rule of a class whose time steps `step` writes."""

    def unroll(writer: Any, layer: Any, sources: list[Any]) -> Any:
        _check(layer, sources)
        work = _Unrolled(writer, layer)
        steps, features = sources[0].shape[1:]
        states: tuple[Any, ...] = ()
        results = []
        order = range(steps - 1, -1, -1) if layer.go_backwards else range(steps)
        for index in order:
            part, final = f"step{index}", index == order[-1] and not layer.return_sequences
            x = sources[0]
            if steps > 1:
                cropped = {"cropping": (index, steps - 1 - index)}
                x = writer.add("Cropping1D", x, part=f"{part}_cut", options=cropped)
            x = writer.reshape(x, (features,), f"{part}_input")
            kept = tuple(work.keep(f"{part}_kept{number}", state) for number, state in enumerate(states))
            states = step(work, part, "" if final else f"{part}_state", x, kept)
            results.append(states[0])
        if not layer.return_sequences:
            return results[-1]
        joined = results[0]
        for index, state in enumerate(results[1:], start=1):
            joined = writer.add("Concatenate", [joined, state], part=f"joined{index}", options={"axis": -1})
        return writer.reshape(joined, (steps, work.units))

    return unroll


def _lstm(work: _Unrolled, part: str, result: str, x: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
    """Write one step of an LSTM; its states are none at first."""
    hidden, memory = states or (None, None)
    sources = [x] if hidden is None else [x, hidden]
    gates = {}
    for index, name in enumerate(("input", "forget", "cell", "output")):
        if name == "forget" and memory is None:
            continue
        kernels = [work.gate(work.kernel, index), work.gate(work.recurrent, index)][: len(sources)]
        total = work.dense(f"{part}_{name}_sum", sources, kernels, work.gate_bias(index))
        gates[name] = work.activate(f"{part}_{name}", total, "activation" if name == "cell" else "recurrent_activation")
    new = work.merge(f"{part}_fresh", "Multiply", gates["input"], gates["cell"])
    if memory is not None:
        old = work.merge(f"{part}_old", "Multiply", gates["forget"], memory)
        new = work.merge(f"{part}_memory", "Add", old, new)
    seen = work.activate(f"{part}_seen", new, "activation")
    return work.merge(result, "Multiply", gates["output"], seen), new


def _gru(work: _Unrolled, part: str, result: str, x: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
    """Write one step of a GRU; its state is none at first."""
    hidden = states[0] if states else None
    after = work.cell.reset_after
    past_bias = work.bias[1] if after and work.bias is not None else np.zeros(3 * work.units)
    sources = [x] if hidden is None else [x, hidden]
    gates = []
    for index, name in enumerate(("update", "reset")):
        kernels = [work.gate(work.kernel, index), work.gate(work.recurrent, index)][: len(sources)]
        bias = work.gate_bias(index) + work.gate(past_bias, index)
        total = work.dense(f"{part}_{name}_sum", sources, kernels, bias)
        gates.append(work.activate(f"{part}_{name}", total, "recurrent_activation"))
    update, reset = gates
    kernel, recurrent = work.gate(work.kernel, 2), work.gate(work.recurrent, 2)
    name = f"{part}_candidate_sum"
    if hidden is None:  # what remains of the past is the bias, if there is one
        past = np.diag(work.gate(past_bias, 2))
        total = work.dense(name, [x, reset], [kernel, past], work.gate_bias(2)) if past.any() else None
        total = work.dense(name, [x], [kernel], work.gate_bias(2)) if total is None else total
    elif after:
        past = work.dense(f"{part}_past", [hidden], [recurrent], work.gate(past_bias, 2))
        past = work.merge(f"{part}_past_reset", "Multiply", reset, past)
        total = work.merge(name, "Add", work.dense(f"{part}_candidate_x", [x], [kernel], work.gate_bias(2)), past)
    else:
        past = work.merge(f"{part}_past_reset", "Multiply", reset, hidden)
        total = work.dense(name, [x, past], [kernel, recurrent], work.gate_bias(2))
    candidate = work.activate(f"{part}_candidate", total, "activation")
    # z * h + (1 - z) * c, as c + z * (h - c); the first h is zero.
    if hidden is None:
        weighted = work.merge(f"{part}_weighted", "Multiply", update, candidate)
        return (work.merge(result, "Subtract", candidate, weighted),)
    difference = work.merge(f"{part}_difference", "Subtract", hidden, candidate)
    weighted = work.merge(f"{part}_weighted", "Multiply", update, difference)
    return (work.merge(result, "Add", candidate, weighted),)


def _check(layer: Any, sources: list[Any]) -> None:
    """Refuse options that cannot be unrolled, or not exactly."""
    cell, where = layer.cell, where_of(layer)
    steps = sources[0].shape[1]
    for option in ("activation", "recurrent_activation"):
        check_quantiser(where, option, getattr(cell, option), "activation")
    state = cell.state_quantizer_internal
    if state is not None:
        check_quantiser(where, "state_quantizer", state, "activation")
    split = type(layer).__name__ == "QGRU" and not cell.reset_after and getattr(cell, "implementation", 1) != 1
    wrong = {
        f"has {steps} time steps; between 1 and {MAXIMUM_STEPS} are unrolled": not 1 <= (steps or 0) <= MAXIMUM_STEPS,
        "takes an initial state; leave it out": len(sources) != 1,
        "returns its state; use return_state=False": layer.return_state,
        "is stateful; use stateful=False": layer.stateful,
        "has implementation=2 without reset_after, which QKeras cannot compute; use implementation=1": split,
        "has no state_quantizer, so that its states get longer at each step; give it one": state is None and steps != 1,
        "has a state_quantizer that changes the initial state, zero; use quantized_bits": state is not None
        and np.any(quantise_constants(f"{where}: the initial state", state, np.zeros((1, 1)))),
    }
    for reason, found in wrong.items():
        if found:
            msg = f"{where} {reason}"
            raise UnsupportedError(msg)


RULES: dict[str, Callable[[Any, Any, list[Any]], Any]] = {"QLSTM": _rule(_lstm), "QGRU": _rule(_gru)}
"""Class of a layer → its rule."""
