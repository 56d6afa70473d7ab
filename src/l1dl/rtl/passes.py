"""Corrections of alkaid's optimiser passes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def exact_passes() -> Iterator[None]:
    """Correct two things in alkaid 0.8 that change results, while the context lasts.

    Its pass ``canonicalize_msb_wraps`` drops the shift of a one-bit selection whose bit has the weight
    of the source's top bit *before* that shift, and so selects another bit; it is left out (a selection
    costs no logic). And a constant that a pass wraps to an unsigned type keeps one bit too many.
    """
    from alkaid.trace.fixed_variable import FVariable
    from alkaid.trace.passes import canon

    pass_, quantize = canon.canonicalize_msb_wraps, FVariable.quantize

    def exact_quantize(
        signal: Any, k: int, i: int, f: int, overflow_mode: str = "WRAP", round_mode: str = "TRN"
    ) -> Any:
        if signal.low == signal.high and (overflow_mode, round_mode) == ("WRAP", "TRN"):
            step, low = 2.0**-f, -(2.0**i) if k else 0.0
            wrapped = (math.floor(signal.low / step) * step - low) % 2.0 ** (i + bool(k)) + low
            return FVariable.from_const(wrapped, hwconf=signal.hwconf)
        return quantize(signal, k, i, f, overflow_mode, round_mode)

    canon.canonicalize_msb_wraps, FVariable.quantize = (lambda program: program), exact_quantize
    try:
        yield
    finally:
        canon.canonicalize_msb_wraps, FVariable.quantize = pass_, quantize
