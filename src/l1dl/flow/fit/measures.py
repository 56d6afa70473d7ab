"""What could make a network smaller or faster: a list of single changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from l1dl.card import ModelCard
from l1dl.flow.fit.plan import Change, Layer, Plan
from l1dl.flow.fit.settings import settings_of

PER_LAYER = 6
"""Layers that are changed one by one: those that cost most."""

LHC_CLOCKS_NS = tuple(round(25 / multiple, 4) for multiple in (1, 2, 3, 4, 5, 6, 8, 9, 10))
"""Periods of clocks that are multiples of the bunch crossing rate, in ns, the slowest first."""

_FEWEST_BITS = 2


@dataclass(frozen=True)
class Measure:
    """One change.

    Attributes
    ----------
    text
        In words.
    topic
        What is changed; two measures of one topic for the same layer exclude each other.
    layers
        The layers that are changed; none for a clock.
    plan
        The change.
    settings
        The values of the card, each ``section.key=value``; None where there is no card, or no key.
    """

    text: str
    topic: str
    layers: frozenset[str]
    plan: Plan
    settings: tuple[str, ...] | None

    def excludes(self, other: Measure) -> bool:
        """Say whether two measures cannot be taken together."""
        if not self.layers and not other.layers:
            return True
        same = self.topic == other.topic or "removal" in (self.topic, other.topic)
        return same and bool(self.layers & other.layers)


def all_measures(
    layers: Sequence[Layer], costs: Mapping[str, float], card: ModelCard | None, clock_period_ns: float, *, clock: bool
) -> list[Measure]:
    """Return what can be tried.

    Parameters
    ----------
    costs
        LUTs by layer.
    clock
        Whether the clock may change.
    """
    biggest = sorted(layers, key=lambda layer: -costs.get(layer.name, 0.0))[:PER_LAYER]
    single = [layer for layer in layers if layer in biggest]
    found = [*_of_layers(single, layers), *(_of_all(layers, card) if layers else ())]
    if clock:
        found += _of_clock(clock_period_ns)
    return [
        Measure(
            text, topic, frozenset(name for name, _ in plan.changes), plan, settings_of(card, plan) if card else None
        )
        for text, topic, plan in found
    ]


_Found = Iterator[tuple[str, str, Plan]]


def _of_layers(single: Sequence[Layer], layers: Sequence[Layer]) -> _Found:
    for layer in single:
        if layer.weight_bits > _FEWEST_BITS:
            text = f"{layer.name}: weights {layer.weight_bits} → {layer.weight_bits - 1} bits"
            yield text, "weight bits", Plan(((layer.name, Change(weight_bits=1)),))
        if layer.activation_bits is not None and _may_drop(layer, 1):
            text = f"{layer.name}: activations {layer.activation_bits} → {layer.activation_bits - 1} bits"
            yield text, "activation bits", Plan(((layer.name, Change(activation_bits=1)),))
        sparsity = round(layer.sparsity + 0.25 * (1 - layer.sparsity), 2)
        text = f"{layer.name}: {100 * sparsity:.0f} % of the weights zero"
        yield text, "sparsity", Plan(((layer.name, Change(sparsity=sparsity)),))
        units = layer.units - layer.units // 4
        if layer is not layers[-1] and units < layer.units:
            text = f"{layer.name}: {layer.units} → {units} units"
            yield text, "units", Plan(((layer.name, Change(units=units)),))
        if layer.follower is not None:
            yield f"without {layer.name}", "removal", Plan(((layer.name, Change(removed=True)),))


def _of_all(layers: Sequence[Layer], card: ModelCard | None) -> _Found:
    names = [layer.name for layer in layers]
    for drop in (1, 2):
        if all(layer.weight_bits - drop >= _FEWEST_BITS for layer in layers):
            change = Change(weight_bits=drop)
            yield f"all: weights {_bits(drop)} less", "weight bits", _alike(names, change)
    active = [layer for layer in layers if layer.activation_bits is not None]
    for drop in (1, 2):
        if active and all(_may_drop(layer, drop) for layer in active):
            plan = _alike([layer.name for layer in active], Change(activation_bits=drop))
            yield f"all: activations {_bits(drop)} less", "activation bits", plan
    present = card.training.sparsity if card else 0.0
    for sparsity in (0.25, 0.5, 0.75):
        if sparsity > present:
            text = f"all: {100 * sparsity:.0f} % of the weights zero"
            yield text, "sparsity", _alike(names, Change(sparsity=sparsity))
    narrow = {layer.name: layer.units // 4 for layer in layers[:-1] if layer.units >= 4}
    if len(narrow) > 1:
        left = {layer.name: layer.units - narrow[layer.name] for layer in layers if layer.name in narrow}
        changes = tuple((name, Change(units=units)) for name, units in left.items())
        yield "all hidden: a quarter of the units less", "units", Plan(changes)


def _of_clock(clock_period_ns: float) -> _Found:
    """Yield the two next slower clocks and the two next faster ones."""
    slower = sorted(period for period in LHC_CLOCKS_NS if period > 1.01 * clock_period_ns)[:2]
    faster = sorted(period for period in LHC_CLOCKS_NS if period < 0.99 * clock_period_ns)[-2:]
    for period in (*faster, *slower):
        yield f"clock {period:g} ns, {1e3 / period:.0f} MHz", "clock", Plan(clock_period_ns=period)


def _alike(names: Sequence[str], change: Change) -> Plan:
    return Plan(tuple((name, change) for name in names))


def _bits(count: int) -> str:
    return "1 bit" if count == 1 else f"{count} bits"


def _may_drop(layer: Layer, drop: int) -> bool:
    """Say whether the activation keeps two bits, and one behind the binary point."""
    assert layer.activation_bits is not None
    return layer.activation_bits - drop >= _FEWEST_BITS and layer.activation_fraction > drop
