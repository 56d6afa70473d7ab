"""Claims about the queue, and about the elements that gather, add up, multiply or compute."""

from __future__ import annotations

from l1dl.formal.checks import Checks, Claim, element_ports, frame_counter, implies, register, waiting
from l1dl.nodes import Reduction
from l1dl.rtl.layout import register_widths
from l1dl.rtl.project import RtlDesign
from l1dl.rtl.stream.design import MULTIPLY_LATENCY
from l1dl.rtl.stream.streams import Accumulate, Collect, Multiply
from l1dl.rtl.verilog import pack_inputs, unpack_outputs

QUEUE_INVARIANTS = (
    "level <= DEPTH",
    "head < DEPTH && tail < DEPTH",
    "tail == ({1'b0, head} + level >= DEPTH ? {1'b0, head} + level - DEPTH : {1'b0, head} + level)",
)
"""How the registers of a queue belong together."""


def check_queue(width: int, depth: int) -> Checks:
    """Return the claims about a queue: any one of its beats is followed from its entry to its exit."""
    ghosts, assumed, stays = element_ports(width, width)
    bits = depth.bit_length()
    ghosts += [
        *register("formal_inside", 4 * depth, "formal_inside + formal_take - formal_give"),
        *_one_beat(width, depth, before="formal_inside"),
        f"wire [{bits}:0] formal_place = {{1'b0, head}} + formal_ahead;",
        f"wire [{bits - 1}:0] formal_at = formal_place >= DEPTH ? formal_place - DEPTH : formal_place;",
    ]
    return Checks(
        {
            Claim.HANDSHAKE: [stays],
            Claim.CONTENT: [implies("formal_chosen && formal_ahead == 0 && out_valid", "out_data == formal_value")],
            Claim.COUNT: ["formal_inside <= DEPTH", implies("out_valid", "formal_inside != 0")],
            Claim.PROGRESS: [implies("formal_inside != 0", "out_valid"), implies("formal_inside < DEPTH", "in_ready")],
        },
        ghosts,
        [assumed],
        [
            *QUEUE_INVARIANTS,
            "formal_inside == level",
            implies("formal_chosen", "formal_ahead < level && memory[formal_at] == formal_value"),
        ],
    )


def check_program(design: RtlDesign, in_width: int, out_width: int) -> Checks:
    """Return the claims about a pipeline, whose stages `wire_stage` has replaced."""
    latency, widths = design.latency_cycles, register_widths(design.stages)
    ghosts, assumed, stays = element_ports(in_width, out_width)
    inside = " + ".join(f"valid[{index}]" for index in range(latency))
    ghosts += [
        *register("formal_inside", 2 * latency, "formal_inside + formal_take - formal_give"),
        *_one_beat(in_width, latency, before="formal_inside"),
        *register("formal_place", latency, "formal_choose ? 0 : formal_place + (formal_chosen & enable)"),
        *waiting("formal_late", "formal_inside != 0 & out_ready & ~out_valid", latency - 1),
        *(f"wire [{width - 1}:0] formal_golden{index};" for index, width in enumerate(widths)),
        *(f"wire [{width - 1}:0] formal_data{index};" for index, width in enumerate(widths)),
        f"wire [{out_width - 1}:0] formal_result;",
        *(
            line.strip().replace("model_inp", "formal_golden0").replace("in_data", "formal_value")
            for line in pack_inputs(design.stages, design.inputs)
        ),
        *(
            f"assign formal_golden{index + 1} = {_repeat(f'formal_golden{index}', *widths[index : index + 2])};"
            for index in range(latency - 1)
        ),
        *(
            line.strip().replace("model_out", f"formal_golden{latency - 1}").replace("out_data", "formal_result")
            for line in unpack_outputs(design.stages, design.outputs)
        ),
    ]
    helpers = [f"formal_inside == {inside}", implies("formal_inside != 0", "(valid >> formal_late) != 0")]
    for index in range(latency):
        older = " + ".join(f"valid[{other}]" for other in range(index + 1, latency)) or "0"
        helpers.append(
            implies(
                f"formal_chosen && formal_place == {index}",
                f"valid[{index}] && formal_data{index} == formal_golden{index} && formal_ahead == {older}",
            )
        )
    return Checks(
        {
            Claim.HANDSHAKE: [stays],
            Claim.CONTENT: [implies("formal_chosen && formal_ahead == 0 && out_valid", "out_data == formal_result")],
            Claim.COUNT: [f"formal_inside <= {latency}", implies("out_valid", "formal_inside != 0")],
            Claim.PROGRESS: [f"formal_late <= {latency - 1}", implies("out_ready", "in_ready")],
        },
        ghosts,
        [assumed],
        [*helpers, implies("formal_chosen", f"formal_place < {latency}")],
    )


