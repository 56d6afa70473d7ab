"""Training of bits: how much they cost from epoch to epoch, and which models of all epochs are worth keeping.

C. Sun et al., "Gradient-based automatic mixed precision quantization for neural networks on-chip" (arXiv:2405.00645).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l1dl.card import Hgq2Card
from l1dl.models.engines import is_hgq

LEVEL = 1.1
"""Ratio of the EBOPs of neighbouring levels, of each of which the best model is kept."""

LUT_PER_EBOP = 1.1
"""LUTs by Yosys over EBOPs, as the card ``jet_hgq2`` has them; other networks differ."""

FAST, SLOW = 6.0, 0.1
"""How far beta follows a factor between wanted and actual EBOPs: at once, and more with each epoch (exponents)."""

EPOCHS = 600
"""Number of epochs below which it follows faster, so that a short training comes as far."""


@dataclass
class Price:
    """The price of a bit: beta, from epoch to epoch.

    Parameters
    ----------
    settings
        The section ``[hgq2]`` of the card.
    epochs
        Number of epochs.

    Attributes
    ----------
    slow
        The part of log(beta / smallest beta) that changes slowly.
    """

    settings: Hgq2Card
    epochs: int
    slow: float = 0.0

    def beta(self, epoch: int, ebops: Sequence[float]) -> float:
        """Return beta for an epoch, from the EBOPs after each epoch before."""
        low, high = self.settings.beta
        span = math.log(high / low)
        if not self.settings.steer:
            return low * math.exp(span * epoch / max(self.epochs - 1, 1))
        if not ebops:
            return low
        excess = math.log(max(ebops[-1], 1.0) / self.goal(epoch, max(ebops[0], 1.0)))
        # What lies beyond the limits is not added up, or it would have to be taken back later.
        self.slow = min(max(self.slow + SLOW * max(1.0, EPOCHS / self.epochs) * excess, 0.0), span)
        return low * math.exp(min(max(self.slow + FAST * excess, 0.0), span))

    def goal(self, epoch: int, start: float) -> float:
        """Return the EBOPs wanted in an epoch: from those at the start down to the target, evenly in the logarithm."""
        target = self.settings.ebops * GOAL
        share = min(epoch / max(self.settings.ramp * self.epochs, 1.0), 1.0)
        return float(max(target, start * (target / start) ** share))


GOAL = 0.97
"""What is steered to, as a share of the EBOPs that are allowed: training goes up and down around it."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model worth keeping.

    Attributes
    ----------
    epoch
        The epoch (from 0) after which it was.
    ebops, loss, accuracy
        Its EBOPs, and its figures on the validation split.
    weights
        Its weights, in whatever form the runner keeps them.
    """

    epoch: int
    ebops: float
    loss: float
    accuracy: float
    weights: Any

    def facts(self) -> dict[str, float]:
        """Return all but the weights."""
        return {"epoch": self.epoch, "ebops": self.ebops, "loss": self.loss, "accuracy": self.accuracy}


class Front:
    """The best models of all epochs: one for each level of EBOPs, none of which is worse than one of fewer EBOPs."""

    def __init__(self, candidates: Sequence[Candidate] = ()) -> None:
        self._levels: dict[int, Candidate] = {}
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> bool:
        """Take a model if it is the best so far at its level; say whether it was taken."""
        level = self._level(candidate)
        kept = self._levels.get(level)
        if kept is not None and kept.loss <= candidate.loss:
            return False
        self._levels[level] = candidate
        return True

    def wants(self, ebops: float, loss: float) -> bool:
        """Say whether a model with these figures would be taken."""
        kept = self._levels.get(self._level(Candidate(0, ebops, loss, 0.0, None)))
        return kept is None or loss < kept.loss

    def candidates(self) -> list[Candidate]:
        """Return the models, from few EBOPs to many, without those that one of fewer EBOPs beats."""
        found: list[Candidate] = []
        for level in sorted(self._levels):
            candidate = self._levels[level]
            if not found or candidate.loss < found[-1].loss:
                found.append(candidate)
        return found

    @staticmethod
    def _level(candidate: Candidate) -> int:
        return math.floor(math.log(max(candidate.ebops, 1.0)) / math.log(LEVEL))


def places_of(model: Any, name: str) -> list[int]:
    """Return the places of a variable of HGQ2's layers, ``ebops`` or ``beta``, among those that are not trained."""
    wanted = {id(getattr(layer, f"_{name}", None)) for layer in model._flatten_layers() if is_hgq(layer)}
    return [place for place, variable in enumerate(model.non_trainable_variables) if id(variable) in wanted]
