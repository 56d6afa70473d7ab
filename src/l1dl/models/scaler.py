"""The standard scaling of the inputs, fitted on the training split, part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode, encode


@dataclass(frozen=True, eq=False)
class Scaler:
    """An offset and a scale for each feature: ``(x - mean) / scale``.

    Attributes
    ----------
    mean, scale
        float64 of shape (F,).
    """

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def apply(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the scaled features, float32 of the same shape."""
        scaled: npt.NDArray[np.float32] = ((x - self.mean) / self.scale).astype(np.float32)
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Return the scaler as JSON."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}


def fit_scaler(x: npt.NDArray[np.float32], features: tuple[str, ...]) -> Scaler:
    """Fit mean and standard deviation to the training split, shape (N, F).

    Raises
    ------
    InputError
        A feature is constant.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    scale = x.std(axis=0, dtype=np.float64)
    constant = [features[index] for index in np.flatnonzero(scale == 0)]
    if constant:
        msg = f"features {constant} are constant in the training split and cannot be scaled; remove them from the card"
        raise InputError(msg)
    return Scaler(mean, scale)


def fold_scaler(scaler: Scaler, inputs: FixedSpec) -> Scaler:
    """Return the nearest scaling that firmware does exactly with a subtraction and a shift.

    Scales become powers of two (nearest in the logarithm), means move to the grid of the input type.
    """
    scale = np.ldexp(1.0, np.round(np.log2(scaler.scale)).astype(np.int64))
    grid = FixedSpec(inputs.signed, inputs.width, inputs.integer, Rounding.RND, Overflow.SAT)
    return Scaler(decode(encode(scaler.mean, grid), grid), scale)
