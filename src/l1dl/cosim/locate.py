"""Where two meanings part: the first layer, or the first pipeline stage, and a waveform of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.cosim.protocol import START, stream
from l1dl.cosim.verilate import Simulation
from l1dl.emulate.engine import Emulator
from l1dl.fixed import Codes, decode
from l1dl.graph import FixedGraph
from l1dl.nodes import Input
from l1dl.ports import decode_rows
from l1dl.rtl.layout import register_widths
from l1dl.rtl.lower import lower
from l1dl.rtl.project import RtlDesign


def first_wrong_layer(graph: FixedGraph, codes: Codes) -> str | None:
    """Return the first node whose ALIR program differs from the emulator on rows of codes; None if none does."""
    trace = Emulator(graph).trace(codes)
    nodes = [node for node in graph.nodes if not isinstance(node, Input)]
    program = lower(graph, tuple(node.name for node in nodes))
    values = program.predict(decode_rows(codes, graph.input_ports), n_threads=1)
    position = 0
    for node in nodes:
        expected = decode(trace[node.name].reshape(len(codes), -1), node.result)
        if np.any(values[:, position : position + node.size] != expected):
            return node.name
        position += node.size
    return None


def first_wrong_stage(
    design: RtlDesign, sources: dict[str, str], codes: Codes, work: Path, waveform: Path
) -> int | None:
    """Return the first pipeline stage whose registers differ from its ALIR program, and write a VCD of the events.

    Parameters
    ----------
    sources
        The design with probes.
    codes
        Rows of input codes of the events that came out wrong.

    Returns
    -------
    Index of the stage; None if every register is right (then the fault is outside the stages).
    """
    widths = register_widths(design.stages)
    simulation = Simulation(sources, design.top, design.inputs, design.outputs, work, probe_bits=sum(widths))
    control = stream(len(codes), design.latency_cycles + 1)
    outcome = simulation.run(codes, control, waveform=waveform)
    assert outcome.probes is not None, "the simulation was built with probes"
    bits = np.unpackbits(outcome.probes.view(np.uint8), axis=1, bitorder="little")
    values = decode_rows(codes, design.inputs)
    for index, stage in enumerate(design.stages):
        values = stage.predict(values, n_threads=1)
        low = sum(widths[: index + 1])
        rows = len(START) + np.arange(len(codes)) + index + 2  # presented, one register, index + 1 stages
        if np.any(_unpack(bits[rows, low : low + widths[index + 1]], stage.out_kifs) != values):
            return index
    return None


def _unpack(bits: npt.NDArray[np.uint8], kifs: Any) -> npt.NDArray[np.float64]:
    """Return the real values of packed registers, shape (events, values)."""
    columns, low = [], 0
    for keep, integer, fraction in np.asarray(kifs, dtype=int).T:
        width = int(keep + integer + fraction)
        field = bits[:, low : low + width].astype(np.int64)
        weights = np.left_shift(np.int64(1), np.arange(width, dtype=np.int64))
        if keep and width:
            weights[-1] = -weights[-1]
        columns.append(np.ldexp((field @ weights).astype(np.float64), -int(fraction)))
        low += width
    return np.stack(columns, axis=1)


def layers_of_stage(graph: FixedGraph, stage: int, stages: int) -> list[str]:
    """Return the layers that a pipeline stage computes parts of, by the compiler's estimate of the delays."""
    nodes = [node for node in graph.nodes if not isinstance(node, Input)]
    program = lower(graph, tuple(node.name for node in nodes))
    ends = dict.fromkeys((node.name for node in graph.inputs), 0.0)
    position = 0
    for node in nodes:
        ends[node.name] = max(program.out_latency[position : position + node.size])
        position += node.size
    total = max(ends.values())
    low, high = total * stage / stages, total * (stage + 1) / stages
    starts = {node.name: max(ends[source] for source in node.inputs) for node in nodes}
    return [node.name for node in nodes if starts[node.name] < high and ends[node.name] > low]
