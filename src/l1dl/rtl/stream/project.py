"""The files of a streaming design, with a description of its interface."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from l1dl.rtl.project import describe_groups, describe_ports, group_lines, port_lines
from l1dl.rtl.stream.design import StreamDesign, byte_width
from l1dl.rtl.stream.streams import Accumulate, Multiply, Program, Sliding, Stream, results_of
from l1dl.rtl.verilog import emit_constraints


def stream_files(design: StreamDesign, classes: Sequence[str] = ()) -> dict[str, str]:
    """Return file name → text: Verilog in ``src/``, constraints, and the interface as JSON and Markdown."""
    interface = describe_stream(design, classes)
    files = {f"src/{name}": text for name, text in design.sources().items()}
    files[f"{design.top}.xdc"] = emit_constraints(design.clock_period_ns)
    files["interface.json"] = json.dumps(interface, indent=2) + "\n"
    files["interface.md"] = _text(interface)
    return files


def describe_stream(design: StreamDesign, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the streams at the ports, the elements and the queues, as JSON.

    Parameters
    ----------
    classes
        Names of the output values, where known.
    """
    plan = design.plan
    taken, given = _side("s_axis", (plan.input,), ()), _side("m_axis", plan.outputs, classes)
    return {
        "top": design.top,
        "clock_period_ns": design.clock_period_ns,
        "protocol": "AXI4-Stream: a beat passes in a cycle with tvalid and tready; tlast marks the last one of a frame",
        "ports": describe_ports(
            ("clk", "input", 1, "clock; everything happens at its rising edge"),
            ("rst", "input", 1, "synchronous reset, active high: the next beat is the first one of a frame"),
            ("s_axis_tvalid", "input", 1, "s_axis_tdata holds a beat of the input"),
            ("s_axis_tready", "output", 1, "the beat is taken in this cycle"),
            ("s_axis_tdata", "input", taken["tdata_bits"], "a beat of the input"),
            ("s_axis_tlast", "input", 1, "it is the last one of its frame"),
            ("m_axis_tvalid", "output", 1, "m_axis_tdata holds a beat of the output"),
            ("m_axis_tready", "input", 1, "the beat is taken in this cycle"),
            ("m_axis_tdata", "output", given["tdata_bits"], "a beat of the output"),
            ("m_axis_tlast", "output", 1, "it is the last one of its frame"),
            ("frame_error", "output", 1, "high from the first beat whose tlast is wrong until the reset"),
        ),
        "input": taken,
        "output": given,
        "frame_error": "high from the first beat whose tlast contradicts the number of beats, until the reset",
        "elements": [
            {"module": design.module(number), "results": [stream.name for stream in results_of(element)],
             "what": _what(element)}
            for number, element in enumerate(plan.elements[1:], start=1)
        ],
        "queues": [
            {"beats": queue.name, "bits": queue.stream.width, "depth": queue.depth} for queue in design.queues
        ],
    }  # fmt: skip


def _side(port: str, streams: Sequence[Stream], classes: Sequence[str]) -> dict[str, Any]:
    """Return what stands in a beat: each value with its bits, in the order of the image's pixels."""
    named = classes if len(streams) == 1 and streams[0].beats == 1 else ()
    return {
        "port": port,
        "tdata_bits": byte_width(sum(stream.width for stream in streams)),
        "beats": streams[0].beats,
        "image": list(streams[0].positions),
        "pixels_per_beat": streams[0].beat,
        "streams": describe_groups(tuple(stream.port for stream in streams), named),
    }


def _what(element: Any) -> str:
    if isinstance(element, Program):
        return f"pipeline of {', '.join(node.name for node in element.graph.nodes if node.inputs)}"
    if isinstance(element, Sliding):
        size = "x".join(map(str, element.kernel))
        return f"line buffer of a {size} window; {element.delay} beats of the next frame complete it"
    if isinstance(element, Multiply):
        return f"{element.multipliers} multipliers, each used {element.reuse_factor} times for a frame"
    if isinstance(element, Accumulate):
        return f"{element.node.operation.value} over a frame"
    return "beats of a frame side by side"


def _text(interface: Mapping[str, Any]) -> str:
    """Return the interface as a page of Markdown."""
    lines = [f"# Interface of `{interface['top']}`", "", interface["protocol"] + ".", ""]
    lines += port_lines(interface["ports"])
    for title in ("input", "output"):
        side = interface[title]
        image = " x ".join(map(str, side["image"])) or "a vector"
        lines += [
            "",
            f"A frame of the {title} is {image}, in {side['beats']} beats of {side['pixels_per_beat']} "
            f"{'pixel' if side['pixels_per_beat'] == 1 else 'pixels'}, the last axis fastest. In each beat:",
        ]
        for group in side["streams"]:
            lines += group_lines(title, f"{side['port']}_tdata", group)
    lines.append("")
    lines += ["## Elements", "", "| module | results | what |", "|---|---|---|"]
    lines += [f"| `{e['module']}` | {', '.join(e['results'])} | {e['what']} |" for e in interface["elements"]]
    lines += ["", "## Queues", "", "| beats | bits | depth |", "|---|---|---|"]
    lines += [f"| {queue['beats']} | {queue['bits']} | {queue['depth']} |" for queue in interface["queues"]]
    return "\n".join([*lines, ""])
