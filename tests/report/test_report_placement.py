"""Figures of placed stages over their seeds, their order, and where they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from l1dl.report import ReportInputs, build_report, render_html
from l1dl.report.figures import all_figures, placement_figure
from l1dl.report.placement import (
    HEADERS,
    SCHEMA,
    PlacedStage,
    PlacementStudy,
    Spread,
    correlate,
    sentences,
    summarise_stage,
    table,
)  # fmt: skip
from l1dl.synth.place import Route, StagePlacement
from l1dl.synth.resources import StageResources


def route(seed: int, delay_ns: float, *, of_stage: bool = True) -> Route:
    return Route(seed, 1000 / delay_ns, delay_ns, 0.4 * delay_ns, 0.6 * delay_ns, "x[0]", "y[0]", of_stage)


def stage(name: str, delays_ns: list[float], estimate_ns: float | None = 2.0, *, of_stage: bool = True) -> PlacedStage:
    routes = tuple(route(seed, delay, of_stage=of_stage) for seed, delay in enumerate(delays_ns, start=1))
    estimate = StageResources(name, 10, 0, 0, 0, 0, None if estimate_ns is None else 5, estimate_ns)
    return summarise_stage(StagePlacement(name, 1234, 56, routes), estimate)


def study(*stages: PlacedStage) -> PlacementStudy:
    value, reason = correlate(stages)
    return PlacementStudy(
        SCHEMA, "net", "0" * 64, "1" * 64, "placed and routed", "estimated", "LFE5UM5G-85F", 8, (1, 2, 3), 9,
        value, reason, stages,
    )  # fmt: skip


def test_a_stage_is_summarised_over_its_seeds() -> None:
    found = stage("net_stage0", [5.0, 8.0, 4.0, 6.0])
    assert found.delay_ns == Spread(4.0, 5.5, 8.0)
    assert found.fmax_mhz.min == 125.0
    assert found.fmax_mhz.max == 250.0
    assert (found.logic_ns, found.routing_ns) == (2.0, 3.0)  # of one placement, not a mean of several
    assert found.routing_share == pytest.approx(0.6)
    assert (found.estimate_ns, found.levels) == (2.0, 5)
    assert found.of_stage
    assert not stage("net_stage0", [5.0], of_stage=False).of_stage


def test_the_order_of_the_stages_is_compared() -> None:
    delays = [5.0, 4.0, 7.0, 9.0, 6.0]
    same = [stage(f"s{index}", [delay], delay / 2) for index, delay in enumerate(delays)]
    assert correlate(same) == (pytest.approx(1.0), None)
    reverse = [replace(each, estimate_ns=-each.delay_ns.median) for each in same]
    assert correlate(reverse) == (pytest.approx(-1.0), None)
    one_wrong = [replace(same[0], estimate_ns=9.0), *same[1:]]
    assert correlate(one_wrong)[0] == pytest.approx(0.4)  # ranks 2 1 4 5 3 and 5 1 3 4 2: 1 - 6 · 12 / 120
    value, reason = correlate([*same[:3], replace(same[3], estimate_ns=None)])
    assert value is None
    assert reason == "3 stages with an estimate are too few for a rank correlation; 4 are needed"
    assert correlate([replace(each, estimate_ns=1.0) for each in same]) == (None, "all stages are equal")


def test_table_and_sentences() -> None:
    found = study(stage("net_stage0", [5.0, 4.0, 8.0]), stage("net_stage1", [1.0], None, of_stage=False))
    rows = table(found)
    assert rows[0] == ("stage0", "1\N{NARROW NO-BREAK SPACE}234", "56", "200", "125-250", "5.00", "60", "2.00")
    assert rows[1] == ("stage1", "1\N{NARROW NO-BREAK SPACE}234", "56", ">1000", "1000-1000", "<1.00", "60", "—")
    assert {len(row) for row in rows} == {len(HEADERS)}
    widths = [max(map(len, column)) for column in zip(HEADERS, *rows, strict=True)]
    assert sum(widths) + 3 * len(widths) + 1 <= 80
    text = "\n".join(sentences(found))
    assert "slowest of these stages: net_stage0, 5.00 ns" in text
    assert "wires take 60 to 60 %" in text
    assert "1 stages with an estimate are too few" in text
    assert "the registers around the stage are slower" in text
    many = study(*(stage(f"net_stage{index}", [4.0 + index], 1.0 + index) for index in range(4)))
    assert "rank correlation of estimate and path: +1.00 (4 stages)" in sentences(many)


def test_the_figure_has_a_point_for_each_stage() -> None:
    found = study(*(stage(f"net_stage{index}", [4.0 + index, 6.0], 1.0 + index) for index in range(3)))
    drawn = placement_figure(found)
    assert drawn is not None
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 5], [2, 5.5], [3, 6]])
    assert placement_figure(study(stage("net_stage0", [5.0]))) is None


def test_the_page_shows_the_stages(make_inputs: Callable[..., ReportInputs]) -> None:
    stages = [stage(f"net_stage{index}", [4.0 + index, 6.0], 1.0 + index) for index in range(4)]
    inputs = make_inputs(placement=study(*stages[:3], replace(stages[3], of_stage=False)))
    report = build_report(inputs)
    assert report["placement"]["stages"][1]["delay_ns"] == {"min": 5.0, "median": 5.5, "max": 6.0}
    page = render_html(report, all_figures(inputs))
    for text in (
        'href="#placement"',
        "4 of 9 pipeline stages",
        "Rank correlation",
        "slower than the stage.",
        "&gt; 155",
    ):
        assert text in page, text
    assert page.count('id="figure-placement"') == 1
    alone = make_inputs(placement=study(stages[0]))
    page = render_html(build_report(alone), all_figures(alone))
    assert "too few for a rank correlation" in page
    assert 'id="figure-placement"' not in page
    assert 'id="placement"' not in render_html(build_report(make_inputs()), all_figures(make_inputs()))
