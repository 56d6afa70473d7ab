"""Verilog of the elements of a streaming design.

All have the ports ``clk, rst, in_valid, in_ready, in_data, out_valid, out_ready, out_data``; a beat passes in a cycle
with valid and ready. An element holds its output until it is taken, and may wait for its input forever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from l1dl.fixed import Codes, FixedSpec
from l1dl.nodes import Reduction
from l1dl.rtl.layout import register_widths
from l1dl.rtl.project import RtlDesign
from l1dl.rtl.stream.streams import Accumulate, Collect, Multiply, Sliding
from l1dl.rtl.verilog import pack_inputs, unpack_outputs


def emit_fifo(name: str) -> str:
    """Return a queue: ``level`` counts the beats in it."""
    return f"""module {name} #(parameter WIDTH = 1, parameter DEPTH = 2, parameter BITS = 2) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [WIDTH-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [WIDTH-1:0] out_data,
    output reg [BITS-1:0] level
);
    reg [WIDTH-1:0] memory [0:DEPTH-1];
    reg [BITS-1:0] head, tail;
    wire push = in_valid & in_ready;
    wire pop = out_valid & out_ready;

    assign in_ready = level != DEPTH;
    assign out_valid = level != 0;
    assign out_data = memory[head];
    always @(posedge clk) begin
        if (push) memory[tail] <= in_data;
        if (rst) begin
            head <= 0;
            tail <= 0;
            level <= 0;
        end else begin
            if (push) tail <= tail == DEPTH - 1 ? 0 : tail + 1'b1;
            if (pop) head <= head == DEPTH - 1 ? 0 : head + 1'b1;
            if (push & ~pop) level <= level + 1'b1;
            if (pop & ~push) level <= level - 1'b1;
        end
    end
