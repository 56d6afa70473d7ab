"""Fit the ranges of a trained HGQ2 model to the training split, and count what leaves them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.models.backend import import_hgq, predict_arrays

Features = npt.NDArray[np.float32]

BATCH = 8192
"""Events that are traced together."""


def calibrate(model: Any, x: Features, margin: float) -> int:
    """Set sign and integer bits of each wrapping type so that it holds all values of some events.

    Parameters
    ----------
    model
        A model of HGQ2; it is changed.
    x
        Events, shape (N, *shape).
    margin
        How much farther than the largest magnitude the range must reach, as a share of it.

    Returns
    -------
    The EBOPs of the model.
    """
    with _widened(model, 1 + margin):
        return int(import_hgq().utils.trace_minmax(model, x, batch_size=min(BATCH, len(x))))


def quantisers_of(layer: Any) -> Iterator[Any]:
    """Yield the inner quantisers of a layer or a model of HGQ2, nested ones too."""
    for part in layer._flatten_layers():
        if hasattr(part, "get_minimal_i"):
            yield part


@contextlib.contextmanager
def _widened(model: Any, factor: float) -> Iterator[None]:
    """Let the quantisers of a model ask for ranges that are wider by a factor."""
    quantisers = list(quantisers_of(model))
    for quantiser in quantisers:
        original = quantiser.get_minimal_i
        object.__setattr__(quantiser, "get_minimal_i", lambda x, original=original: original(x * factor))
    try:
        yield
    finally:
        for quantiser in quantisers:
            object.__delattr__(quantiser, "get_minimal_i")


def count_wrapped(model: Any, x: Features) -> int:
    """Return in how many events a value that leaves its range changes an output."""
    import keras

    unbounded = keras.ops.convert_to_numpy(_call_unbounded(model, x)).astype(np.float64)
    bounded = predict_arrays(model, [x])[0]
    return int(np.count_nonzero(np.any(unbounded != bounded, axis=tuple(range(1, bounded.ndim)))))


def _call_unbounded(model: Any, x: Features) -> Any:
    """Return the outputs of a model whose types have no ends; it is left as it is."""
    trainable, fixed = ([variable.value for variable in group] for group in
                        (model.trainable_variables, model.non_trainable_variables))  # fmt: skip
    outputs, _ = model.stateless_call(trainable, fixed, x, training=True)
    return outputs
