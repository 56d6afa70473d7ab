"""Stages placed and routed on a device: what each reaches, and how well the estimated delays order them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, median_low

from l1dl.metrics import rank_correlation
from l1dl.report.format import NOTHING, count
from l1dl.synth.place import Route, StagePlacement
from l1dl.synth.resources import StageResources

SCHEMA = "l1dl-place/1"

FEWEST = 4
"""Stages without which a rank correlation says nothing."""


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class PlacedStage:
    """A stage and its placements.

    Attributes
    ----------
    lut4, ff
        LUTs with four inputs of the stage (two for each cell of a carry chain), and flip-flops in front of and behind
        it.
    fmax_mhz, delay_ns
        Highest clock frequency, and its period, over the seeds.
    logic_ns, routing_ns
        The two parts of the critical path, of the seed in the middle.
    routing_share
        Share of wires in it.
    estimate_ns, levels
        Estimated delay on UltraScale+, speed grade -1, and its logic levels; null where a cell has no known delay.
    of_stage
        Whether all critical paths lead through the stage; if not, the stage is faster than these figures.
    routes
        Each placement.
    """

    name: str
    lut4: int
    ff: int
    fmax_mhz: Spread
    delay_ns: Spread
    logic_ns: float
    routing_ns: float
    routing_share: float
    estimate_ns: float | None
    levels: int | None
    of_stage: bool
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class PlacementStudy:
    """The whole study.

    Attributes
    ----------
    model, graph
        Name and digest of the network.
    verilog
        Digest of the Verilog as it was generated, or changed by hand.
    origin, estimate_origin
        Where the figures come from.
    device, speed, seeds
        What was placed on, and how often.
    stages_in_all
        Number of stages of the design.
    rank_correlation
        Spearman's, of estimated and placed delay (median over the seeds); null with a `rank_correlation_reason`.
    stages
        Those that were placed, in the order of the pipeline.
    """

    schema: str
    model: str
    graph: str
    verilog: str
    origin: str
    estimate_origin: str
    device: str
    speed: int
    seeds: tuple[int, ...]
    stages_in_all: int
    rank_correlation: float | None
    rank_correlation_reason: str | None
    stages: tuple[PlacedStage, ...]


def summarise_stage(placed: StagePlacement, estimate: StageResources) -> PlacedStage:
    """Return the figures of a stage over its seeds."""
    routes = placed.routes
    middle = median_low(route.delay_ns for route in routes)
    path = next(route for route in routes if route.delay_ns == middle)
    return PlacedStage(
        name=placed.name,
        lut4=placed.lut4,
        ff=placed.ff,
        fmax_mhz=_spread([route.fmax_mhz for route in routes]),
        delay_ns=_spread([route.delay_ns for route in routes]),
        logic_ns=path.logic_ns,
        routing_ns=path.routing_ns,
        routing_share=path.routing_ns / path.delay_ns,
        estimate_ns=estimate.delay_ns,
        levels=estimate.levels,
        of_stage=all(route.of_stage for route in routes),
        routes=routes,
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


def correlate(stages: Sequence[PlacedStage]) -> tuple[float | None, str | None]:
    """Return the rank correlation of estimated and placed delay, or why there is none."""
    pairs = [(stage.estimate_ns, stage.delay_ns.median) for stage in stages if stage.estimate_ns is not None]
    if len(pairs) < FEWEST:
        return None, f"{len(pairs)} stages with an estimate are too few for a rank correlation; {FEWEST} are needed"
    value = rank_correlation(*zip(*pairs, strict=True))
    return (None, "all stages are equal") if value is None else (value, None)


HEADERS = ("stage", "LUT4", "FF", "Fmax/MHz", "range", "path/ns", "wires/%", "estimate")


def table(study: PlacementStudy) -> list[tuple[str, ...]]:
    """Return the rows of a table with the headers `HEADERS`; it fits a terminal of 80 columns."""
    return [
        (
            stage.name.removeprefix(f"{study.model}_"), count(stage.lut4), count(stage.ff),
            f"{'' if stage.of_stage else '>'}{stage.fmax_mhz.median:.0f}",
            f"{stage.fmax_mhz.min:.0f}-{stage.fmax_mhz.max:.0f}",
            f"{'' if stage.of_stage else '<'}{stage.delay_ns.median:.2f}", f"{100 * stage.routing_share:.0f}",
            NOTHING if stage.estimate_ns is None else f"{stage.estimate_ns:.2f}",
        )
        for stage in study.stages
    ]  # fmt: skip


def sentences(study: PlacementStudy) -> list[str]:
    """Return what the figures say, in words."""
    slowest = max(study.stages, key=lambda stage: stage.delay_ns.median)
    shares = [100 * stage.routing_share for stage in study.stages]
    lines = [
        f"slowest of these stages: {slowest.name}, {slowest.delay_ns.median:.2f} ns",
        f"wires take {min(shares):.0f} to {max(shares):.0f} % of the critical paths",
    ]
    if study.rank_correlation is None:
        lines.append(str(study.rank_correlation_reason))
    else:
        number = sum(stage.estimate_ns is not None for stage in study.stages)
        lines.append(f"rank correlation of estimate and path: {study.rank_correlation:+.2f} ({number} stages)")
    if not all(stage.of_stage for stage in study.stages):
        lines.append("> and <: the registers around the stage are slower than the stage")
    return lines
