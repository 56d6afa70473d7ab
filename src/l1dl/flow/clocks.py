"""One network at several clocks: for each a pipeline of few stages whose estimated slack is positive."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from l1dl.artifacts import atomic_directory, digest_json, read_json, write_bytes, write_json, write_text
from l1dl.card import RtlCard
from l1dl.cosim.stimuli import random_codes
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.bench import code_key
from l1dl.flow.job import Paths
from l1dl.flow.measure import Say, prove, stage_delay, synthesise_design
from l1dl.flow.results import read_test_rows
from l1dl.graph import FixedGraph
from l1dl.report.clocks import ClockPoint, csv_text
from l1dl.report.figures import clocks_figure
from l1dl.report.style import to_png
from l1dl.rtl.delays import speed_grade
from l1dl.rtl.project import RtlDesign, compile_graph, cut
from l1dl.tools import run_parallel

FILE = "clocks/clocks.json"
"""Name of the results in a run directory; beside it are a table and a figure."""

SCHEMA = "l1dl-clocks/1"

CLOCKS_MHZ = (200.0, 240.0, 320.0, 360.0, 480.0)
"""Clocks of triggers: multiples of 40 MHz, and the 200 MHz that papers take."""

EVENTS = 20_000
"""Most test events of each co-simulation."""

_TRIALS = 8
"""Most syntheses of one stage."""

_FIRST, _AIM, _FULL = 1.03, 0.985, 0.93
"""Shares of the clock period: the first limit of a stage, the delay that the next one aims at, and when it is full."""


def compare_clocks(
    run: Path,
    settings: RtlCard,
    part: str,
    periods_ns: Sequence[float],
    *,
    progress: Callable[[str, str], None] | None = None,
) -> tuple[ClockPoint, ...]:
    """Pipeline, synthesise and co-simulate the network of a run directory for several clocks.

    For each clock, stage after stage is filled: cut with a limit on the estimate of the compiler, synthesised, and cut
    again with another limit, until the netlist takes just the clock period. What is finished is kept: the results of
    all clocks are written to ``clocks/`` there (``clocks.json``, ``clocks.csv`` and ``clocks.png``) after each clock,
    and the next report shows them.

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
    graph, paths = graph_of_run(run), Paths(run, run / "hls")
    key = study_key(graph, settings, part)
    points = {point.clock_period_ns: point for point in _read(paths.run / FILE, key)}
    missing = [period for period in dict.fromkeys(periods_ns) if period not in points]
    if missing:
        say = progress or (lambda _name, _text: None)
        say("all clocks", "compiling")
        pipeliner, rows = _Pipeliner(graph, settings, part, paths.cache), _rows(paths, graph)
        writing = threading.Lock()

        def study(period: float) -> None:
            point = pipeliner.study(period, rows, partial(say, f"{1e3 / period:.4g} MHz"))
            with writing:
                points[period] = point
                _write(paths.run / FILE, key, _sorted(points))

        run_parallel([partial(study, period) for period in missing], jobs=os.cpu_count() or 1)
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
        write_bytes(temporary / "clocks.png", to_png(lambda: clocks_figure(points)))


def _sorted(points: dict[float, ClockPoint]) -> tuple[ClockPoint, ...]:
    return tuple(points[period] for period in sorted(points, reverse=True))


def _rows(paths: Paths, graph: FixedGraph) -> Codes:
    """Return the input codes of test events where the run has some, else random ones."""
    rows = read_test_rows(paths, graph)
    return random_codes(EVENTS, graph.input_ports, 1) if rows is None else rows[:EVENTS]


class _Pipeliner:
    """Fills the stages of one network, one after the other, as far as a clock allows."""

    def __init__(self, graph: FixedGraph, settings: RtlCard, part: str, cache: Path) -> None:
        self._graph, self._settings, self._grade, self._cache = graph, settings, speed_grade(part), cache
        self._compiled = compile_graph(graph)
        self._compiling = threading.Lock()

    def study(self, period_ns: float, rows: Codes, say: Say) -> ClockPoint:
        """Return the pipeline for a clock as it was synthesised, and co-simulated with some rows of input codes."""
        design, limits = self._fill(period_ns, say)
        resources = synthesise_design(design, self._cache, say, grade=self._grade)
        remark = f"The clock is {1e3 / period_ns:.4g} MHz."
        report = prove(self._graph, design, rows, self._cache, say, remark=remark)
        slowest = resources.slowest
        assert slowest is not None
        assert slowest.delay_ns is not None
        assert resources.lut is not None
        assert resources.ff is not None
        return ClockPoint(
            period_ns, limits, len(design.stages), report.latency_cycles, report.latency_cycles * period_ns,
            resources.lut, resources.ff, slowest.delay_ns, report.agreement.events,
        )  # fmt: skip

    def _fill(self, period_ns: float, say: Say) -> tuple[RtlDesign, tuple[float, ...]]:
        """Return the pipeline for a clock, and the limit of each stage in ns.

        Raises
        ------
        InputError
            A stage is too slow whatever is in it, or has cells whose delay is not known.
        """
        limits: list[float] = []
        while True:
            limit, design = self._fill_stage(period_ns, limits, say)
            limits.append(limit)
            if len(limits) == len(design.stages):
                return design, tuple(limits)

    def _fill_stage(self, period_ns: float, before: Sequence[float], say: Say) -> tuple[float, RtlDesign]:
        """Return the largest limit of the next stage that was found to be fast enough, and its pipeline."""
        stage, limit, best, taken = len(before), _FIRST * period_ns, None, math.inf
        for trial in range(1, _TRIALS + 1):
            design = self._cut(period_ns, [*before, limit])
            say(f"synthesis of stage {stage + 1} of about {len(design.stages)}")
            taken = self._delay(design, stage)
            if taken <= period_ns:
                best = limit, design
                if stage + 1 == len(design.stages) or taken >= _FULL * period_ns:
                    break
            limit = round(limit * _AIM**trial * period_ns / taken, 3)
            if best is not None and limit <= best[0]:
                break
        if best is None:
            msg = (
                f"no pipeline runs at {1e3 / period_ns:.4g} MHz: stage {stage} takes {taken:.2f} ns of "
                f"{period_ns:.2f} ns, however little is in it; take a slower clock"
            )
            raise InputError(msg)
        return best

    def _cut(self, period_ns: float, limits: Sequence[float]) -> RtlDesign:
        """Return the pipeline with these limits."""
        changed = self._settings.model_copy(update={"clock_period_ns": period_ns, "stage_delay_ns": list(limits)})
        with self._compiling:  # the compiler is corrected while it works, for all threads
            return cut(self._compiled, changed, grade=self._grade)

    def _delay(self, design: RtlDesign, stage: int) -> float:
        """Return the delay of the netlist of one stage, in ns."""
        delay = stage_delay(design, stage, self._cache, grade=self._grade)
        if delay is None:
            msg = f"stage {stage} has cells whose delay is not known (DSP blocks), so that no clock can be chosen"
            raise InputError(msg)
        return delay
