"""What flows between the elements of a streaming design, and the elements themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Dense, Reduce, Window
from l1dl.ports import Port
from l1dl.rtl.stream.local import leading_axes


@dataclass(frozen=True)
class Stream:
    """The values of one node, beat by beat.

    Attributes
    ----------
    name
        Unique name.
    positions
        Axes of the image, in the order in which its pixels pass, the last one fastest; none for a vector.
    beat
        Positions in each beat.
    shape
        Shape of the values of a beat.
    spec
        Type of each value.
    """

    name: str
    positions: tuple[int, ...]
    beat: int
    shape: tuple[int, ...]
    spec: FixedSpec

    @property
    def beats(self) -> int:
        """Beats of a frame."""
        return math.prod(self.positions) // self.beat

    @property
    def size(self) -> int:
        """Values of a beat."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Bits of a beat."""
        return self.size * self.spec.width

    @property
    def port(self) -> Port:
        """The values of a beat as a port."""
        return Port(self.name, self.shape, self.spec)


@dataclass(frozen=True)
class Source:
    """Where frames enter."""

    result: Stream


@dataclass(frozen=True, eq=False)
class Program:
    """A network that each beat passes on its own, in a pipeline.

    Attributes
    ----------
    graph
        The network of one beat; its inputs and outputs are in the order of the streams.
    """

    graph: FixedGraph
    sources: tuple[Stream, ...]
    results: tuple[Stream, ...]


@dataclass(frozen=True)
class Sliding:
    """A line buffer and the window that moves over it, in the time of the beats that enter.

    Coordinates: a window of row `y` is complete with the image row ``y * step - before + kernel - 1``, which may lie
    below the image; `delay` is how many beats of the next frame (or of none) must pass until the last one is out.

    Attributes
    ----------
    node
        What it computes.
    image, kernel, steps, before, outputs
        Rows and columns of the image, of the kernel, of its steps, of the padding above and to the left, and of the
        results.
    first_row, last_row
        The image rows that complete the first and the last row of results.
    first_beat
        The beat of a row that completes the first beat of results.
    overflow
        Beats of the next row that must pass until a row of results is complete.
    delay
        Beats of the next frame that must pass until a frame of results is complete.
    """

    node: Window
    source: Stream
    result: Stream
    image: tuple[int, int]
    kernel: tuple[int, int]
    steps: tuple[int, int]
    before: tuple[int, int]
    outputs: tuple[int, int]
    first_row: int
    last_row: int
    first_beat: int
    overflow: int
    delay: int

    @property
    def row_beats(self) -> int:
        """Beats of a row of the image."""
        return self.image[1] // self.source.beat

    @property
    def result_row_beats(self) -> int:
        """Beats of a row of results."""
        return self.outputs[1] // self.result.beat

    @property
    def beat_step(self) -> int:
        """Beats of the image from one beat of results to the next."""
        return self.steps[1] * self.result.beat // self.source.beat if self.row_beats > 1 else 1

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """For each beat of results the beat, counted from the frame's first one, that completes it."""
        rows = self.first_row + self.steps[0] * np.arange(self.outputs[0])
        beats = self.first_beat + self.beat_step * np.arange(self.result_row_beats)
        return (rows[:, None] * self.row_beats + beats).ravel()

    def column(self, lane: int, tap: int) -> tuple[int, int]:
        """Return how many beats ago a column of the kernel entered, and its place in the beat.

        Parameters
        ----------
        lane
            Which result of the beat.
        tap
            Which column of the kernel.
        """
        beats, place = divmod(lane * self.steps[1] - self.before[1] + tap, self.source.beat)
        return self.first_beat - beats, place

    def outside(self, lane: int, tap: int) -> tuple[int, ...]:
        """Return the beats of a row of results in which a column of the kernel lies outside the image."""
        stride = self.result.beat * self.steps[1]
        columns = (beat * stride + lane * self.steps[1] - self.before[1] + tap for beat in range(self.result_row_beats))
        return tuple(beat for beat, column in enumerate(columns) if not 0 <= column < self.image[1])


@dataclass(frozen=True)
class Collect:
    """All beats of a frame, side by side in one beat."""

    source: Stream
    result: Stream


@dataclass(frozen=True, eq=False)
class Accumulate:
    """The exact sum, or the maximum, of all beats of a frame, value by value."""

    node: Reduce
    source: Stream
    result: Stream


