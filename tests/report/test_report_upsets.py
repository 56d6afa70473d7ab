"""Shares of upsets, their errors and their totals."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from l1dl.cosim.instrument import Bit, Kind, Place
from l1dl.cosim.upsets import Effects
from l1dl.metrics import wilson_interval
from l1dl.report import ReportInputs, build_report, render_html
from l1dl.report.figures import all_figures, upsets_figure
from l1dl.report.upsets import HEADERS, SCHEMA, Share, UpsetStudy, csv_text, summarise_place, table, total_of


def effects(kind: Kind, name: str, bits: int, events: list[int], decisions: list[int] | None) -> Effects:
    wrong, nothing = np.array(events), np.zeros(len(events), dtype=np.int64)
    place = Place(name, kind, tuple(Bit(0, (bit,)) for bit in range(bits)))
    judged = None if decisions is None else np.array(decisions)
    return Effects(place, nothing, wrong, 2 * wrong, judged, nothing, nothing)


HALF = effects(Kind.REGISTER, "data0", 30, [1, 0, 1, 0], [0, 0, 1, 0])
ALL = effects(Kind.VALID, "valid", 10, [1, 1, 1, 1], [1, 1, 1, 1])
NONE = effects(Kind.REGISTER, "data1", 60, [0, 0, 0, 0], [0, 0, 0, 0])
LASTING = effects(Kind.CONSTANT, "stage0 constants", 5, [64, 0, 32, 0], [3, 0, 0, 0])


def study(*chosen: Effects) -> UpsetStudy:
    places = tuple(map(summarise_place, chosen))
    flip_flops = total_of(places, lasting=False)
    assert flip_flops is not None
    return UpsetStudy(
        SCHEMA, "net", "0" * 64, "1" * 64, "simulated", 1, 4, 100, 64, 3, 5.0, "the largest output", None, places,
        flip_flops, total_of(places, lasting=True), None,
    )  # fmt: skip


def test_shares_and_means_of_a_place() -> None:
    place = summarise_place(HALF)
    assert place.changed == Share(0.5, *wilson_interval(2, 4))
    assert place.decision == Share(0.25, *wilson_interval(1, 4))
    assert (place.events_mean, place.events_max) == (0.5, 1)
    assert (place.cycles_mean, place.cycles_max) == (2.0, 2)  # of those that changed something
    quiet = summarise_place(NONE)
    assert (quiet.cycles_mean, quiet.cycles_max) == (None, None)
    assert quiet.changed.value == 0.0 < quiet.changed.high
    assert summarise_place(replace(HALF, decisions=None)).decision is None


def test_totals_are_weighted_with_the_bits() -> None:
    total = study(HALF, ALL, NONE, LASTING).flip_flops
    assert total.bits == 100
    assert total.changed.value == pytest.approx(0.3 * 0.5 + 0.1 * 1.0)
    assert total.changed_bits.value == pytest.approx(25.0)
    above = np.hypot(0.3 * (wilson_interval(2, 4)[1] - 0.5), 0.6 * wilson_interval(0, 4)[1])
    assert total.changed.high - total.changed.value == pytest.approx(above)
    assert total.decision is not None
    assert total.decision.value == pytest.approx(0.3 * 0.25 + 0.1)
    assert total_of([summarise_place(HALF)], lasting=True) is None
    without = total_of([summarise_place(replace(HALF, decisions=None))], lasting=False)
    assert without is not None
    assert without.decision is None


def test_the_interval_of_a_total_has_its_coverage() -> None:
    """Three places of different weight and share: the true total lies within the interval in 68 % of the studies."""
    generator = np.random.default_rng(3)
    truth, weights, upsets = np.array([0.5, 0.02, 0.9]), np.array([100, 700, 200]), 200
    inside = 0
    for _ in range(400):
        drawn = [
            effects(Kind.REGISTER, "data0", bits, (generator.random(upsets) < share).astype(int).tolist(), None)
            for bits, share in zip(weights.tolist(), truth.tolist(), strict=True)
        ]
        total = total_of([summarise_place(each) for each in drawn], lasting=False)
        assert total is not None
        inside += total.changed.low <= weights @ truth / weights.sum() <= total.changed.high
    assert inside / 400 == pytest.approx(0.683, abs=0.08)


def test_table_file_and_figure_show_every_place() -> None:
    found = study(HALF, ALL, NONE, LASTING)
    rows = table(found)
    assert [row[0] for row in rows] == [
        "data0",
        "valid",
        "data1",
        "stage0 constants",
        "all flip-flops",
        "all constants",
    ]
    assert {len(row) for row in rows} == {len(HEADERS)}
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [line["name"] for line in lines] == [place.name for place in found.places]
    assert float(lines[0]["changed"]) == 0.5
    assert lines[2]["cycles_max"] == ""
    drawn = upsets_figure(found)
    shown = [text.get_text() for axes in drawn.axes for text in axes.get_yticklabels()]
    assert len(shown) == 4
    assert len(upsets_figure(study(replace(HALF, decisions=None))).axes) == 1


def test_the_page_shows_the_study(make_inputs: Callable[..., ReportInputs]) -> None:
    for found, place in ((study(HALF, ALL, LASTING), "constants, for 64 events"), (study(HALF), "for one cycle")):
        inputs = make_inputs(upsets=found)
        report = build_report(inputs)
        assert report["upsets"]["flip_flops"]["bits"] == found.flip_flops.bits
        page = render_html(report, all_figures(inputs))
        assert 'href="#upsets"' in page
        assert 'id="figure-upsets"' in page
        assert place in page
    inputs = make_inputs()
    assert 'id="upsets"' not in render_html(build_report(inputs), all_figures(inputs))
