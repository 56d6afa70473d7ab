"""The smallest set of measures that keeps the limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from l1dl.card import ModelCard
from l1dl.errors import UnsupportedError
from l1dl.flow.fit.limits import Limits
from l1dl.flow.fit.plan import Plan
from l1dl.flow.fit.result import Figures, Suggestion, Tried
from l1dl.flow.fit.settings import settings_of

TRIES = 6
"""Sets of measures of one size that are put to the compiler."""

LARGEST_SET = 4

HARMLESS = 0.01
"""Loss of AUC, without training again, that is allowed to measures where no limit is given."""


def suggest(
    card: ModelCard | None,
    figures_of: Callable[[Plan], Figures],
    limits: Limits,
    usable: Sequence[Tried],
    say: Callable[[str], None],
) -> Suggestion | None:
    """Look for the smallest set of measures that keeps the limits, of those the one that harms the network least.

    Whatever asks for training again must leave a margin for the weights that come of it. A set that keeps the loss of
    AUC within its limit even without training again goes before all others. What a set gives is expected to be the
    product of what its members give; the most promising sets are put to the compiler.
    """
    base, hard = figures_of(Plan()), replace(limits, auc_loss=None)
    allowed = (base.auc_loss or 0.0) + HARMLESS if limits.auc_loss is None else limits.auc_loss
    harmless = [each for each in usable if _loss(each.figures) <= allowed or not each.measure.layers]
    nearest: tuple[float, Sequence[Tried], Figures] | None = None
    for members, most in ((harmless, allowed), (usable, math.inf)):
        for size in range(1, LARGEST_SET + 1):
            for group in _promising(base, members, hard, size):
                say(f"trying {'; '.join(each.measure.text for each in group)}")
                try:
                    figures = figures_of(_together(group))
                except UnsupportedError:
                    continue
                trained = figures.after_training() if _together(group).retrains else figures
                worst = max(trained.ratios(hard))
                if worst <= 1 and (_loss(figures) <= most or not _together(group).retrains):
                    return _suggestion(card, group, figures, enough=True)
                if nearest is None or worst < nearest[0]:
                    nearest = (worst, group, figures)
    return None if nearest is None else _suggestion(card, nearest[1], nearest[2], enough=False)


def _loss(figures: Figures) -> float:
    """Return the loss of AUC without training again; infinite where it is not known."""
    return math.inf if figures.auc_loss is None else figures.auc_loss


def _promising(base: Figures, members: Sequence[Tried], limits: Limits, size: int) -> list[Sequence[Tried]]:
    """Return the sets of a size that should keep the limits, the least harmful first; without any, the nearest one."""
    enough: list[tuple[tuple[float, float], Sequence[Tried]]] = []
    nearest: tuple[float, Sequence[Tried]] = (math.inf, ())
    for group in itertools.combinations(members, size):
        if any(a.measure.excludes(b.measure) for a, b in itertools.combinations(group, 2)):
            continue
        worst = max(_expected(base, group, limits))
        if worst <= 1:
            enough.append((_harm(base, group), group))
        elif worst < nearest[0]:
            nearest = (worst, group)
    enough.sort(key=lambda each: each[0])
    return [group for _, group in enough[:TRIES]] or [group for group in (nearest[1],) if group]


def _suggestion(card: ModelCard | None, group: Sequence[Tried], figures: Figures, *, enough: bool) -> Suggestion:
    settings = None if card is None else settings_of(card, _together(group))
    return Suggestion(tuple(each.measure.text for each in group), figures, enough, settings)


def _together(group: Sequence[Tried]) -> Plan:
    plan = Plan()
    for each in group:
        plan = plan.merged(each.measure.plan)
    return plan


def _expected(base: Figures, group: Sequence[Tried], limits: Limits) -> list[float]:
    """Return what a set of measures probably takes in units of the limits."""
    alone = base.ratios(limits)
    products = list(alone)
    for each in group:
        ratios = each.figures.ratios(limits)
        products = [product * ratio / one for product, ratio, one in zip(products, ratios, alone, strict=True)]
    if any(each.measure.layers for each in group):
        margins = zip(base.after_training().ratios(limits), alone, strict=True)
        products = [product * more / one for product, (more, one) in zip(products, margins, strict=True)]
    return products


def _harm(base: Figures, group: Sequence[Tried]) -> tuple[float, float]:
    """Return the loss of AUC of a set, infinite where one is not known, and the LUTs it saves in log ratio."""
    losses = [
        math.inf
        if each.figures.auc_loss is None or base.auc_loss is None
        else max(each.figures.auc_loss - base.auc_loss, 0.0)
        for each in group
    ]
    clocks = sum(not each.measure.layers for each in group)
    if clocks == len(group):
        losses = [0.0]
    saved = sum(abs(math.log(each.figures.lut.value / base.lut.value)) for each in group if each.figures.lut.value)
    return sum(losses), saved
