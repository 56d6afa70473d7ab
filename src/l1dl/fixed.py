"""Fixed-point numbers: the one type that every stage uses, and its exact integer arithmetic.

A number is an integer *code* times ``2**-fraction``. Codes are int64 and every operation on them
is exact, so that two implementations can be compared bit by bit. The rounding and overflow modes
are those of ``ap_fixed`` (AMD Vitis HLS user guide UG1399, "Arbitrary precision fixed-point types").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, did_you_mean

Codes = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

MAXIMUM_WIDTH = 62
"""The widest type, in bits: codes and their roundings must stay within int64."""


class Rounding(Enum):
    """What happens to the bits below the last one that is kept."""

    TRN = "TRN"
    """Towards minus infinity."""
    TRN_ZERO = "TRN_ZERO"
    """Towards zero."""
    RND = "RND"
    """To nearest, halves towards plus infinity."""
    RND_ZERO = "RND_ZERO"
    """To nearest, halves towards zero."""
    RND_INF = "RND_INF"
    """To nearest, halves away from zero."""
    RND_MIN_INF = "RND_MIN_INF"
    """To nearest, halves towards minus infinity."""
    RND_CONV = "RND_CONV"
    """To nearest, halves to the even code."""


class Overflow(Enum):
    """What happens to a value outside the range."""

    WRAP = "WRAP"
    """The bits above the first one are dropped."""
    SAT = "SAT"
    """The nearest end of the range."""
    SAT_ZERO = "SAT_ZERO"
    """Zero."""
    SAT_SYM = "SAT_SYM"
    """The nearest end of the range without the most negative code."""


@dataclass(frozen=True)
class FixedSpec:
    """A fixed-point type.

    Parameters
    ----------
    signed
        Whether codes are two's complement.
    width
        Number of bits, the sign included; 1 to `MAXIMUM_WIDTH`.
    integer
        Number of bits left of the binary point, the sign included; may be negative or exceed `width`.
    rounding, overflow
        What a conversion to this type does with bits that do not fit.

    Raises
    ------
    InputError
        `width` is outside its range.
    """

    signed: bool
    width: int
    integer: int
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        """Check the width."""
        if not 1 <= self.width <= MAXIMUM_WIDTH:
            msg = f"fixed-point width {self.width} is not supported; allowed are 1 to {MAXIMUM_WIDTH} bits"
            raise InputError(msg)

    @property
    def fraction(self) -> int:
        """Number of bits right of the binary point; may be negative."""
        return self.width - self.integer

    @property
    def step(self) -> float:
        """The value of one code."""
        return 2.0**-self.fraction

    @property
    def minimum_code(self) -> int:
        """The most negative code; SAT_SYM never produces it, but it is representable."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def maximum_code(self) -> int:
        """The largest code."""
        return (1 << (self.width - 1 if self.signed else self.width)) - 1

    def __str__(self) -> str:
        """Return for example ``fixed<10,4,RND_CONV,SAT>`` or ``ufixed<6,0>``."""
        modes = (
            ""
            if (self.rounding, self.overflow) == (Rounding.TRN, Overflow.WRAP)
            else (f",{self.rounding.value},{self.overflow.value}")
        )
        return f"{'' if self.signed else 'u'}fixed<{self.width},{self.integer}{modes}>"


_SPEC = re.compile(r"\s*(?:ap_)?(u?)fixed\s*<([^<>]*)>\s*")
_Mode = TypeVar("_Mode", Rounding, Overflow)


def parse_spec(text: str) -> FixedSpec:
    """Return the type that a text names, as ``str`` of a `FixedSpec` or hls4ml write it.

    Parameters
    ----------
    text
        For example ``fixed<8,3>``, ``ufixed<6,2,RND,SAT>`` or ``ap_fixed<8,3,AP_RND_CONV,AP_SAT_SYM>``. Without modes
        a type truncates and wraps (TRN, WRAP).

    Raises
    ------
    InputError
        It is no such text, or its width is outside the range.
    """
    found = _SPEC.fullmatch(text)
    parts = [part.strip() for part in found[2].split(",")] if found else []
    if found is None or not 2 <= len(parts) <= 4 or not all(re.fullmatch(r"[+-]?\d{1,4}", part) for part in parts[:2]):
        msg = (
            f"{text!r} is no fixed-point type; give width, integer bits and, if need be, rounding and overflow, "
            "e.g. fixed<8,3>, ufixed<6,2,RND,SAT> or ap_fixed<8,3,AP_RND,AP_SAT>"
        )
        raise InputError(msg)
    rounding = _mode(Rounding, parts[2], "rounding", text) if len(parts) > 2 else Rounding.TRN
    overflow = _mode(Overflow, parts[3], "overflow", text) if len(parts) > 3 else Overflow.WRAP
    return FixedSpec(not found[1], int(parts[0]), int(parts[1]), rounding, overflow)


def _mode(kind: type[_Mode], name: str, what: str, text: str) -> _Mode:
    known = [mode.value for mode in kind]
    bare = name.upper().removeprefix("AP_")
    if bare not in known:
        msg = f"{text!r} has the {what} {name!r}{did_you_mean(bare, known)}; known are {', '.join(known)}"
        raise InputError(msg)
    return kind(bare)


def decode(codes: npt.NDArray[np.integer], spec: FixedSpec) -> Values:
    """Return the values of `codes`, float64 of the same shape; exact up to 53 bits."""
    return np.ldexp(codes.astype(np.float64), -spec.fraction)


