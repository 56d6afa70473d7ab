"""A model that someone brings, with its calibration events, as the stages see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import digest_array, digest_json
from l1dl.convert.convert import input_ports
from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import FixedSpec
from l1dl.flow.job import Inputs, Job, Settings, Truth
from l1dl.metrics import logits_of
from l1dl.models.backend import predict_arrays
from l1dl.models.engines import is_hgq_model
from l1dl.models.flat import FlatModel, flatten_model
from l1dl.models.prepare import Prepared
from l1dl.models.strip import kept_function
from l1dl.models.twins import type_of
from l1dl.rtl.stream.plan import check_pixels
from l1dl.train.train import digest_layers, save_model

DRAWN_EVENTS = 20_000
"""Events that are drawn where no calibration data are given."""


class ModelJob(Job):
    """A quantised Keras model that someone brings.

    Parameters
    ----------
    prepared
        The model, ready for conversion.
    inputs
        Real inputs, one array for each: the events of the proof.
    labels
        Class indices of the calibration events, shape (N,); without them there are no physics figures.
    classes
        Names of the outputs.
    notes
        Remarks for the report, besides those of the preparation.
    """

    def __init__(
        self,
        prepared: Prepared,
        inputs: Inputs,
        *,
        name: str,
        settings: Settings,
        labels: npt.ArrayLike | None = None,
        classes: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.settings = name, settings
        self._prepared, self._inputs, self._notes = prepared, inputs, notes
        shapes = [tuple(tensor.shape[1:]) for tensor in prepared.model.outputs]
        single = shapes[0][0] if len(shapes) == 1 and len(shapes[0]) == 1 else None
        if single is None:
            for what, given in (("labels", labels is not None), ("class names", bool(classes))):
                if given:
                    found = " and ".join(str(shape) for shape in shapes)
                    msg = f"{what} are for a model with one vector of outputs; this one has outputs of shape {found}"
                    raise InputError(msg)
        else:
            self.classes = classes or tuple(f"class {index}" for index in range(single))
            if len(self.classes) != single:
                msg = f"{len(self.classes)} class names were given for a model with {single} outputs"
                raise InputError(msg)
            if len(set(self.classes)) < single or "macro" in self.classes:
                msg = f"class names must be distinct, and none may be 'macro'; got {', '.join(self.classes)}"
                raise InputError(msg)
        if settings.rtl.architecture == "stream":
            check_pixels(settings.rtl.pixels_per_clock, inputs[0].shape[1:])
        self._single = single is not None
        self._labels = None if labels is None else _class_indices(labels, len(inputs[0]), max(2, single or 0))

    def model(self) -> Any:
        """Return the quantised model."""
        return self._prepared.model

    def float_model(self) -> Any | None:
        """Return the model before types were fitted to it."""
        return self._prepared.reference

    def inputs(self) -> Inputs:
        """Return the events of the proof."""
        return self._inputs

    def reference(self) -> Sequence[npt.NDArray[np.float64]] | None:
        """Return the outputs of the model before types were fitted to it."""
        return self._float

    @cached_property
    def _float(self) -> Sequence[npt.NDArray[np.float64]] | None:
        return None if self._prepared.reference is None else predict_arrays(self._prepared.reference, self._inputs)

    def truth(self) -> Truth:
        """Return the labels, and the logits of the Keras models."""
        if self._labels is None:
            return Truth()
        scores = {"quantised": self.logits(predict_arrays(self._prepared.model, self._inputs)[0])}
        real = self.reference()
        return Truth(self._labels, scores if real is None else {"float": self.logits(real[0]), **scores})

    def logits(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return outputs as logits, where a final softmax or sigmoid was kept."""
        kept = kept_function(self._prepared.model)
        return values if kept is None else logits_of(values, kept)

    def model_key(self) -> str:
        """Return a digest of the weights and the events."""
        labels = "" if self._labels is None else digest_array(self._labels)
        models = [self._prepared.model, self._prepared.reference]
        digests = [_weights_digest(model) for model in models if model is not None]
        return digest_json([digests, [digest_array(x) for x in self._inputs], labels, self.classes, self.notes()])

    def save_model(self, path: Path) -> bool:
        """Write the model if types were fitted to it: it can be trained further."""
        if self._prepared.reference is None:
            return False
        save_model(self._prepared.model, path)
        return True

    def notes(self) -> tuple[str, ...]:
        """Return what was done to the model and where the events come from."""
        return (*self._notes, *self._prepared.notes)


def check_inputs(given: Any, model: Any) -> Inputs:
    """Return calibration data as one array for each input of a model, of its shape and type.

    Parameters
    ----------
    given
        An array for a model with one input; one for each in a tuple or list, or by the name of the input.

    Raises
    ------
    InputError
        They do not fit the model, or hold NaN or infinity.
    """
    names, tensors = input_names(model), model.inputs
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown or len(given) != len(names):
            hint = did_you_mean(str(unknown[0]), names) if unknown else ""
            msg = (
                f"calibration data are given for {', '.join(map(str, given))}{hint}; the inputs are {', '.join(names)}"
            )
            raise InputError(msg)
        parts = [given[name] for name in names]
    elif len(names) == 1:
        alone = isinstance(given, (tuple, list)) and len(given) == 1 and np.ndim(given[0]) == len(tensors[0].shape)
        parts = [given[0] if alone else given]
    else:
        parts = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(parts) != len(names):
        msg = f"{len(parts)} arrays of calibration data are given for the {len(names)} inputs {', '.join(names)}"
        raise InputError(msg)
    arrays = tuple(
        _one_input(part, tensor, name if len(names) > 1 else None)
        for part, tensor, name in zip(parts, tensors, names, strict=True)
    )
    if len({len(array) for array in arrays}) != 1:
        msg = f"the calibration arrays hold different numbers of events: {[len(array) for array in arrays]}"
        raise InputError(msg)
    return arrays


