"""Figures of merit of a classifier, with their statistical errors.

A score is the softmax probability of a class, in float64, whatever made the logits; each class is judged
against all others. AUC and its error come from the ranks, without binning: the Mann-Whitney statistic with
ties counted half, and the variance of DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837, in the
midrank form of Sun and Xu, IEEE Signal Process. Lett. 21 (2014) 1389. Kept by event, its components also give
the errors of the macro AUC and of differences between models on the same events, correlations included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Auc:
    """Area under a ROC curve.

    Attributes
    ----------
    value
        The area.
    influence
        Contribution of each event to the deviation of `value`, shape (N,); None where the variance is not
        defined, with a single event in one of the two groups.
    """

    value: float
    influence: Array | None

    @property
    def error(self) -> float | None:
        """Standard error."""
        return None if self.influence is None else math.sqrt(float(np.sum(self.influence**2)))


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Efficiencies for falling thresholds, from (0, 0) to (1, 1)."""

    signal: Array
    background: Array


def as_logits(scores: npt.ArrayLike) -> Array:
    """Return logits of shape (N, C) with C > 1: a single logit z becomes the pair (0, z)."""
    logits = np.asarray(scores, dtype=np.float64)
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.shape[1] == 1:
        return np.concatenate([np.zeros_like(logits), logits], axis=1)
    return logits


def softmax(logits: Array) -> Array:
    """Return the probabilities of logits of shape (N, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def logits_of(probabilities: Array, function: str) -> Array:
    """Return logits of probabilities that a ``softmax`` or a ``sigmoid`` gave; those of 0 and 1 are finite."""
    smallest = float(np.finfo(np.float32).tiny)
    logits = np.log(np.maximum(probabilities, smallest))
    return logits if function == "softmax" else logits - np.log(np.maximum(1 - probabilities, smallest))


def roc_auc(score: Array, positive: Mask) -> Auc | None:
    """Return the AUC of `score` with the error of DeLong; None if all events or none are positive."""
    signal, background = score[positive], score[~positive]
    m, n = len(signal), len(background)
    if m == 0 or n == 0:
        return None
    ranks, signal_ranks, background_ranks = _midranks(score), _midranks(signal), _midranks(background)
    above = (ranks[positive] - signal_ranks) / n
    below = 1 - (ranks[~positive] - background_ranks) / m
    value = float(above.mean())
    if m == 1 or n == 1:
        return Auc(value, None)
    influence = np.empty(len(score))
    influence[positive] = (above - value) / math.sqrt(m * (m - 1))
    influence[~positive] = (below - value) / math.sqrt(n * (n - 1))
    return Auc(value, influence)


def macro_auc(areas: list[Auc]) -> Auc:
    """Return the unweighted mean of the areas of several classes over the same events."""
    influences = [area.influence for area in areas if area.influence is not None]
    complete = len(influences) == len(areas)
    return Auc(
        float(np.mean([area.value for area in areas])),
        np.mean(influences, axis=0, dtype=np.float64) if complete else None,
    )


def difference(left: Auc, right: Auc) -> Auc:
    """Return ``left - right`` for two models on the same events; the error is that of the paired difference."""
    paired = None if left.influence is None or right.influence is None else left.influence - right.influence
    return Auc(left.value - right.value, paired)


def roc_curve(score: Array, positive: Mask) -> RocCurve:
    """Return the efficiencies at every distinct threshold; both groups must be populated."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    accepted = np.cumsum(positive[order])[last]
    signal, background = np.count_nonzero(positive), np.count_nonzero(~positive)
    return RocCurve(
        np.concatenate([[0.0], accepted / signal]), np.concatenate([[0.0], (last + 1 - accepted) / background])
    )


def working_point(score: Array, positive: Mask, background_efficiency: float) -> float:
    """Return the lowest threshold t for which at most this share of the background has ``score > t``."""
    background = np.sort(score[~positive])[::-1]
    return float(background[min(int(background_efficiency * len(background)), len(background) - 1)])


def top_ties(logits: Array) -> float:
    """Return the share of events in which two or more classes share the highest logit."""
    top = logits.max(axis=1, keepdims=True)
    return float(np.mean(np.count_nonzero(logits == top, axis=1) > 1))


def binomial_error(share: float, events: int) -> float:
    """Return the standard error ``sqrt(p (1 - p) / N)`` of a share."""
    return math.sqrt(share * (1 - share) / events)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the interval of one standard deviation (68.3 %) for a probability, after `successes` of `trials`.

    It is that of E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209, which stays inside [0, 1] and has a width where none
    or all succeed.
    """
    share, width = successes / trials, 1 / trials
    centre = (share + width / 2) / (1 + width)
    half = math.sqrt(share * (1 - share) * width + width**2 / 4) / (1 + width)
    low, high = centre - half, centre + half
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def rank_correlation(left: npt.ArrayLike, right: npt.ArrayLike) -> float | None:
    """Return Spearman's rank correlation, equal values sharing their ranks; None if all values of a side are equal."""
    ranks = [_midranks(np.asarray(values, dtype=np.float64)) for values in (left, right)]
    first, second = (values - values.mean() for values in ranks)
    size = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / size if size else None


def _midranks(values: Array) -> Array:
    """Return ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)
