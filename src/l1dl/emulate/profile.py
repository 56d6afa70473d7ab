"""What the values of a layer look like against its type: range, quantiles, wraps and saturations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l1dl.emulate.engine import Emulator, OverflowCounter
from l1dl.errors import InputError
from l1dl.fixed import Codes, FixedSpec, Overflow, Values, count_overflows, decode, encode
from l1dl.graph import FixedGraph
from l1dl.ports import Arrays, as_rows, encode_rows, split

DENSE_CODES = 1 << 20
"""Largest range of codes that is counted in an array."""

QUANTILES = (0.0, 0.001, 0.25, 0.5, 0.75, 0.999, 1.0)
"""The probabilities of `LayerProfile.quantiles`."""


@dataclass(frozen=True)
class LayerProfile:
    """The values of one node (or of its weights) over a set of events.

    Attributes
    ----------
    name
        Name of the node; ``<node>.weight``, ``<node>.table`` and so on for its constants.
    kind
        Kind of the node; ``constant`` for its constants.
    spec
        Its type, as text.
    low, high
        Smallest and largest value that the type can hold.
    quantiles
        Minimum, 0.1 %, 25 %, 50 %, 75 %, 99.9 % quantile and maximum of the values.
    values
        Number of values seen.
    wraps, saturations
        Number of values that were outside the range of the type they were converted to: the first for
        wrapping types, the second for saturating ones. Counted are all conversions of the node, to an
        accumulator and to the index of a table as well.
    """

    name: str
    kind: str
    spec: str
    low: float
    high: float
    quantiles: tuple[float, float, float, float, float, float, float]
    values: int
    wraps: int
    saturations: int


def profile_layers(emulator: Emulator, x: Arrays) -> list[LayerProfile]:
    """Profile every node over real inputs, one array of shape (events, *shape) for each port, and all constants.

    Wraps and saturations of an input count the values outside the range of its port.

    Raises
    ------
    InputError
        The shapes do not fit, there is no event, or a value is NaN or infinite.
    """
    graph = emulator.graph
    values = as_rows(x, graph.input_ports)
    if len(values) == 0:
        msg = "there are no events to profile; give at least one"
        raise InputError(msg)
    counters = {node.name: OverflowCounter() for node in graph.nodes}
    histograms = {node.name: Histogram() for node in graph.nodes}
    for block in emulator.blocks(encode_rows(values, graph.input_ports)):
        for name, codes in emulator.trace(block, counters).items():
            histograms[name].add(codes)
    for port, part in zip(graph.input_ports, split(values, graph.input_ports), strict=True):
        counters[port.name].add(_cut_off(part, port.spec), port.spec)
    profiles = [
        _profile(node.name, node.kind, histograms[node.name], node.result, counters[node.name]) for node in graph.nodes
    ]
    return profiles + list(_constants(graph))


class Histogram:
    """How often each code occurs; what is kept grows with the codes that differ, not with the events."""

    def __init__(self) -> None:
        self.codes: Codes = np.empty(0, dtype=np.int64)
        self.counts: Codes = np.empty(0, dtype=np.int64)

    def add(self, codes: Codes) -> None:
        """Count codes of any shape."""
        if codes.size == 0:
            return
        low, high = int(codes.min()), int(codes.max())
        if high - low < DENSE_CODES:
            counts = np.bincount((codes - low).ravel(), minlength=high - low + 1)
            new = np.flatnonzero(counts)
            seen, counts = new + low, counts[new]
        else:
            seen, counts = np.unique(codes, return_counts=True)
        self.codes, places = np.unique(np.concatenate([self.codes, seen]), return_inverse=True)
        merged = np.zeros(len(self.codes), dtype=np.int64)
        np.add.at(merged, places, np.concatenate([self.counts, counts]))
        self.counts = merged

    @property
    def size(self) -> int:
        """Number of codes counted."""
        return int(self.counts.sum())

    def quantile(self, probability: float, spec: FixedSpec) -> float:
        """Return a quantile of the values, as `numpy.quantile` defines it: linear between two neighbours."""
        place = (self.size - 1) * probability
        below = math.floor(place)
        ends = np.cumsum(self.counts)
        neighbours = np.searchsorted(ends, [below, min(below + 1, self.size - 1)], side="right")
        return float(np.quantile(decode(self.codes[neighbours], spec), place - below))


def _cut_off(values: Values, spec: FixedSpec) -> int:
    """Return how many real values are outside the range of a type after its rounding."""
    # A wide type with the same step shows what the range cuts off.
    wide = FixedSpec(
        signed=True, width=62, integer=62 - spec.fraction, rounding=spec.rounding, overflow=Overflow.SAT
    )  # fmt: skip
    return count_overflows(encode(values, wide), wide.fraction, spec)


def _constants(graph: FixedGraph) -> Iterator[LayerProfile]:
    for node in graph.nodes:
        for field, (_, spec) in node.constants(graph.sources(node)).items():
            histogram = Histogram()
            histogram.add(getattr(node, field))
            yield _profile(f"{node.name}.{field}", "constant", histogram, spec, OverflowCounter())


def _profile(name: str, kind: str, codes: Histogram, spec: FixedSpec, outside: OverflowCounter) -> LayerProfile:
    low, high = (float(np.ldexp(float(code), -spec.fraction)) for code in (spec.minimum_code, spec.maximum_code))
    quantiles = tuple(codes.quantile(probability, spec) for probability in QUANTILES)
    counts = codes.size, outside.wraps, outside.saturations
    return LayerProfile(name, kind, str(spec), low, high, quantiles, *counts)  # type: ignore[arg-type]
