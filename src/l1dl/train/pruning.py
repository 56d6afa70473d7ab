"""Pruning while training: the smallest weights of each layer become zero, more of them from epoch to epoch.

M. Zhu and S. Gupta, "To prune, or not to prune" (arXiv:1710.01878). The mask follows from the weights: what is zero
stays among the smallest, so that no state is needed besides them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from l1dl.card import TrainingCard
from l1dl.models.backend import import_keras


def sparsity_at(settings: TrainingCard, epoch: int) -> float:
    """Return the share of zero weights in an epoch: ``s (1 - (1 - t)^3)``, t from 0 to 1 along the ramp."""
    begin, end = _ramp(settings)
    if epoch >= end:
        return settings.sparsity
    progress = (epoch - begin) / (end - begin) if epoch > begin else 0.0
    return settings.sparsity * (1 - (1 - progress) ** 3)


def is_final(settings: TrainingCard, epoch: int) -> bool:
    """Say whether an epoch has the final share of zero weights, so that it may be the best one."""
    return settings.sparsity == 0 or epoch >= _ramp(settings)[1]


def _ramp(settings: TrainingCard) -> tuple[float, float]:
    """Return the epochs between which the sparsity grows; it is final in the last epoch at the latest."""
    begin, end = (min(share * settings.epochs, settings.epochs - 1) for share in settings.sparsity_ramp)
    return begin, end


def prunable(variables: Sequence[Any]) -> list[bool]:
    """Say which variables of a model are pruned: kernels, not biases."""
    return [variable.name == "kernel" for variable in variables]


def zeros_of(variables: Sequence[Any], sparsity: float) -> list[int]:
    """Return the number of weights of each variable that become zero, 0 where it is not pruned."""
    return [
        math.ceil(sparsity * math.prod(variable.shape) - 1e-9) if pruned else 0
        for variable, pruned in zip(variables, prunable(variables), strict=True)
    ]


def mask(weights: Any, zeros: Any) -> Any:
    """Return 0 for the `zeros` smallest weights, and 1 for the others; same shape."""
    ops = import_keras().ops
    order = ops.argsort(ops.reshape(ops.abs(weights), (-1,)))
    ranks = ops.argsort(order)
    return ops.reshape(ops.cast(ranks >= zeros, weights.dtype), weights.shape)
