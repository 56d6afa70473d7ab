"""Claims about a window over an image, from the coordinates of its results and not from the emitter's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from l1dl.formal.checks import Checks, Claim, element_ports, frame_counter, implies, register, waiting
from l1dl.rtl.stream.streams import Sliding


@dataclass(frozen=True)
class _Tap:
    """One value of one result: bits of a result, and of the beat that it comes from (none outside the image)."""

    result: int
    low: int
    beat: int | None
    start: int


def check_sliding(element: Sliding) -> Checks:
    """Return the claims about a window.

    One beat, whichever, is followed from its entry on, and must stand in each place of each result that has it.
    """
    width, frame, delay = element.source.width, element.source.beats, element.delay
    times = element.times.tolist()
    results, pixel = len(times), width // element.source.beat
    ghosts, assumed, stays = element_ports(width, element.result.width)
    ghosts += [
        *frame_counter("formal_at", "formal_take", frame),
        *frame_counter("formal_out", "formal_give", results),
        f"wire formal_in_end = formal_take & formal_at == {frame - 1};",
        f"wire formal_out_end = formal_give & formal_out == {results - 1};",
        # 2: a frame is in, and results of it are owed; 0: all results of a frame are out before its last beats are in
        *register("formal_frames", 3, "formal_frames + formal_in_end - formal_out_end", start="1"),
        "wire formal_owed = formal_frames == 2;",
        *waiting("formal_stall", "in_valid & out_ready & ~in_ready", delay),
        *waiting(
            "formal_late", "formal_owed & out_ready & ~out_valid & (in_valid | flushing | formal_at == 0)", delay
        ),
        *waiting("formal_flush", "flushing & out_ready", delay),
        f"wire [{frame.bit_length()}:0] formal_place = row * {element.row_beats} + beat;",
        *_given(element, times),
        *_one_beat(element),
    ]  # fmt: skip
    content = []
    for tap in _taps(element):
        part = f"out_data[{tap.low} +: {pixel}]"
        if tap.beat is None:
            fill = sum(
                (element.node.fill & ((1 << element.source.spec.width) - 1)) << low
                for low in range(0, pixel, element.source.spec.width)
            )
            content.append(implies(f"out_valid && formal_out == {tap.result}", f"{part} == {pixel}'h{fill:x}"))
        elif tap.beat == times[tap.result]:
            content.append(
                implies(f"out_valid && formal_out == {tap.result}", f"{part} == in_data[{tap.start} +: {pixel}]")
            )
        else:
            here = f"formal_chosen && formal_which == {tap.beat} && formal_age == {times[tap.result] - tap.beat}"
            content.append(implies(f"out_valid && {here}", f"{part} == formal_value[{tap.start} +: {pixel}]"))
    return Checks(
        {
            Claim.HANDSHAKE: [stays],
            Claim.CONTENT: content,
            Claim.COUNT: [
                "formal_frames <= 2",
                implies("out_valid && ~formal_owed", "formal_frames == 1 && in_valid && formal_due[formal_out]"),
                implies("in_ready && formal_owed", f"formal_at < {max(delay, 1)}"),
            ],
            Claim.PROGRESS: [f"formal_stall <= {delay}", f"formal_late <= {delay}", f"formal_flush <= {delay}"],
        },
        ghosts,
        [assumed],
        [*_place_invariants(element, results), *_line_invariants(element)],
    )  # fmt: skip


def _taps(element: Sliding) -> Iterator[_Tap]:
    """Yield every value of every result of a frame, pixel by pixel."""
    pixel, lanes = element.source.width // element.source.beat, element.result.beat
    for result in range(element.result.beats):
        row, index = divmod(result, element.result_row_beats)
        low = 0
        for lane in range(lanes):
            for down in range(element.kernel[0]):
                for right in range(element.kernel[1]):
                    y = row * element.steps[0] - element.before[0] + down
                    x = (index * lanes + lane) * element.steps[1] - element.before[1] + right
                    if 0 <= y < element.image[0] and 0 <= x < element.image[1]:
                        beat, place = divmod(y * element.image[1] + x, element.source.beat)
                        yield _Tap(result, low, beat, place * pixel)
                    else:
                        yield _Tap(result, low, None, 0)
                    low += pixel


def _given(element: Sliding, times: list[int]) -> list[str]:
    """Return how many results of this frame, and of the one before, were given when a beat enters."""
    frame, results = element.source.beats, len(times)
    bits = results.bit_length()
    rows = [
        f"    {at}: begin formal_before = {sum(time < frame + at for time in times)}; "
        f"formal_now = {sum(time < at for time in times)}; end"
        for at in range(frame)
    ]
    due = [f"assign formal_due[{index}] = formal_at >= {time};" for index, time in enumerate(times) if time < frame]
    due += [f"assign formal_due[{index}] = 0;" for index, time in enumerate(times) if time >= frame]
    return [
        f"reg [{bits - 1}:0] formal_before, formal_now;",
        "always @* case (formal_place)",
        *rows,
        "    default: begin formal_before = 0; formal_now = 0; end",
        "endcase",
        f"wire [{results - 1}:0] formal_due;",
        *due,
    ]


def _one_beat(element: Sliding) -> list[str]:
    """Return registers that follow any one beat: its place in the frame, its value, and the steps since it entered."""
    frame = element.source.beats
    longest = frame + element.delay
    return [
        "(* anyseq *) wire formal_pick;",
        "reg formal_chosen = 0;",
        f"reg [{element.source.width - 1}:0] formal_value;",
        f"reg [{max(1, (frame - 1).bit_length()) - 1}:0] formal_which;",
        f"reg [{longest.bit_length() - 1}:0] formal_age;",
        f"wire formal_flushed = flushing & step & formal_place == {element.delay - 1 if element.delay else 0};",
        "always @(posedge clk) begin",
        f"    if (formal_begun & formal_pick & formal_take & ~formal_chosen & formal_at < {longest - 1}) begin",
        "        formal_chosen <= 1;",
        "        formal_value <= in_data;",
        "        formal_which <= formal_at;",
        "        formal_age <= 1;",
        "    end else if (formal_chosen & step) begin",
        f"        formal_chosen <= ~formal_flushed & formal_which + formal_age < {longest - 1};",
        "        formal_age <= formal_age + 1'b1;",
        "    end",
        "end",
    ]


def _place_invariants(element: Sliding, results: int) -> list[str]:
    """Return how the element's place in the frame belongs to what was given."""
    frame, delay = element.source.beats, element.delay
    done = f"formal_now == {results}"
    now = f"formal_frames == ({done} ? 0 : 1) && formal_out == ({done} ? 0 : formal_now)"
    return [
        f"row < {element.image[0]} && beat < {element.row_beats}",
        implies("~flushing", "formal_at == formal_place"),
        implies("flushing", f"formal_at == 0 && formal_owed && primed && formal_place < {delay}"),
        implies("formal_owed", "primed"),
        implies("~primed", now),
        implies(f"primed && formal_before < {results}", "formal_owed && formal_out == formal_before"),
        implies(f"primed && formal_before == {results}", now),
        implies("formal_owed", "formal_late <= formal_place + flushing"),
        implies("~formal_owed", "formal_late == 0"),
        implies("flushing", "formal_stall <= formal_place && formal_flush <= formal_place"),
        implies(
            "formal_chosen",
            f"formal_age >= 1 && formal_which < {frame} && formal_which + formal_age < {frame + delay} "
            "&& (formal_which + formal_age == formal_place || "
            f"(primed && formal_which + formal_age == formal_place + {frame}))",
        ),
    ]  # fmt: skip


def _line_invariants(element: Sliding) -> list[str]:
    """Return where the beat that is followed stands, by its age."""
    rows, row_beats, width = element.kernel[0], element.row_beats, element.source.width
    column = f"(formal_which % {row_beats})" if row_beats > 1 else "0"
    lines = []
    for index in range(rows - 1):
        inside = f"formal_age > {index * row_beats} && formal_age <= {(index + 1) * row_beats}"
        lines.append(implies(f"formal_chosen && {inside}", f"line{index}[{column}] == formal_value"))
    for ago in range(1, _longest(element) + 1):
        for index in range(rows):
            part = f"past{ago}[{(rows - 1 - index) * width} +: {width}]"
            lines.append(
                implies(f"formal_chosen && formal_age == {index * row_beats + ago}", f"{part} == formal_value")
            )
    return lines


def _longest(element: Sliding) -> int:
    """Return for how many beats the columns to the left are kept."""
    return max(
        (
            element.column(lane, tap)[0]
            for lane in range(element.result.beat)
            for tap in range(element.kernel[1])
            if len(element.outside(lane, tap)) < element.result_row_beats
        ),
        default=0,
    )