@dataclass(frozen=True, eq=False)
class Multiply:
    """A constant matrix times a frame, with few multipliers that are used again and again.

    Attributes
    ----------
    node
        The layer that it belongs to; bias and conversions come behind it.
    weight
        Codes for each beat and chunk, shape (beats, chunks, values of a chunk, results).
    result
        The exact sums.
    """

    node: Dense
    source: Stream
    result: Stream
    weight: Codes

    @property
    def reuse_factor(self) -> int:
        """Clock cycles in which the multipliers are used for one frame."""
        return int(self.weight.shape[0] * self.weight.shape[1])

    @property
    def multipliers(self) -> int:
        """Number of multipliers."""
        return int(self.weight.shape[2] * self.weight.shape[3])


Element = Source | Program | Sliding | Collect | Accumulate | Multiply


def sources_of(element: Element) -> tuple[Stream, ...]:
    """Return the streams that an element reads."""
    if isinstance(element, Source):
        return ()
    return element.sources if isinstance(element, Program) else (element.source,)


def results_of(element: Element) -> tuple[Stream, ...]:
    """Return the streams that an element makes."""
    return element.results if isinstance(element, Program) else (element.result,)


@dataclass(frozen=True)
class StreamPlan:
    """A network as elements that pass beats to each other.

    Attributes
    ----------
    name
        Name of the design.
    elements
        The elements, each behind those that it reads.
    outputs
        The streams that leave, side by side in the same beats.
    """

    name: str
    elements: tuple[Element, ...]
    outputs: tuple[Stream, ...]

    @property
    def readers(self) -> list[tuple[int, tuple[Stream, ...]]]:
        """What reads which streams: the elements behind the input by their numbers, then the output."""
        return [*enumerate(map(sources_of, self.elements[1:]), start=1), (len(self.elements), self.outputs)]

    @property
    def input(self) -> Stream:
        """The stream that enters."""
        return results_of(self.elements[0])[0]


def slide(node: Window, source: Stream) -> Sliding | None:
    """Return how a window moves over a stream of pixels; None if its padding reaches beyond the next frame.

    Raises
    ------
    UnsupportedError
        The windows do not fit the beats.
    """
    axes = source.positions
    image = axes if len(axes) == 2 else (1, axes[0])
    kernel, steps = (pair if len(axes) == 2 else (1, *pair) for pair in (node.kernel, node.strides))
    edges = node.padding if len(axes) == 2 else (0, 0, *node.padding)
    before = edges[0], edges[2]
    counts = [
        (size + first + last - length) // step + 1
        for size, length, step, first, last in zip(image, kernel, steps, edges[::2], edges[1::2], strict=True)
    ]
    outputs = counts[0], counts[1]
    beat = _result_beat(node, source.beat, image[1], steps[1], outputs[1])
    positions = outputs if len(axes) == 2 else outputs[1:]
    axes_before = leading_axes(node.shape, positions)
    shape = (beat, *node.shape[axes_before:]) if math.prod(positions) > 1 else node.shape
    result = Stream(node.name, positions, beat, shape, node.result)
    row_beats = image[1] // source.beat

    def completes(beat_index: int) -> int:
        """Return the beat of a row that completes a beat of results."""
        column = ((beat_index + 1) * beat - 1) * steps[1] - before[1] + kernel[1] - 1
        return 0 if row_beats == 1 else column // source.beat

    first_beat, last_beat = completes(0), completes(outputs[1] // beat - 1)
    first_row = kernel[0] - 1 - before[0]
    last_row = (outputs[0] - 1) * steps[0] + first_row
    first, last = first_row * row_beats + first_beat, last_row * row_beats + last_beat
    frame = image[0] * row_beats
    overflow, delay = max(0, last_beat - row_beats + 1), max(0, last - frame + 1)
    ordered = min(first, first_row, first_beat) >= 0
    if not ordered or last_beat - first_beat >= row_beats or last - first >= frame:
        return None
    if overflow > row_beats or delay > frame:
        return None
    return Sliding(
        node, source, result, (image[0], image[1]), (kernel[0], kernel[1]), (steps[0], steps[1]), before, outputs,
        first_row, last_row, first_beat, overflow, delay,
    )  # fmt: skip


def _result_beat(node: Window, beat: int, columns: int, step: int, results: int) -> int:
    """Return how many windows are complete with each beat."""
    if beat == columns:
        return results
    found = 1 if beat == 1 else beat // step
    if (beat > 1 and beat % step) or results % max(found, 1):
        msg = (
            f"layer {node.name!r} has {results} results in a row, in steps of {step}; they do not fit beats of {beat} "
            f"pixels: let 1 pixel or a whole row ({columns} at this layer) enter with each clock"
        )
        raise UnsupportedError(msg)
    return found
