"""From a model as it was published to one that converts exactly: stripped, and fitted with types where it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.engines import is_hgq_model
from l1dl.models.fit import FitSettings, fit_types, missing_types
from l1dl.models.flat import FlatModel, assemble, flatten_model
from l1dl.models.given_types import split_key
from l1dl.models.rebuild import identifier
from l1dl.models.strip import (
    cut_final_activation,
    drop_identities,
    function_name,
    keep_final_activation,
    quantise_sigmoids,
)

Arrays = Sequence[npt.NDArray[np.floating[Any]]]
Named = TypeVar("Named")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model ready for conversion.

    Attributes
    ----------
    model
        The quantised Keras model.
    reference
        The model before types were fitted to it, with the same outputs; None where nothing was fitted.
    notes
        What was done, for the report.
    """

    model: Any
    reference: Any | None
    notes: tuple[str, ...]


def prepare_model(
    model: Any,
    calibration: Arrays | None,
    settings: FitSettings = FitSettings(),  # noqa: B008  frozen
    *,
    keep_softmax: bool = False,
) -> Prepared:
    """Strip a model and give it types where it has none; one that needs neither is returned as it is.

    Parameters
    ----------
    model
        A Keras 3 model.
    calibration
        Real inputs, one array for each input; None where there are none.
    settings
        The bit budget of a fit, and the types that are given.
    keep_softmax
        Leave a final softmax or sigmoid where it is.

    Raises
    ------
    InputError
        Types must be fitted, and there are no calibration data; or a type is given for what takes none.
    UnsupportedError
        A layer is unknown, or cannot be given types.
    """
    if is_hgq_model(model):
        return _trained_by_hgq2(model, settings)
    original = flatten_model(model)
    flat, new = _rename(original)
    settings = replace(settings, layers=_renamed(settings.layers, new), types=_renamed(settings.types, new))
    flat, notes = drop_identities(flat)
    flat, ended = keep_final_activation(flat) if keep_softmax else cut_final_activation(flat)
    notes = (*notes, *ended)
    why = missing_types(flat)
    if why is None and not settings.types:
        flat, rounded = quantise_sigmoids(flat)
        return Prepared(model if flat is original else assemble(flat), None, (*notes, *rounded))
    if calibration is None and not settings.types:
        msg = (
            f"{why}, so that its types must be fitted to calibration data: give some with --calibration "
            "(calibration=… in Python), give the types with --type, or train the model with QKeras quantisers"
        )
        raise InputError(msg)
    fitted = fit_types(flat, calibration, settings)
    return Prepared(assemble(fitted.flat), assemble(flat), (*notes, *fitted.notes))


def _trained_by_hgq2(model: Any, settings: FitSettings) -> Prepared:
    """Return a model of HGQ2 as it is: it has all types.

    Raises
    ------
    UnsupportedError
        It ends in a softmax or a sigmoid, or a type is given.
    """
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        function = function_name(getattr(layer, "activation", None))
        if type(layer).__name__ in ("Softmax", "QSoftmax") or function in ("softmax", "sigmoid"):
            msg = (
                f"layer {layer.name!r} ends a model of HGQ2 with a softmax or a sigmoid; triggers cut on logits: make "
                "a model without it, keras.Model(model.inputs, logits)"
            )
            raise UnsupportedError(msg)
    if settings.types or settings.layers:
        msg = "types are given for a model of HGQ2, which has trained its own; leave them out"
        raise UnsupportedError(msg)
    return Prepared(model, None, ())


def _rename(flat: FlatModel) -> tuple[FlatModel, dict[str, str]]:
    """Give names that the generated code cannot use a form that it can; return also old → new name."""
    taken = {name for name in flat.names() if identifier(name) == name}
    new: dict[str, str] = {}
    for name in sorted(flat.names() - taken):
        free, number = identifier(name), 1
        while free in taken:
            number += 1
            free = f"{identifier(name)}_{number}"
        taken.add(free)
        new[name] = free
    if not new:
        return flat, new
    changed = replace(
        flat,
        entries=tuple(replace(entry, name=new.get(entry.name, entry.name)) for entry in flat.entries),
        calls=tuple(replace(call, name=new.get(call.name, call.name)) for call in flat.calls),
    )
    return changed, new


def _renamed(named: Mapping[str, Named], new: Mapping[str, str]) -> dict[str, Named]:
    """Return what is said about layers, or about parts of them, by the names that the layers have now."""
    found = {}
    for key, value in named.items():
        name, part = split_key(key, set(new))
        found[key if name not in new else f"{new[name]}.{part}" if name != key else new[name]] = value
    return found
