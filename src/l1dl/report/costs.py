"""Where the LUTs go: the section ``costs`` of the report, layer by layer, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l1dl.nodes import Input
from l1dl.report.format import NARROW, NOTHING, count
from l1dl.report.inputs import ReportInputs
from l1dl.rtl.cost import operations

HEADERS = ("layer", "LUT", "share", "products", "weights not 0", "EBOPs")

ACROSS = "optimised across layers"
"""What the sum over the layers lacks of the whole network."""


def costs_section(inputs: ReportInputs) -> dict[str, Any]:
    """Return what each layer costs: its LUTs by the compiler's estimate, and what it computes."""
    estimate, reason = inputs.resources.estimate, None
    if estimate is None or not estimate.layers:
        streams = inputs.cosim.stream is not None
        reason = "a streaming design is not estimated layer by layer" if streams else "there is no estimate by layer"
    luts = {} if estimate is None else {layer.name: layer.lut for layer in estimate.layers}
    total = None if estimate is None else estimate.lut
    layers = [
        {**vars(each), "lut": luts.get(each.name)} for each in operations(inputs.graph) if each.kind != Input.kind
    ]
    across = total - sum(luts.values()) if luts and total is not None else None
    return {
        "layers": layers,
        "across_layers_lut": across,
        "lut": total,
        "ebops": sum(layer["ebops"] for layer in layers),
        "origin": "" if estimate is None else estimate.origin,
        "reason": reason,
    }


def cost_rows(costs: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each layer that costs something, one for what cannot be attributed, and the sum."""
    total = costs["lut"]

    def row(name: str, lut: float | None, *others: str) -> tuple[str, ...]:
        portion = f"{100 * lut / total:.1f}{NARROW}%" if total and lut is not None else NOTHING
        return (name, count(lut), portion, *others)

    rows = [
        row(
            layer["name"], layer["lut"], count(layer["multiplications"]),
            _weights(layer), count(layer["ebops"]),
        )
        for layer in costs["layers"] if layer["lut"] or layer["multiplications"]
    ]  # fmt: skip
    if costs["across_layers_lut"] is not None:
        rows.append(row(ACROSS, costs["across_layers_lut"], "", "", ""))
    return [*rows, row("all", total, "", "", count(costs["ebops"]))]


def _weights(layer: Mapping[str, Any]) -> str:
    return f"{count(layer['nonzero_weights'])} of {count(layer['weights'])}" if layer["weights"] else ""
