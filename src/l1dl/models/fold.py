"""Batch normalisation at inference: folded into the layer before it, or a fixed scale and offset."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.models.flat import Call, FlatModel, with_calls
from l1dl.models.strip import function_name
from l1dl.models.twins import PLAIN

Array = npt.NDArray[np.float64]

SCALE_BITS, OFFSET_BITS = 16, 24
"""Widest scale and offset of a batch normalisation that has its types already."""


def normalisation_constants(call: Call) -> tuple[Array, Array]:
    """Return scale and offset of each channel."""
    weights = [np.asarray(weight, dtype=np.float64) for weight in call.weights]
    gamma = weights.pop(0) if call.options.get("scale", True) else np.ones_like(weights[-1])
    beta = weights.pop(0) if call.options.get("center", True) else np.zeros_like(weights[-1])
    mean, variance = weights
    scale = gamma / np.sqrt(variance + float(call.options.get("epsilon", 1e-3)))
    return scale, beta - mean * scale


def has_short_constants(call: Call) -> bool:
    """Say whether scale and offset are so short that Keras multiplies and adds them exactly."""
    scale, offset = normalisation_constants(call)
    return _width(scale) <= SCALE_BITS and _width(offset) <= OFFSET_BITS


def fold_normalisations(flat: FlatModel) -> tuple[FlatModel, list[str]]:
    """Fold each batch normalisation into the layer with weights before it, where nothing else reads that one.

    Returns
    -------
    The model, and the names of what was folded.
    """
    folded: list[str] = []
    while True:
        found = next(((call, before) for call in flat.calls if (before := _foldable(flat, call)) is not None), None)
        if found is None:
            return flat, folded
        call, before = found
        calls = [_fold(before, call) if other is before else other for other in flat.calls if other is not call]
        flat = with_calls(flat, calls)
        folded.append(call.name)


def frozen_normalisation(call: Call, bits: int, fraction: int) -> Call:
    """Return a batch normalisation that computes ``x * scale + offset`` with rounded constants and nothing else.

    Parameters
    ----------
    bits
        Bits of the largest scale, the sign included.
    fraction
        Fractional bits of x: the offset has those of the products, but no more than float32 adds exactly.
    """
    scale, offset = normalisation_constants(call)
    step = _step(scale, bits)
    scale = np.rint(scale / step) * step
    finest = max(step * 2.0**-fraction, _step(offset, 22))
    offset = np.rint(offset / finest) * finest
    zeros, ones = np.zeros_like(scale), np.ones_like(scale)
    options: dict[str, Any] = {"axis": call.options.get("axis", -1), "epsilon": 0.0, "trainable": False}
    return replace(
        call, kind="BatchNormalization", options=options,
        weights=tuple(part.astype(np.float32) for part in (scale, offset, zeros, ones)),
    )  # fmt: skip


def _foldable(flat: FlatModel, call: Call) -> Call | None:
    """Return the call that a batch normalisation can be folded into."""
    if call.kind != "BatchNormalization" or flat.shared(call.name):
        return None
    before = flat.producer(call.inputs[0])
    if before is None or before.kind not in PLAIN or flat.shared(before.name):
        return None
    alone = len(flat.consumers(before.output)) == 1 and before.output not in flat.outputs
    linear = function_name(before.options.get("activation")) == "linear"
    return before if alone and linear else None


def _fold(before: Call, call: Call) -> Call:
    scale, offset = normalisation_constants(call)
    weights = list(before.weights)
    bias = np.asarray(weights.pop(), np.float64) if before.options.get("use_bias", True) else np.zeros_like(scale)
    last = np.asarray(weights[-1], np.float64)
    # The last two axes of a depthwise kernel, channels and multiplier, make the outputs.
    scaled = last * (scale.reshape(last.shape[-2:]) if before.kind.startswith("Depthwise") else scale)
    new = [*weights[:-1], scaled.astype(np.float32), (bias * scale + offset).astype(np.float32)]
    options = {**before.options, "use_bias": True}
    return replace(before, options=options, weights=tuple(new), output=call.output)


def _step(values: Array, bits: int) -> float:
    """Return the step of a signed type of so many bits that holds the values."""
    peak = float(np.max(np.abs(values)))
    return float(2.0 ** (math.floor(math.log2(peak)) + 2 - bits)) if peak > 0 else 1.0


def _width(values: Array) -> int:
    """Return the bits of the smallest signed type that holds values of float64."""
    mantissas, exponents = np.frexp(values[values != 0])
    if not mantissas.size:
        return 1
    codes = np.ldexp(mantissas, 53).astype(np.int64)
    lowest = int(np.min(exponents - 53 + np.log2(codes & -codes).astype(np.int64)))
    return int(np.max(exponents)) - lowest + 1
