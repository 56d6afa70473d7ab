"""A streaming design: the elements of a plan, the queues between them, and the top level with AXI4-Stream ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from l1dl.card import RtlCard
from l1dl.graph import FixedGraph
from l1dl.rtl.estimate import Estimate
from l1dl.rtl.project import RtlDesign, build_rtl
from l1dl.rtl.stream.depths import queue_depths
from l1dl.rtl.stream.elements import (
    emit_accumulate,
    emit_collect,
    emit_fifo,
    emit_multiply,
    emit_program,
    emit_sliding,
)
from l1dl.rtl.stream.plan import plan_stream
from l1dl.rtl.stream.streams import (
    Accumulate,
    Collect,
    Element,
    Multiply,
    Program,
    Sliding,
    Stream,
    StreamPlan,
    results_of,
    sources_of,
)
from l1dl.rtl.verilog import emit_pipeline

MULTIPLY_LATENCY = 4
"""Clock cycles of a multiplication behind the last chunk."""

LEVEL_BITS = 32
"""Bits of each queue's level at the port ``levels``."""


@dataclass(frozen=True)
class Queue:
    """A queue before an element (or before the output, with `element` one behind the last).

    Attributes
    ----------
    name
        What it holds, and who takes it.
    element, place
        Number of the element that takes from it, and of its source.
    """

    name: str
    element: int
    place: int
    stream: Stream
    depth: int


@dataclass(frozen=True, eq=False)
class StreamDesign:
    """A design that takes an image beat by beat.

    Attributes
    ----------
    top
        Name of the top module, with ``clk, rst, frame_error`` and the AXI4-Stream ports ``s_axis`` and ``m_axis``.
    plan
        The elements.
    programs
        Number of an element → the pipeline of a program.
    queues
        The queues before the elements.
    clock_period_ns
        Target clock period in ns.
    """

    top: str
    plan: StreamPlan
    programs: Mapping[int, RtlDesign]
    queues: tuple[Queue, ...]
    clock_period_ns: float

    @property
    def estimate(self) -> Estimate:
        """The RTL compiler's estimate for the pipelines of the programs; what else there is, it does not estimate."""
        parts = [design.estimate for design in self.programs.values()]
        origin = f"{parts[0].origin}, programs only" if parts else "no program"
        return Estimate(sum(part.lut for part in parts), sum(part.ff for part in parts), origin)

    @property
    def stage_modules(self) -> tuple[str, ...]:
        """Names of the combinational modules."""
        return tuple(name for design in self.programs.values() for name in design.stage_modules)

    @property
    def sequential_modules(self) -> tuple[str, ...]:
        """Names of the modules that hold registers, the top module first."""
        names = [self.top, f"{self.top}_fifo"]
        for number in range(1, len(self.plan.elements)):
            names.append(self.module(number))
            names += [f"{self.module(number)}_pipeline"] if number in self.programs else []
        return tuple(names)

    def module(self, number: int) -> str:
        """Return the name of an element's module."""
        return f"{self.top}_{_KINDS[type(self.plan.elements[number])]}{number}"

    def latency(self, number: int) -> int:
        """Return the clock cycles from the last beat that an element needs to its result."""
        return _latency(self.plan.elements[number], self.programs.get(number))

    def sources(self, *, levels: bool = False) -> dict[str, str]:
        """Return file name → Verilog of all modules.

        Parameters
        ----------
        levels
            Lead the number of beats in each queue to a port ``levels``, `LEVEL_BITS` bits each.
        """
        return {**self._modules, f"{self.top}.v": _emit_top(self, levels=levels)}

    def vhdl_sources(self) -> dict[str, str]:
        """Return nothing: a streaming design is in Verilog only."""
        return {}

    @cached_property
    def _modules(self) -> dict[str, str]:
        files = {f"{self.top}_fifo.v": emit_fifo(f"{self.top}_fifo")}
        for number, element in enumerate(self.plan.elements[1:], start=1):
            name = self.module(number)
            if isinstance(element, Program):
                design = self.programs[number]
                files |= design.logic
                files[f"{name}_pipeline.v"] = emit_pipeline(name, design.stages, enabled=True)
                files[f"{name}.v"] = emit_program(design, _width(element.sources), _width(element.results))
            else:
                files[f"{name}.v"] = _EMITTERS[type(element)](name, element)
        return files


