"""How deep a queue must be: deep enough that the design never stops, and that beats flow without a gap.

An element, and the output, may read several streams and wait for all of them. The beats of a stream that comes
early fill their queue meanwhile; if it becomes full, whoever fills it stands still, and so may those who feed the
stream that is missing. No design stops if, wherever streams `j` and `i` meet, the queue of `j` is deeper than the beats
of `j` that can be there before beat `b` of `i`, less the `b` that are gone, for all `b`: `least_depths`.

Proof. Count in beats of the input. `latest(i, b)` is the beat with which beat `b` of `i` comes if no window steps on by
itself at the end of a frame, `earliest(j, k)` the one with which beat `k` of `j` can come if all do; both grow with the
beat. The condition says ``earliest(j, b + depth - 1) > latest(i, b)``. Let a design stand still although input is
offered and output is taken. Elements that lack nothing and are free to give go on, so each element is blocked by a full
queue behind it or lacks a beat. Behind a full queue stands another blocked element, and so on, until one lacks a beat
of `i` while the queue of `j` is full. Of all such (element, i), take the one whose ``latest(i, b)`` is smallest. Go
back from `i` through elements that lack a beat. If this ends at the input, beat ``latest(i, b)`` has not entered; but
the full queue holds beat ``b + depth - 1`` of `j`, so that a later one has. Else it ends at an element that is to
give beat `c`, with ``latest(c) <= latest(i, b)``, and is blocked by another queue behind it. From there follow full
queues to the next element that lacks a beat, ``b'`` of ``i'``, before a full queue of ``j'``. Along such a path, the
newest beat's `earliest` never grows: where other streams join, the condition says that what they gave came earlier
than the newest beat of the full queue. So ``latest(i', b') < earliest(j', b' + depth' - 1) <= earliest(c - 1) <=
latest(i, b)``, and (element, i) was not the one with the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.rtl.stream.streams import Element, Multiply, Program, Sliding, Stream, StreamPlan, results_of, sources_of

SMALLEST = 2
"""Depth with which a queue takes and gives a beat in every cycle."""

Place = tuple[int, int]
"""Number of the element that a queue stands before (one behind the last for the output), and of its source."""


@dataclass(frozen=True)
class Arrival:
    """For each beat of a frame the beat of the input that must have entered before it can be there.

    Attributes
    ----------
    earliest
        If each window steps on by itself at the end of the frame, shape (beats,).
    latest
        If none does, so that the beats of the next frame push the last windows out.
    """

    earliest: npt.NDArray[np.int64]
    latest: npt.NDArray[np.int64]


def queue_depths(plan: StreamPlan, latencies: Sequence[int]) -> dict[Place, int]:
    """Return the depth of each queue: what `least_depths` says, and what keeps all paths flowing.

    Where paths of different length meet, the beats of the shorter one wait as long as the longer pipeline takes. A
    queue before multipliers that are used again holds a frame, since its beats may come faster than they are taken.

    Parameters
    ----------
    latencies
        Clock cycles of each element.
    """
    ready: dict[Stream, int] = {plan.input: 0}
    depths = least_depths(plan)
    for number, streams in plan.readers:
        late = max(ready[stream] for stream in streams)
        for place, stream in enumerate(streams):
            depths[number, place] = max(SMALLEST, depths[number, place]) + late - ready[stream]
        if number < len(plan.elements):
            element = plan.elements[number]
            if isinstance(element, Multiply) and element.weight.shape[1] > 1:
                depths[number, 0] += element.source.beats
            for result in results_of(element):
                ready[result] = late + latencies[number] + SMALLEST
    return depths


def least_depths(plan: StreamPlan) -> dict[Place, int]:
    """Return the depths with which the design never stops, by the proof above."""
    arrivals = _arrivals(plan)
    return {
        (number, place): max([1, *(_ahead(stream, other, arrivals, plan) for other in streams if other != stream)])
        for number, streams in plan.readers
        for place, stream in enumerate(streams)
    }


def _arrivals(plan: StreamPlan) -> dict[Stream, Arrival]:
    beats = np.arange(plan.input.beats)
    arrivals = {plan.input: Arrival(beats, beats)}
    for element in plan.elements[1:]:
        sources = [arrivals[stream] for stream in sources_of(element)]
        arrivals |= dict.fromkeys(results_of(element), _arrival(element, sources, plan.input.beats))
    return arrivals


def _arrival(element: Element, sources: Sequence[Arrival], frame: int) -> Arrival:
    """Return when each beat of an element's result can be there."""
    if isinstance(element, Program):
        return Arrival(
            np.max([each.earliest for each in sources], axis=0), np.max([each.latest for each in sources], axis=0)
        )
    (source,) = sources
    if not isinstance(element, Sliding):
        return Arrival(source.earliest[-1:], source.latest[-1:])
    times = element.times
    return Arrival(source.earliest[np.minimum(times, element.source.beats - 1)], _at(source.latest, times, frame))


def _at(arrival: npt.NDArray[np.int64], beats: npt.NDArray[np.int64], frame: int) -> npt.NDArray[np.int64]:
    """Return when beats arrive that may belong to later frames."""
    later, beat = np.divmod(beats, len(arrival))
    return np.asarray(arrival[beat] + later * frame)


def _ahead(stream: Stream, other: Stream, arrivals: Mapping[Stream, Arrival], plan: StreamPlan) -> int:
    """Return how many more beats of a stream than of another one can be there, with the one that both wait for."""
    latest = arrivals[other].latest
    frames = 2 + int(latest.max()) // plan.input.beats
    earliest = _at(arrivals[stream].earliest, np.arange(frames * stream.beats), plan.input.beats)
    return int(np.max(np.searchsorted(earliest, latest, side="right") - np.arange(len(latest)))) + 1
