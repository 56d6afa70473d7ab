"""Constant matrices as shared adder graphs, by distributed arithmetic.

C. Sun et al., "da4ml: Distributed Arithmetic for Real-time Neural Networks on FPGAs" (arXiv:2507.04535),
which the library alkaid implements.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from l1dl.fixed import Codes
from l1dl.rtl.signals import (
    Kernel,
    Signal,
    apply_solution,
    chunks,
    constant,
    exact_float,
    is_constant,
    solve,
    times,
    total,
)  # fmt: skip

_LOOKUP_INPUTS = 6
"""Number of one-bit inputs whose weighted sum is one lookup table (a LUT6 for each of its bits)."""


class MatrixSolver:
    """Multiplies vectors with constant matrices.

    The same matrix for vectors of the same types, as at each position of a convolution, is solved once.
    """

    def __init__(self) -> None:
        self._solutions: dict[Any, tuple[Any, Any]] = {}

    def product(self, x: list[Signal], codes: Codes, step: float) -> list[Signal]:
        """Return x @ (codes * step).

        Parameters
        ----------
        codes
            Shape (len(x), n_out).
        """
        fixed = [(row, Fraction(signal.low)) for row, signal in enumerate(x) if is_constant(signal)]
        varying = [row for row, signal in enumerate(x) if not is_constant(signal)]
        offsets = [sum((value * int(column[row]) for row, value in fixed), Fraction(0)) for column in codes.T]
        sums = [[constant(exact_float(offset * Fraction(step)))] for offset in offsets]
        signals = [x[row] for row in varying]
        for kernel in chunks(codes[varying]):
            for terms, value in zip(sums, self._apply(signals, kernel * step), strict=True):
                terms.append(value)
        return [total(terms) for terms in sums]

    def _apply(self, x: list[Signal], kernel: Kernel) -> list[Signal]:
        found, kernel = _looked_up(x, kernel)
        used = np.flatnonzero(kernel.any(axis=1)).tolist()
        if used:
            added = self._added([x[row] for row in used], kernel[used])
            found = [[*terms, value] for terms, value in zip(found, added, strict=True)]
        return [total(terms) for terms in found]

    def _added(self, x: list[Signal], kernel: Kernel) -> list[Signal]:
        # Solutions differ with ranges, and with the times at which the signals are ready, one after the other.
        earliest = min(signal.latency for signal in x)
        like = [(signal.low, signal.high, signal.step, signal.latency - earliest) for signal in x]
        key = (kernel.shape, kernel.tobytes(), tuple(like))
        if key not in self._solutions:
            self._solutions[key] = solve(x, kernel)
        return apply_solution(self._solutions[key], x)


def _looked_up(x: list[Signal], kernel: Kernel) -> tuple[list[list[Signal]], Kernel]:
    """Return for each column the sums of `_LOOKUP_INPUTS` one-bit signals each, and the matrix of what is left."""
    bits = [index for index, signal in enumerate(x) if sum(signal.kif) == 1]
    found: list[list[Signal]] = [[] for _ in range(kernel.shape[1])]
    rest = kernel.copy()
    for column, terms in enumerate(found):
        # Weights of about the same size make narrow sums.
        sizes = abs(kernel[:, column])
        active = sorted((index for index in bits if sizes[index]), key=sizes.__getitem__)
        for start in range(0, len(active) - _LOOKUP_INPUTS + 1, _LOOKUP_INPUTS):
            group = active[start : start + _LOOKUP_INPUTS]
            # The other value of a bit than zero: negative where its type is signed.
            ones = np.array([x[index].high or x[index].low for index in group])
            chosen = np.arange(1 << _LOOKUP_INPUTS)[:, None] >> np.arange(_LOOKUP_INPUTS) & 1
            table = chosen @ (ones * kernel[group, column])
            if np.array_equal(table.astype(np.float32), table):
                address = total(times(x[index], 2.0**place / ones[place]) for place, index in enumerate(group))
                terms.append(address.lookup(table))
                rest[group, column] = 0
    return found, rest
