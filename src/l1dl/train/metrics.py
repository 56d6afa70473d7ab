"""Accuracy and areas under the ROC curve on the test split, as plain numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from l1dl.metrics import roc_auc, softmax

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def accuracy(labels: Labels, logits: Scores) -> float:
    """Return the share of events whose largest logit is that of the true class."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def auc_by_class(labels: Labels, logits: Scores) -> list[float | None]:
    """Return the one-against-rest area under the ROC curve of each class; None where a class or its rest is absent.

    The score of a class is its softmax probability, as in the literature on jet tagging.
    """
    probabilities = softmax(logits)
    areas = [roc_auc(probabilities[:, index], labels == index) for index in range(logits.shape[1])]
    return [None if area is None else area.value for area in areas]


def macro_auc(labels: Labels, logits: Scores) -> float:
    """Return the unweighted mean of the areas of all classes that are present."""
    areas = [area for area in auc_by_class(labels, logits) if area is not None]
    return float(np.mean(areas))
