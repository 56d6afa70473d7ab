"""What a plan of streams computes, element by element, whole frames at a time."""

from __future__ import annotations

import numpy as np

from l1dl.emulate.engine import Emulator
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.nodes import Input, Reduction
from l1dl.ports import join, split
from l1dl.rtl.stream.streams import (
    Accumulate,
    Collect,
    Element,
    Multiply,
    Program,
    Sliding,
    Source,
    Stream,
    StreamPlan,
    results_of,
    sources_of,
)


def run_plan(plan: StreamPlan, rows: Codes) -> Codes:
    """Return rows of output codes for rows of input codes, beat by beat for programs."""
    values: dict[Stream, Codes] = {}
    for element in plan.elements:
        if isinstance(element, Source):
            parts = [rows.reshape(len(rows), element.result.beats, *element.result.shape)]
        else:
            parts = _run(element, [values[stream] for stream in sources_of(element)])
        for stream, part in zip(results_of(element), parts, strict=True):
            assert part.shape == (len(rows), stream.beats, *stream.shape), stream
            values[stream] = part
    return join([values[stream] for stream in plan.outputs])


def _run(element: Element, inputs: list[Codes]) -> list[Codes]:
    events = len(inputs[0])
    if isinstance(element, Program):
        flat = join([part.reshape(-1, *stream.shape) for part, stream in zip(inputs, element.sources, strict=True)])
        outputs = Emulator(element.graph).run(flat)
        ports = element.graph.output_ports
        return [part.reshape(events, -1, *part.shape[1:]) for part in split(outputs, ports)]
    if isinstance(element, Sliding):
        image = (*element.source.positions, element.source.size // element.source.beat)
        graph = FixedGraph(
            "window", (Input(element.node.inputs[0], (), image, element.source.spec), element.node),
            (element.node.name,), "test",
        )  # fmt: skip
        outputs = Emulator(graph).run(inputs[0].reshape(events, -1))
        return [outputs.reshape(events, element.result.beats, *element.result.shape)]
    if isinstance(element, Collect):
        return [inputs[0].reshape(events, 1, *element.result.shape)]
    if isinstance(element, Accumulate):
        reduce = np.max if element.node.operation is Reduction.MAXIMUM else np.sum
        return [reduce(inputs[0], axis=1).reshape(events, 1, *element.result.shape)]
    assert isinstance(element, Multiply)
    beats, chunks, length, _ = element.weight.shape
    x = np.zeros((events, beats, chunks * length), dtype=np.int64)
    x[:, :, : element.source.size] = inputs[0].reshape(events, beats, -1)
    return [np.einsum("ebcl,bcln->en", x.reshape(events, beats, chunks, length), element.weight)[:, None]]
