"""Stages of a run directory placed and routed, the slowest first."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from l1dl.artifacts import RunDirectory, digest_path
from l1dl.errors import InputError, did_you_mean
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.job import Paths
from l1dl.flow.results import read_study, write_result
from l1dl.graph import FixedGraph
from l1dl.report.placement import SCHEMA, PlacementStudy, correlate, summarise_stage
from l1dl.rtl.estimate import Estimate
from l1dl.synth.design import SynthDesign
from l1dl.synth.place import Device, place_stages
from l1dl.synth.resources import StageResources
from l1dl.synth.yosys import synthesise
from l1dl.tools import find_tool

FILE = "place/place.json"
"""Name of the results in a run directory."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Choice:
    """Which stages are placed: those that are named, or so many, the slowest by their estimate."""

    names: tuple[str, ...] = ()
    slowest: int = 3


def place_run(
    run: Path,
    *,
    choice: Choice = Choice(),
    device: Device = Device(),  # noqa: B008  frozen
    seeds: int = 3,
    jobs: int = 2,
    timeout_s: float = 1800,
    progress: Progress | None = None,
) -> PlacementStudy:
    """Place and route stages of the Verilog of a run directory, each alone, with several seeds.

    The results are written to ``place/place.json`` there, and the next report shows them. What is finished is kept in
    the run's cache, so that an interrupted study goes on where it stopped.

    Raises
    ------
    InputError
        The run has no Verilog of a parallel design, or no stage of that name; a stage does not fit.
    ToolMissingError
        Yosys or nextpnr is absent.
    ToolFailedError
        One of them failed.
    """
    find_tool("nextpnr")  # before anything is synthesised
    graph, paths = graph_of_run(run), Paths(run, run / "hls")
    with RunDirectory(run):
        return _place(graph, paths, choice, device, tuple(range(1, seeds + 1)), jobs, timeout_s, progress)


def _place(
    graph: FixedGraph,
    paths: Paths,
    choice: Choice,
    device: Device,
    seeds: tuple[int, ...],
    jobs: int,
    timeout_s: float,
    progress: Progress | None,
) -> PlacementStudy:
    say, work = progress or (lambda _text, _done, _total: None), paths.cache / "place_work"
    verilog, files = digest_path(paths.rtl / "src"), paths.verilog()
    design = design_of(graph.name, files)
    estimates = synthesise(
        design, work=work / "estimate", cache=paths.cache / "synth", jobs=jobs,
        progress=lambda done, total: say("synthesis by stage", done, total),
    )  # fmt: skip
    by_name = {stage.name: stage for stage in estimates.stages}
    names = choose([by_name[name] for name in design.stages], choice)
    placed = place_stages(
        files, names, device=device, seeds=seeds, work=work / "stages", cache=paths.cache / "place", jobs=jobs,
        timeout_s=timeout_s, progress=progress,
    )  # fmt: skip
    shutil.rmtree(work, ignore_errors=True)
    stages = tuple(summarise_stage(each, by_name[each.name]) for each in placed)
    correlation, reason = correlate(stages)
    yosys, nextpnr = (".".join(find_tool(name).version.split(".")[:2]) for name in ("yosys", "nextpnr"))
    study = PlacementStudy(
        schema=SCHEMA,
        model=graph.name,
        graph=graph.digest,
        verilog=verilog,
        origin=f"placed and routed (nextpnr {nextpnr}, Yosys {yosys}, {device.name}, speed grade {device.speed})",
        estimate_origin=estimates.delay_origin,
        device=device.name,
        speed=device.speed,
        seeds=seeds,
        stages_in_all=len(design.stages),
        rank_correlation=correlation,
        rank_correlation_reason=reason,
        stages=stages,
    )
    write_result(paths.run / FILE, study)
    return study


def design_of(top: str, files: dict[str, str]) -> SynthDesign:
    """Return the modules of a parallel design from its files.

    Raises
    ------
    InputError
        The files are not those of a parallel design.
    """
    pattern = re.compile(rf"{re.escape(top)}_stage(\d+)\.v")
    numbers = sorted(int(found[1]) for name in files if (found := pattern.fullmatch(name)))
    sequential = (f"{top}_pipeline", top)
    if not numbers or not all(f"{name}.v" in files for name in sequential):
        msg = f"the Verilog of {top!r} has no {top}_pipeline.v with stages; only parallel designs can be placed"
        raise InputError(msg)
    stages = tuple(f"{top}_stage{number}" for number in numbers)
    return SynthDesign(top, stages, sequential, files, Estimate(0, 0, "not estimated"))


def choose(stages: Sequence[StageResources], choice: Choice) -> list[str]:
    """Return names of stages in the order of the pipeline; a stage without an estimate counts as slow.

    A name may be given without that of the model: ``stage3``.

    Raises
    ------
    InputError
        There is no such stage.
    """
    known = [stage.name for stage in stages]
    if choice.names:
        full = [_full_name(name, known) for name in choice.names]
        return [name for name in known if name in full]
    slow = sorted(stages, key=lambda stage: -(float("inf") if stage.delay_ns is None else stage.delay_ns))
    chosen = {stage.name for stage in slow[: choice.slowest]}
    return [name for name in known if name in chosen]


def _full_name(name: str, known: Sequence[str]) -> str:
    found = [each for each in known if each == name or each.endswith(f"_{name}")]
    if len(found) != 1:
        msg = f"there is no stage {name!r}{did_you_mean(name, known)}; there are {known[0]} to {known[-1]}"
        raise InputError(msg)
    return found[0]


def read_placement(paths: Paths, graph: FixedGraph) -> PlacementStudy | None:
    """Return the study of this very network and its Verilog; None if there was none.

    Raises
    ------
    InputError
        The file is damaged.
    """
    return read_study(paths, FILE, PlacementStudy, graph, "l1dl place")
