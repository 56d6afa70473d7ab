"""How far estimates are off: the statistics, and the measurements that they rest on."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools

import l1dl.rtl
from l1dl.rtl.calibration import FIGURES, Calibration, calibration, expected, ratio
from l1dl.rtl.estimate import Estimate, LayerEstimate

ROOT = Path(__file__).parents[2]
STORED = json.loads((Path(l1dl.rtl.__file__).parent / "calibration.json").read_text())
ROWS = STORED["networks"]


@pytest.fixture(scope="module")
def calibrate():
    need_packages("alkaid")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("estimators.calibrate")


def rows(ratios: np.ndarray) -> list[dict[str, float]]:
    return [{"estimated_lut": 100.0, "lut": 100.0 * value} for value in ratios]


def test_the_interval_of_39_ends_at_the_extremes() -> None:
    ratios = np.exp(np.random.default_rng(1).normal(0.4, 0.2, 39))
    found = Calibration.of(rows(ratios), "lut")
    assert (found.low_95, found.high_95) == (pytest.approx(ratios.min()), pytest.approx(ratios.max()))
    assert found.scale == pytest.approx(np.median(ratios))
    assert found.low_95 < found.low_68 < found.scale < found.high_68 < found.high_95
    assert found.networks == 39


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "skewed"])
def test_the_intervals_hold_what_they_say_of_new_networks(shape: str) -> None:
    rng = np.random.default_rng(2)
    draw = {
        "normal": lambda size: rng.normal(0.4, 0.1, size),
        "heavy tails": lambda size: 0.1 * rng.standard_t(3, size),
        "skewed": lambda size: rng.exponential(0.2, size),
    }[shape]
    inside = np.zeros(2)
    trials = 1500
    for _ in range(trials):
        found = Calibration.of(rows(np.exp(draw(39))), "lut")
        new = float(np.exp(draw(1)[0]))
        inside += [found.low_68 <= new <= found.high_68, found.low_95 <= new <= found.high_95]
    np.testing.assert_allclose(inside / trials, [0.68, 0.95], atol=0.04)


def test_what_was_not_measured_is_left_out() -> None:
    measured = [*rows(np.array([1.0, 2.0, 3.0])), {"estimated_lut": 50.0, "lut": None}]
    assert Calibration.of(measured, "lut").networks == 3
    assert ratio({"estimated_lut": 0.0, "lut": 5}, "lut") is None


def test_the_stored_networks_cover_what_they_must() -> None:
    assert len(ROWS) >= 30
    assert len({row["seed"] for row in ROWS}) == len(ROWS)
    luts = [row["lut"] for row in ROWS]
    assert min(luts) < 600
    assert max(luts) > 20_000
    assert {"dense", "cnn", "pruned dense"} <= {row["kind"] for row in ROWS}
    assert STORED["command"] == "python scripts/benchmark.py --section estimators"
    for figure in FIGURES:
        found, stored = calibration(figure), STORED["ratios"][figure]
        for key, value in vars(found).items():
            assert stored[key] == pytest.approx(value, abs=1e-4), (figure, key)
        # Each network against the intervals of all the others.
        assert stored["covered_68"] >= 0.55
        assert stored["covered_95"] >= 0.9


def test_an_estimate_carries_what_to_expect() -> None:
    found = Estimate(1000.0, 500, "estimated", (LayerEstimate("dense", 1000.0),)).expected("lut")
    assert found == expected(1000.0, "lut")
    assert found is not None
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(1000 * calibration("lut").scale)
    assert Estimate(1000.0, 500, "of a stream").expected("lut") is None


def test_a_seed_draws_the_same_network(calibrate) -> None:
    networks = importlib.import_module("estimators.networks")
    for seed in (1, 2, 9):
        (kind, first), (again, second) = networks.draw(seed), networks.draw(seed)
        assert (kind, first.digest) == (again, second.digest)
    pruned = next(networks.draw(row["seed"])[1] for row in ROWS if row["kind"] == "pruned dense")
    weight = next(node.weight for node in pruned.nodes if node.kind == "dense")
    assert np.mean(weight == 0) > 0.2


def test_networks_out_of_range_are_not_measured(calibrate, tmp_path: Path) -> None:
    taken = {row["seed"] for row in ROWS}
    left_out = next(seed for seed in range(1, max(taken)) if seed not in taken)
    assert calibrate.measure(left_out, tmp_path) is None


@pytest.mark.slow
def test_two_of_the_networks_again(calibrate, tmp_path: Path) -> None:
    need_tools("yosys")
    small = sorted(ROWS, key=lambda row: row["lut"])[:12]
    for row in (small[0], next(row for row in reversed(small) if row["kind"] != small[0]["kind"])):
        found = calibrate.measure(row["seed"], tmp_path)
        assert found is not None
        assert (found["kind"], found["ebops"]) == (row["kind"], row["ebops"])
        # Another Yosys or alkaid may find others, but no other order.
        for figure in FIGURES:
            now, usual = ratio(found, figure), calibration(figure)
            assert now is not None
            assert 0.8 * usual.low_95 <= now <= 1.25 * usual.high_95, figure
        assert found["estimated_lut"] == pytest.approx(row["estimated_lut"], rel=0.05)
        assert found["lut"] == pytest.approx(row["lut"], rel=0.05)
