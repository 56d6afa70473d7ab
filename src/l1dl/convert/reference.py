"""The Keras model as the reference: real values in, real values out, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from l1dl.fixed import Values
from l1dl.models.backend import predict_arrays
from l1dl.ports import Arrays, Ports, as_rows, join, split


def keras_inputs(model: Any, x: Arrays, ports: Ports) -> list[Any]:
    """Return the arrays that the model takes, one for each input."""
    parts = split(as_rows(x, ports), ports)
    return [part.astype(np.dtype(tensor.dtype)) for part, tensor in zip(parts, model.inputs, strict=True)]


def answers_of(model: Any, arrays: list[Any]) -> list[Values]:
    """Return what the model answers, float64 of shape (events, *shape) for each output; also to no event."""
    if not len(arrays[0]):
        return [np.empty((0, *tensor.shape[1:])) for tensor in model.outputs]
    return predict_arrays(model, arrays)


def predict_rows(model: Any, x: Arrays, ports: Ports) -> Values:
    """Return rows of what the model answers to real inputs.

    Parameters
    ----------
    x
        An array for each port, or rows for a single one.
    ports
        The inputs of the model.
    """
    return join(answers_of(model, keras_inputs(model, x, ports)))
