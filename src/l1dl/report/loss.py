"""What firmware changes, event by event: by types that were fitted to a model, and by the tables of a softmax."""

from __future__ import annotations

import numpy as np

from l1dl.errors import InputError
from l1dl.metrics import Array
from l1dl.report.inputs import FloatLoss, SoftmaxAgreement


def measure_loss(output: str, real: Array, firmware: Array) -> FloatLoss:
    """Compare one output of the float model with that of the firmware.

    Parameters
    ----------
    output
        Its name.
    real, firmware
        Values of shape (events, values).

    Raises
    ------
    InputError
        The shapes differ, or there are no events.
    """
    if real.shape != firmware.shape or real.size == 0:
        msg = f"output {output!r}: values of shape {real.shape} and {firmware.shape} cannot be compared"
        raise InputError(msg)
    difference = firmware - real
    agreement = None
    if real.shape[1] > 1:
        agreement = float(np.mean(real.argmax(axis=1) == firmware.argmax(axis=1)))
    return FloatLoss(
        output=output,
        events=len(real),
        values=real.size,
        rms=float(np.sqrt(np.mean(difference**2))),
        maximum=float(np.max(np.abs(difference))),
        spread=float(np.std(real)),
        argmax_agreement=agreement,
    )


def compare_softmax(output: str, keras: Array, firmware: Array) -> SoftmaxAgreement:
    """Compare the softmax of the firmware with that of Keras.

    Parameters
    ----------
    output
        Its name.
    keras, firmware
        Values of shape (events, classes).

    Raises
    ------
    InputError
        The shapes differ, or there are no events.
    """
    if keras.shape != firmware.shape or keras.ndim != 2 or keras.size == 0:
        msg = f"output {output!r}: a softmax of shape {keras.shape} and one of {firmware.shape} cannot be compared"
        raise InputError(msg)
    largest = firmware == firmware.max(axis=1, keepdims=True)
    tied = largest.sum(axis=1) > 1
    included = largest[np.arange(len(keras)), keras.argmax(axis=1)]
    return SoftmaxAgreement(
        output=output,
        events=len(keras),
        agreeing=float(np.mean(included & ~tied)),
        tied=float(np.mean(tied)),
        flipped=float(np.mean(~included)),
        maximum=float(np.max(np.abs(keras - firmware))),
    )