def program_registers(design: RtlDesign) -> dict[str, str]:
    """Return ghost → register of the pipeline in the flattened module."""
    return {f"formal_data{index}": f"pipeline.data{index}" for index in range(design.latency_cycles)}


def wire_stage(name: str, in_width: int, out_width: int) -> str:
    """Return a stage that only repeats its input, in place of one that computes."""
    return (
        f"module {name} (input wire [{in_width - 1}:0] model_inp, output wire [{out_width - 1}:0] model_out);\n"
        f"    assign model_out = {_repeat('model_inp', in_width, out_width)};\nendmodule\n"
    )


def check_collect(element: Collect) -> Checks:
    """Return the claims about a collector of beats: any one position of the frame is followed."""
    width, beats = element.source.width, element.source.beats
    ghosts, assumed, stays = element_ports(width, element.result.width)
    ghosts += [
        *_position(beats),
        f"(* anyconst *) wire [{max(1, (beats - 1).bit_length()) - 1}:0] formal_which;",
        f"reg [{width - 1}:0] formal_value;",
        "always @(posedge clk) if (formal_take & formal_at == formal_which) formal_value <= in_data;",
    ]
    content = [implies("out_valid", f"out_data[{(beats - 1) * width} +: {width}] == in_data")]
    kept = f"kept[({beats - 1} - formal_at + formal_which) * {width} +: {width}]"
    content.append(
        implies(
            f"out_valid && formal_which < {beats - 1}", f"out_data[formal_which * {width} +: {width}] == formal_value"
        )
    )
    return Checks(
        _end_of_frame(stays, beats, content), ghosts, [assumed, f"formal_which < {beats}"],
        ["count == formal_at", f"formal_at < {beats}", implies("formal_which < formal_at", f"{kept} == formal_value")],
    )  # fmt: skip


def check_accumulate(element: Accumulate) -> Checks:
    """Return the claims about an accumulator: its result against one that counts the frame on its own."""
    stream = element.source
    width, beats, sign = stream.spec.width, stream.beats, " signed" if stream.spec.signed else ""
    ghosts, assumed, stays = element_ports(stream.width, element.result.width)
    ghosts += _position(beats)
    content, helpers = [], ["count == formal_at", f"formal_at < {beats}"]
    for index in range(stream.size):
        value, total = f"formal_value{index}", f"formal_total{index}"
        larger = f"({total} < {value} ? {value} : {total})"
        both = larger if element.node.operation is Reduction.MAXIMUM else f"{value} + {total}"
        part = f"[{index * width} +: {width}]"
        ghosts += [
            f"wire{sign} [{width - 1}:0] {value} = in_data{part};",
            f"reg{sign} [{width - 1}:0] {total};",
            f"wire{sign} [{width - 1}:0] formal_next{index} = formal_at == 0 ? {value} : {both};",
            f"always @(posedge clk) if (formal_take) {total} <= formal_next{index};",
        ]
        content.append(implies("out_valid", f"out_data{part} == $unsigned(formal_next{index})"))
        helpers.append(implies("formal_at != 0", f"sum{index} == {total}"))
    return Checks(_end_of_frame(stays, beats, content), ghosts, [assumed], helpers)


