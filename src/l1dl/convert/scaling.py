"""Find short constants for a normalisation in front of a quantiser, proved by trying every input.

The scale and offset of a trained normalisation have 24 bits, and Keras rounds what it computes with them. Only
the quantiser's code counts: for each channel we ask Keras for the code of every value that can come in, and look
for the shortest scale and offset that give the same codes, without any rounding before the quantiser.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.quantisers import Form, quantiser_form, quantiser_spec
from l1dl.convert.support import where_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, decode, encode
from l1dl.models.backend import import_keras, import_qkeras

MAXIMUM_INPUT_WIDTH = 20
"""Widest input of which every value is tried, in bits."""

MAXIMUM_SCALE_BITS = 24
"""Most significant bits of a scale."""

Constants = npt.NDArray[np.float64]


def short_scaling(layer: Any, quantiser: Any, scale: Constants, spec: FixedSpec) -> tuple[Constants, Constants]:
    """Return scale and offset with which firmware gives the codes of Keras.

    Parameters
    ----------
    layer, quantiser
        The normalisation, and the quantiser behind it: one that is a type.
    scale
        What the layer multiplies by.
    spec
        Type of the input.

    Raises
    ------
    UnsupportedError
        The input is too wide to try all its values, or no constants give the same codes.
    """
    if spec.width > MAXIMUM_INPUT_WIDTH:
        msg = (
            f"{where_of(layer)} reads {spec.width} bits ({spec}); a normalisation can be proved for at most "
            f"{MAXIMUM_INPUT_WIDTH}: quantise its input, or fold it into the layer before (QDenseBatchnorm, "
            "QConv2DBatchnorm)"
        )
        raise UnsupportedError(msg)
    x = decode(np.arange(spec.minimum_code, spec.maximum_code + 1, dtype=np.int64), spec)
    codes = _keras_codes(layer, quantiser, x, len(scale))
    found = [_fit(x, codes[:, channel], scale[channel], quantiser) for channel in range(len(scale))]
    missing = [channel for channel, constants in enumerate(found) if constants is None]
    if missing:
        msg = (
            f"{where_of(layer)}: no scale of up to {MAXIMUM_SCALE_BITS} bits gives the codes of Keras in channel "
            f"{missing[0]}; quantise its input to fewer bits"
        )
        raise UnsupportedError(msg)
    pairs = np.array(found, dtype=np.float64)
    return pairs[:, 0], pairs[:, 1]


def _keras_codes(layer: Any, quantiser: Any, x: Constants, channels: int) -> Codes:
    """Return the codes behind the quantiser, shape (len(x), channels), for every input in every channel."""
    keras, spec = import_keras(), quantiser_spec(quantiser)
    source = keras.Input((channels,))
    copy = type(layer).from_config({**layer.get_config(), "axis": -1})
    result = import_qkeras().QActivation(quantiser)(copy(source))
    copy.set_weights(layer.get_weights())
    model = keras.Model(source, result)
    values = model.predict(np.repeat(x.astype(np.float32)[:, None], channels, axis=1), batch_size=1 << 16, verbose=0)
    return encode(values, spec)


def _fit(x: Constants, codes: Codes, scale: float, quantiser: Any) -> tuple[float, float] | None:
    """Return the shortest scale and offset of one channel that give `codes` for `x`."""
    spec = quantiser_spec(quantiser)
    steps = np.flatnonzero(np.diff(codes))
    if not steps.size:
        return 0.0, float(codes[0] * spec.step)
    below = np.where(codes[steps] < codes[steps + 1], steps, steps + 1)
    above = 2 * steps + 1 - below
    tops, bottoms = (codes[below] + 0.5) * spec.step, (codes[above] - 0.5) * spec.step
    first = -math.frexp(scale)[1]
    for fraction in range(first, first + MAXIMUM_SCALE_BITS):
        near = math.floor(math.ldexp(scale, fraction))
        for code in (near, near + 1):
            short = math.ldexp(code, -fraction)
            offset = _between(np.max(bottoms - short * x[above]), np.min(tops - short * x[below]))
            if (
                offset is not None
                and np.float32(offset) == offset
                and _is_same(short * x + offset, codes, quantiser, spec)
            ):
                return short, offset
    return None


def _between(low: float, high: float) -> float | None:
    """Return the number with the fewest fractional bits between two numbers."""
    if not low < high:
        return None
    fraction = -math.frexp(high - low)[1] - 1
    while True:
        value = math.ldexp(math.floor(math.ldexp(low, fraction)) + 1, -fraction)
        if value < high:
            return value
        fraction += 1


def _is_same(values: Constants, codes: Codes, quantiser: Any, spec: FixedSpec) -> bool:
    """Say whether the quantiser turns exact values into `codes`."""
    if quantiser_form(quantiser) is Form.RELU:
        values = np.maximum(values, 0)
    return bool(np.array_equal(encode(values, spec), codes))
