"""The elements of a streaming design as counters of beats, moved in any order: does the design ever stop?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from l1dl.rtl.stream.depths import Place
from l1dl.rtl.stream.streams import Program, Sliding, StreamPlan, results_of, sources_of


class Tokens:
    """A plan with queues of given depths; elements hold nothing but what they need for a window or a frame.

    Parameters
    ----------
    depths
        Number of the element and of its source → beats that its queue holds.
    """

    def __init__(self, plan: StreamPlan, depths: Mapping[Place, int]) -> None:
        self.plan, self.depths = plan, dict(depths)
        self.levels = dict.fromkeys(self.depths, 0)
        readers = [*enumerate(map(sources_of, plan.elements)), (len(plan.elements), plan.outputs)]
        self._inputs = {number: [(number, place) for place in range(len(streams))] for number, streams in readers}
        self._results = {
            number: [
                (reader, place)
                for reader, streams in readers
                for place, stream in enumerate(streams)
                if stream in results_of(element)
            ]
            for number, element in enumerate(plan.elements)
        }
        self._counts = {number: _Count(plan, number) for number in range(1, len(plan.elements))}

    def move(self, number: int) -> bool:
        """Let the input (0), an element or the output (the last number) move by one beat, if it can."""
        if number == 0:
            return self._pass(number, take=False, give=True)
        if number == len(self.plan.elements):
            return self._pass(number, take=True, give=False)
        count = self._counts[number]
        there = all(self.levels[place] for place in self._inputs[number])
        flushes = count.flushing or (count.may_flush and not there)
        if not self._pass(number, take=not flushes, give=count.gives(flushes=flushes)):
            # A window that has begun to step on by itself takes nothing until it is through.
            count.flushing = flushes
            return False
        count.step(flushes=flushes)
        return True

    def _pass(self, number: int, *, take: bool, give: bool) -> bool:
        inputs, results = self._inputs[number] if take else [], self._results[number] if give else []
        if any(not self.levels[place] for place in inputs) or any(
            self.levels[place] >= self.depths[place] for place in results
        ):
            return False
        for place in inputs:
            self.levels[place] -= 1
        for place in results:
            self.levels[place] += 1
        return True


class _Count:
    """Where an element is in its frame."""

    def __init__(self, plan: StreamPlan, number: int) -> None:
        element = plan.elements[number]
        self.at, self.flushing, self._owed = 0, False, False
        self._beats = sources_of(element)[0].beats
        if isinstance(element, Program):
            self._times = set(range(self._beats))
        elif isinstance(element, Sliding):
            rows = element.first_row + element.steps[0] * np.arange(element.outputs[0])
            beats = element.first_beat + element.beat_step * np.arange(element.result_row_beats)
            self._times = set((rows[:, None] * element.row_beats + beats).ravel().tolist())
        else:
            self._times = {self._beats - 1}
        self._delay = max(0, max(self._times) - self._beats + 1)

    @property
    def may_flush(self) -> bool:
        return self._owed and self.at == 0 and self._delay > 0

    def gives(self, *, flushes: bool) -> bool:
        """Say whether the next step gives a result, of the frame before or of this one."""
        return (self._owed and self.at + self._beats in self._times) or (not flushes and self.at in self._times)

    def step(self, *, flushes: bool) -> None:
        self.at, self.flushing = self.at + 1, flushes
        if flushes and self.at == self._delay:
            self.at, self.flushing, self._owed = 0, False, False
        elif self.at == self._beats:
            self.at, self._owed = 0, self._delay > 0


def stops(plan: StreamPlan, depths: Mapping[Place, int], *, frames: int, seed: int) -> bool:
    """Send frames through a plan, and return whether it stands still with results missing.

    Who moves is drawn at random; now and then some stand still for a while, so that others run ahead.
    """
    rng = np.random.default_rng(seed)
    tokens, last = Tokens(plan, depths), len(plan.elements)
    entered, left = 0, 0
    still: set[int] = set()
    while left < frames * plan.outputs[0].beats:
        if rng.random() < 0.02:
            still = {number for number in range(last + 1) if rng.random() < rng.choice([0.0, 0.3, 0.7])}
        moved = False
        for number in rng.permutation(last + 1).tolist():
            if number in still or (number == 0 and entered == frames * plan.input.beats):
                continue
            done = tokens.move(number)
            moved |= done
            entered += done and number == 0
            left += done and number == last
        if not moved and not still:
            return True
        if not moved:
            still = set()
    return False
