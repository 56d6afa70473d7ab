"""Upsets of random bits in the simulated RTL: which outputs they change, and for how long."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.cosim.instrument import Kind, Place
from l1dl.cosim.protocol import START, stream
from l1dl.cosim.verilate import VALID, Simulation, Toggles
from l1dl.errors import MismatchError
from l1dl.fixed import Codes
from l1dl.tools import run_parallel

HOLD_EVENTS = 64
"""Events for which a flipped constant or table entry stays, before the device is configured again."""

STREAM_CYCLES = 4096
"""About how many cycles are simulated in one go. It does not depend on the machine, so that results do not either."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Decide = Callable[[Codes], Integers]
"""Rows of output codes → the decision on each event."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What upsets of one place did, arrays of shape (upsets,).

    Attributes
    ----------
    bits
        Which bit of the place was flipped.
    events
        Output slots that are wrong: other codes, an event that is missing, or one that nobody sent.
    cycles
        Clock cycles from the first wrong output to the last one, both included; 0 where none is wrong.
    decisions
        Events with another decision, lost and invented ones included; None where the outputs are no decision.
    lost, invented
        Events that did not come out, and outputs without an event.
    """

    place: Place
    bits: Integers
    events: Integers
    cycles: Integers
    decisions: Integers | None
    lost: Integers
    invented: Integers


