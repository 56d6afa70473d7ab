"""The RTL compiler's own estimate of the resources, made before any synthesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from l1dl.rtl.calibration import Expected, expected


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

    def expected(self, figure: str) -> Expected | None:
        """Return what to expect of synthesis, for ``lut`` or ``ff``; None of a streaming design."""
        return expected(getattr(self, figure), figure) if self.layers else None

    def to_json(self) -> dict[str, Any]:
        """Return the estimate of the whole network as it stands in ``report.json``."""
        found = {figure: self.expected(figure) for figure in ("lut", "ff")}
        return {
            "lut": self.lut,
            "ff": self.ff,
            "origin": self.origin,
            "expected": {figure: vars(each) for figure, each in found.items() if each is not None} or None,
        }