def input_names(model: Any) -> list[str]:
    """Return the names of the inputs of a Keras model."""
    return [tensor._keras_history.operation.name for tensor in model.inputs]


def draw_inputs(model: Any, events: int, seed: int) -> Inputs:
    """Draw inputs evenly over the range of each input's quantiser, or over the indices of an embedding.

    Raises
    ------
    InputError
        An input has no quantiser that says its range.
    """
    generator = np.random.default_rng(seed)
    if is_hgq_model(model):
        return tuple(_drawn(generator, *range_of(port.spec), (events, *port.shape)) for port in input_ports(model))
    flat, drawn = flatten_model(model), []
    for index, entry in enumerate(flat.entries):
        low, high, whole = _input_range(flat, index)
        if whole:
            values = generator.integers(int(low), int(high), (events, *entry.shape), endpoint=True)
            drawn.append(values.astype(entry.dtype))
        else:
            drawn.append(_drawn(generator, low, high, (events, *entry.shape)))
    return tuple(drawn)


def range_of(spec: FixedSpec) -> tuple[float, float]:
    """Return the smallest value of a type, and the end of the step above the largest one."""
    return spec.minimum_code * spec.step, (spec.maximum_code + 1) * spec.step


def _drawn(generator: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return generator.uniform(low, high, shape).astype(np.float32)


def _input_range(flat: FlatModel, index: int) -> tuple[float, float, bool]:
    """Return smallest and largest value of an input, and whether it takes whole numbers only."""
    for call in flat.consumers(index):
        if call.kind == "Embedding":
            return 0, int(call.options["input_dim"]) - 1, True
        spec = type_of(call.options.get("activation")) if call.kind == "QActivation" else None
        if spec is not None:
            return *range_of(spec), False
    name = flat.entries[index].name
    msg = f"input {name!r} does not say its range; give calibration data with --calibration (calibration=… in Python)"
    raise InputError(msg)


def _one_input(given: Any, tensor: Any, name: str | None) -> npt.NDArray[Any]:
    of = "" if name is None else f" for input {name!r}"
    dtype = np.dtype(np.float32) if "float" in str(tensor.dtype) else np.dtype(str(tensor.dtype))
    try:
        if np.asarray(given).dtype.kind == "c":
            raise TypeError("they are complex")  # noqa: EM101
        array = np.ascontiguousarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"calibration data{of} are no array of real numbers: {error}"
        raise InputError(msg) from None
    shape = tuple(int(size) for size in tensor.shape[1:])
    if array.ndim == 0 or not len(array) or array.shape[1:] not in (shape, (int(np.prod(shape)),)):
        wanted = ", ".join(["N", *map(str, shape)])
        msg = (
            f"calibration data{of} of shape {array.shape} do not fit the model's input ({wanted}){_hint(array, shape)}"
        )
        raise InputError(msg)
    wrong = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if len(wrong):
        msg = f"calibration data{of} hold NaN or infinity in {len(wrong)} events, first in {wrong[0]}; clean them"
        raise InputError(msg)
    return np.ascontiguousarray(array.reshape(-1, *shape), dtype=dtype)


def _hint(array: npt.NDArray[Any], shape: tuple[int, ...]) -> str:
    """Return how to mend a shape, where that is known."""
    if array.ndim and not len(array):
        return "; there are no events"
    if array.shape == shape:
        return "; this is one event without the axis of events: x[None]"
    if shape[-1:] == (1,) and array.shape[1:] == shape[:-1]:
        return "; the axis of channels is missing: x[..., None]"
    if array.shape[1:] == (*shape[-1:], *shape[:-1]):
        return "; the channels come first, they must be last: np.moveaxis(x, 1, -1)"
    return ""


def _class_indices(labels: npt.ArrayLike, events: int, classes: int) -> npt.NDArray[np.int64]:
    """Return labels as integers, or say what is wrong with them; rows of zeros with a single one are class indices."""
    given = np.asarray(labels)
    if given.ndim == 2 and given.dtype.kind in "iufb" and given.shape == (events, classes):
        if np.all(np.isin(given, (0, 1))) and np.all(given.sum(axis=1) == 1):
            given = given.argmax(axis=1)
    elif given.ndim == 2 and given.shape == (events, 1):
        given = given[:, 0]
    if given.shape != (events,) or given.dtype.kind not in "iufb":
        msg = f"labels have shape {given.shape} and type {given.dtype}; give {events} class indices"
        raise InputError(msg)
    wrong = given[~np.isin(given, np.arange(classes))]
    if len(wrong):
        msg = f"label {wrong[0]} is not allowed; labels must be class indices from 0 to {classes - 1}"
        raise InputError(msg)
    return given.astype(np.int64)


def _weights_digest(model: Any) -> str:
    weights: list[Any] = model.get_weights()
    return digest_json([digest_layers(model.to_json()), [digest_array(np.asarray(weight)) for weight in weights]])
