"""What a published model has and firmware does without: layers that act in training only, and a last softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from l1dl.models.flat import Call, FlatModel, redirect, with_calls
from l1dl.models.layers import IDENTITIES

CUT = ("softmax", "sigmoid")
"""Functions at the end of a model that are cut off: they change no decision on logits, only the scale."""


def function_name(activation: Any) -> str:
    """Return the name of an activation function or a quantiser, however a configuration writes it."""
    if isinstance(activation, Mapping):
        inner = activation.get("config")
        activation = inner if activation.get("class_name") == "function" else activation.get("class_name")
    if activation is None:
        return "linear"
    return str(
        activation if isinstance(activation, str) else getattr(activation, "__name__", type(activation).__name__)
    )


def drop_identities(flat: FlatModel) -> tuple[FlatModel, tuple[str, ...]]:
    """Leave out layers that only act in training, and return the notes about it."""
    moved: dict[int, int] = {}
    calls = []
    dropped = []
    for call in flat.calls:
        if call.kind in IDENTITIES or _is_linear(call):
            moved[call.output] = moved.get(call.inputs[0], call.inputs[0])
            dropped.append(call.name)
        else:
            calls.append(redirect(call, moved))
    if not dropped:
        return flat, ()
    outputs = tuple(moved.get(number, number) for number in flat.outputs)
    note = f"Layers without an effect in inference were left out: {', '.join(dict.fromkeys(dropped))}."
    return with_calls(flat, calls, outputs=outputs), (note,)


def cut_final_activation(flat: FlatModel) -> tuple[FlatModel, tuple[str, ...]]:
    """Cut a softmax or sigmoid off the outputs, as a layer or as the activation of the last layer."""
    outputs, calls, notes = list(flat.outputs), list(flat.calls), []
    number = flat.unused
    for position, output in enumerate(flat.outputs):
        call = flat.producer(output)
        name = None if call is None else final_function(call)
        if call is None or name is None:
            continue
        if call.kind in ("Softmax", "Activation", "QActivation"):
            outputs[position] = call.inputs[0]
            what = f"layer {call.name!r}"
        else:
            index = calls.index(call)
            bare = replace(call, options={**call.options, "activation": "linear"})
            if flat.shared(call.name) or flat.consumers(output):
                # Others read it with its function: then a layer of the same weights without it stands beside it.
                bare = replace(bare, name=flat.free(f"{call.name}_logits"), output=number)
                calls.insert(index + 1, bare)
                outputs[position] = number
                number += 1
            else:
                calls[index] = bare
            what = f"of the last layer, {call.name!r}"
        notes.append(
            f"The final {name} ({what}) was cut off: the firmware gives the values before it, and decisions on them "
            "are the same. Keep it with --keep-softmax."
        )
    return (with_calls(flat, calls, outputs=tuple(outputs)) if notes else flat), tuple(notes)


def final_function(call: Call) -> str | None:
    """Return the function that a call at the end of a model would lose; None if there is none to cut."""
    if call.kind == "Softmax":
        return "softmax"
    name = function_name(call.options.get("activation"))
    return name if name in CUT else None


def _is_linear(call: Call) -> bool:
    return call.kind in ("Activation", "QActivation") and function_name(call.options.get("activation")) == "linear"
