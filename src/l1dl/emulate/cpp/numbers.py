"""Types, constants and conversions of the generated C++, chosen from the ranges that values can reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.emulate.bounds import Range, aligned_range, is_inside, limits, overflow_range
from l1dl.fixed import FixedSpec, Overflow

INT32, INT64 = "std::int32_t", "std::int64_t"

_PER_LINE = 24


def integer_type(ranges: Iterable[Range]) -> str:
    """Return the narrowest C++ type for some ranges, whose negation it holds as well."""
    return INT32 if all(low > -(2**31) and high < 2**31 for low, high in ranges) else INT64


def span(*values: int) -> Range:
    """Return the range of some numbers and zero."""
    return min(0, *values), max(0, *values)


@dataclass(frozen=True)
class Conversion:
    """A conversion of codes to a type, without what is proved to change nothing.

    Attributes
    ----------
    drop
        Number of bits that are dropped at the right end; negative where some are appended.
    spec
        Type of the result.
    aligned
        Codes that are reached before the overflow.
    reached
        Ranges of all values on the way.
    """

    drop: int
    spec: FixedSpec
    aligned: Range
    reached: tuple[Range, ...]

    @property
    def overflows(self) -> bool:
        """Whether a value can be outside the range of the result."""
        return not is_inside(self.aligned, self.spec)

    @property
    def result(self) -> Range:
        """The codes that the result can have."""
        return overflow_range(self.aligned, self.spec)

    def apply(self, value: str, integer: str) -> str:
        """Return the C++ expression of the converted value, which has the type `integer`."""
        if not self.drop and not self.overflows:
            return value
        overflow = overflow_arguments(self.spec) if self.overflows else ("Overflow::KEEP",)
        arguments = [integer, str(self.drop), f"Rounding::{self.spec.rounding.value}", *overflow]
        return f"convert<{', '.join(arguments)}>({value})"


def conversion(values: Range, fraction: int, spec: FixedSpec) -> Conversion:
    """Return the conversion to `spec` of codes in a range that have `fraction` fractional bits."""
    drop = fraction - spec.fraction if any(values) else 0
    aligned = aligned_range(values, fraction, spec)
    reached = [values, aligned]
    if not is_inside(aligned, spec):
        reached.append((spec.minimum_code, spec.maximum_code))
    return Conversion(drop, spec, aligned, tuple(reached))


def overflow_arguments(spec: FixedSpec) -> tuple[str, str, str]:
    """Return the template arguments for the overflow of a type: the mode and the bounds."""
    low, high = limits(spec)
    mode = Overflow.SAT if spec.overflow is Overflow.SAT_SYM else spec.overflow
    return f"Overflow::{mode.value}", str(low), str(high)


def array(integer: str, name: str, values: npt.NDArray[Any] | Sequence[int]) -> str:
    """Return the definition of an array of numbers."""
    numbers = [str(int(value)) for value in np.ravel(np.asarray(values, dtype=object))]
    lines = [", ".join(numbers[start : start + _PER_LINE]) for start in range(0, len(numbers), _PER_LINE)]
    body = ",\n    ".join(lines)
    return f"const {integer} {name}[{len(numbers)}] = {{\n    {body},\n}};\n"


def constant(name: str, integer: str, codes: npt.NDArray[Any], shape: tuple[int, ...]) -> tuple[str, str]:
    """Return the definition of codes that broadcast to `shape`, and the expression of the one for value i."""
    flat = np.broadcast_to(codes, shape).ravel()
    period = _period(flat)
    if period == 1:
        return "", f"{integer}({int(flat[0])})"
    return array(integer, name, flat[:period]), f"{name}[{_modulo(period, len(flat))}]"


def position(name: str, index: npt.NDArray[np.int64]) -> tuple[str, str]:
    """Return the definition of a table of positions, and the expression of the one for value i."""
    count, period = len(index), _period(index)
    if np.array_equal(index[:period], np.arange(period)):
        return "", "0" if period == 1 else _modulo(period, count)
    repeats = int(np.argmax(index != index[0])) or count
    if np.array_equal(index, np.arange(count) // repeats):
        return "", f"i / {repeats}"
    return array(INT32, name, index), f"{name}[i]"


def _modulo(period: int, count: int) -> str:
    return "i" if period == count else f"i % {period}"


def _period(values: npt.NDArray[Any]) -> int:
    """Return how many values repeat until the end."""
    count = len(values)
    for period in range(1, count // 2 + 1):
        if count % period == 0 and (values.reshape(-1, period) == values[:period]).all():
            return period
    return count
