"""Single-event upsets in the RTL of a run directory."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from l1dl.artifacts import atomic_directory, digest_path, read_json, write_bytes, write_json, write_text
from l1dl.cosim.instrument import instrument
from l1dl.cosim.upsets import HOLD_EVENTS, Decide, study_upsets
from l1dl.cosim.verilate import Simulation
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.job import Paths
from l1dl.flow.results import read_study, read_test_rows
from l1dl.graph import FixedGraph
from l1dl.report.figures import upsets_figure
from l1dl.report.style import to_png
from l1dl.report.upsets import SCHEMA, UpsetStudy, csv_text, summarise_place, total_of
from l1dl.tools import find_tool

FILE = "seu/seu.json"
"""Name of the results in a run directory; beside it are a table and a figure."""


def study_run(
    run: Path, *, upsets: int = 2000, seed: int = 1, progress: Callable[[str, int, int], None] | None = None
) -> UpsetStudy:
    """Flip random bits in the simulated Verilog of a run directory, and count what they change.

    The results are written to ``seu/`` there (``seu.json``, ``seu.csv`` and ``seu.png``), and the next report shows
    them.

    Parameters
    ----------
    upsets
        Number of upsets in each register rank, the valid chain, and the constants of each stage.
    seed
        Of bits, events and cycles: the same seed gives the same figures.
    progress
        Called with what is being done, steps done and steps in all (0 where that is unknown).

    Raises
    ------
    InputError
        The run has no co-simulated Verilog of a parallel design.
    MismatchError
        The Verilog is wrong without any upset; an effect outlasts the events that were hit; or an upset that must be
        seen is not.
    """
    say = progress or (lambda _text, _done, _total: None)
    graph, paths = graph_of_run(run), Paths(run, run / "hls")
    rows = read_test_rows(paths, graph)
    if rows is None:
        msg = f"{run} holds no co-simulated events; run it until the stage cosim"
        raise InputError(msg)
    design = instrument(paths.verilog(), graph.name)
    say("building the simulation", 0, 0)
    simulation = Simulation(
        design.sources, graph.name, graph.input_ports, graph.output_ports, paths.cache, upsets=True
    )  # fmt: skip
    decide, decision, reason = decision_of(graph)
    effects = study_upsets(
        simulation, design.places, rows, Emulator(graph).run(rows), latency=design.latency_cycles, upsets=upsets,
        seed=seed, decide=decide, progress=lambda done, total: say("upsetting", done, total),
    )  # fmt: skip
    places = tuple(summarise_place(each) for each in effects)
    flip_flops, constants = total_of(places, lasting=False), total_of(places, lasting=True)
    assert flip_flops is not None, "every pipeline has registers"
    study = UpsetStudy(
        schema=SCHEMA,
        model=graph.name,
        graph=graph.digest,
        verilog=digest_path(paths.rtl / "src"),
        origin=f"simulated (RTL in Verilator {find_tool('verilator').version})",
        seed=seed,
        upsets_per_place=upsets,
        events=len(rows),
        hold_events=HOLD_EVENTS,
        latency_cycles=design.latency_cycles,
        clock_period_ns=read_json(paths.rtl / "interface.json")["clock_period_ns"],
        decision=decision,
        decision_reason=reason,
        places=places,
        flip_flops=flip_flops,
        constants=constants,
        constants_reason=None if constants else "the stages hold neither literals nor tables",
    )
    _write(study, (run / FILE).parent)
    return study


def read_upsets(paths: Paths, graph: FixedGraph) -> UpsetStudy | None:
    """Return the study of this very network and its Verilog; None if there was none.

    Raises
    ------
    InputError
        The file is damaged.
    """
    return read_study(paths, FILE, UpsetStudy, graph, "l1dl seu")


def decision_of(graph: FixedGraph) -> tuple[Decide | None, str | None, str | None]:
    """Return what makes a decision of rows of output codes, its name, or why there is none."""
    if len(graph.output_ports) != 1:
        return None, None, f"{len(graph.output_ports)} outputs make no single decision"
    (port,) = graph.output_ports
    if port.size == 1:
        return (lambda codes: np.asarray(codes[:, 0] > 0, dtype=np.int64)), "whether the output is above zero", None
    if port.size != math.prod(port.shape[-1:]):
        return None, None, f"an output of shape {port.shape} is no decision"
    return (lambda codes: codes.argmax(axis=1)), "the largest output, of equals the first", None


def _write(study: UpsetStudy, directory: Path) -> None:
    with atomic_directory(directory) as temporary:
        write_json(temporary / "seu.json", TypeAdapter(UpsetStudy).dump_python(study, mode="json"))
        write_text(temporary / "seu.csv", csv_text(study))
        write_bytes(temporary / "seu.png", to_png(lambda: upsets_figure(study)))