def check_multiply(element: Multiply) -> Checks:
    """Return the claims about multipliers that are used again: each sum has one product for each step of its frame."""
    beats, chunks = element.weight.shape[:2]
    reuse, late = beats * chunks, MULTIPLY_LATENCY - 1
    ghosts, assumed, stays = element_ports(element.source.width, element.result.width)
    ghosts += [
        *_position(beats),
        *register(
            "formal_owed", 15, f"formal_owed + (formal_take & formal_at == {beats - 1}) - formal_give"
        ),
        *waiting("formal_stall", "in_valid & out_ready & ~in_ready", chunks - 1),
        *waiting("formal_late", "formal_owed != 0 & out_ready & ~out_valid", late),
        f"reg [{reuse.bit_length() - 1}:0] formal_tag0, formal_tag1, formal_tag2, formal_parts;",
        "always @(posedge clk) if (rst) formal_parts <= 0; else if (enable) begin",
        "    formal_tag0 <= step;",
        "    formal_tag1 <= formal_tag0;",
        "    formal_tag2 <= formal_tag1;",
        "    if (valid[2]) formal_parts <= first[2] ? 1 : formal_parts + 1'b1;",
        "end",
        *_following("formal_next2", f"formal_parts == {reuse} ? 0 : formal_parts", reuse),
    ]  # fmt: skip
    helpers = [f"step == formal_at * {chunks} + chunk", f"formal_at < {beats} && chunk < {chunks}"]
    for index in (2, 1, 0):
        tag, expected = f"formal_tag{index}", f"formal_next{index}"
        first, last = f"first[{index}] == ({tag} == 0)", f"last[{index}] == ({tag} == {reuse - 1})"
        helpers.append(implies(f"valid[{index}]", f"{tag} == {expected} && {first} && {last}"))
        then = f"valid[{index}] ? ({expected} == {reuse - 1} ? 0 : {expected} + 1'b1) : {expected}"
        ghosts += _following(f"formal_next{index - 1}" if index else "formal_step", then, reuse)
    ghosts.append("wire [3:0] formal_ends = {done, valid & last};")
    ends = " + ".join(f"formal_ends[{index}]" for index in range(4))
    return Checks(
        {
            Claim.HANDSHAKE: [stays],
            Claim.COUNT: [
                implies("out_valid", "formal_owed != 0"),
                f"formal_owed <= {MULTIPLY_LATENCY}",
                implies("out_valid", f"formal_parts == {reuse}"),
            ],
            Claim.PROGRESS: [f"formal_stall <= {chunks - 1}", f"formal_late <= {late}"],
        },
        ghosts,
        [assumed],
        [
            *helpers, "step == formal_step", f"formal_owed == {ends}", f"formal_parts <= {reuse}",
            "formal_stall <= chunk", implies("formal_owed != 0", "(formal_ends >> formal_late) != 0"),
        ],
    )  # fmt: skip


def _one_beat(width: int, depth: int, *, before: str) -> list[str]:
    """Return registers that follow any one beat, with as many ahead of it as were inside when it entered."""
    bits = depth.bit_length()
    return [
        "(* anyseq *) wire formal_pick;",
        "reg formal_chosen = 0;",
        f"reg [{width - 1}:0] formal_value;",
        f"reg [{bits - 1}:0] formal_ahead;",
        "wire formal_choose = formal_begun & formal_pick & formal_take & ~formal_chosen;",
        "always @(posedge clk) begin",
        "    if (formal_choose) begin",
        "        formal_chosen <= 1;",
        "        formal_value <= in_data;",
        f"        formal_ahead <= {before} - formal_give;",
        "    end else if (formal_chosen & formal_give) begin",
        "        formal_chosen <= formal_ahead != 0;",
        "        formal_ahead <= formal_ahead - 1'b1;",
        "    end",
        "end",
    ]


def _position(beats: int) -> list[str]:
    """Return a register that counts the beats of a frame that entered."""
    return frame_counter("formal_at", "formal_take", beats)


def _end_of_frame(stays: str, beats: int, content: list[str]) -> dict[Claim, list[str]]:
    """Return the claims about an element whose result is there with the last beat of a frame."""
    return {
        Claim.HANDSHAKE: [stays],
        Claim.CONTENT: content,
        Claim.COUNT: [f"formal_give == (formal_take & formal_at == {beats - 1})"],
        Claim.PROGRESS: [implies("out_ready", "in_ready")],
    }


def _following(name: str, value: str, largest: int) -> list[str]:
    return [f"wire [{largest.bit_length() - 1}:0] {name} = {value};"]


def _repeat(name: str, width: int, wanted: int) -> str:
    return f"{{{-(-wanted // width)}{{{name}}}}}"
