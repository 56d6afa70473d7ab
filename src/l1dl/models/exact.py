"""Whether Keras computes a layer exactly: its float32 hold whole numbers up to 2^24 steps, in any order of a sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.fixed_point import EXACT_BITS
from l1dl.models.flat import Call
from l1dl.models.twins import kernels_of, type_of


def cover(specs: Sequence[FixedSpec | None]) -> FixedSpec | None:
    """Return a type that holds the values of all types; None if one is not known."""
    known = [spec for spec in specs if spec is not None]
    if len(known) < len(specs) or not known:
        return None
    signed = any(spec.signed for spec in known)
    integer = max(spec.integer + (signed and not spec.signed) for spec in known)
    width = integer + max(spec.fraction for spec in known)
    return FixedSpec(signed, width, integer, Rounding.TRN, Overflow.WRAP) if 1 <= width <= 62 else None


def check_weighted(call: Call, source: FixedSpec | None) -> None:
    """Refuse a quantised layer with weights whose sums may be longer than a float32 for inputs of a type.

    Raises
    ------
    InputError
        They may be; the text says by how much.
    """
    weight = type_of(call.options.get("depthwise_quantizer") or call.options.get("kernel_quantizer"))
    if source is None or weight is None:
        return
    kernel = kernels_of(replace(call, kind=call.kind.removeprefix("Q")))[0].astype(np.float64)
    parts = [np.maximum(sign * kernel, 0).reshape(-1, kernel.shape[-1]).sum(axis=0) for sign in (1, -1)]
    ends = _ends(source)
    bound = np.maximum(parts[0] * ends[1] + parts[1] * ends[0], parts[0] * ends[0] + parts[1] * ends[1])
    step, bias = source.step * weight.step, type_of(call.options.get("bias_quantizer"))
    if call.options.get("use_bias") and bias is not None:
        bound = bound + np.abs(np.asarray(call.weights[-1], np.float64))
        step = min(step, bias.step)
    _check(call, f"{source} and weights of {weight}", float(bound.max()) / step)


def check_sum(call: Call, sources: Sequence[FixedSpec | None]) -> None:
    """Refuse a sum of tensors that may be longer than a float32."""
    known = [spec for spec in sources if spec is not None]
    if len(known) == len(sources):
        total = sum(max(_ends(spec)) for spec in known)
        _check(call, " and ".join(map(str, known)), total / min(spec.step for spec in known))


def check_product(call: Call, sources: Sequence[FixedSpec | None]) -> None:
    """Refuse a product of tensors that may be longer than a float32."""
    known = [spec for spec in sources if spec is not None]
    if len(known) == len(sources):
        _check(call, " and ".join(map(str, known)), math.prod(max(_ends(spec)) / spec.step for spec in known))


def check_affine(call: Call, scale: npt.ArrayLike, offset: npt.ArrayLike, source: FixedSpec | None) -> None:
    """Refuse ``x * scale + offset`` that may be longer than a float32."""
    factors, shifts = (np.asarray(values, np.float64) for values in (scale, offset))
    if source is not None:
        bound = float(np.max(np.abs(factors) * max(_ends(source)) + np.abs(shifts)))
        _check(call, str(source), bound / min(_step(factors) * source.step, _step(shifts)))


def _step(values: npt.NDArray[np.float64]) -> float:
    """Return the largest power of two of which all values are multiples; infinite for zeros."""
    mantissas, exponents = np.frexp(values[values != 0])
    if not mantissas.size:
        return math.inf
    codes = np.ldexp(mantissas, 53).astype(np.int64)
    return float(np.min(np.ldexp((codes & -codes).astype(np.float64), exponents - 53)))


def _ends(spec: FixedSpec) -> tuple[float, float]:
    """Return the magnitudes of the smallest and the largest value of a type."""
    return -spec.minimum_code * spec.step, spec.maximum_code * spec.step


def _check(call: Call, types: str, steps: float) -> None:
    if steps > 2.0**EXACT_BITS:
        msg = (
            f"layer {call.name!r}: with inputs of {types} its results need {math.ceil(math.log2(steps))} bits besides "
            f"the sign, more than the {EXACT_BITS} that Keras computes exactly; give narrower types"
        )
        raise InputError(msg)
