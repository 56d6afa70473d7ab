"""What a published model has and firmware does without: layers that act in training only, and a last softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from l1dl.models.flat import Call, FlatModel, redirect, with_calls
from l1dl.models.layers import IDENTITIES
from l1dl.models.twins import relu

CUT = ("softmax", "sigmoid")
"""Functions at the end of a model that are cut off: they change no decision on logits, only the scale."""

PROBABILITY_BITS = 12
"""Bits of a sigmoid that is kept: one for the whole number 1, the others behind the point."""


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
    outputs, notes = list(flat.outputs), []
    for position in range(len(outputs)):
        flat, parted = _part(flat, position)
        if parted is None:
            continue
        function, place, outputs[position] = parted
        notes.append(
            f"The final {function} ({place}) was cut off: the firmware gives the values before it, and decisions on "
            "them are the same. Keep it with --keep-softmax."
        )
    return (with_calls(flat, flat.calls, outputs=tuple(outputs)) if notes else flat), tuple(notes)


def keep_final_activation(flat: FlatModel) -> tuple[FlatModel, tuple[str, ...]]:
    """Make a softmax or sigmoid at the outputs a layer of its own, which conversion knows as the end of a model."""
    original, outputs, notes = flat, list(flat.outputs), []
    for position, output in enumerate(flat.outputs):
        call = flat.producer(output)
        flat, parted = _part(flat, position)
        if parted is None or call is None:
            continue
        function, place, before = parted
        kind, options = ("Softmax", {}) if function == "softmax" else ("Activation", {"activation": function})
        if call.kind in ("Activation", "QActivation"):
            own = replace(call, kind=kind, options=options)
            flat = replace(flat, calls=tuple(own if each is call else each for each in flat.calls))
        elif call.kind != "Softmax":
            outputs[position] = flat.unused
            own = Call(flat.free(f"{call.name}_{function}"), kind, options, (), (before,), outputs[position])
            flat = replace(flat, calls=(*flat.calls, own))
        if function == "softmax":
            notes.append(
                f"The final softmax ({place}) was kept: firmware computes it with tables. Keras is compared on what it "
                "reads, all other meanings on the softmax itself."
            )
    return (flat if flat is original else with_calls(flat, flat.calls, outputs=tuple(outputs))), tuple(notes)


def kept_function(model: Any) -> str | None:
    """Return the function, ``softmax`` or ``sigmoid``, that a Keras model with one output ends with."""
    if len(model.outputs) != 1:
        return None
    layer = model.outputs[0]._keras_history.operation
    if type(layer).__name__ == "QActivation":
        layer = layer.input._keras_history.operation
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return "sigmoid" if function_name(getattr(layer, "activation", None)) == "sigmoid" else None


def quantise_sigmoids(flat: FlatModel) -> tuple[FlatModel, tuple[str, ...]]:
    """Put a quantiser behind a sigmoid at the outputs, so that firmware has a truth table of both."""
    outputs, notes = list(flat.outputs), []
    for position, output in enumerate(flat.outputs):
        call = flat.producer(output)
        if call is None or call.kind != "Activation" or final_function(call) != "sigmoid":
            continue
        outputs[position] = flat.unused
        quantiser, _ = relu(PROBABILITY_BITS, 1)
        name = flat.free(f"{call.name}_quantised")
        own = Call(name, "QActivation", {"activation": quantiser}, (), (output,), outputs[position])
        flat = replace(flat, calls=(*flat.calls, own))
        steps = f"steps of 2^-{PROBABILITY_BITS - 1}"
        notes.append(f"The final sigmoid {call.name!r} was kept; a quantiser rounds its values to {steps}.")
    return (with_calls(flat, flat.calls, outputs=tuple(outputs)) if notes else flat), tuple(notes)


def _part(flat: FlatModel, position: int) -> tuple[FlatModel, tuple[str, str, int] | None]:
    """Part an output from its final function; return the function, where it stood, and the tensor before it.

    The model that is returned computes that tensor too; None stands for an output without a final function.
    """
    output = flat.outputs[position]
    call = flat.producer(output)
    function = None if call is None else final_function(call)
    if call is None or function is None:
        return flat, None
    if call.kind in ("Softmax", "Activation", "QActivation"):
        return flat, (function, f"layer {call.name!r}", call.inputs[0])
    place, calls = f"of the last layer, {call.name!r}", list(flat.calls)
    bare, index = replace(call, options={**call.options, "activation": "linear"}), calls.index(call)
    if not (flat.shared(call.name) or flat.consumers(output)):
        calls[index] = bare
        return replace(flat, calls=tuple(calls)), (function, place, output)
    # Others read it with its function: then a layer of the same weights without it stands beside it.
    bare = replace(bare, name=flat.free(f"{call.name}_logits"), output=flat.unused)
    calls.insert(index + 1, bare)
    return replace(flat, calls=tuple(calls)), (function, place, bare.output)


def final_function(call: Call) -> str | None:
    """Return the function that a call at the end of a model would lose; None if there is none to cut."""
    if call.kind == "Softmax":
        return "softmax"
    name = function_name(call.options.get("activation"))
    return name if name in CUT else None


def _is_linear(call: Call) -> bool:
    return call.kind in ("Activation", "QActivation") and function_name(call.options.get("activation")) == "linear"
