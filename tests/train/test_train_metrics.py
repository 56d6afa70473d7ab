"""Accuracy and areas under the ROC curve, on cases that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from l1dl.metrics import softmax
from l1dl.train.metrics import accuracy, auc_by_class, macro_auc

LABELS = np.array([0, 0, 1, 1])


def test_softmax_of_large_logits_is_finite() -> None:
    assert softmax(np.array([[1e4, 0.0], [0.0, 0.0]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_perfect_inverse_and_constant_scores() -> None:
    right = np.array([[2.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    assert (accuracy(LABELS, right), macro_auc(LABELS, right)) == (1.0, 1.0)
    assert (accuracy(LABELS, -right), macro_auc(LABELS, -right)) == (0.0, 0.0)
    assert macro_auc(LABELS, np.zeros((4, 2))) == 0.5


def test_an_area_by_hand() -> None:
    scores = np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 3.0]])  # three of four pairs in order
    assert auc_by_class(LABELS, scores) == [pytest.approx(0.75), pytest.approx(0.75)]


def test_a_class_that_is_absent_has_no_area() -> None:
    logits = np.random.default_rng(1).normal(size=(4, 3))
    assert auc_by_class(LABELS, logits)[2] is None
    assert np.isfinite(macro_auc(LABELS, logits))
