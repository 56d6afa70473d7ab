"""Figures of merit against scikit-learn, hand-made cases and the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from l1dl.metrics import (
    as_logits,
    binomial_error,
    difference,
    macro_auc,
    rank_correlation,
    roc_auc,
    roc_curve,
    softmax,
    top_ties,
    wilson_interval,
    working_point,
)


def sample(seed: int = 0, events: int = 600, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    positive = generator.random(events) < 0.3
    score = generator.normal(positive * 1.2, 1.0)
    return (score if levels is None else np.round(score * levels) / levels), positive


def test_auc_by_hand() -> None:
    area = roc_auc(np.array([0.9, 0.8, 0.4, 0.4]), np.array([True, False, True, False]))
    assert area is not None
    assert area.value == (1 + 1 + 0 + 0.5) / 4


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_auc_equals_scikit_learn(levels: int | None) -> None:
    score, positive = sample(levels=levels)
    area = roc_auc(score, positive)
    assert area is not None
    assert area.value == pytest.approx(roc_auc_score(positive, score), abs=1e-14)
    assert 0.7 < area.value < 0.95


@pytest.mark.parametrize("positive", [np.zeros(4, bool), np.ones(4, bool)])
def test_auc_needs_both_groups(positive: np.ndarray) -> None:
    assert roc_auc(np.arange(4.0), positive) is None


def test_auc_with_a_single_signal_has_no_error() -> None:
    area = roc_auc(np.arange(4.0), np.array([False, False, True, False]))
    assert area is not None
    assert area.value == pytest.approx(2 / 3)
    assert area.error is None


def test_error_is_that_of_delong() -> None:
    score, positive = sample(levels=3)
    area = roc_auc(score, positive)
    assert area is not None
    signal, background = score[positive], score[~positive]
    wins = (signal[:, None] > background) + 0.5 * (signal[:, None] == background)
    variance = wins.mean(axis=1).var(ddof=1) / len(signal) + wins.mean(axis=0).var(ddof=1) / len(background)
    assert area.error == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_errors_of_macro_auc_and_difference_match_the_bootstrap() -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 900)
    left = generator.normal(0, 1, (900, 3)) + 1.5 * np.eye(3)[labels]
    right = left + generator.normal(0, 0.4, (900, 3))

    def macro(scores: np.ndarray, chosen: np.ndarray) -> list:
        return [roc_auc(scores[chosen, k], labels[chosen] == k) for k in range(3)]

    everything = np.arange(900)
    areas = macro_auc(macro(left, everything)), macro_auc(macro(right, everything))
    loss = difference(*areas)
    draws = [generator.integers(0, 900, 900) for _ in range(300)]
    values = np.array([[macro_auc(macro(scores, draw)).value for scores in (left, right)] for draw in draws])
    assert areas[0].error == pytest.approx(values[:, 0].std(), rel=0.15)
    assert loss.error == pytest.approx((values[:, 0] - values[:, 1]).std(), rel=0.15)
    assert loss.error is not None
    assert areas[0].error is not None
    assert loss.error < areas[0].error


def test_roc_curve_equals_scikit_learn() -> None:
    score, positive = sample(levels=4)
    curve = roc_curve(score, positive)
    background, signal, _ = reference_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(curve.signal, signal)
    np.testing.assert_allclose(curve.background, background)


def test_working_point_keeps_the_background_below_the_share() -> None:
    score, positive = sample(levels=8)
    threshold = working_point(score, positive, 0.05)
    assert 0 < np.mean(score[~positive] > threshold) <= 0.05
    assert np.mean(score[~positive] >= threshold) > 0.05


def test_softmax_and_single_logit() -> None:
    logits = as_logits(np.array([[-1.0], [2.0]]))
    np.testing.assert_allclose(softmax(logits)[:, 1], 1 / (1 + np.exp([1.0, -2.0])))
    np.testing.assert_array_equal(softmax(np.array([[1e4, 0.0]])), [[1.0, 0.0]])
    np.testing.assert_array_equal(as_logits(np.array([1.0, 2.0])), [[0, 1], [0, 2]])


def test_ties_for_the_top_score() -> None:
    logits = np.array([[1.0, 1, 0], [0, 0, 1], [2, 2, 2], [0, 1, 2]])
    assert top_ties(logits) == 0.5


def test_binomial_error() -> None:
    assert binomial_error(0.2, 400) == pytest.approx(0.02)


@given(trials=st.integers(1, 5000), share=st.floats(0, 1))
def test_the_wilson_interval_holds_the_probabilities_within_one_deviation(trials: int, share: float) -> None:
    successes = round(share * trials)
    low, high = wilson_interval(successes, trials)
    observed = successes / trials
    assert 0 <= low <= observed <= high <= 1
    for end in {low, high} - {0.0, 1.0}:  # a probability there is one standard deviation away, by its own error
        assert abs(observed - end) == pytest.approx(binomial_error(end, trials), rel=1e-6)
    assert high - low > 0


def test_the_wilson_interval_has_its_coverage() -> None:
    generator = np.random.default_rng(1)
    hits = generator.binomial(200, 0.3, 20_000)
    ends = {count: wilson_interval(count, 200) for count in np.unique(hits).tolist()}
    inside = np.mean([ends[count][0] <= 0.3 <= ends[count][1] for count in hits.tolist()])
    assert inside == pytest.approx(0.683, abs=0.04)


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(-1e3, 1e3)), min_size=2, max_size=30))
def test_the_rank_correlation_is_that_of_scipy(pairs: list[tuple[int, float]]) -> None:
    left, right = zip(*pairs, strict=True)
    found = rank_correlation(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(left, right).statistic, abs=1e-12)
