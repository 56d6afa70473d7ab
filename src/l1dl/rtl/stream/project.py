"""The files of a streaming design, with a description of its interface."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from l1dl.graph import spec_to_json
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
    return {
        "top": design.top,
        "clock_period_ns": design.clock_period_ns,
        "protocol": "AXI4-Stream: a beat passes in a cycle with tvalid and tready; tlast marks the last one of a frame",
        "input": _side("s_axis", (plan.input,), ()),
        "output": _side("m_axis", plan.outputs, classes),
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
    values, low = [], 0
    for stream in streams:
        for index in range(stream.size):
            pixel, channel = divmod(index, stream.size // stream.beat)
            name = f"{stream.name}[{channel}]" if stream.beat == 1 else f"{stream.name}[pixel {pixel}][{channel}]"
            if len(streams) == 1 and stream.beats == 1 and index < len(classes):
                name = classes[index]
            values.append({"name": name, "bits": [low + stream.spec.width - 1, low]})
            low += stream.spec.width
    return {
        "port": port,
        "tdata_bits": byte_width(low),
        "beats": streams[0].beats,
        "image": list(streams[0].positions),
        "pixels_per_beat": streams[0].beat,
        "type": spec_to_json(streams[0].spec),
        "values": values,
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
    for title in ("input", "output"):
        side = interface[title]
        image = " x ".join(map(str, side["image"])) or "a vector"
        lines += [
            f"## {title.capitalize()} `{side['port']}`",
            "",
            f"A frame is {image}, in {side['beats']} beats of {side['pixels_per_beat']} "
            f"{'pixel' if side['pixels_per_beat'] == 1 else 'pixels'}, the last axis fastest.",
            "",
            f"| value | bits of `{side['port']}_tdata` |",
            "|---|---|",
            *(f"| {value['name']} | {value['bits'][0]}:{value['bits'][1]} |" for value in side["values"]),
            "",
        ]
    lines += ["## Elements", "", "| module | results | what |", "|---|---|---|"]
    lines += [f"| `{e['module']}` | {', '.join(e['results'])} | {e['what']} |" for e in interface["elements"]]
    lines += ["", "## Queues", "", "| beats | bits | depth |", "|---|---|---|"]
    lines += [f"| {queue['beats']} | {queue['bits']} | {queue['depth']} |" for queue in interface["queues"]]
    return "\n".join([*lines, ""])