def build_stream(
    graph: FixedGraph,
    settings: RtlCard = RtlCard(),  # noqa: B008  frozen
    *,
    pixels: int = 1,
    reuse: Mapping[str, int] | int | None = None,
    grade: int = 2,
) -> StreamDesign:
    """Compile a graph into a streaming design.

    Parameters
    ----------
    pixels, reuse
        As in `l1dl.rtl.stream.plan.plan_stream`.
    grade
        Speed grade of the part, for the estimated delays of the stages.

    Raises
    ------
    UnsupportedError
        The graph has something that has no RTL, or cannot be streamed.
    InputError
        `pixels` or `reuse` does not fit the graph.
    """
    plan = plan_stream(graph, pixels=pixels, reuse=reuse)
    programs = {
        number: build_rtl(replace(element.graph, name=f"{graph.name}_{_KINDS[Program]}{number}"), settings, grade=grade)
        for number, element in enumerate(plan.elements)
        if isinstance(element, Program)
    }
    latencies = [_latency(element, programs.get(number)) for number, element in enumerate(plan.elements)]
    depths = queue_depths(plan, latencies)
    queues = []
    for number, streams in plan.readers:
        for place, stream in enumerate(streams):
            last = number == len(plan.elements)
            taker = "the output" if last else f"{_KINDS[type(plan.elements[number])]}{number}"
            queues.append(Queue(f"{stream.name} to {taker}", number, place, stream, depths[number, place]))
    return StreamDesign(graph.name, plan, programs, tuple(queues), settings.clock_period_ns)


def _latency(element: Element, design: RtlDesign | None) -> int:
    if design is not None:
        return design.latency_cycles
    return MULTIPLY_LATENCY + element.weight.shape[1] - 1 if isinstance(element, Multiply) else 0


_KINDS: dict[type[Any], str] = {
    Program: "program", Sliding: "window", Collect: "collect", Accumulate: "accumulate", Multiply: "multiply",
}  # fmt: skip

_EMITTERS: dict[type[Any], Any] = {
    Sliding: emit_sliding,
    Collect: emit_collect,
    Accumulate: emit_accumulate,
    Multiply: emit_multiply,
}


def _width(streams: Sequence[Stream]) -> int:
    return sum(stream.width for stream in streams)


