"""The outcome of holding a network against its limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from l1dl.flow.fit.limits import Limits
from l1dl.flow.fit.measures import Measure

SCHEMA = "l1dl-fit/1"

MARGIN = 1.1
"""What training again may make of LUTs and flip-flops, besides one more cycle: docs/fit.md has an example."""


@dataclass(frozen=True)
class Figure:
    """A number with the ends of its 95 % interval; the same three times where it is exact."""

    value: float
    low: float
    high: float
    origin: str


@dataclass(frozen=True)
class Figures:
    """What a network takes.

    Attributes
    ----------
    lut, ff
        On the device.
    latency_cycles, latency_ns
        From input to output.
    auc_loss, auc_loss_error
        Macro AUC of the float model less that of the network with these weights, and its statistical error; None where
        the test events or the weights are not known.
    """

    lut: Figure
    ff: Figure
    latency_cycles: int
    latency_ns: float
    auc_loss: float | None = None
    auc_loss_error: float | None = None

    def ratios(self, limits: Limits) -> list[float]:
        """Return latency, LUTs and flip-flops in units of their limits, those that have one."""
        pairs = (
            (self.latency_ns, limits.latency_ns),
            (self.lut.value, limits.lut),
            (self.ff.value, limits.ff),
        )
        return [value / limit for value, limit in pairs if limit is not None]

    def after_training(self) -> Figures:
        """Return what to reckon with once training has changed the weights: `MARGIN` more, and a cycle."""
        cycles = self.latency_cycles + 1
        return replace(
            self,
            lut=replace(self.lut, value=MARGIN * self.lut.value),
            ff=replace(self.ff, value=MARGIN * self.ff.value),
            latency_cycles=cycles,
            latency_ns=self.latency_ns * cycles / self.latency_cycles,
        )


@dataclass(frozen=True)
class Verdict:
    """One limit and the figure that is held against it.

    Attributes
    ----------
    name
        ``latency_ns``, ``lut``, ``ff`` or ``auc_loss``.
    figure
        None where it is not known, with the reason in `remark`.
    broken
        Whether the figure exceeds the limit.
    remark
        What a reader must know.
    """

    name: str
    limit: float
    figure: Figure | None
    broken: bool
    remark: str = ""

    @property
    def excess(self) -> float | None:
        """By how much the limit is broken; negative where there is room."""
        return None if self.figure is None else self.figure.value - self.limit


@dataclass(frozen=True)
class Tried:
    """A measure with the figures of the network after it."""

    measure: Measure
    figures: Figures


@dataclass(frozen=True)
class Suggestion:
    """A set of measures and what it gives.

    Attributes
    ----------
    enough
        Whether all limits that resources and latency have are kept, with the margin that training again asks for.
    settings
        The values of the card; None without a card.
    """

    measures: tuple[str, ...]
    figures: Figures
    enough: bool
    settings: tuple[str, ...] | None


@dataclass(frozen=True)
class Fit:
    """The outcome.

    Attributes
    ----------
    layers
        LUTs by layer as the compiler estimates them, calibrated like the sum.
    tried
        Empty where no limit is broken and nothing was to be tried.
    suggestion
        None where no limit of resources or latency is broken.
    """

    model: str
    source: str
    trained: bool
    clock_period_ns: float
    figures: Figures
    verdicts: tuple[Verdict, ...]
    layers: tuple[tuple[str, float], ...]
    tried: tuple[Tried, ...] = ()
    suggestion: Suggestion | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def kept(self) -> bool:
        """Whether no limit is broken."""
        return not any(verdict.broken for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome in JSON types."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "source": self.source,
            "trained": self.trained,
            "clock_period_ns": self.clock_period_ns,
            "figures": asdict(self.figures),
            "limits": [{**asdict(verdict), "excess": verdict.excess} for verdict in self.verdicts],
            "kept": self.kept,
            "layers": [{"name": name, "lut": lut} for name, lut in self.layers],
            "measures": [
                {
                    "text": each.measure.text,
                    "set": None if each.measure.settings is None else list(each.measure.settings),
                    "saved": {
                        "lut": self.figures.lut.value - each.figures.lut.value,
                        "ff": self.figures.ff.value - each.figures.ff.value,
                        "latency_ns": self.figures.latency_ns - each.figures.latency_ns,
                    },
                    "figures": asdict(each.figures),
                }
                for each in self.tried
            ],
            "suggestion": None
            if self.suggestion is None
            else {
                "measures": list(self.suggestion.measures),
                "enough": self.suggestion.enough,
                "set": None if self.suggestion.settings is None else list(self.suggestion.settings),
                "figures": asdict(self.suggestion.figures),
            },
            "notes": list(self.notes),
        }
