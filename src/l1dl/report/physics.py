"""The physics section of the report: accuracy, AUC, confusion, working points, and what quantisation costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, did_you_mean
from l1dl.metrics import (
    Array,
    Auc,
    Mask,
    as_logits,
    binomial_error,
    difference,
    macro_auc,
    roc_auc,
    softmax,
    top_ties,
    working_point,
)
from l1dl.report.inputs import Physics

MODELS = ("float", "quantised", "rtl")
"""The meanings of a model that have scores."""

BACKGROUND_EFFICIENCY = 0.01
"""Where the working points are."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One model on the test split.

    Attributes
    ----------
    logits
        Shape (N, C), with C > 1.
    probabilities
        Softmax of the logits, of the same shape.
    decision
        The class with the highest logit, the first of equals; shape (N,).
    """

    logits: Array
    probabilities: Array
    decision: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Checked labels and scores.

    Attributes
    ----------
    signals
        For each class that is judged, its name and its index.
    axis
        Names of all indices, the background of a binary model included.
    models
        The models whose scores are finite.
    reasons
        Why a model is not judged.
    """

    signals: tuple[tuple[str, int], ...]
    axis: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    models: Mapping[str, Scored]
    reasons: Mapping[str, str]

    def positive(self, index: int) -> Mask:
        """Return which events belong to a class."""
        return np.asarray(self.labels == index)


def evaluate(physics: Physics) -> Evaluation:
    """Check labels and scores and compute the probabilities.

    Raises
    ------
    InputError
        An unknown model, shapes that do not fit, or a label without a class.
    """
    for name in physics.scores:
        if name not in MODELS:
            msg = f"scores of {name!r} are not known; allowed are {', '.join(MODELS)}{did_you_mean(name, MODELS)}"
            raise InputError(msg)
    classes = physics.classes
    if not classes or len(set(classes)) != len(classes) or "macro" in classes:
        msg = f"class names must be given, distinct, and none may be 'macro'; got {', '.join(classes) or 'none'}"
        raise InputError(msg)
    models, reasons = {}, {}
    size = max(len(classes), 2)
    for name in (model for model in MODELS if model in physics.scores):
        logits = as_logits(physics.scores[name])
        if logits.shape != (len(physics.labels), size):
            msg = (
                f"scores of {name!r} have shape {np.shape(physics.scores[name])}; {len(physics.labels)} labels and "
                f"{len(classes)} classes need ({len(physics.labels)}, {len(classes)})"
            )
            raise InputError(msg)
        if len(logits) == 0:
            reasons[name] = "the test split is empty"
        elif not np.all(np.isfinite(logits)):
            reasons[name] = f"{np.count_nonzero(~np.isfinite(logits))} scores are NaN or infinite"
        else:
            models[name] = Scored(logits, softmax(logits), np.argmax(logits, axis=1))
    labels = np.asarray(physics.labels, dtype=np.int64)
    if labels.size and (labels.min() < 0 or labels.max() >= size):
        msg = f"labels run from {labels.min()} to {labels.max()}; {len(classes)} classes need 0 to {size - 1}"
        raise InputError(msg)
    if len(classes) == 1:
        return Evaluation(((classes[0], 1),), (f"not {classes[0]}", classes[0]), labels, models, reasons)
    return Evaluation(tuple((name, index) for index, name in enumerate(classes)), classes, labels, models, reasons)


def physics_section(evaluation: Evaluation) -> dict[str, Any]:
    """Return the ``physics`` section of the report."""
    areas = {name: _areas(evaluation, scored) for name, scored in evaluation.models.items()}
    section: dict[str, Any] = {
        "events": len(evaluation.labels),
        "classes": [name for name, _ in evaluation.signals],
        "events_by_class": {
            name: int(np.count_nonzero(evaluation.labels == index)) for index, name in enumerate(evaluation.axis)
        },
        "score": "softmax probability of the class in float64, one class against all others",
    }
    for name, scored in evaluation.models.items():
        section[name] = _model(evaluation, scored, areas[name])
    for name, reason in evaluation.reasons.items():
        section[name] = _unjudged(evaluation, reason)
    section["accuracy_loss"] = _accuracy_loss(evaluation)
    section["auc_loss"] = _loss(evaluation, areas)
    section["argmax_agreement"], section["argmax_agreement_reason"] = _argmax_agreement(evaluation)
    rtl = evaluation.models.get("rtl")
    section["ties_rtl"] = None if rtl is None else top_ties(rtl.logits)
    section["confusion_rtl"] = (
        None if rtl is None else {"axis": list(evaluation.axis), "counts": _confusion(evaluation)}
    )
    section["working_points"] = _working_points(evaluation)
    return section