def encode(values: npt.ArrayLike, spec: FixedSpec) -> Codes:
    """Convert real values to codes of `spec`, with its rounding and overflow.

    Parameters
    ----------
    values
        Finite numbers of any shape.

    Returns
    -------
    int64 codes of the same shape.

    Raises
    ------
    InputError
        A value is NaN or infinite.
    """
    real = np.asarray(values, dtype=np.float64)
    count = int(np.count_nonzero(~np.isfinite(real)))
    if count:
        msg = f"{count} values are NaN or infinite and have no fixed-point code; clean the input first"
        raise InputError(msg)
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(real, spec.fraction)
    vanished = (scaled == 0) & (real != 0)  # below the smallest double: only the sign still counts
    rounded = _round_real(np.where(vanished, np.copysign(0.25, real), scaled), spec.rounding)
    if spec.overflow is Overflow.WRAP:
        # A double is exact modulo 2**width whatever its size, and the C function fmod is exact. What
        # overflowed to infinity is a multiple of 2**width.
        rounded = np.fmod(np.where(np.isinf(rounded), 0.0, rounded), 2.0**spec.width)
    else:
        rounded = np.clip(rounded, -(2.0**62), 2.0**62)
    return apply_overflow(rounded.astype(np.int64), spec)


def requantise(codes: Codes, fraction: int, spec: FixedSpec) -> Codes:
    """Convert codes with `fraction` fractional bits to codes of `spec`, exactly.

    Returns
    -------
    int64 codes of the same shape.

    Raises
    ------
    InputError
        The codes would need more than 63 bits on the way.
    """
    return apply_overflow(align(codes, fraction, spec), spec)


def align(codes: Codes, fraction: int, spec: FixedSpec) -> Codes:
    """Move the binary point from `fraction` to that of `spec`, with its rounding but without its overflow."""
    drop = fraction - spec.fraction
    if drop > 0:
        return _round_codes(codes, drop, spec.rounding)
    if drop < 0 and isinstance(codes, np.ndarray) and codes.any():
        largest = max(int(codes.max()), -int(codes.min()))
        if largest.bit_length() - drop > 63:
            msg = f"codes of {largest.bit_length()} bits cannot be shifted left by {-drop} within 64 bits"
            raise InputError(msg)
    return codes << min(-drop, 63) if drop < 0 else codes


def apply_overflow(codes: Codes, spec: FixedSpec) -> Codes:
    """Bring codes that have the binary point of `spec` into its range, with its overflow mode."""
    xp, low, high = namespace(codes), spec.minimum_code, spec.maximum_code
    found: Codes
    if spec.overflow is Overflow.WRAP:
        return ((codes - low) & ((1 << spec.width) - 1)) + low
    if spec.overflow is Overflow.SAT:
        found = xp.clip(codes, low, high)
    elif spec.overflow is Overflow.SAT_SYM:
        found = xp.clip(codes, -high if spec.signed else 0, high)
    else:
        found = xp.where((codes < low) | (codes > high), np.int64(0), codes)
    return found


def namespace(array: Codes) -> Any:
    """Return the module that computes with an array: NumPy, or that of an array of JAX."""
    return array.__array_namespace__()


def count_overflows(codes: Codes, fraction: int, spec: FixedSpec) -> int:
    """Return how many of `codes` are outside the range of `spec` after its rounding."""
    aligned = align(codes, fraction, spec)
    return int(np.count_nonzero((aligned < spec.minimum_code) | (aligned > spec.maximum_code)))


def _round_real(scaled: Values, rounding: Rounding) -> Values:
    if rounding is Rounding.TRN:
        return np.floor(scaled)
    if rounding is Rounding.RND_CONV:
        return np.rint(scaled)
    inner: Values = np.trunc(scaled)
    if rounding is Rounding.TRN_ZERO:
        return inner
    with np.errstate(invalid="ignore"):
        rest = np.abs(scaled - inner)  # exact; the distance to the code below would not be, for small negative values
    negative = scaled < 0
    away = np.where(rest == 0.5, _half_goes_up(negative, rounding) != negative, rest > 0.5)
    result: Values = inner + np.where(negative, -1.0, 1.0) * away
    return result


def _round_codes(codes: Codes, drop: int, rounding: Rounding) -> Codes:
    if drop > 62:
        codes, drop = codes >> (drop - 62) | ((codes & ((1 << min(drop - 62, 62)) - 1)) != 0), 62
    down: Codes = codes >> drop
    if rounding is Rounding.TRN:
        return down
    rest = codes & ((1 << drop) - 1)
    rounded: Codes
    if rounding is Rounding.TRN_ZERO:
        rounded = down + ((codes < 0) & (rest != 0))
        return rounded
    half = 1 << (drop - 1)
    half_goes_up = (down & 1) != 0 if rounding is Rounding.RND_CONV else _half_goes_up(codes < 0, rounding)
    rounded = down + namespace(codes).where(rest == half, half_goes_up, rest > half)
    return rounded


def _half_goes_up(negative: npt.NDArray[np.bool_], rounding: Rounding) -> npt.NDArray[np.bool_]:
    """Say where a value half way between two codes goes to the upper one."""
    if rounding is Rounding.RND:
        return negative | True
    if rounding is Rounding.RND_MIN_INF:
        return negative & False
    return negative if rounding is Rounding.RND_ZERO else ~negative