def byte_width(bits: int) -> int:
    """Return the bits of the whole bytes that AXI4-Stream needs."""
    return -(-bits // 8) * 8


def _emit_top(design: StreamDesign, *, levels: bool) -> str:
    plan, last = design.plan, len(design.plan.elements)
    in_width, out_width = plan.input.width, _width(plan.outputs)
    beats, results = plan.input.beats, plan.outputs[0].beats
    spare = byte_width(out_width) - out_width
    lines = [
        f"module {design.top} (",
        "    input wire clk,",
        "    input wire rst,",
        "    input wire s_axis_tvalid,",
        "    output wire s_axis_tready,",
        f"    input wire [{byte_width(in_width) - 1}:0] s_axis_tdata,",
        "    input wire s_axis_tlast,",
        "    output wire m_axis_tvalid,",
        "    input wire m_axis_tready,",
        f"    output wire [{byte_width(out_width) - 1}:0] m_axis_tdata,",
        "    output wire m_axis_tlast,",
        *([f"    output wire [{len(design.queues) * LEVEL_BITS - 1}:0] levels,"] if levels else []),
        "    output reg frame_error",
        ");",
    ]
    for number in range(last + 1):
        element = plan.elements[number] if number < last else None
        sources = plan.outputs if element is None else sources_of(element)
        made = () if element is None else results_of(element)
        if number:
            lines += [
                f"    wire take{number}, have{number};",
                f"    wire [{_width(sources) - 1}:0] in{number};",
            ]
        if element is not None:
            lines += [
                f"    wire give{number}, free{number};",
                f"    wire [{_width(made) - 1}:0] out{number};",
            ]
    for index, queue in enumerate(design.queues):
        bits = queue.depth.bit_length()
        lines += [
            f"    wire ready{index}, valid{index};",
            f"    wire [{bits - 1}:0] level{index};",
        ]
    lines += [
        "",
        "    assign give0 = s_axis_tvalid;",
        "    assign s_axis_tready = free0;",
        f"    assign out0 = s_axis_tdata[{in_width - 1}:0];",
        f"    assign m_axis_tvalid = have{last};",
        f"    assign take{last} = m_axis_tready;",
        f"    assign m_axis_tdata = {{{f'{spare}{chr(39)}b0, ' if spare else ''}in{last}}};",
    ]
    lines += _frames("s_axis_tvalid & s_axis_tready", "entered", beats)
    lines += _frames("m_axis_tvalid & m_axis_tready", "left", results)
    lines += [
        f"    assign m_axis_tlast = left == {results - 1};",
        "    always @(posedge clk) begin",
        "        if (rst) frame_error <= 0;",
        "        else if (s_axis_tvalid & s_axis_tready) begin",
        f"            if (s_axis_tlast != (entered == {beats - 1})) frame_error <= 1;",
        "        end",
        "    end",
        "",
    ]
    for number in range(1, last):
        lines.append(
            f"    {design.module(number)} element{number} (.clk(clk), .rst(rst), .in_valid(have{number}), "
            f".in_ready(take{number}), .in_data(in{number}), .out_valid(give{number}), .out_ready(free{number}), "
            f".out_data(out{number}));"
        )
    lines += ["", *_queue_lines(design)]
    if levels:
        fields = [
            f"{{{LEVEL_BITS - queue.depth.bit_length()}'b0, level{index}}}" for index, queue in enumerate(design.queues)
        ]
        lines.append(f"    assign levels = {{{', '.join(reversed(fields))}}};")
    return "\n".join([*lines, "endmodule", ""])


def _frames(taken: str, name: str, beats: int) -> list[str]:
    """Return a counter of the beats of a frame."""
    bits = max(1, (beats - 1).bit_length())
    return [
        f"    reg [{bits - 1}:0] {name};",
        "    always @(posedge clk) begin",
        f"        if (rst) {name} <= 0;",
        f"        else if ({taken}) {name} <= {name} == {beats - 1} ? 0 : {name} + 1'b1;",
        "    end",
    ]


def _queue_lines(design: StreamDesign) -> list[str]:
    """Return the queues: each result goes to all that read it at once, and whoever reads several waits for all."""
    plan, lines = design.plan, []
    givers: dict[Stream, tuple[int, int]] = {}
    for number, element in enumerate(plan.elements):
        low = 0
        for stream in results_of(element):
            givers[stream] = number, low
            low += stream.width
    place_in: dict[int, int] = {}
    for index, queue in enumerate(design.queues):
        giver, low = givers[queue.stream]
        start = place_in.get(queue.element, 0)
        place_in[queue.element] = start + queue.stream.width
        bits = queue.depth.bit_length()
        lines.append(
            f"    {design.top}_fifo #(.WIDTH({queue.stream.width}), .DEPTH({queue.depth}), .BITS({bits})) queue{index} "
            f"(.clk(clk), .rst(rst), .in_valid(give{giver} & free{giver}), .in_ready(ready{index}), "
            f".in_data(out{giver}[{low + queue.stream.width - 1}:{low}]), .out_valid(valid{index}), "
            f".out_ready(take{queue.element} & have{queue.element}), "
            f".out_data(in{queue.element}[{start + queue.stream.width - 1}:{start}]), .level(level{index}));"
        )
    for number in range(len(plan.elements)):
        readers = [index for index, queue in enumerate(design.queues) if givers[queue.stream][0] == number]
        lines.append(f"    assign free{number} = {' & '.join(f'ready{index}' for index in readers)};")
    for number in range(1, len(plan.elements) + 1):
        waits = [index for index, queue in enumerate(design.queues) if queue.element == number]
        lines.append(f"    assign have{number} = {' & '.join(f'valid{index}' for index in waits)};")
    return lines
