"""Types for a model without quantisers: from its weights, and from the ranges that calibration data show.

Layers with weights become their QKeras twins, activations become quantisers, batch normalisation is folded, and
the inputs get a quantiser. Whatever is quantised already stays as it is, and a type that the user gives is taken
instead of a fitted one. All that the fitted model computes is exact, so that from here on it takes the same road as
a model that was trained quantised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import FixedSpec
from l1dl.models.fit_settings import FitSettings
from l1dl.models.flat import Call, FlatModel, assemble
from l1dl.models.fold import fold_normalisations, has_short_constants
from l1dl.models.given_types import GivenTypes, check_types, insert_types
from l1dl.models.strip import function_name
from l1dl.models.twins import PLAIN
from l1dl.models.type_pass import RECURRENT, TypePass, bare_inputs

__all__ = ["FitSettings", "Fitted", "fit_types", "missing_types", "value_ranges"]

BATCH = 4096
"""Events of the calibration data that pass through the model together."""

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A quantised model with types that were given, or fitted to calibration data.

    Attributes
    ----------
    flat
        The quantised model.
    notes
        What was done, for the report.
    """

    flat: FlatModel
    notes: tuple[str, ...]


def missing_types(flat: FlatModel) -> str | None:
    """Say which input, weights or batch normalisation of a model has no exact type yet; None if all have."""
    for index in bare_inputs(flat):
        return f"input {flat.entries[index].name!r} has no quantiser"
    for call in flat.calls:
        if call.kind in (*PLAIN, *RECURRENT):
            return f"layer {call.name!r} ({call.kind}) has no quantisers"
        if call.kind == "BatchNormalization" and not has_short_constants(call):
            return f"layer {call.name!r} (BatchNormalization) has constants that are no short binary fractions"
    return None


def fit_types(
    flat: FlatModel,
    calibration: Sequence[Array] | None,
    settings: FitSettings = FitSettings(),  # noqa: B008  frozen
) -> Fitted:
    """Return a quantised model.

    Parameters
    ----------
    flat
        The model, without layers that only act in training.
    calibration
        Real inputs, one array of shape (events, *shape) for each input; None will do where all types are given.
    settings
        The bit budget, and the types that are given.

    Raises
    ------
    UnsupportedError
        A layer has no quantised form; the text names it and says what to use.
    InputError
        The settings name a layer that is not there or has its types already, the budget does not suffice, or types
        are missing without calibration data.
    """
    given = check_types(flat, settings.specs)
    flat, parted = _split_activations(flat)
    flat, folded = fold_normalisations(insert_types(flat, given, parted))
    unknown = [name for name in settings.layers if name not in flat.names()]
    if unknown:
        hint = did_you_mean(unknown[0], flat.names())
        msg = f"bits are given for layer {unknown[0]!r}, which the model does not have{hint}"
        raise InputError(msg)
    fit = TypePass(flat, {} if calibration is None else value_ranges(flat, calibration), settings, given)
    result = fit.run()
    if fit.missing:
        keys = {own: name for name, owns in parted.items() for own in owns} | {name: f"{name}.sum" for name in parted}
        names = ", ".join(repr(keys.get(name, name)) for name in dict.fromkeys(fit.missing))
        msg = (
            f"no type is given for the values of {names}, and there are no calibration data to fit one to: give types "
            "with --type (types=… in Python), or data with --calibration (calibration=… in Python)"
        )
        raise InputError(msg)
    notes = [*_given_notes(settings.specs), *_summary(flat, result, calibration, settings, given)]
    if folded:
        notes.append(f"Batch normalisations were folded into the layers before them: {', '.join(folded)}.")
    return Fitted(result, tuple(dict.fromkeys((*notes, *fit.notes))))


def value_ranges(flat: FlatModel, calibration: Sequence[Array]) -> dict[int, tuple[float, float]]:
    """Return smallest and largest value of every tensor over the calibration data."""
    numbers = [*range(len(flat.entries)), *dict.fromkeys(call.output for call in flat.calls)]
    model = assemble(flat, probes=[call.output for call in flat.calls])
    low, high = np.full(len(numbers), np.inf), np.full(len(numbers), -np.inf)
    for start in range(0, len(calibration[0]), BATCH):
        batch = [part[start : start + BATCH] for part in calibration]
        values = model.predict_on_batch(batch if len(batch) > 1 else batch[0])
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        for index, part in enumerate([*batch, *values]):
            array = np.asarray(part)
            low[index], high[index] = min(low[index], array.min()), max(high[index], array.max())
    wrong = [number for number, bound in zip(numbers, high - low, strict=True) if not np.isfinite(bound)]
    if wrong:
        call = flat.producer(wrong[0])
        msg = f"layer {call.name if call else '?'!r} gives NaN or infinity on the calibration data"
        raise InputError(msg)
    return {number: (float(low[i]), float(high[i])) for i, number in enumerate(numbers)}


def _given_notes(types: Mapping[str, FixedSpec]) -> list[str]:
    """Return a sentence that names the types that were given."""
    return [f"Types were given: {', '.join(f'{key} {spec}' for key, spec in types.items())}."] if types else []


def _summary(
    flat: FlatModel,
    result: FlatModel,
    calibration: Sequence[Array] | None,
    settings: FitSettings,
    given: GivenTypes,
) -> list[str]:
    """Return a sentence about the bits of everything that got a fitted type."""
    weights = len({call.name for call in flat.calls if call.kind in PLAIN and (call.name, "weight") not in given})
    known = {call.name for call in flat.calls if call.kind == "QActivation"}
    entries = len(bare_inputs(flat))
    values = len({call.name for call in result.calls if call.kind == "QActivation"} - known) - entries
    parts = [
        f"{count} {what}{'' if count == 1 else 's'} ({bits} bits)"
        for count, what, bits in (
            (weights, "weight layer", settings.weight_bits),
            (values, "activation", settings.activation_bits),
            (entries, "input", settings.input_bits),
        )
        if count
    ]
    if given and not parts:
        return []
    margin = f"{settings.margin_bits} integer {'bit' if settings.margin_bits == 1 else 'bits'} of margin"
    source = "the weights" if calibration is None else f"{len(calibration[0])} calibration events, with {margin}"
    return [
        f"Types were fitted to {source}, for {', '.join(parts)}{'; weights are rounded to nearest' if weights else ''}."
    ]


def _split_activations(flat: FlatModel) -> tuple[FlatModel, dict[str, list[str]]]:
    """Give the activation inside a layer with weights a layer of its own, one for each call; return their names."""
    calls: list[Call] = []
    parted: dict[str, list[str]] = {}
    number, names = flat.unused, flat.names()
    for call in flat.calls:
        name = function_name(call.options.get("activation"))
        if call.kind not in PLAIN or name == "linear":
            calls.append(call)
            continue
        own, count = f"{call.name}_{name}", 1
        while own in names:
            count += 1
            own = f"{call.name}_{name}_{count}"
        names.add(own)
        calls.append(replace(call, options={**call.options, "activation": "linear"}, output=number))
        parted.setdefault(call.name, []).append(own)
        calls.append(Call(own, "Activation", {"activation": name}, (), (number,), call.output))
        number += 1
    return replace(flat, calls=tuple(calls)), parted
