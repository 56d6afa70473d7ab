"""The exact emulator: integer codes through a FixedGraph, in NumPy."""

from __future__ import annotations

import functools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from l1dl.emulate.bounds import check_graph
from l1dl.emulate.steps import Convert, make_step
from l1dl.errors import InputError
from l1dl.fixed import Codes, FixedSpec, Overflow, Values, align, apply_overflow, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Input
from l1dl.ports import Arrays, as_rows, check_rows, count_values, decode_rows, encode_rows, join, split
from l1dl.tools import run_parallel

BLOCK = 4096
"""Most events that pass through the network together; their activations stay in the cache."""

BLOCK_VALUES = 1 << 22
"""Most values of all nodes together that a block of events holds, so that images do not fill the memory: there are as
many blocks at a time as processors."""

_ONE_RUN = threading.Lock()

Trace = dict[str, Codes]
"""Node name → codes of its result, shape (events, *node.shape)."""


class EmulatorBase(ABC):
    """What computes a network: codes to codes, and real values through its ports.

    Attributes
    ----------
    graph
        The network.
    """

    graph: FixedGraph

    @abstractmethod
    def run(self, rows: Codes) -> Codes:
        """Return rows of output codes, shape (events, values of all outputs), for rows of input codes.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """

    def predict(self, values: npt.NDArray[np.floating]) -> Values:
        """Return rows of real outputs for rows of real inputs, shape (events, values).

        Raises
        ------
        InputError
            The shape does not fit, or a value is NaN or infinite.
        """
        self.check_shape(values)
        return self.decode(self.run(encode_rows(values.astype(np.float64), self.graph.input_ports)))

    def encode(self, x: Arrays) -> Codes:
        """Convert real inputs, one array of shape (events, *shape) for each port, to rows of input codes.

        Raises
        ------
        InputError
            The shapes do not fit, or a value is NaN or infinite.
        """
        ports = self.graph.input_ports
        return encode_rows(as_rows(x, ports), ports)

    def decode(self, rows: Codes) -> Values:
        """Return the real values of rows of output codes."""
        return decode_rows(rows, self.graph.output_ports)

    def check_shape(self, values: npt.NDArray[np.floating]) -> None:
        """Check that there is a row of real inputs for each event.

        Raises
        ------
        InputError
            There is not.
        """
        wanted = count_values(self.graph.input_ports)
        if values.ndim != 2 or values.shape[1] != wanted:
            msg = f"inputs of shape {values.shape} do not fit the ports: (events, {wanted})"
            raise InputError(msg)

    def check_finite(self, values: npt.NDArray[np.floating]) -> None:
        """Check rows of real inputs.

        Raises
        ------
        InputError
            A value is NaN or infinite.
        """
        if not np.isfinite(values).all():
            encode_rows(values.astype(np.float64), self.graph.input_ports)


class Emulator(EmulatorBase):
    """A FixedGraph, checked and ready to run.

    Parameters
    ----------
    graph
        A network with any number of inputs and outputs.

    Raises
    ------
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    """

    def __init__(self, graph: FixedGraph) -> None:
        known = check_graph(graph)
        self.graph = graph
        self._steps = [
            (node, make_step(node, [known[name] for name in node.inputs]))
            for node in graph.nodes
            if not isinstance(node, Input)
        ]
        self._block = max(1, min(BLOCK, BLOCK_VALUES // sum(node.size for node in graph.nodes)))

    def run(self, rows: Codes) -> Codes:
        """Return rows of output codes, shape (events, values of all outputs), for rows of input codes.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """
        work = [functools.partial(self._run_block, block) for block in self.blocks(rows)]
        if not work:
            check_rows(rows, self.graph.input_ports)
            return np.empty((0, count_values(self.graph.output_ports)), dtype=np.int64)
        if len(work) == 1:
            return work[0]()
        # Each block has a core; the matrix products inside would else take all cores as well. The limit is one of the
        # process, so that one call at a time sets it and takes it back.
        with _ONE_RUN, threadpool_limits(1, user_api="blas"):
            return np.concatenate(run_parallel(work, jobs=os.cpu_count() or 1))

    def _run_block(self, rows: Codes) -> Codes:
        trace = self.trace(rows)
        return join([trace[name] for name in self.graph.outputs])

    def blocks(self, rows: Codes) -> Iterator[Codes]:
        """Cut rows into blocks whose traces fit the memory."""
        for start in range(0, len(rows), self._block):
            yield rows[start : start + self._block]

    def trace(self, rows: Codes, converters: Mapping[str, Convert] | None = None) -> Trace:
        """Return the codes of every node.

        Parameters
        ----------
        rows
            Rows of input codes, shape (events, values of all inputs).
        converters
            Node name → what performs its conversions; `requantise` by default. Conversions that are
            proved to change nothing are left out.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """
        ports = self.graph.input_ports
        check_rows(rows, ports)
        return self.compute(split(rows, ports), converters)

    def compute(self, inputs: Sequence[Codes], converters: Mapping[str, Convert] | None = None) -> Trace:
        """Return the codes of every node for those of each port, shape (events, *shape), which are not checked."""
        results: Trace = {port.name: codes for port, codes in zip(self.graph.input_ports, inputs, strict=True)}
        for node, step in self._steps:
            convert = converters[node.name] if converters else requantise
            results[node.name] = step([results[name] for name in node.inputs], convert)
        return results


class OverflowCounter:
    """A `Convert` that counts values outside the range of the type they are converted to.

    Attributes
    ----------
    wraps, saturations
        Values that a wrapping type, and any other type, could not hold.
    """

    def __init__(self) -> None:
        self.wraps = 0
        self.saturations = 0

    @property
    def count(self) -> int:
        """Number of values that did not fit."""
        return self.wraps + self.saturations

    def __call__(self, codes: Codes, fraction: int, spec: FixedSpec, /) -> Codes:
        """Convert, and count what did not fit."""
        aligned = align(codes, fraction, spec)
        self.add(int(np.count_nonzero((aligned < spec.minimum_code) | (aligned > spec.maximum_code))), spec)
        return apply_overflow(aligned, spec)

    def add(self, count: int, spec: FixedSpec) -> None:
        """Count values outside the range of a type."""
        if spec.overflow is Overflow.WRAP:
            self.wraps += count
        else:
            self.saturations += count
