"""What quantisation costs: the firmware against the model before types were fitted to it, event by event."""

from __future__ import annotations

import numpy as np

from l1dl.errors import InputError
from l1dl.metrics import Array
from l1dl.report.inputs import FloatLoss


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
