"""QKeras quantisers: which type each one quantises to."""

from __future__ import annotations

from typing import Any

from l1dl.fixed import FixedSpec, Overflow, Rounding


def quantiser_spec(quantiser: Any) -> FixedSpec:
    """Return the type that a QKeras ``quantized_bits`` or ``quantized_relu`` quantises to."""
    signed = type(quantiser).__name__ == "quantized_bits"
    integer = int(quantiser.integer) + signed
    return FixedSpec(signed, int(quantiser.bits), integer, Rounding.RND_CONV, Overflow.SAT)
