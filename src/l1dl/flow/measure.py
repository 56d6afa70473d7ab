"""A design of a graph, co-simulated and synthesised outside of the stages of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from l1dl.card import CosimCard
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.result import CosimReport
from l1dl.cosim.stream import cosimulate_stream
from l1dl.emulate.compare import require
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.rtl.build import Design
from l1dl.rtl.project import RtlDesign
from l1dl.synth.design import SynthDesign
from l1dl.synth.resources import Resources
from l1dl.synth.yosys import synthesise

Say = Callable[[str], None]
"""Called with what is being done."""


def prove(graph: FixedGraph, design: Design, rows: Codes, cache: Path, say: Say, *, remark: str) -> CosimReport:
    """Co-simulate a design with some rows of input codes and with the corners of the input space.

    Parameters
    ----------
    remark
        For the error.

    Raises
    ------
    MismatchError
        An output code is not that of the emulator.
    """
    settings = CosimCard(random_vectors=0)
    if isinstance(design, RtlDesign):
        report, _ = cosimulate(graph, design, rows, cache, settings=settings, self_test=False, progress=say)
    else:
        report, _ = cosimulate_stream(graph, design, rows, cache, settings=settings, self_test=False, progress=say)
    require(report.agreement, remark)
    return report


def synthesise_design(design: Design, cache: Path, say: Say, *, grade: int = 1) -> Resources:
    """Synthesise a design.

    Parameters
    ----------
    grade
        Speed grade of the part, for the estimated delays.
    """
    synth = SynthDesign(design.top, design.stage_modules, design.sequential_modules, design.sources(), design.estimate)
    return synthesise(
        synth, work=_work(design, cache), cache=cache / "synth", speed_grade=grade,
        progress=lambda done, total: say(f"synthesis, {done} of {total} modules"),
    )  # fmt: skip


def stage_delay(design: RtlDesign, stage: int, cache: Path, *, grade: int) -> float | None:
    """Synthesise one stage alone; return the delay of its netlist in ns, or None where it is not known."""
    module = design.stage_modules[stage]
    synth = SynthDesign(module, (module,), (), design.logic, design.estimate)
    found = synthesise(synth, work=_work(design, cache), cache=cache / "synth", speed_grade=grade, jobs=1)
    return found.stages[0].delay_ns


def _work(design: Design, cache: Path) -> Path:
    """Return a directory that no synthesis for another clock uses at the same time."""
    return cache / "measured" / f"{design.clock_period_ns:.6f}"
