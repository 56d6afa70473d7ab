"""From a model as it was published to one that converts exactly: stripped, and fitted with types where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError
from l1dl.models.fit import FitSettings, fit_types, missing_types
from l1dl.models.flat import FlatModel, assemble, flatten_model
from l1dl.models.rebuild import identifier
from l1dl.models.strip import cut_final_activation, drop_identities

Arrays = Sequence[npt.NDArray[np.floating[Any]]]


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
        The bit budget of a fit.
    keep_softmax
        Leave a final softmax or sigmoid where it is.

    Raises
    ------
    InputError
        Types must be fitted, and there are no calibration data.
    UnsupportedError
        A layer is unknown, or cannot be given types.
    """
    original = flatten_model(model)
    flat, notes = drop_identities(_rename(original))
    if not keep_softmax:
        flat, cut = cut_final_activation(flat)
        notes = (*notes, *cut)
    why = missing_types(flat)
    if why is None:
        return Prepared(model if flat is original else assemble(flat), None, notes)
    if calibration is None:
        msg = (
            f"{why}, so that its types must be fitted to calibration data: give some with --calibration "
            "(calibration=… in Python), or train the model with QKeras quantisers"
        )
        raise InputError(msg)
    fitted = fit_types(flat, calibration, settings)
    return Prepared(assemble(fitted.flat), assemble(flat), (*notes, *fitted.notes))


def _rename(flat: FlatModel) -> FlatModel:
    """Give names that the generated code cannot use a form that it can."""
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
        return flat
    return replace(
        flat,
        entries=tuple(replace(entry, name=new.get(entry.name, entry.name)) for entry in flat.entries),
        calls=tuple(replace(call, name=new.get(call.name, call.name)) for call in flat.calls),
    )
