"""The verdicts of the report: the declared budget, and whether the model is bit-exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l1dl.card import BudgetCard

MEANINGS = {"keras": "Keras", "csim": "C simulation", "emulator": "emulator", "rtl": "RTL"}
"""Names of the four meanings of a model for the reader."""

BudgetEntry = dict[str, Any]


def comparison_title(name: str) -> str:
    """Return for example ``Keras against C simulation`` for ``keras_csim``."""
    left, right = name.split("_", 1)
    return f"{MEANINGS[left]} against {MEANINGS[right]}"


def budget_section(budget: BudgetCard, report: Mapping[str, Any]) -> list[BudgetEntry]:
    """Judge each limit that the card declares; a limit that is equalled is met.

    Parameters
    ----------
    report
        With the sections ``physics``, ``latency`` and ``resources``.
    """
    physics, resources = report["physics"], report["resources"]
    unlabelled = {"value": {"macro": None}, "error": {"macro": None}, "reason": "no labelled data were given"}
    loss: Mapping[str, Any] = unlabelled if physics is None else physics["auc_loss"]
    entries = [
        _judge("max_auc_loss", budget.max_auc_loss, loss["value"]["macro"], "", loss["reason"]),
        _judge("max_latency_ns", budget.max_latency_ns, report["latency"]["ns"], "ns", None),
        _judge("max_lut", budget.max_lut, resources["lut"], "LUT", resources["reason"]),
    ]
    origins = {
        "max_auc_loss": "macro AUC of the float model minus that of the RTL",
        "max_latency_ns": report["latency"]["origin"],
        "max_lut": resources["origin"],
    }
    errors = {"max_auc_loss": loss["error"]["macro"]}
    return [
        {**entry, "error": errors.get(entry["name"]), "origin": origins[entry["name"]]}
        for entry in entries
        if entry["limit"] is not None
    ]


def verdict_section(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overall verdict, and each reason why it is not good.

    The model is bit-exact if all comparisons were made and found no mismatch, in the outputs and in the layers.
    It is good if it is bit-exact, no limit of the budget is broken or unknown, and the fault of the self-test,
    where there was one, was seen.
    """
    reasons = [*_disagreements(report["agreement"])]
    first = next((layer["name"] for layer in report["layers"] if layer["mismatches"]), None)
    if first is not None:
        reasons.append(f"{first} is the first layer that differs from Keras")
    bit_exact = not reasons
    verdicts = {entry["verdict"] for entry in report["budget"]}
    budget = next((verdict for verdict in ("broken", "unknown", "met") if verdict in verdicts), "none")
    reasons += [f"{entry['name']}: {entry['reason']}" for entry in report["budget"] if entry["verdict"] != "met"]
    test = report["cosim"]["self_test"]
    blind = test is not None and not test["seen"]
    if blind:
        reasons.append(f"the co-simulation did not see the fault put into the RTL on purpose ({test['fault']})")
    return {
        "bit_exact": bit_exact,
        "first_differing_layer": first,
        "budget": budget,
        "good": bit_exact and budget in {"met", "none"} and not blind,
        "reasons": reasons,
    }


def _disagreements(agreement: Mapping[str, Any]) -> list[str]:
    reasons = []
    for name, outcome in agreement.items():
        left, right = (MEANINGS[part] for part in name.split("_", 1))
        if outcome["mismatches"]:
            reasons.append(
                f"{left} and {right} disagree in {outcome['mismatches']} output codes of {outcome['events']} events"
            )
        elif outcome["mismatches"] is None or outcome["events"] == 0:
            reasons.append(f"{left} and {right} were not compared")
    return reasons


def _judge(name: str, limit: float | None, value: float | None, unit: str, reason: str | None) -> BudgetEntry:
    entry: BudgetEntry = {"name": name, "limit": limit, "value": value, "unit": unit or None}
    suffix = f" {unit}" if unit else ""
    if limit is None or value is None:
        return {
            **entry,
            "verdict": "unknown",
            "reason": f"cannot be judged: {reason or 'the figure is missing'}",
        }
    if value > limit:
        return {**entry, "verdict": "broken", "reason": f"{value:.6g}{suffix} exceeds {limit:.6g}{suffix}"}
    return {**entry, "verdict": "met", "reason": f"{value:.6g}{suffix} is within {limit:.6g}{suffix}"}