endmodule
"""


def emit_program(design: RtlDesign, in_width: int, out_width: int) -> str:
    """Return a pipeline that stands still while its last beat is not taken."""
    name, latency = design.top, design.latency_cycles
    widths = register_widths(design.stages)
    return _module(
        name, in_width, out_width,
        [
            f"reg [{latency - 1}:0] valid;",
            f"wire enable = out_ready | ~valid[{latency - 1}];",
            f"wire [{widths[0] - 1}:0] model_inp;",
            f"wire [{widths[-1] - 1}:0] model_out;",
            "",
            "assign in_ready = enable;",
            f"assign out_valid = valid[{latency - 1}];",
            "always @(posedge clk) begin",
            f"    if (rst) valid <= {latency}'b0;",
            f"    else if (enable) valid <= {{valid[{latency - 2}:0], in_valid}};",
            "end",
            f"{name}_pipeline pipeline (.clk(clk), .enable(enable), .model_inp(model_inp), .model_out(model_out));",
            *(line.strip() for line in pack_inputs(design.stages, design.inputs)),
            *(line.strip() for line in unpack_outputs(design.stages, design.outputs)),
        ],
    )  # fmt: skip


def emit_collect(name: str, element: Collect) -> str:
    """Return a shift register that gathers the beats of a frame."""
    width, beats = element.source.width, element.source.beats
    kept = (beats - 1) * width
    older = f"{{in_data, kept[{kept - 1}:{width}]}}" if beats > 2 else "in_data"
    return _module(
        name, width, element.result.width,
        [
            f"reg [{kept - 1}:0] kept;",
            *_count_beats(beats),
            "assign out_data = {in_data, kept};",
            f"always @(posedge clk) if (taken) kept <= {older};",
        ],
    )  # fmt: skip


def emit_accumulate(name: str, element: Accumulate) -> str:
    """Return registers that add up the beats of a frame, or keep the largest of them."""
    stream, lines = element.source, _count_beats(element.source.beats)
    width, sign = stream.spec.width, " signed" if stream.spec.signed else ""
    for index in range(stream.size):
        low, high = index * width, (index + 1) * width - 1
        add = f"sum{index} + value{index}"
        keep = f"(sum{index} > value{index} ? sum{index} : value{index})"
        both = keep if element.node.operation is Reduction.MAXIMUM else add
        lines += [
            f"reg{sign} [{width - 1}:0] sum{index};",
            f"wire{sign} [{width - 1}:0] value{index} = in_data[{high}:{low}];",
            f"wire{sign} [{width - 1}:0] next{index} = first ? value{index} : {both};",
            f"assign out_data[{high}:{low}] = next{index};",
            f"always @(posedge clk) if (taken) sum{index} <= next{index};",
        ]
    return _module(name, stream.width, element.result.width, lines)


def emit_multiply(name: str, element: Multiply) -> str:
    """Return multipliers that take one chunk of a beat in each cycle, with the weights in a memory."""
    beats, chunks, length, results = element.weight.shape
    source, total = element.source.spec, element.result.spec
    weight_width = _signed_width(element.weight)
    reuse = beats * chunks
    x_width, x_bits = source.width, max(1, (reuse - 1).bit_length())
    padded = chunks * length * x_width
    unused = padded - element.source.width
    row = length * results * weight_width
    lines = [
        f"reg [{x_bits - 1}:0] step;",
        f"reg [{max(1, (chunks - 1).bit_length()) - 1}:0] chunk;",
        f"wire [{padded - 1}:0] values = {{{f'{unused}{chr(39)}b0, ' if unused else ''}in_data}};",
        "reg [2:0] valid, first, last;",
        "reg done;",
        "wire enable = out_ready | ~done;",
        f"wire ending = step == {reuse - 1};",
        "wire issued = in_valid & enable;",
        f"assign in_ready = enable & (chunk == {chunks - 1});",
        "assign out_valid = done;",
        f"reg [{length * x_width - 1}:0] x;",
        f"reg [{row - 1}:0] weights;",
        f"reg [{row - 1}:0] memory [0:{reuse - 1}];",
        "initial begin",
        *(f"    memory[{index}] = {row}'h{_packed(codes, weight_width):x};"
          for index, codes in enumerate(element.weight.reshape(reuse, -1))),
        "end",
        "always @(posedge clk) begin",
        "    if (rst) begin",
        "        step <= 0;",
        "        chunk <= 0;",
        "        valid <= 0;",
        "        done <= 0;",
        "    end else if (enable) begin",
        "        if (issued) step <= ending ? 0 : step + 1'b1;",
        f"        if (issued) chunk <= chunk == {chunks - 1} ? 0 : chunk + 1'b1;",
        "        valid <= {valid[1:0], issued};",
        "        done <= valid[2] & last[2];",
        "    end",
        "    if (enable) begin",
        "        first <= {first[1:0], step == 0};",
        "        last <= {last[1:0], ending};",
        "        weights <= memory[step];",
        f"        x <= values[chunk * {length * x_width} +: {length * x_width}];",
        "    end",
        "end",
    ]  # fmt: skip
    width = total.width
    for term in range(length):
        part = f"x[{(term + 1) * x_width - 1}:{term * x_width}]"
        lines.append(f"wire signed [{x_width}:0] x{term} = {{{_sign_of(part, source)}, {part}}};")
    for index in range(results):
        for term in range(length):
            low = (term * results + index) * weight_width
            lines += [
                f"wire signed [{weight_width - 1}:0] w{term}_{index} = weights[{low + weight_width - 1}:{low}];",
                f"reg signed [{width - 1}:0] product{term}_{index};",
            ]
        terms = " + ".join(f"product{term}_{index}" for term in range(length))
        lines += [
            f"reg signed [{width - 1}:0] part{index}, sum{index};",
            f"assign out_data[{(index + 1) * width - 1}:{index * width}] = sum{index};",
            "always @(posedge clk) if (enable) begin",
            *(f"    product{term}_{index} <= x{term} * w{term}_{index};" for term in range(length)),
            f"    part{index} <= {terms};",
            f"    if (valid[2]) sum{index} <= first[2] ? part{index} : sum{index} + part{index};",
            "end",
        ]
    return _module(name, element.source.width, element.result.width, lines)


def emit_sliding(name: str, element: Sliding) -> str:
    """Return line buffers and the window behind them.

    The last windows of a frame need what lies below the image: they come while the next frame enters, or, where
    none does, while the element steps on by itself (``flushing``).
    """
    rows, row_beats = element.image[0], element.row_beats
    source, result, kernel = element.source, element.result, element.kernel
    width, lanes = source.width, result.beat
    columns = lanes * kernel[1]
    beat_bits, row_bits = max(1, (row_beats - 1).bit_length()), max(1, (rows - 1).bit_length())
    lines = [
        f"reg [{beat_bits - 1}:0] beat;",
        f"reg [{row_bits - 1}:0] row;",
        "reg primed, flushing;",
        "reg late, column_ok, previous, row_ok;",
        f"reg [{columns - 1}:0] column_inside;",
        f"reg [{kernel[0] - 1}:0] row_inside;",
        "always @* begin",
        "    case (beat)",
        *(f"        {beat_bits}'d{beat}: {{late, column_ok, column_inside}} = {_bits(_column_case(element, beat))};"
          for beat in range(row_beats)),
        f"        default: {{late, column_ok, column_inside}} = {columns + 2}'b0;",
        "    endcase",
        "    case ({late, row})",
        *(f"        {row_bits + 1}'d{(late << row_bits) + row}: {{previous, row_ok, row_inside}} = "
          f"{_bits(_row_case(element, row - late))};"
          for late in ((0, 1) if element.overflow else (0,)) for row in range(rows)),
        f"        default: {{previous, row_ok, row_inside}} = {kernel[0] + 2}'b0;",
        "    endcase",
        "end",
        "wire emit = column_ok & row_ok & (~previous | primed);",
        "wire step = (in_valid | flushing) & (out_ready | ~emit);",
        f"wire row_end = beat == {row_beats - 1};",
        f"wire frame_end = row_end & (row == {rows - 1});",
        "assign in_ready = ~flushing & (out_ready | ~emit);",
        "assign out_valid = (in_valid | flushing) & emit;",
        *_sliding_control(element),
        *_line_buffers(element),
    ]  # fmt: skip
    lines += _window_values(element, width)
    return _module(name, width, result.width, lines)


def _sliding_control(element: Sliding) -> list[str]:
    last = element.delay - 1
    at_end = f"(row == {last // element.row_beats}) & (beat == {last % element.row_beats})"
    flush = [
        f"        if (step & flushing & {at_end}) begin",
        "            row <= 0;",
        "            beat <= 0;",
        "            primed <= 0;",
        "            flushing <= 0;",
        "        end",
        "        if (~flushing & ~in_valid & primed & (row == 0) & (beat == 0)) flushing <= 1;",
    ]
    return [
        "always @(posedge clk) begin",
        "    if (rst) begin",
        "        row <= 0;",
        "        beat <= 0;",
        "        primed <= 0;",
        "        flushing <= 0;",
        "    end else begin",
        "        if (step) beat <= row_end ? 0 : beat + 1'b1;",
        "        if (step & row_end) row <= frame_end ? 0 : row + 1'b1;",
        "        if (step & frame_end) primed <= 1;",
        *(flush if element.delay else []),
        "    end",
        "end",
    ]


def _line_buffers(element: Sliding) -> list[str]:
    """Return the rows above, and the columns to the left, of the beat that enters."""
    width, height = element.source.width, element.kernel[0]
    stack = ["in_data", *(f"line{index}[beat]" for index in range(height - 1))]
    lines = [f"reg [{width - 1}:0] line{index} [0:{element.row_beats - 1}];" for index in range(height - 1)]
    lines.append(f"wire [{height * width - 1}:0] past0 = {{{', '.join(stack)}}};")
    ago = max((element.column(lane, tap)[0] for lane, tap in _places(element)), default=0)
    lines += [f"reg [{height * width - 1}:0] past{index};" for index in range(1, ago + 1)]
    lines += [
        "always @(posedge clk) if (step) begin",
        *(f"    line{index}[beat] <= {stack[index]};" for index in range(height - 1)),
        *(f"    past{index} <= past{index - 1};" for index in range(1, ago + 1)),
        "end",
    ]
    return lines


def _places(element: Sliding) -> list[tuple[int, int]]:
    """Return the lanes and taps that are inside the image in some beat."""
    return [
        (lane, tap)
        for lane in range(element.result.beat)
        for tap in range(element.kernel[1])
        if len(element.outside(lane, tap)) < element.result_row_beats
    ]


def _window_values(element: Sliding, width: int) -> list[str]:
    spec, height = element.source.spec, element.kernel[0]
    channels = element.source.size // element.source.beat
    pixel = channels * spec.width
    fill = sum((element.node.fill & ((1 << spec.width) - 1)) << (index * spec.width) for index in range(channels))
    inside, lines, low = set(_places(element)), [], 0
    for lane in range(element.result.beat):
        for row in range(height):
            for tap in range(element.kernel[1]):
                constant = f"{pixel}'h{fill:x}"
                if (lane, tap) in inside:
                    ago, place = element.column(lane, tap)
                    start = row * width + place * pixel
                    mask = f"row_inside[{row}] & column_inside[{lane * element.kernel[1] + tap}]"
                    constant = f"{mask} ? past{ago}[{start + pixel - 1}:{start}] : {constant}"
                lines.append(f"assign out_data[{low + pixel - 1}:{low}] = {constant};")
                low += pixel
    return lines


def _column_case(element: Sliding, beat: int) -> list[bool]:
    """Return late, column_ok and column_inside, the highest bit first, of a beat of a row."""
    late = beat < element.overflow
    index, rest = divmod(beat + late * element.row_beats - element.first_beat, element.beat_step)
    good = rest == 0 and 0 <= index < element.result_row_beats
    inside = [
        good and index not in element.outside(lane, tap)
        for lane in range(element.result.beat)
        for tap in range(element.kernel[1])
    ]
    return [late, good, *reversed(inside)]


def _row_case(element: Sliding, row: int) -> list[bool]:
    """Return previous, row_ok and row_inside, the highest bit first, of the image row that completes a window."""
    height = element.image[0]
    previous = row < element.first_row
    bottom = row + previous * height
    good = element.first_row <= bottom <= element.last_row and (bottom - element.first_row) % element.steps[0] == 0
    inside = [0 <= bottom - element.kernel[0] + 1 + tap < height for tap in range(element.kernel[0])]
    return [previous, good, *reversed(inside)]


def _count_beats(beats: int) -> list[str]:
    """Return a counter of the beats of a frame; the result is there with the last one."""
    bits = max(1, (beats - 1).bit_length())
    return [
        f"reg [{bits - 1}:0] count;",
        "wire first = count == 0;",
        f"wire last = count == {beats - 1};",
        "wire taken = in_valid & in_ready;",
        "assign in_ready = ~last | out_ready;",
        "assign out_valid = in_valid & last;",
        "always @(posedge clk) begin",
        "    if (rst) count <= 0;",
        "    else if (taken) count <= last ? 0 : count + 1'b1;",
        "end",
    ]


def _module(name: str, in_width: int, out_width: int, body: Sequence[str]) -> str:
    lines = [
        f"module {name} (",
        "    input wire clk,",
        "    input wire rst,",
        "    input wire in_valid,",
        "    output wire in_ready,",
        f"    input wire [{in_width - 1}:0] in_data,",
        "    output wire out_valid,",
        "    input wire out_ready,",
        f"    output wire [{out_width - 1}:0] out_data",
        ");",
        *(f"    {line}" if line else "" for line in body),
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _bits(values: Iterable[bool]) -> str:
    text = "".join(str(int(value)) for value in values)
    return f"{len(text)}'b{text}"


def _sign_of(bits: str, spec: FixedSpec) -> str:
    """Return one more bit in front: the sign, or zero."""
    return f"{bits.partition('[')[0]}[{bits.partition('[')[2].partition(':')[0]}]" if spec.signed else "1'b0"


def _signed_width(codes: Codes) -> int:
    """Return the bits of the narrowest signed number that holds all codes."""
    return max(int(codes.max(initial=0)), -int(codes.min(initial=0)) - 1, 1).bit_length() + 1


def _packed(codes: Codes, width: int) -> int:
    """Return codes side by side as one number, the first one lowest."""
    return sum((int(code) & ((1 << width) - 1)) << (index * width) for index, code in enumerate(np.ravel(codes)))
