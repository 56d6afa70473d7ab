"""One network at several clocks: for each the fewest pipeline stages whose estimated slack is positive."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from l1dl.artifacts import atomic_directory, digest_json, read_json, write_json, write_text
from l1dl.card import RtlCard
from l1dl.cosim.stimuli import random_codes
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.bench import code_key
from l1dl.flow.job import Paths
from l1dl.flow.measure import Say, prove, synthesise_design
from l1dl.graph import FixedGraph
from l1dl.ports import check_rows
from l1dl.report.clocks import ClockPoint, csv_text
from l1dl.report.figures import clocks_figure
from l1dl.report.style import style
from l1dl.rtl.delays import GRADES, speed_grade
from l1dl.rtl.pipeline import limit_for, schedule
from l1dl.rtl.project import RtlDesign, compile_program, cut_program, stage_delay
from l1dl.synth.resources import Resources

FILE = "clocks/clocks.json"
"""Name of the results in a run directory; beside it are a table and a figure."""

SCHEMA = "l1dl-clocks/1"

CLOCKS_MHZ = (200.0, 240.0, 320.0, 360.0, 480.0)
"""Clocks of triggers: multiples of 40 MHz, and the 200 MHz that papers take."""

EVENTS = 20_000
"""Most test events of each co-simulation."""

_MORE_STAGES = 6
"""Stages that are added at most to those that the estimate before synthesis asks for."""

_HOPE = 1.1
"""A stage less is tried if the present delays, spread over fewer stages, are no more than this many periods."""


def compare_clocks(
    run: Path,
    settings: RtlCard,
    part: str,
    periods_ns: Sequence[float],
    *,
    progress: Callable[[str, str], None] | None = None,
) -> tuple[ClockPoint, ...]:
    """Pipeline, synthesise and co-simulate the network of a run directory for several clocks.

    For each clock, pipelines of more or fewer stages are synthesised until one has a positive estimated slack and one
    of a stage less has not. What is finished is kept: the results of all clocks are written to ``clocks/`` there
    (``clocks.json``, ``clocks.csv`` and ``clocks.png``) after each clock, and the next report shows them.

    Parameters
    ----------
    settings
        Of the RTL; its own clock and stage delay do not count.
    part
        Name of the part, for its speed grade.
    periods_ns
        Clock periods in ns.
    progress
        Called with a clock and what is being done.

    Returns
    -------
    All points that the run directory holds, the slowest clock first.

    Raises
    ------
    InputError
        The directory holds no graph, the design is not parallel, or no pipeline is fast enough for a clock.
    MismatchError
        A design gives other codes than the emulator.
    """
    if settings.architecture != "parallel":
        msg = (
            f'rtl.architecture = "{settings.architecture}": delays of queues and windows are not estimated, so that '
            'its clock cannot be chosen; try rtl.architecture = "parallel"'
        )
        raise InputError(msg)
    graph, say, paths = graph_of_run(run), progress or (lambda _name, _text: None), Paths(run, run / "hls")
    key = study_key(graph, settings, part)
    points = {point.clock_period_ns: point for point in _read(paths.run / FILE, key)}
    missing = [period for period in dict.fromkeys(periods_ns) if period not in points]
    if missing:
        say("all clocks", "compiling")
        program = compile_program(graph)
        rows = _rows(paths, graph)
    for period in missing:

        def tell(text: str, period: float = period) -> None:
            say(f"{1e3 / period:.4g} MHz", text)

        wanted = settings.model_copy(update={"clock_period_ns": period, "stage_delay_ns": None})
        design, resources, limit = _fewest_stages(graph, program, wanted, speed_grade(part), paths.cache, tell)
        report = prove(graph, design, rows, paths.cache, tell, remark=f"The clock is {1e3 / period:.4g} MHz.")
        slowest = resources.slowest
        assert slowest is not None
        assert slowest.delay_ns is not None
        assert resources.lut is not None
        assert resources.ff is not None
        points[period] = ClockPoint(
            period, limit, len(design.stages), report.latency_cycles, report.latency_cycles * period,
            resources.lut, resources.ff, slowest.delay_ns, report.agreement.events,
        )  # fmt: skip
        _write(paths.run / FILE, key, _sorted(points))
    return _sorted(points)


def study_key(graph: FixedGraph, settings: RtlCard, part: str) -> str:
    """Return a digest of all that the points depend on, besides the clock."""
    others = settings.model_dump(exclude={"clock_period_ns", "stage_delay_ns"})
    return digest_json([SCHEMA, code_key("emulate", "rtl", "synth"), graph.digest, others, speed_grade(part)])


def read_clocks(run: Path, graph: FixedGraph, settings: RtlCard, part: str) -> tuple[ClockPoint, ...]:
    """Return the points of this very network; none if there are none.

    Raises
    ------
    InputError
        The file is damaged.
    """
    return _read(run / FILE, study_key(graph, settings, part))


def _read(path: Path, key: str) -> tuple[ClockPoint, ...]:
    if not path.exists():
        return ()
    content: Any = read_json(path)
    try:
        if content["key"] != key:
            return ()
        return TypeAdapter(tuple[ClockPoint, ...]).validate_python(content["points"])
    except (ValidationError, KeyError, TypeError):
        msg = f"{path} is damaged; remove it, or run `l1dl synth --clock` again"
        raise InputError(msg) from None


def _write(path: Path, key: str, points: tuple[ClockPoint, ...]) -> None:
    with atomic_directory(path.parent) as temporary:
        content = TypeAdapter(tuple[ClockPoint, ...]).dump_python(points, mode="json")
        write_json(temporary / path.name, {"schema": SCHEMA, "key": key, "points": content})
        write_text(temporary / "clocks.csv", csv_text(points))
        image = io.BytesIO()
        with style():
            clocks_figure(points).savefig(image, format="png", dpi=150)
        (temporary / "clocks.png").write_bytes(image.getvalue())


def _sorted(points: dict[float, ClockPoint]) -> tuple[ClockPoint, ...]:
    return tuple(points[period] for period in sorted(points, reverse=True))


def _rows(paths: Paths, graph: FixedGraph) -> Codes:
    """Return the input codes of test events where the run has some, else random ones."""
    if paths.cosim_outputs.exists():
        with np.load(paths.cosim_outputs, allow_pickle=False) as file:
            rows: Codes | None = file.get("inputs")
        if rows is not None and len(rows):
            check_rows(rows, graph.input_ports)
            return rows[:EVENTS]
    return random_codes(EVENTS, graph.input_ports, 1)


def _fewest_stages(
    graph: FixedGraph, program: Any, settings: RtlCard, grade: int, cache: Path, say: Say
) -> tuple[RtlDesign, Resources, float]:
    """Return the pipeline of fewest stages with a positive estimated slack, its resources, and its limit in ns.

    Raises
    ------
    InputError
        No pipeline is fast enough.
    """
    period, scale = settings.clock_period_ns, GRADES[grade]
    start = stages = len(schedule(program, stage_delay(settings) / scale).delay_ns)
    best: tuple[RtlDesign, Resources, float] | None = None
    while True:
        limit = scale * limit_for(program, stages)
        design = cut_program(graph, program, settings.model_copy(update={"stage_delay_ns": limit}), grade=grade)
        found = len(design.stages)
        resources = synthesise_design(design, cache, lambda text: say(f"{found} stages, {text}"), grade=grade)  # noqa: B023
        slowest = resources.slowest
        if slowest is None or slowest.delay_ns is None:
            msg = (
                f"{graph.name!r} has cells whose delay is not known (DSP blocks), so that no clock can be chosen for it"
            )
            raise InputError(msg)
        if slowest.delay_ns <= period:
            best = design, resources, limit
            hopeful = slowest.delay_ns * found <= _HOPE * period * (found - 1)
            if stages > start or found == 1 or not hopeful:
                return best
            stages = found - 1
        elif best is not None:
            return best
        elif found < stages or stages == start + _MORE_STAGES:
            msg = (
                f"no pipeline of up to {stages} stages runs at {1e3 / period:.4g} MHz: the slowest stage, "
                f"{slowest.name!r} of {found}, takes {slowest.delay_ns:.2f} ns of {period:.2f} ns; take a slower clock"
            )
            raise InputError(msg)
        else:
            stages += 1
