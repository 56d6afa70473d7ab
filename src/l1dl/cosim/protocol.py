"""What the ports must do: which events come out after bubbles and resets, in which cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.cosim.verilate import RESET, VALID, Outcome

Control = npt.NDArray[np.uint8]

START = np.array([RESET, RESET], dtype=np.uint8)
"""Cycles of reset at the start of each simulation."""

STREAM_EVENTS = 4096
"""Most events of one stream. It does not depend on the machine, so that reports are the same on all."""


def stream(events: int, drain: int) -> Control:
    """Return control words that present an event in every cycle, then wait `drain` cycles."""
    return np.concatenate([START, np.full(events, VALID), np.zeros(drain, dtype=np.uint8)])


def streams(events: int, drain: int) -> list[Control]:
    """Return control words of streams of at most `STREAM_EVENTS` events that can be simulated at the same time."""
    lengths = [min(STREAM_EVENTS, events - first) for first in range(0, events, STREAM_EVENTS)]
    return [stream(length, drain) for length in lengths]


def with_bubbles(events: int, drain: int, seed: int) -> Control:
    """Return control words with a random number of empty cycles (0 to 7) before each event."""
    gaps = np.random.default_rng(seed).geometric(0.5, events) - 1
    ends = np.cumsum(np.minimum(gaps, 7) + 1) - 1
    control = np.zeros(int(ends[-1]) + 1, dtype=np.uint8)
    control[ends] = VALID
    return np.concatenate([START, control, np.zeros(drain, dtype=np.uint8)])


def with_resets(events: int, resets: int, drain: int, seed: int) -> Control:
    """Return control words of a full stream with single cycles of reset in mid-flight, at random places."""
    control = stream(events, drain)
    generator = np.random.default_rng(seed)
    places = generator.choice(np.arange(len(START) + 1, len(START) + events), min(resets, events - 1), replace=False)
    control[places] |= RESET
    return control


@dataclass(frozen=True)
class Expected:
    """What must come out.

    Attributes
    ----------
    survivors
        Indices of the events that no reset removes, in order.
    entered
        The cycle in which each of them was presented.
    """

    survivors: npt.NDArray[np.int64]
    entered: npt.NDArray[np.int64]


def expect(control: Control, latency: int) -> Expected:
    """Return the events that come out of a pipeline of `latency` cycles.

    A reset in cycle r removes what was presented in the cycles r - latency + 1 to r: those events are
    in the valid chain at that clock edge, or would enter it.
    """
    entered = np.flatnonzero(control & VALID)
    resets = np.flatnonzero(control & RESET)
    next_reset = np.searchsorted(resets, entered)
    distance = np.append(resets, np.iinfo(np.int64).max)[next_reset] - entered
    survives = (distance >= latency) & (entered + latency < len(control))
    return Expected(np.flatnonzero(survives), entered[survives])


def measured_interval(awaited: Expected, right: npt.NDArray[np.bool_]) -> int | None:
    """Return the smallest distance in cycles of two inputs in a row that were both answered rightly.

    Parameters
    ----------
    right
        For each survivor, whether its output codes are right, shape (survivors,).

    Returns
    -------
    The measured initiation interval; None if no two events in a row came out right.
    """
    both = right[1:] & right[:-1] & (np.diff(awaited.survivors) == 1)
    distances = np.diff(awaited.entered)[both]
    return int(distances.min()) if len(distances) else None


def measured_latency(outcome: Outcome, control: Control) -> int | None:
    """Return the latency of the first event after the last reset at the start; None if nothing came out."""
    entered = np.flatnonzero(control & VALID)
    if len(outcome.cycles) == 0 or len(entered) == 0:
        return None
    return int(outcome.cycles[0] - entered[0])
