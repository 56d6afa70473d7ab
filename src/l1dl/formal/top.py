"""Claims about the top level, around elements that do anything that the handshake allows."""

from __future__ import annotations

from collections.abc import Sequence

from l1dl.formal.checks import Checks, Claim, frame_counter, holds, implies, register
from l1dl.rtl.stream.design import StreamDesign, byte_width
from l1dl.rtl.stream.streams import Stream, results_of, sources_of


def check_top(design: StreamDesign) -> Checks:
    """Return the claims about the top level that hold whatever the elements do."""
    plan, last = design.plan, len(design.plan.elements)
    in_bytes, out_bytes = byte_width(plan.input.width), byte_width(_width(plan.outputs))
    beats, results = plan.input.beats, plan.outputs[0].beats
    ghosts, assumed = _input(design, in_bytes)
    more, stays = holds(
        "formal_out", out_bytes + 1, valid="m_axis_tvalid", ready="m_axis_tready", data="{m_axis_tlast, m_axis_tdata}"
    )
    ghosts += more
    ghosts += frame_counter("formal_left", "m_axis_tvalid & m_axis_tready", results)
    handshake = [stays]
    for number in range(1, last):
        width = _width(sources_of(plan.elements[number]))
        more, claimed = holds(
            f"formal_in{number}", width, valid=f"have{number}", ready=f"take{number}", data=f"in{number}"
        )
        ghosts += more
        handshake.append(claimed)
    count = [implies("m_axis_tvalid", f"m_axis_tlast == (formal_left == {results - 1})")]
    helpers = [f"entered == formal_entered && entered < {beats}", f"left == formal_left && left < {results}"]
    givers = {stream: number for number, element in enumerate(plan.elements) for stream in results_of(element)}
    for index, queue in enumerate(design.queues):
        put, got = _given(givers[queue.stream]), _taken(queue.element, last)
        ghosts += register(
            f"formal_level{index}", 4 * queue.depth, f"formal_level{index} + ({put}) - ({got})"
        )  # fmt: skip
        count += [
            implies(put, f"formal_level{index} < {queue.depth}"),
            implies(got, f"formal_level{index} != 0"),
            f"level{index} == formal_level{index}",
        ]
    progress = []
    for number in range(last):
        room = [f"formal_level{i} < {q.depth}" for i, q in enumerate(design.queues) if givers[q.stream] == number]
        progress.append(implies(" && ".join(room), f"free{number}" if number else "s_axis_tready"))
    for number in range(1, last + 1):
        there = [f"formal_level{i} != 0" for i, q in enumerate(design.queues) if q.element == number]
        progress.append(implies(" && ".join(there), f"have{number}" if number < last else "m_axis_tvalid"))
    claims = {
        Claim.HANDSHAKE: handshake, Claim.COUNT: count, Claim.PROGRESS: progress, Claim.FRAME_ERROR: ["~frame_error"],
    }  # fmt: skip
    return Checks(claims, ghosts, assumed, helpers)


def _given(number: int) -> str:
    """Return whether an element, or the input, gives a beat."""
    return f"give{number} & free{number}" if number else "s_axis_tvalid & s_axis_tready"


def _taken(number: int, last: int) -> str:
    """Return whether an element, or the output, takes a beat."""
    return f"have{number} & take{number}" if number < last else "m_axis_tvalid & m_axis_tready"


def any_element(name: str, in_width: int, out_width: int) -> str:
    """Return an element that does anything that the handshake allows, in place of a real one."""
    return f"""module {name} (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [{in_width - 1}:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [{out_width - 1}:0] out_data
);
    (* anyseq *) wire ready, valid;
    (* anyseq *) wire [{out_width - 1}:0] data;
    reg waits = 0;
    reg [{out_width - 1}:0] was;
    assign in_ready = ready;
    assign out_valid = valid;
    assign out_data = data;
    always @(posedge clk) begin
        waits <= valid & ~out_ready & ~rst;
        was <= data;
    end
    always @* if (waits) assume (valid && data == was);
endmodule
"""


def _input(design: StreamDesign, width: int) -> tuple[list[str], list[str]]:
    """Return registers, and the assumptions: the input obeys the handshake, and marks the right beats as last ones."""
    ghosts, assumed = holds(
        "formal_in", width + 1, valid="s_axis_tvalid", ready="s_axis_tready", data="{s_axis_tlast, s_axis_tdata}"
    )
    beats = design.plan.input.beats
    ghosts += frame_counter("formal_entered", "s_axis_tvalid & s_axis_tready", beats)
    return ghosts, [assumed, implies("s_axis_tvalid", f"s_axis_tlast == (formal_entered == {beats - 1})")]


def _width(streams: Sequence[Stream]) -> int:
    return sum(stream.width for stream in streams)
