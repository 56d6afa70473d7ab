"""How deep a queue must be: what may wait in it while a longer path catches up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from l1dl.rtl.stream.streams import Element, Multiply, Program, Sliding, Stream, StreamPlan, results_of, sources_of

SMALLEST = 2
"""Depth with which a queue takes and gives a beat in every cycle."""

Needs = npt.NDArray[np.int64]
"""For each beat of a frame the number of the beat that must have entered the design before it can be there."""


def queue_depths(plan: StreamPlan, latencies: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return (number of the element, number of its source) → depth of the queue before it.

    Where paths of different length meet, the shorter one's beats wait: as many as can be there before the other
    path's, from what each beat needs of the input, and as many more as the longer pipeline holds. A queue before
    multipliers that are used again holds a frame, since its beats may come faster than they are taken.

    Parameters
    ----------
    latencies
        Clock cycles of each element.
    """
    needs: dict[Stream, Needs] = {plan.input: np.arange(plan.input.beats)}
    ready: dict[Stream, int] = {plan.input: 0}
    depths: dict[tuple[int, int], int] = {}
    elements = [*plan.elements[1:]]
    for number, element in enumerate(elements, start=1):
        sources = sources_of(element)
        late = max(ready[stream] for stream in sources)
        for place, stream in enumerate(sources):
            waiting = _waiting(stream, sources, needs, plan.input.beats) if len(sources) > 1 else 0
            if isinstance(element, Multiply) and element.weight.shape[1] > 1:
                waiting = stream.beats
            depths[number, place] = SMALLEST + waiting + (late - ready[stream] if len(sources) > 1 else 0)
        for result in results_of(element):
            needs[result] = _needs(element, [needs[stream] for stream in sources], plan.input.beats)
            ready[result] = late + latencies[number] + SMALLEST
    last = len(plan.elements)
    for place, stream in enumerate(plan.outputs):
        waiting = _waiting(stream, plan.outputs, needs, plan.input.beats) if len(plan.outputs) > 1 else 0
        depths[last, place] = SMALLEST + waiting + max(ready[each] for each in plan.outputs) - ready[stream]
    return depths


def _needs(element: Element, needs: Sequence[Needs], frame: int) -> Needs:
    """Return what each beat of an element's result needs."""
    if isinstance(element, Program):
        return np.asarray(np.max(needs, axis=0))
    if not isinstance(element, Sliding):
        return needs[0][-1:]
    rows = element.first_row + element.steps[0] * np.arange(element.outputs[0])
    beats = element.first_beat + element.beat_step * np.arange(element.result_row_beats)
    times = (rows[:, None] * element.row_beats + beats).ravel()
    return _at(needs[0], times, frame)


def _at(needs: Needs, times: Needs, frame: int) -> Needs:
    """Return the needs of beats that may belong to the next frame."""
    later, beat = np.divmod(times, len(needs))
    return np.asarray(needs[beat] + later * frame)


def _waiting(stream: Stream, sources: Sequence[Stream], needs: Mapping[Stream, Needs], frame: int) -> int:
    """Return how many beats of a stream can be there before the other sources have their first ones."""
    beats = np.arange(stream.beats)
    needed = np.max([needs[each] for each in sources], axis=0)
    own = _at(needs[stream], np.arange(3 * stream.beats), frame)
    return int(np.max(np.searchsorted(own, needed, side="right") - beats)) - 1
