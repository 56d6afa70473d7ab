"""One network at several clocks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import random_graph
from support import need_packages, need_tools, small_net

from l1dl.card import RtlCard
from l1dl.cli.app import invoke
from l1dl.cli.units import clock_period_ns
from l1dl.errors import InputError
from l1dl.flow import clocks
from l1dl.flow.clocks import FILE, compare_clocks, read_clocks
from l1dl.graph import save_graph
from l1dl.rtl.estimate import Estimate
from l1dl.rtl.project import build_rtl
from l1dl.synth.resources import Resources, StageResources

PART = "xcvu13p-flga2577-2-e"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    need_packages("alkaid")
    (tmp_path / "convert").mkdir()
    save_graph(small_net(), tmp_path / "convert" / "graph.json")
    return tmp_path


@pytest.fixture
def synthesised(monkeypatch):
    """Stand in for Yosys: stages take a share of their estimate. Return the share, and the stages tried."""
    need_tools("verilator", "cxx")
    share, tried = [1.0], []

    def stage_delay(design, stage, cache, *, grade):
        tried.append((len(design.stages), stage))
        return share[0] * design.stage_delay_ns[stage]

    def synthesise(design, cache, say, *, grade):
        stages = tuple(
            StageResources(f"s{index}", 1, 1, 0, 0, 0, 1, share[0] * delay)
            for index, delay in enumerate(design.stage_delay_ns)
        )
        return Resources(len(stages), 1, 0, 0, "stub", "", stages, Estimate(0, 0, ""))

    monkeypatch.setattr(clocks, "stage_delay", stage_delay)
    monkeypatch.setattr(clocks, "synthesise_design", synthesise)
    return share, tried


@pytest.mark.parametrize("share", [0.6, 0.97, 1.0, 1.2])
def test_stages_are_filled_as_far_as_the_netlist_allows(run, synthesised, share):
    synthesised[0][0] = share
    (point,) = compare_clocks(run, RtlCard(), PART, [2.5])
    assert point.slack_ns >= 0
    assert point.latency_cycles == point.stages + 1 == len(point.stage_delay_ns) + 1
    assert point.latency_ns == 2.5 * point.latency_cycles
    assert point.events > 1000
    fewest = len(build_rtl(small_net(), RtlCard(stage_delay_ns=[2.5 / share])).stages)
    assert fewest <= point.stages <= fewest + 1
    again = build_rtl(small_net(), RtlCard(clock_period_ns=2.5, stage_delay_ns=list(point.stage_delay_ns)))
    assert share * max(again.stage_delay_ns) == pytest.approx(point.delay_ns), "the card makes the same pipeline"


def test_what_is_finished_is_kept(run, synthesised):
    _, tried = synthesised
    first = compare_clocks(run, RtlCard(), PART, [4.0])
    count = len(tried)
    both = compare_clocks(run, RtlCard(), PART, [2.5, 4.0])
    assert [point.clock_period_ns for point in both] == [4.0, 2.5]
    assert both[0] == first[0]
    again = len(tried)
    assert again > count
    assert compare_clocks(run, RtlCard(), PART, [4.0, 2.5]) == both
    assert len(tried) == again
    assert read_clocks(run, small_net(), RtlCard(clock_period_ns=3.0), PART) == both, "the card's clock does not count"
    for other in (random_graph(1), replace(small_net(), name="other")):
        assert read_clocks(run, other, RtlCard(), PART) == ()
    assert read_clocks(run, small_net(), RtlCard(), "xcvu13p-flga2577-1-e") == ()
    directory = (run / FILE).parent
    assert sorted(path.name for path in directory.iterdir()) == ["clocks.csv", "clocks.json", "clocks.png"]
    assert len((directory / "clocks.csv").read_text().splitlines()) == 3


def test_a_clock_that_no_pipeline_reaches(run, synthesised):
    synthesised[0][0] = 4.0
    with pytest.raises(InputError, match=r"no pipeline runs at 1786 MHz: stage 0 takes .* slower clock"):
        compare_clocks(run, RtlCard(), PART, [0.56])
    assert not (run / FILE).exists()


def test_damaged_results(run):
    (run / FILE).parent.mkdir()
    (run / FILE).write_text(json.dumps({"key": clocks.study_key(small_net(), RtlCard(), PART), "points": [{"lut": 1}]}))
    with pytest.raises(InputError, match="damaged; remove it"):
        read_clocks(run, small_net(), RtlCard(), PART)


def test_a_streaming_design_is_refused(run):
    with pytest.raises(InputError, match="delays of queues and windows are not estimated"):
        compare_clocks(run, RtlCard(architecture="stream"), PART, [5.0])


def test_unknown_delays(run, monkeypatch):
    monkeypatch.setattr(clocks, "stage_delay", lambda *_args, **_options: None)
    with pytest.raises(InputError, match="delay is not known"):
        compare_clocks(run, RtlCard(), PART, [5.0])


@pytest.mark.parametrize(
    ("text", "period"),
    [("200MHz", 5.0), ("0.4 GHz", 2.5), ("2.5ns", 2.5), ("3125ps", 3.125), ("7", 7.0), ("1e2MHz", 10.0)],
)
def test_clocks_with_units(text, period):
    assert clock_period_ns(text) == pytest.approx(period)


@pytest.mark.parametrize("text", ["360", "360 mhz", "0MHz", "0ns", "3GHz", "1MHz", "", "fast", "nan", "-5ns", "5 ns 3"])
def test_what_is_no_clock(text, capsys):
    assert invoke(["synth", "models/jet_mlp", "--clock", text]) == 2
    assert "is no clock from 10 to 2000 MHz; give a frequency or a period" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_netlists_decide(run):
    need_tools("verilator", "cxx", "yosys")
    points = compare_clocks(run, RtlCard(), PART, [5.0, 1e3 / 480])
    assert all(point.slack_ns >= 0 for point in points)
    assert points[0].stages < points[1].stages
    assert points[0].ff < points[1].ff
    assert np.isclose(points[1].clock_mhz, 480)
