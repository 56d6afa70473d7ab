"""One network in several architectures: what each costs, and how long it takes, all proved and synthesised alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from l1dl.artifacts import read_json, write_json
from l1dl.card import RtlCard
from l1dl.cosim.stimuli import random_codes
from l1dl.errors import InputError, UnsupportedError
from l1dl.flow.measure import prove, synthesise_design
from l1dl.graph import FixedGraph, load_graph
from l1dl.report.inputs import Architecture
from l1dl.rtl.build import Design, build_design

FILE = "architectures.json"
"""Name of the results in a run directory."""

FRAMES = 200
"""Random events of each co-simulation, besides the corners of the input space."""

Progress = Callable[[str, str], None]
"""Called with the name of an architecture and what is being done."""


def architectures(graph: FixedGraph, clock_period_ns: float, pixels: Sequence[int] = ()) -> dict[str, RtlCard]:
    """Return name → settings of the architectures that are worth a comparison.

    Parameters
    ----------
    pixels
        Pixels per clock of the streaming designs; one pixel and a whole row by default.
    """
    shape = graph.inputs[0].shape
    row = shape[-2] if len(shape) > 1 else 1
    found = {"parallel": RtlCard(clock_period_ns=clock_period_ns)}
    for count in dict.fromkeys(pixels or (1, row)):
        name = "1 pixel" if count == 1 else f"{count} pixels"
        stream = RtlCard(clock_period_ns=clock_period_ns, architecture="stream", pixels_per_clock=count)
        found[f"stream, {name}"] = stream
        found[f"stream, {name}, no reuse"] = stream.model_copy(update={"reuse_factor": 1})
    return found


def compare_architectures(
    run: Path, *, pixels: Sequence[int] = (), clock_period_ns: float = 5.0, progress: Progress | None = None
) -> tuple[Architecture, ...]:
    """Build, co-simulate and synthesise the network of a run directory in several architectures.

    What is finished is kept in the run's cache, so that an interrupted comparison goes on where it stopped. The
    results are written to ``architectures.json``, and the next report shows them.

    Raises
    ------
    InputError
        The directory holds no graph.
    MismatchError
        A design gives other codes than the emulator.
    """
    graph, say = graph_of_run(run), progress or (lambda _name, _text: None)
    results = []
    for name, settings in architectures(graph, clock_period_ns, pixels).items():
        say(name, "compiling")
        try:
            design = build_design(graph, settings)
        except (InputError, UnsupportedError) as error:
            results.append(Architecture(name, str(error)))
            continue
        results.append(_measure(name, graph, design, run / "cache", lambda text, name=name: say(name, text)))  # type: ignore[misc]
    found = tuple(results)
    content = {"graph": graph.digest, "architectures": TypeAdapter(tuple[Architecture, ...]).dump_python(found)}
    write_json(run / FILE, content)
    return found


def graph_of_run(run: Path) -> FixedGraph:
    """Return the converted network of a run directory.

    Raises
    ------
    InputError
        The directory holds none.
    """
    path = run / "convert" / "graph.json"
    if not path.exists():
        msg = f"{run} holds no converted network ({path} is missing); run the stage convert first"
        raise InputError(msg)
    return load_graph(path)


def read_architectures(run: Path, graph: FixedGraph) -> tuple[Architecture, ...]:
    """Return the results of a comparison of this very network; none if there was none."""
    path = run / FILE
    if not path.exists():
        return ()
    content = read_json(path)
    if content.get("graph") != graph.digest:
        return ()
    return TypeAdapter(tuple[Architecture, ...]).validate_python(content["architectures"])


def _measure(name: str, graph: FixedGraph, design: Design, cache: Path, say: Callable[[str], None]) -> Architecture:
    rows = random_codes(FRAMES, graph.input_ports, 1)
    verdict = prove(graph, design, rows, cache, say, remark=f"The architecture is {name!r}.")
    resources = synthesise_design(design, cache, say)
    return Architecture(
        name, resources.reason, resources.lut, resources.ff, resources.dsp, resources.bram,
        verdict.latency_cycles, verdict.latency_cycles * design.clock_period_ns, verdict.initiation_interval,
        verdict.agreement.events,
    )  # fmt: skip
