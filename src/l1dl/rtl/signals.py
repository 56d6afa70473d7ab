"""Signals: what the lowerings need of alkaid's symbolic variables, and what they may not be used for directly.

A signal (alkaid's ``FVariable``) is a number that varies between `low` and `high` in steps of `step`, a
power of two. All of this arithmetic is exact; nothing here rounds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Values, decode
from l1dl.rtl.passes import lowest_bit

CARRY_SIZE = 8
"""Bits of one carry chain of the target family (CARRY8 of UltraScale+), for the delay estimate."""

MAXIMUM_SIGNAL_BITS = 53
"""alkaid keeps the ends of a signal's range as doubles."""

MATRIX_BITS = 24
"""alkaid reads matrices as float32."""

_SINGLE_BITS = 16
"""Widest constant whose product is searched for the fewest adders; the search takes seconds beyond 24 bits."""

Signal = Any
"""An ``alkaid.trace.FVariable``."""

Kernel = npt.NDArray[np.float64]
"""A constant matrix, of shape (n_in, n_out), or a table."""


def hardware() -> Any:
    """Return the target of the delay estimate."""
    from alkaid.trace import HWConfig

    return HWConfig(1, CARRY_SIZE, -1)


def constant(value: float) -> Signal:
    """Return a signal that does not vary."""
    from alkaid.trace import FVariable

    return FVariable.from_const(float(value), hwconf=hardware())


def is_constant(x: Signal) -> bool:
    """Say whether a signal does not vary."""
    return bool(x.low == x.high)


def fraction_of(x: Signal) -> int:
    """Return the number of fractional bits of a signal that varies."""
    return -int(math.log2(x.step))


def code_range(x: Signal) -> tuple[int, int]:
    """Return the smallest and the largest value in units of the step."""
    low, high = int(x.low / x.step), int(x.high / x.step)
    if max(-low, high) >> MAXIMUM_SIGNAL_BITS:
        msg = f"a value needs more than {MAXIMUM_SIGNAL_BITS} bits, the most that the RTL compiler handles"
        raise UnsupportedError(msg)
    return low, high


def key_of(x: Signal) -> tuple[Any, ...]:
    """Return what tells a signal from others; alkaid gives a signal and its multiples by powers of two one id."""
    return (x.low,) if is_constant(x) else (x.id, x._factor)


def exact_float(value: Fraction) -> float:
    """Return a number as a double.

    Raises
    ------
    UnsupportedError
        It has too many bits.
    """
    rounded = float(value)
    if rounded != value:
        msg = f"a constant needs more than {MAXIMUM_SIGNAL_BITS} bits, the most that the RTL compiler handles"
        raise UnsupportedError(msg)
    return rounded


def exact_values(codes: Codes, spec: FixedSpec) -> Values:
    """Return the real values of codes; refuse, as `exact_float` does, those that no double is."""
    values = decode(codes, spec)
    if codes.size and max(int(codes.max()), -int(codes.min())) >> MAXIMUM_SIGNAL_BITS:
        for code in codes.flat:
            exact_float(Fraction(int(code)) / Fraction(2) ** spec.fraction)
    return values


def times(x: Signal, factor: float) -> Signal:
    """Return the product with a constant."""
    if is_constant(x):
        return constant(exact_float(Fraction(x.low) * Fraction(factor)))
    if factor == 0:
        return constant(0.0)
    exponent = lowest_bit(factor)
    odd = math.ldexp(abs(factor), -exponent)
    if odd == 1:
        return x * factor
    scale = math.copysign(2.0**exponent, factor)
    if odd < 1 << _SINGLE_BITS:
        return _single(odd)([x], quantize=False)[0] * scale
    codes = np.array([[int(odd)]], dtype=np.int64)
    return total([product([x], kernel)[0] for kernel in chunks(codes)]) * scale


def multiplied(a: Signal, b: Signal) -> Signal:
    """Return the product."""
    if is_constant(b):
        return times(a, b.low)
    return times(b, a.low) if is_constant(a) else a * b


@lru_cache(maxsize=4096)
def _single(odd: float) -> Any:
    """Return the program that multiplies by an odd constant with the fewest adders."""
    from alkaid._binary import scm_solve

    return scm_solve(odd, 2)


def chunks(codes: Codes) -> list[Kernel]:
    """Return matrices of at most `MATRIX_BITS` bits, as reals, whose sum is that of the codes."""
    parts = []
    shift, half = 0, 1 << (MATRIX_BITS - 2)
    while codes.any():
        low = ((codes + half) & (2 * half - 1)) - half
        parts.append(np.ldexp(low.astype(np.float64), shift))
        codes, shift = (codes - low) >> (MATRIX_BITS - 1), shift + MATRIX_BITS - 1
    return [part for part in parts if part.any()]


def product(x: list[Signal], kernel: Kernel) -> list[Signal]:
    """Return the product of a vector of signals that vary with a matrix of at most `MATRIX_BITS` bits."""
    return apply_solution(solve(x, kernel), x)


