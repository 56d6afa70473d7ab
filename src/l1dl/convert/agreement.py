"""How well a softmax in firmware agrees with Keras; its tables never give the same values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError


@dataclass(frozen=True)
class SoftmaxAgreement:
    """What a report says about a softmax.

    Attributes
    ----------
    events
        Number of events.
    agreeing
        Share of the events whose largest output is one class, and the same as in Keras.
    tied
        Share of the events in which several outputs are the largest.
    flipped
        Share of the events whose largest outputs do not include Keras's class.
    largest_difference
        Largest difference of an output from Keras.
    """

    events: int
    agreeing: float
    tied: float
    flipped: float
    largest_difference: float


def softmax_agreement(keras: npt.ArrayLike, firmware: npt.ArrayLike) -> SoftmaxAgreement:
    """Compare softmax outputs of shape (events, classes).

    Raises
    ------
    InputError
        The shapes differ, or there is no event.
    """
    wanted, found = np.asarray(keras, dtype=np.float64), np.asarray(firmware, dtype=np.float64)
    if wanted.shape != found.shape or wanted.ndim != 2 or not wanted.size:
        msg = f"softmax outputs must be two arrays (events, classes) with events, got {wanted.shape} and {found.shape}"
        raise InputError(msg)
    largest = found == found.max(axis=1, keepdims=True)
    tied = largest.sum(axis=1) > 1
    included = largest[np.arange(len(wanted)), wanted.argmax(axis=1)]
    return SoftmaxAgreement(
        len(wanted),
        float(np.mean(included & ~tied)),
        float(np.mean(tied)),
        float(np.mean(~included)),
        float(np.max(np.abs(wanted - found))),
    )
