"""What the values of a layer look like against its type: range, quantiles, wraps and saturations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l1dl.emulate.engine import BLOCK, Emulator, OverflowCounter
from l1dl.fixed import Codes, FixedSpec, Overflow, count_overflows, decode, encode
from l1dl.graph import FixedGraph
from l1dl.nodes import Affine, Dense

QUANTILES = (0.0, 0.001, 0.25, 0.5, 0.75, 0.999, 1.0)
"""The probabilities of `LayerProfile.quantiles`."""


@dataclass(frozen=True)
class LayerProfile:
    """The values of one node (or of its weights) over a set of events.

    Attributes
    ----------
    name
        Name of the node; ``<node>.weight`` and ``<node>.bias`` for its constants.
    kind
        Kind of the node; ``constant`` for weights and biases.
    spec
        Its type, as text.
    low, high
        Smallest and largest value that the type can hold.
    quantiles
        Minimum, 0.1 %, 25 %, 50 %, 75 %, 99.9 % quantile and maximum of the values.
    values
        Number of values seen.
    wraps, saturations
        Number of values that were outside the range of the type before its overflow mode was applied;
        the first for a wrapping type, the second for a saturating one.
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


def profile_layers(emulator: Emulator, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[LayerProfile]:
    """Profile every node over real inputs of shape (events, *input shape), and all constants.

    Wraps and saturations of the input count the values outside the range of the input port.
    """
    graph = emulator.graph
    counters = {node.name: OverflowCounter() for node in graph.nodes}
    blocks: dict[str, list[Codes]] = {node.name: [] for node in graph.nodes}
    codes = emulator.encode(x)
    for start in range(0, len(codes), BLOCK):
        for name, values in emulator.trace(codes[start : start + BLOCK], counters).items():
            blocks[name].append(values)
    source = emulator.input
    # A wide type with the port's own step shows what its range cut off.
    wide = FixedSpec(
        signed=True,
        width=62,
        integer=62 - source.result.fraction,
        rounding=source.result.rounding,
        overflow=Overflow.SAT,
    )
    counters[source.name].count = count_overflows(encode(x, wide), wide.fraction, source.result)
    profiles = []
    for node in graph.nodes:
        values = np.concatenate(blocks[node.name])
        profiles.append(_profile(node.name, node.kind, values, node.result, counters[node.name].count))
    return profiles + list(_constants(graph))


def _constants(graph: FixedGraph) -> Iterator[LayerProfile]:
    for node in graph.nodes:
        if isinstance(node, Dense):
            yield _profile(f"{node.name}.weight", "constant", node.weight, node.weight_spec, 0)
            yield _profile(f"{node.name}.bias", "constant", node.bias, node.bias_spec, 0)
        elif isinstance(node, Affine):
            yield _profile(f"{node.name}.scale", "constant", node.scale, node.scale_spec, 0)
            yield _profile(f"{node.name}.offset", "constant", node.offset, node.offset_spec, 0)


def _profile(name: str, kind: str, codes: Codes, spec: FixedSpec, overflows: int) -> LayerProfile:
    low, high = (float(np.ldexp(float(code), -spec.fraction)) for code in (spec.minimum_code, spec.maximum_code))
    quantiles = tuple(float(value) for value in np.quantile(decode(codes, spec), QUANTILES))
    wraps = overflows if spec.overflow is Overflow.WRAP else 0
    return LayerProfile(name, kind, str(spec), low, high, quantiles, codes.size, wraps, overflows - wraps)  # type: ignore[arg-type]