def solve(x: list[Signal], kernel: Kernel) -> tuple[Any, Any]:
    """Return the two programs of adders, one behind the other, that multiply vectors like x by a matrix."""
    from alkaid.cmvm import QInterval, cmvm_solve

    assert np.array_equal(kernel.astype(np.float32), kernel), "the matrix is not exact in float32"
    earliest = min(signal.latency for signal in x)
    first, second = cmvm_solve(
        np.ascontiguousarray(kernel, dtype=np.float32),
        qintervals=[QInterval(float(signal.low), float(signal.high), float(signal.step)) for signal in x],
        latencies=[signal.latency - earliest for signal in x],
    )
    return first, second


def apply_solution(solution: tuple[Any, Any], x: list[Signal]) -> list[Signal]:
    """Return the result of what `solve` found; columns without a weight give zero."""
    first, second = solution
    values = second(first(np.array(x, dtype=object), quantize=False), quantize=False)
    return [constant(value) if isinstance(value, (int, float)) else value for value in values]


def total(terms: Iterable[Signal]) -> Signal:
    """Return the sum as a tree: what is ready first is added first."""
    parts = list(terms)
    varying = [term for term in parts if not is_constant(term)]
    offset = exact_float(sum((Fraction(term.low) for term in parts if is_constant(term)), Fraction(0)))
    if not varying:
        return constant(offset)
    heap = [(term.latency, sum(term.kif), index, term) for index, term in enumerate(varying)]
    heapq.heapify(heap)
    for index in range(len(varying), 2 * len(varying) - 1):
        added = heapq.heappop(heap)[-1] + heapq.heappop(heap)[-1]
        heapq.heappush(heap, (added.latency, sum(added.kif), index, added))
    return heap[0][-1] + offset


def negative(x: Signal) -> Signal:
    """Return one bit: 1 where x < 0."""
    if x.low >= 0 or x.high < 0:
        return constant(float(x.high < 0))
    return x.msb()


def where_negative(key: Signal, yes: Signal, no: Signal, ends: tuple[float, float, float] | None = None) -> Signal:
    """Return `yes` where key < 0, `no` elsewhere; `ends` are the lowest and highest result, and their step."""
    if key.low >= 0 or key.high < 0:  # alkaid selects by the highest bit, which would be no sign
        return yes if key.high < 0 else no
    if is_constant(yes) and is_constant(no) and yes.low == no.low:
        return yes
    return key.msb_mux(yes, no, ends)


def at_least(x: Signal, bound: float) -> Signal:
    """Return max(x, bound) of a finite bound."""
    if x.low >= bound:
        return x
    if x.high <= bound:
        return constant(bound)
    if bound == 0:
        return x.relu()
    # x < bound, decided on the grid of x, where the constant has fewer bits.
    edge = math.ceil(bound / x.step) * x.step
    ends = (bound, float(x.high), min(x.step, 2.0 ** lowest_bit(bound)))
    return where_negative(x - edge, constant(bound), x, ends)


def at_most(x: Signal, bound: float) -> Signal:
    """Return min(x, bound) of a finite bound."""
    if x.high <= bound:
        return x
    if x.low >= bound:
        return constant(bound)
    edge = (math.floor(bound / x.step) + 1) * x.step
    ends = (float(x.low), bound, min(x.step, 2.0 ** lowest_bit(bound)))
    return where_negative(x - edge, x, constant(bound), ends)


def larger(a: Signal, b: Signal) -> Signal:
    """Return max(a, b)."""
    if is_constant(a) or is_constant(b):
        return at_least(a, b.low) if is_constant(b) else at_least(b, a.low)
    ends = (float(max(a.low, b.low)), float(max(a.high, b.high)), float(min(a.step, b.step)))
    return where_negative(total([a, -b]), b, a, ends)


def smaller(a: Signal, b: Signal) -> Signal:
    """Return min(a, b)."""
    if is_constant(a) or is_constant(b):
        return at_most(a, b.low) if is_constant(b) else at_most(b, a.low)
    ends = (float(min(a.low, b.low)), float(min(a.high, b.high)), float(min(a.step, b.step)))
    return where_negative(total([a, -b]), a, b, ends)


def both(a: Signal, b: Signal) -> Signal:
    """Return the conjunction of two bits."""
    if is_constant(a) or is_constant(b):
        constant_bit, other = (a, b) if is_constant(a) else (b, a)
        return other if constant_bit.low else constant(0.0)
    return a & b


def either(a: Signal, b: Signal) -> Signal:
    """Return the disjunction of two bits."""
    if is_constant(a) or is_constant(b):
        constant_bit, other = (a, b) if is_constant(a) else (b, a)
        return constant(1.0) if constant_bit.low else other
    return a | b


def inverted(bit: Signal) -> Signal:
    """Return the negation of a bit."""
    return constant(1.0 - bit.low) if is_constant(bit) else ~bit
