"""The RTL compiler's own estimate of the resources, made before any synthesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerEstimate:
    """The LUTs that one layer takes, as `l1dl.rtl.cost.layer_estimates` attributes them."""

    name: str
    lut: float


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
    layers
        The LUTs by layer, in the order of the graph; empty where they are not known. Their sum is not quite `lut`:
        the optimiser works across layers.
    """

    lut: float
    ff: int
    origin: str
    layers: tuple[LayerEstimate, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the estimate of the whole network as it stands in ``report.json``."""
        return {"lut": self.lut, "ff": self.ff, "origin": self.origin}
