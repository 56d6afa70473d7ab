"""The RTL compiler's own estimate of the resources, made before any synthesis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """The RTL compiler's own estimate, made before any synthesis.

    Attributes
    ----------
    lut
        Estimated number of LUTs.
    ff
        Number of register bits.
    origin
        What made the estimate.
    """

    lut: float
    ff: int
    origin: str
