"""Types that a user gives: checked against the model, and those of results written into it as quantisers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import FixedSpec
from l1dl.models.flat import Call, FlatModel, redirect
from l1dl.models.layers import QKERAS_LAYERS
from l1dl.models.strip import function_name
from l1dl.models.twins import PLAIN, given_quantiser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PARTS = ("result", "sum", "weight", "bias")
"""What of a layer may be given a type; a layer's name alone stands for its result."""

GivenTypes = Mapping[tuple[str, str], FixedSpec]
"""Name of a layer or an input, and one of `PARTS` → type."""


def read_types(path: Path) -> dict[str, str]:
    """Read types from a TOML file: a table for each layer, with its parts, or texts by the name of a layer or input.

    Returns
    -------
    ``LAYER`` or ``LAYER.PART`` → the text of the type.

    Raises
    ------
    InputError
        The file is missing, is no TOML, or holds anything else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"file of types not found: {path}"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"file of types {path} cannot be read: {error}"
        raise InputError(msg) from None
    found = {}
    for layer, value in content.items():
        for part, text in value.items() if isinstance(value, dict) else (("", value),):
            key = layer if part in ("", "result") else f"{layer}.{part}"
            if not isinstance(text, str):
                msg = f"file of types {path}: {key} = {text!r} is no type; give a text, e.g. 'fixed<8,3,RND,SAT>'"
                raise InputError(msg)
            found[key] = text
    return found


def check_types(flat: FlatModel, types: Mapping[str, FixedSpec]) -> GivenTypes:
    """Return the types that are given, by layer and part.

    Parameters
    ----------
    types
        ``LAYER`` or ``LAYER.PART`` → type.

    Raises
    ------
    InputError
        The model has no such layer, or the layer no such part, or one that has its type already.
    """
    names = flat.names()
    given: dict[tuple[str, str], FixedSpec] = {}
    for key, spec in types.items():
        name, part = split_key(key, names)
        layer, _, wrong = key.rpartition(".")
        if name not in names and layer in names:
            hint = did_you_mean(wrong, PARTS)
            msg = f"a type is given for {key!r}: {wrong!r} is no part of a layer{hint}; allowed are {', '.join(PARTS)}"
            raise InputError(msg)
        if name not in names:
            order = [*(entry.name for entry in flat.entries), *dict.fromkeys(call.name for call in flat.calls)]
            msg = (
                f"a type is given for {key!r}, which the firmware does not have{did_you_mean(name, order)}; "
                f"its inputs and layers are {', '.join(order)}"
            )
            raise InputError(msg)
        why = _refusal(flat, name, part)
        if why is not None:
            msg = f"a type is given for {key!r}, but {why}"
            raise InputError(msg)
        if (name, part) in given:
            msg = f"two types are given for the {part} of {name!r}: {given[name, part]} and {spec}"
            raise InputError(msg)
        given[name, part] = spec
    return given


def split_key(key: str, names: set[str]) -> tuple[str, str]:
    """Return layer and part of a text such as ``dense`` or ``dense.weight``."""
    name, _, part = key.rpartition(".")
    return (name, part) if part in PARTS and key not in names and name else (key, "result")


def insert_types(flat: FlatModel, given: GivenTypes, parted: Mapping[str, Sequence[str]]) -> FlatModel:
    """Put a quantiser behind each result whose type is given.

    Parameters
    ----------
    parted
        Name of a layer → the layers that its activation became.
    """
    for (name, part), spec in given.items():
        if part not in ("result", "sum"):
            continue
        for index, entry in enumerate(flat.entries):
            if entry.name == name:
                flat = _insert(flat, index, f"quantised_{name}", spec)
        makers = parted.get(name, [name]) if part == "result" else [name]
        for call in flat.calls:
            if call.name in makers:
                flat = _insert(flat, call.output, f"{call.name}_quantised", spec)
    return flat


def _insert(flat: FlatModel, number: int, name: str, spec: FixedSpec) -> FlatModel:
    """Put a quantiser between a tensor and all that reads it."""
    made = flat.unused
    own = Call(flat.free(name), "QActivation", {"activation": given_quantiser(spec)}, (), (number,), made)
    calls = [redirect(call, {number: made}) for call in flat.calls]
    calls.insert(1 + next((i for i, call in enumerate(calls) if call.output == number), -1), own)
    outputs = tuple(made if output == number else output for output in flat.outputs)
    return replace(flat, calls=tuple(calls), outputs=outputs)


def _refusal(flat: FlatModel, name: str, part: str) -> str | None:
    """Say why a part of a layer or an input takes no type; None if it does."""
    for index, entry in enumerate(flat.entries):
        if entry.name == name:
            return _refusal_of_input(flat, index, part)
    call = next(call for call in flat.calls if call.name == name)
    layer, kind, own = f"layer {name!r} ({call.kind})", call.kind, function_name(call.options.get("activation"))
    weighted = kind in PLAIN
    reasons = {
        f"{layer} has quantisers of its own; change those, or leave the type out": kind in QKERAS_LAYERS,
        f"{layer} is a softmax, whose type follows from its tables": part == "result"
        and (kind == "Softmax" or own == "softmax"),
        f"{layer} has no activation of its own; what it sums is its result": part == "sum"
        and not (weighted and own != "linear"),
        f"{layer} has no {part} that takes a type": (part == "weight" and not (weighted or kind == "Embedding"))
        or (part == "bias" and not weighted),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _refusal_of_input(flat: FlatModel, index: int, part: str) -> str | None:
    name, readers = flat.entries[index].name, {call.kind for call in flat.consumers(index)}
    reasons = {
        f"{name!r} is an input, which has no {part}": part != "result",
        f"input {name!r} holds the numbers of an embedding's entries": "Embedding" in readers,
        f"input {name!r} is quantised in the model already": readers == {"QActivation"} and index not in flat.outputs,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
