"""The exact emulator: integer codes through a FixedGraph, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from l1dl.emulate.bounds import check_graph, sum_bound
from l1dl.errors import InputError
from l1dl.fixed import Codes, FixedSpec, align, apply_overflow, decode, encode, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Node

BLOCK = 4096
"""Events that pass through the network together; their activations stay in the cache."""

Trace = dict[str, Codes]
"""Node name → codes of its result, shape (events, *node.shape)."""


class Convert(Protocol):
    """Converts codes with a number of fractional bits to a type; a profiler counts overflows here."""

    def __call__(self, codes: Codes, fraction: int, spec: FixedSpec, /) -> Codes:
        """Return the codes of type `spec`."""


class Emulator:
    """A FixedGraph, checked and ready to run.

    Parameters
    ----------
    graph
        A network with one input and one output.

    Raises
    ------
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    """

    def __init__(self, graph: FixedGraph) -> None:
        check_graph(graph)
        self.graph = graph
        self.input: Input = graph.inputs[0]
        self.output: Node = graph[graph.outputs[0]]
        self._steps = [(node, _STEPS[type(node)](node, graph)) for node in graph.nodes if not isinstance(node, Input)]

    def encode(self, x: npt.ArrayLike) -> Codes:
        """Convert real inputs of shape (events, *input shape) to input codes.

        Raises
        ------
        InputError
            The shape does not fit, or a value is NaN or infinite.
        """
        values = np.asarray(x, dtype=np.float64)
        if values.shape[1:] != self.input.shape:
            msg = f"inputs of shape {values.shape} do not fit the model's input (events, {str(self.input.shape)[1:]}"
            raise InputError(msg)
        return encode(values, self.input.result)

    def decode(self, codes: Codes) -> npt.NDArray[np.float64]:
        """Return the real values of output codes."""
        return decode(codes, self.output.result)

    def run(self, codes: Codes) -> Codes:
        """Return the output codes for input codes, both int64 with the events along the first axis."""
        blocks = [self.trace(block)[self.output.name] for block in _blocks(codes)]
        return np.concatenate(blocks) if blocks else np.empty((0, *self.output.shape), dtype=np.int64)

    def trace(self, codes: Codes, converters: Mapping[str, Convert] | None = None) -> Trace:
        """Return the codes of every node.

        Parameters
        ----------
        codes
            Input codes, shape (events, *input shape).
        converters
            Node name → what performs its conversions; `requantise` by default.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside the input type.
        """
        spec = self.input.result
        if codes.shape[1:] != self.input.shape:
            msg = f"codes of shape {codes.shape} do not fit the model's input (events, {str(self.input.shape)[1:]}"
            raise InputError(msg)
        if codes.size and (codes.min() < spec.minimum_code or codes.max() > spec.maximum_code):
            msg = f"input codes from {codes.min()} to {codes.max()} are outside {spec}"
            raise InputError(msg)
        results: Trace = {self.input.name: codes}
        for node, step in self._steps:
            convert = converters[node.name] if converters else requantise
            results[node.name] = step(results[node.inputs[0]], convert)
        return results


Step = Callable[[Codes, Convert], Codes]


def _blocks(codes: Codes) -> Iterator[Codes]:
    for start in range(0, len(codes), BLOCK):
        yield codes[start : start + BLOCK]


def _dense(node: Node, graph: FixedGraph) -> Step:
    assert isinstance(node, Dense)
    source, accumulator = graph[node.inputs[0]].result, node.accumulator
    fraction = source.fraction + node.weight_spec.fraction
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator)
    if accumulator.fraction < fraction:
        return _dense_truncating(node, fraction, bias)
    dtype = sum_bound(node.weight, source).dtype
    weight = node.weight.astype(dtype)
    widen = accumulator.fraction - fraction

    def step(x: Codes, convert: Convert) -> Codes:
        total = (x.astype(dtype) @ weight).astype(np.int64)
        accumulated = convert((total << widen) + bias, accumulator.fraction, accumulator)
        return convert(accumulated, accumulator.fraction, node.result)

    return step


def _dense_truncating(node: Dense, fraction: int, bias: Codes) -> Step:
    """Each product loses bits on its way into the accumulator, so products are converted one by one."""

    def step(x: Codes, convert: Convert) -> Codes:
        total = np.broadcast_to(bias, (len(x), len(bias))).copy()
        for index, row in enumerate(node.weight):
            total += convert(x[:, index : index + 1] * row, fraction, node.accumulator)
        accumulated = convert(total, node.accumulator.fraction, node.accumulator)
        return convert(accumulated, node.accumulator.fraction, node.result)

    return step


def _affine(node: Node, graph: FixedGraph) -> Step:
    assert isinstance(node, Affine)
    product_fraction = graph[node.inputs[0]].result.fraction + node.scale_spec.fraction
    fraction = max(product_fraction, node.offset_spec.fraction)
    scale = node.scale << (fraction - product_fraction)
    offset = node.offset << (fraction - node.offset_spec.fraction)
    return lambda x, convert: convert(x * scale + offset, fraction, node.result)


def _activation(node: Node, graph: FixedGraph) -> Step:
    assert isinstance(node, Activation)
    fraction = graph[node.inputs[0]].result.fraction
    if node.function is Function.RELU:
        return lambda x, convert: convert(np.maximum(x, 0), fraction, node.result)
    return lambda x, convert: convert(x, fraction, node.result)


_STEPS: dict[type[Node], Callable[[Node, FixedGraph], Step]] = {
    Dense: _dense,
    Affine: _affine,
    Activation: _activation,
}


class OverflowCounter:
    """A `Convert` that counts values outside the range of the type they are converted to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, codes: Codes, fraction: int, spec: FixedSpec, /) -> Codes:
        """Convert, and count what did not fit."""
        aligned = align(codes, fraction, spec)
        self.count += int(np.count_nonzero((aligned < spec.minimum_code) | (aligned > spec.maximum_code)))
        return apply_overflow(aligned, spec)