def confusion_counts(evaluation: Evaluation, scored: Scored) -> npt.NDArray[np.int64]:
    """Return counts of shape (true class, decided class)."""
    size = len(evaluation.axis)
    flat = np.bincount(evaluation.labels * size + scored.decision, minlength=size * size)
    return np.asarray(flat.reshape(size, size), dtype=np.int64)


def _confusion(evaluation: Evaluation) -> list[list[int]]:
    return [[int(count) for count in row] for row in confusion_counts(evaluation, evaluation.models["rtl"])]


def _areas(evaluation: Evaluation, scored: Scored) -> dict[str, Auc | None]:
    areas = {
        name: roc_auc(scored.probabilities[:, index], evaluation.positive(index)) for name, index in evaluation.signals
    }
    present = [area for area in areas.values() if area is not None]
    return {**areas, "macro": macro_auc(present) if len(present) == len(areas) else None}


def _model(evaluation: Evaluation, scored: Scored, areas: Mapping[str, Auc | None]) -> dict[str, Any]:
    accuracy = float(np.mean(scored.decision == evaluation.labels))
    return {
        "accuracy": accuracy,
        "accuracy_error": binomial_error(accuracy, len(evaluation.labels)),
        "auc": {name: None if area is None else area.value for name, area in areas.items()},
        "auc_error": {name: None if area is None else area.error for name, area in areas.items()},
        "reason": _missing_class(evaluation) if areas["macro"] is None else None,
    }


def _unjudged(evaluation: Evaluation, reason: str) -> dict[str, Any]:
    nothing = dict.fromkeys([*(name for name, _ in evaluation.signals), "macro"])
    return {
        "accuracy": None,
        "accuracy_error": None,
        "auc": nothing,
        "auc_error": dict(nothing),
        "reason": reason,
    }


def _missing_class(evaluation: Evaluation) -> str:
    counts = {name: np.count_nonzero(evaluation.positive(index)) for name, index in evaluation.signals}
    absent = [name for name, count in counts.items() if count == 0]
    if absent:
        return f"the test split has no event of {', '.join(absent)}: no AUC for it and no macro AUC"
    return "the test split has events of a single class: no AUC"


def _accuracy_loss(evaluation: Evaluation) -> dict[str, Any]:
    """Return accuracy(float) - accuracy(rtl), with the error of the paired difference."""
    reason = _absent(evaluation, ("float", "rtl"))
    if reason is not None:
        return {"value": None, "error": None, "reason": reason}
    right = {name: evaluation.models[name].decision == evaluation.labels for name in ("float", "rtl")}
    change = right["float"].astype(np.float64) - right["rtl"]
    return {"value": float(change.mean()), "error": float(change.std() / np.sqrt(len(change))), "reason": None}


def _loss(evaluation: Evaluation, areas: Mapping[str, Mapping[str, Auc | None]]) -> dict[str, Any]:
    """Return AUC(float) - AUC(rtl), with the errors of the paired differences."""
    names = [*(name for name, _ in evaluation.signals), "macro"]
    values: dict[str, float | None] = dict.fromkeys(names)
    errors: dict[str, float | None] = dict.fromkeys(names)
    for name in names:
        left, right = areas.get("float", {}).get(name), areas.get("rtl", {}).get(name)
        if left is not None and right is not None:
            loss = difference(left, right)
            values[name], errors[name] = loss.value, loss.error
    reason = None
    if values["macro"] is None:
        reason = _absent(evaluation, ("float", "rtl")) or _missing_class(evaluation)
    return {"value": values, "error": errors, "reason": reason}


def _absent(evaluation: Evaluation, names: tuple[str, ...]) -> str | None:
    """Return why one of these models cannot be judged; None if all can."""
    for name in names:
        if name in evaluation.reasons:
            return f"{name}: {evaluation.reasons[name]}"
        if name not in evaluation.models:
            return f"there are no scores of the {name} model"
    return None


def _argmax_agreement(evaluation: Evaluation) -> tuple[float | None, str | None]:
    reason = _absent(evaluation, ("quantised", "rtl"))
    if reason is not None:
        return None, reason
    left, right = evaluation.models["quantised"], evaluation.models["rtl"]
    return float(np.mean(left.decision == right.decision)), None


def _working_points(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return what the threshold chosen for the float model does in the others."""
    reference = evaluation.models.get("float")
    points = []
    for name, index in evaluation.signals:
        positive = evaluation.positive(index)
        if reference is None or positive.all() or not positive.any():
            continue
        threshold = working_point(reference.probabilities[:, index], positive, BACKGROUND_EFFICIENCY)
        accepted = {model: scored.probabilities[:, index] > threshold for model, scored in evaluation.models.items()}
        points.append(
            {
                "class": name,
                "threshold": threshold,
                "signal_efficiency": {model: float(np.mean(mask[positive])) for model, mask in accepted.items()},
                "background_efficiency": {model: float(np.mean(mask[~positive])) for model, mask in accepted.items()},
            }
        )
    return points
