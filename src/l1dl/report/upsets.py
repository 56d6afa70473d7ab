"""What single-event upsets do, stage by stage: shares with their statistical errors, as table and file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l1dl.cosim.instrument import Kind
from l1dl.cosim.upsets import Effects, Integers
from l1dl.metrics import wilson_interval
from l1dl.report.format import NOTHING, count, number, with_error

SCHEMA = "l1dl-seu/1"


@dataclass(frozen=True)
class Share:
    """A share, with the interval of one standard deviation."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PlaceStudy:
    """What the upsets of one place did.

    Attributes
    ----------
    name, kind, bits
        The place: a data register, the valid chain, or the constants of a stage; and how many bits it has.
    upsets
        How many were tried.
    changed, decision
        Shares of the upsets that changed an output code, and the decision, of one event at least; an event that is lost
        or invented counts for both.
    events_mean, events_max
        Wrong events per upset, of all upsets.
    cycles_mean, cycles_max
        Clock cycles from the first wrong output to the last one, of the upsets that changed one; null where none did.
    lost, invented
        Events that did not come out, and outputs without an event, in all.
    """

    name: str
    kind: str
    bits: int
    upsets: int
    changed: Share
    decision: Share | None
    events_mean: float
    events_max: int
    cycles_mean: float | None
    cycles_max: int | None
    lost: int
    invented: int


@dataclass(frozen=True)
class Total:
    """All places of a kind together, each weighted with its bits.

    Attributes
    ----------
    bits
        Number of bits.
    changed, decision
        Probability that the upset of a bit, each as likely as the other, changes an output code, and the decision.
    changed_bits, decision_bits
        The same times `bits`: multiplied with a rate of upsets per bit, the rate of wrong outputs, and decisions.
    """

    bits: int
    changed: Share
    decision: Share | None
    changed_bits: Share
    decision_bits: Share | None


@dataclass(frozen=True)
class UpsetStudy:
    """The whole study.

    Attributes
    ----------
    model, graph
        Name and digest of the network.
    verilog
        Digest of the Verilog as it was generated, or changed by hand.
    origin
        Where the figures come from.
    seed, upsets_per_place, events
        What was drawn: upsets in each place, out of so many test events.
    hold_events
        Events for which a constant stays flipped.
    latency_cycles, clock_period_ns
        Of the design.
    decision
        What the decision is; null where the outputs are none, with a `decision_reason`.
    places, flip_flops, constants
        The results; `constants` is null in a design without, with a `constants_reason`.
    """

    schema: str
    model: str
    graph: str
    verilog: str
    origin: str
    seed: int
    upsets_per_place: int
    events: int
    hold_events: int
    latency_cycles: int
    clock_period_ns: float
    decision: str | None
    decision_reason: str | None
    places: tuple[PlaceStudy, ...]
    flip_flops: Total
    constants: Total | None
    constants_reason: str | None


def summarise_place(effects: Effects) -> PlaceStudy:
    """Return the shares and means of the upsets of one place."""
    upsets, seen = len(effects.bits), effects.cycles[effects.cycles > 0]
    return PlaceStudy(
        name=effects.place.name,
        kind=effects.place.kind.value,
        bits=len(effects.place.bits),
        upsets=upsets,
        changed=_share(effects.events),
        decision=None if effects.decisions is None else _share(effects.decisions),
        events_mean=float(effects.events.mean()),
        events_max=int(effects.events.max()),
        cycles_mean=float(seen.mean()) if len(seen) else None,
        cycles_max=int(seen.max()) if len(seen) else None,
        lost=int(effects.lost.sum()),
        invented=int(effects.invented.sum()),
    )


def _share(events: Integers) -> Share:
    """Return the share of upsets that spoiled any event."""
    hits = int(np.count_nonzero(events))
    return Share(hits / len(events), *wilson_interval(hits, len(events)))


def total_of(places: Sequence[PlaceStudy], *, lasting: bool) -> Total | None:
    """Return the sum over flip-flops, or over what lasts (constants and table entries); None if there are none."""
    chosen = [place for place in places if Kind(place.kind).lasting == lasting]
    if not chosen:
        return None
    bits = sum(place.bits for place in chosen)
    changed = _weighted([(place.bits, place.changed) for place in chosen])
    judged = [(place.bits, place.decision) for place in chosen if place.decision is not None]
    decision = _weighted(judged) if judged else None
    return Total(bits, changed, decision, _times(changed, bits), None if decision is None else _times(decision, bits))


def _weighted(shares: Sequence[tuple[int, Share]]) -> Share:
    """Return the mean of independent shares, with weights.

    The distances to the ends of the intervals are added in quadrature, as G. Y. Zou and A. Donner, Stat. Med. 27
    (2008) 1693, show; shares of 0 or 1 keep their errors so.
    """
    total = sum(weight for weight, _ in shares)
    value = sum(weight * share.value for weight, share in shares) / total
    low = math.hypot(*(weight * (share.value - share.low) for weight, share in shares)) / total
    high = math.hypot(*(weight * (share.high - share.value) for weight, share in shares)) / total
    return Share(value, max(0.0, value - low), min(1.0, value + high))


def _times(share: Share, factor: int) -> Share:
    return Share(share.value * factor, share.low * factor, share.high * factor)


HEADERS = ("where", "bits", "output changed / %", "decision changed / %", "events", "cycles")


def table(study: UpsetStudy) -> list[tuple[str, ...]]:
    """Return the rows of a table with the headers `HEADERS`."""
    rows: list[tuple[str, ...]] = [
        (
            place.name, count(place.bits), _percent(place.changed), _percent(place.decision),
            number(place.events_mean, 3), count(place.cycles_max),
        )
        for place in study.places
    ]  # fmt: skip
    for name, total in (("all flip-flops", study.flip_flops), ("all constants", study.constants)):
        if total is not None:
            rows.append((name, count(total.bits), _percent(total.changed), _percent(total.decision), "", ""))
    return rows


def _percent(share: Share | None) -> str:
    """Return for example ``53.0±1.1``, with the larger one of both errors; without spaces it fits a terminal."""
    if share is None:
        return NOTHING
    return with_error(share.value, max(share.value - share.low, share.high - share.value), 100).replace(" ", "")


def csv_text(study: UpsetStudy) -> str:
    """Return one line for each place."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([
        "name", "kind", "bits", "upsets", "changed", "changed_low", "changed_high",
        "decision", "decision_low", "decision_high", "events_mean", "events_max", "cycles_mean", "cycles_max",
        "lost", "invented",
    ])  # fmt: skip
    for place in study.places:
        decision = place.decision
        judged = ("", "", "") if decision is None else (decision.value, decision.low, decision.high)
        writer.writerow([
            place.name, place.kind, place.bits, place.upsets,
            place.changed.value, place.changed.low, place.changed.high, *judged,
            place.events_mean, place.events_max, place.cycles_mean, place.cycles_max, place.lost, place.invented,
        ])  # fmt: skip
    return file.getvalue()
