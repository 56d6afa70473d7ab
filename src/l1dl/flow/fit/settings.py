"""A plan as values of a model card, in the form that ``--set`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l1dl.card import ConvCard, DenseCard, LayerCard, ModelCard, QuantiserCard, to_toml
from l1dl.flow.fit.plan import Plan

LOGITS = "logits"
"""Name of the last layer, whose types are those of ``[quantisation]``."""


def settings_of(card: ModelCard, plan: Plan) -> tuple[str, ...] | None:
    """Return a plan as ``section.key=value``; None where a card cannot say it.

    A card prunes all layers alike, and has no key to take all hidden layers out; with HGQ2 it has no types of layers.
    """
    found: list[str] = []
    sparsities = {plan[name].sparsity for name in weighted_layers(card)}
    if len(sparsities) > 1:
        return None
    if max(sparsities):
        found.append(f"training.sparsity={max(sparsities):g}")
    if plan.clock_period_ns is not None:
        found.append(f"rtl.clock_period_ns={plan.clock_period_ns:.6g}")
    if card.model.engine != "qkeras":  # it trains the types of its layers by itself
        return None if plan.changes else tuple(found)
    layers = _settings_of_layers(card, plan)
    return None if layers is None else (*found, *layers)


def weighted_layers(card: ModelCard) -> tuple[str, ...]:
    """Return the names of the layers with weights, the logits last."""
    return (*(name for name, layer in card.model.named() if isinstance(layer, (ConvCard, DenseCard))), LOGITS)


def _settings_of_layers(card: ModelCard, plan: Plan) -> tuple[str, ...] | None:
    types = card.quantisation
    assert types.weight is not None, "cards of QKeras have all types"
    assert types.activation is not None
    hidden = [(name, layer) for name, layer in card.model.named() if not plan[name].removed]
    if not hidden:
        return None
    weight = _fewer(types.weight, plan[LOGITS].weight_bits)
    own = {
        name: {"weight": _fewer(layer.weight or types.weight, plan[name].weight_bits),
               "activation": _fewer(layer.activation or types.activation, plan[name].activation_bits)}
        for name, layer in hidden if isinstance(layer, (ConvCard, DenseCard))
    }  # fmt: skip
    activations = {each["activation"] for each in own.values()}
    activation = activations.pop() if len(activations) == 1 else types.activation
    layers = [_described(layer, plan[name].units, own.get(name), weight, activation) for name, layer in hidden]
    found = []
    if weight != types.weight:
        found.append(f"quantisation.weight.bits={weight.bits}")
    if activation != types.activation:
        found.append(f"quantisation.activation.bits={activation.bits}")
    if layers == [_described(layer, None, None, weight, activation) for _, layer in card.model.named()]:
        return tuple(found)
    if all(layer.keys() == {"kind", "units"} for layer in layers) and card.model.hidden is not None:
        return (*found, f"model.hidden={to_toml([layer['units'] for layer in layers])}")
    return (*found, f"model.layers={to_toml(layers)}")


def _fewer(quantiser: QuantiserCard, drop: int) -> QuantiserCard:
    return quantiser.model_copy(update={"bits": quantiser.bits - drop}) if drop else quantiser


def _described(
    layer: LayerCard,
    units: int | None,
    own: Mapping[str, QuantiserCard] | None,
    weight: QuantiserCard,
    activation: QuantiserCard,
) -> dict[str, Any]:
    """Return the keys of a layer; types of its own only where they are not those of ``[quantisation]``."""
    keys: dict[str, Any] = layer.model_dump(exclude_defaults=True)
    if units is not None:
        keys["filters" if isinstance(layer, ConvCard) else "units"] = units
    for name, common in (("weight", weight), ("activation", activation)):
        if own is not None:
            keys.pop(name, None)
            if own[name] != common:
                keys[name] = {"bits": own[name].bits, "integer": own[name].integer}
    return keys
