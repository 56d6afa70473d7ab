"""A quantiser of any fixed-point type, for layers of QKeras: every rounding and overflow mode, exact in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, parse_spec
from l1dl.models.backend import import_keras

EXACT_BITS = 24
"""Bits of a float32 significand: the codes of wider types are no floats."""

_EXPONENTS = 126
"""Largest power of two, and inverse of the smallest, that a step or the end of a range may have."""

_FAR = 2.0**60
"""Codes beyond it are multiples of every ``2**width``."""


class fixed_point:  # noqa: N801  called as QKeras calls its quantisers
    """Rounds values to a fixed-point type exactly as ``l1dl.fixed.encode`` does.

    Numbers below the smallest normal float32 (``2**-126``) may count as zero, since compilers make them zero. The
    gradient is that of the identity.

    Parameters
    ----------
    spec
        The type, or its text, such as ``fixed<8,3,RND,SAT>``.

    Raises
    ------
    UnsupportedError
        The type has codes that are no float32 (`check_exact`).

    Examples
    --------
    >>> quantiser = fixed_point("ufixed<6,2,TRN,WRAP>")
    >>> quantiser.get_config()
    {'spec': 'ufixed<6,2>'}
    """

    def __init__(self, spec: FixedSpec | str) -> None:
        self.spec = parse_spec(spec) if isinstance(spec, str) else spec
        check_exact("the type", self.spec)
        self.bits = self.spec.width  # QKeras asks for it when it draws weights

    def __call__(self, x: Any) -> Any:
        """Return the values of `x` on the grid of the type, float32 of the same shape."""
        ops = import_keras().ops
        x = ops.convert_to_tensor(x, dtype="float32")
        quantised = _overflowed(_rounded(x, self.spec), self.spec) * self.spec.step
        # The difference is zero in every float, but not in the gradient.
        return ops.stop_gradient(quantised) + (x - ops.stop_gradient(x))

    def max(self) -> float:
        """Return the largest value."""
        return self.spec.maximum_code * self.spec.step

    def min(self) -> float:
        """Return the smallest value."""
        return self.spec.minimum_code * self.spec.step

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"spec": str(self.spec)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> fixed_point:
        """Return the quantiser that `get_config` described."""
        return cls(**config)

    def __str__(self) -> str:
        """Return for example ``fixed_point(fixed<8,3,RND,SAT>)``."""
        return f"fixed_point({self.spec})"


def check_exact(where: str, spec: FixedSpec) -> None:
    """Refuse a type with codes or values that are no float32, with which Keras computes.

    Parameters
    ----------
    where
        Names the type in the error.

    Raises
    ------
    UnsupportedError
        It is wider than `EXACT_BITS`, or its binary point is too far away.
    """
    if spec.width > EXACT_BITS:
        msg = f"{where} {spec} has {spec.width} bits; Keras computes in float32, which is exact up to {EXACT_BITS} bits"
        raise UnsupportedError(msg)
    if max(abs(spec.integer), abs(spec.fraction)) > _EXPONENTS:
        msg = (
            f"{where} {spec} has values or steps beyond float32, with which Keras computes; its integer and its "
            f"fractional bits must be within -{_EXPONENTS} to {_EXPONENTS}"
        )
        raise UnsupportedError(msg)


def _rounded(x: Any, spec: FixedSpec) -> Any:
    """Return values in units of the type's step, as whole numbers; scaling by a power of two is exact."""
    ops, rounding = import_keras().ops, spec.rounding
    scaled = x * 2.0**spec.fraction
    # What the scaling makes zero is still not zero to the modes that round away from it.
    scaled = ops.where((scaled == 0) & (x != 0), ops.sign(x) * 0.25, scaled)
    if rounding is Rounding.TRN:
        return ops.floor(scaled)
    if rounding is Rounding.RND_CONV:
        return ops.round(scaled)
    inner = ops.trunc(scaled)
    if rounding is Rounding.TRN_ZERO:
        return inner
    rest, negative = ops.abs(scaled - inner), scaled < 0
    half_goes_away = {
        Rounding.RND: ~negative,
        Rounding.RND_ZERO: ops.zeros_like(negative),
        Rounding.RND_INF: ops.ones_like(negative),
        Rounding.RND_MIN_INF: negative,
    }[rounding]
    away = (rest > 0.5) | ((rest == 0.5) & half_goes_away)
    return inner + ops.sign(scaled) * ops.cast(away, "float32")


def _overflowed(codes: Any, spec: FixedSpec) -> Any:
    """Bring whole numbers into the range of the type; every step is exact in float32."""
    ops = import_keras().ops
    low, high = float(spec.minimum_code), float(spec.maximum_code)
    if spec.overflow is Overflow.SAT:
        return ops.clip(codes, low, high)
    if spec.overflow is Overflow.SAT_SYM:
        return ops.clip(codes, -high if spec.signed else 0.0, high)
    if spec.overflow is Overflow.SAT_ZERO:
        return ops.where((codes < low) | (codes > high), 0.0, codes)
    turn = 2.0**spec.width
    codes = ops.where(ops.abs(codes) >= _FAR, 0.0, codes)
    codes = codes - ops.floor(codes / turn) * turn
    return ops.where(codes > high, codes - turn, codes)