def study_upsets(
    simulation: Simulation,
    places: Sequence[Place],
    rows: Codes,
    expected: Codes,
    *,
    latency: int,
    upsets: int,
    seed: int,
    decide: Decide | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Effects, ...]:
    """Flip random bits of each place, one after the other, in a pipeline that is full of random events.

    A register is upset for one clock cycle; a constant stays flipped for `HOLD_EVENTS` cycles. Then all is left alone
    for two latencies, and every output must be right again from the event on that entered the bit after it was mended:
    one upset cannot be taken for another, and an effect that stays is seen. Every second upset of the valid chain hits
    a cycle without an event.

    Parameters
    ----------
    simulation
        Of the design that `l1dl.cosim.instrument.instrument` returned.
    places
        What to upset in it.
    rows, expected
        Input codes of the events, and the output codes of the emulator.
    latency
        Clock cycles from input to output.
    upsets
        Number of upsets in each place; bits and events are drawn anew for each.
    progress
        Called with the streams that are done, and all of them.

    Raises
    ------
    MismatchError
        Without an upset the codes are not those of the emulator; an upset changes outputs of events that were not in
        the bit; or one of the last register or of the valid chain, which always reach the port, changes nothing.
    """
    _check_without(simulation, rows, expected, latency, seed)
    work, counts = [], []
    for index, place in enumerate(places):
        hold = HOLD_EVENTS if place.kind.lasting else 1
        each = max(1, STREAM_CYCLES // (hold + 2 * latency))
        parts = [min(each, upsets - first) for first in range(0, upsets, each)]
        counts.append(len(parts))
        work += [
            functools.partial(
                _simulate, simulation, place, count, hold, latency, rows, expected, decide, (seed, index, number)
            )
            for number, count in enumerate(parts)
        ]  # fmt: skip
    total = len(work)
    tell = progress or (lambda _done, _total: None)
    found = iter(run_parallel(work, jobs=os.cpu_count() or 1, finished=lambda done: tell(done, total)))
    effects = tuple(_join(list(itertools.islice(found, count))) for count in counts)
    _check_seen(effects, f"data{latency - 1}")
    return effects


def _check_without(simulation: Simulation, rows: Codes, expected: Codes, latency: int, seed: int) -> None:
    """Demand the codes of the emulator, in their cycles, where nothing is upset."""
    outcome = simulation.run(rows, stream(len(rows), 2 * latency), seed=seed)
    cycles = len(START) + latency + np.arange(len(rows))
    if not np.array_equal(outcome.cycles, cycles) or np.any(outcome.codes != expected):
        msg = (
            f"without any upset the RTL differs from the emulator ({len(outcome.codes)} of {len(rows)} events came "
            "out); run the stage cosim, which says where"
        )
        raise MismatchError(msg)


def _check_seen(effects: Sequence[Effects], last: str) -> None:
    """Demand that every upset of the last register and of the valid chain was seen."""
    for each in effects:
        missed = int(np.count_nonzero(each.events == 0))
        if missed and (each.place.name == last or each.place.kind is Kind.VALID):
            msg = (
                f"{missed} of {len(each.bits)} upsets of {each.place.name}, which always reaches the output port, were "
                "not seen; the study proves nothing"
            )
            raise MismatchError(msg)


def _simulate(
    simulation: Simulation,
    place: Place,
    count: int,
    hold: int,
    latency: int,
    rows: Codes,
    expected: Codes,
    decide: Decide | None,
    seed: tuple[int, int, int],
) -> Effects:
    """Simulate `count` upsets in a row; each has a window of `hold` cycles and two latencies."""
    generator = np.random.default_rng(seed)
    window, lead = hold + 2 * latency, len(START) + latency
    starts = lead + window * np.arange(count)
    bits = generator.integers(len(place.bits), size=count)
    ranks = np.array([place.bits[bit].rank for bit in bits])
    control = np.full(lead + window * count, VALID)
    control[: len(START)] = START
    if place.kind is Kind.VALID:
        control[(starts - ranks)[1::2]] = 0
    sent = np.flatnonzero(control & VALID)
    chosen = generator.integers(len(rows), size=len(sent))
    outcome = simulation.run(
        rows[chosen], control, seed=int(generator.integers(1 << 31)), toggles=_toggles(place, bits, starts, hold)
    )

    # By cycle: what must stand at the port, and what stands there.
    awaited, right = _by_cycle(sent + latency, expected[chosen], len(control))
    seen, codes = _by_cycle(outcome.cycles, outcome.codes, len(control))
    lost, invented = awaited & ~seen, seen & ~awaited
    wrong = lost | invented | (awaited & seen & np.any(codes != right, axis=1))

    def windows(flags: Flags) -> Flags:
        return flags[lead:].reshape(count, window)

    def per_upset(flags: Flags) -> Integers:
        return np.asarray(np.count_nonzero(windows(flags), axis=1), dtype=np.int64)

    inside = windows(wrong)
    _check_reach(place, bits, wrong[:lead], inside, latency - ranks, hold)
    cycles = np.where(inside.any(axis=1), window - inside[:, ::-1].argmax(axis=1) - inside.argmax(axis=1), 0)
    decisions = (
        None if decide is None else per_upset(lost | invented | (awaited & seen & (decide(codes) != decide(right))))
    )
    return Effects(place, bits, per_upset(wrong), cycles, decisions, per_upset(lost), per_upset(invented))


def _toggles(place: Place, bits: Integers, starts: Integers, hold: int) -> Toggles:
    """Return the changes of the port: each upset begins at its start and ends `hold` cycles later."""
    changes = [
        (cycle, toggle)
        for bit, start in zip(bits, starts, strict=True)
        for cycle in (start, start + hold)
        for toggle in place.bits[bit].toggles
    ]
    return Toggles(
        np.array([cycle for cycle, _ in changes], dtype=np.uint64),
        np.array([bit for _, bit in changes], dtype=np.uint32),
    )


def _by_cycle(cycles: Integers, codes: Codes, length: int) -> tuple[Flags, Codes]:
    """Return for each cycle whether an event comes out in it, and its codes (zeros without one)."""
    there, rows = np.zeros(length, dtype=np.bool_), np.zeros((length, codes.shape[1]), dtype=np.int64)
    inside = cycles < length
    there[cycles[inside]], rows[cycles[inside]] = True, codes[inside]
    return there, rows


def _check_reach(place: Place, bits: Integers, before: Flags, wrong: Flags, delay: Integers, hold: int) -> None:
    """Demand that only the events that were in a bit while it was wrong come out wrong.

    Parameters
    ----------
    before, wrong
        Wrong cycles before the first upset, and in the window of each, shape (upsets, cycles).
    delay
        Cycles from an upset to the output of the event that it hits.
    """
    since = np.arange(wrong.shape[1]) - delay[:, None]
    outside = wrong & ~((since >= 0) & (since < hold))
    if np.any(before) or np.any(outside):
        upset, cycle = (int(each[0]) for each in np.nonzero(outside)) if np.any(outside) else (0, 0)
        msg = (
            f"an upset of bit {bits[upset]} of {place.name} lasts: an output {cycle} cycles later is wrong whose event "
            f"was not there while it was flipped; {np.count_nonzero(outside) + np.count_nonzero(before)} such outputs"
        )
        raise MismatchError(msg)


def _join(parts: Sequence[Effects]) -> Effects:
    """Return the effects of all streams of one place."""

    def joined(name: str) -> Integers:
        return np.concatenate([getattr(part, name) for part in parts])

    return Effects(
        parts[0].place, joined("bits"), joined("events"), joined("cycles"),
        None if parts[0].decisions is None else joined("decisions"), joined("lost"), joined("invented"),
    )  # fmt: skip
