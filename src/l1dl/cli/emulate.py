"""``l1dl emulate``: the stage that compares the meanings of a network, or its outputs for the events of a file."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from l1dl.cli.run import Card, Force, Hls, Out, Set, execute

EXAMPLES = "Examples:  l1dl emulate models/jet_mlp   |   l1dl emulate runs/jet_mlp --input events.h5 --output scores.h5"


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(emulate)


def emulate(
    context: typer.Context,
    card: Card,
    source: Annotated[
        Path | None, typer.Option("--input", help="File of events: .h5, .npz, .npy, .parquet; CARD is a run directory.")
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", help="File of scores to write: the same formats.")] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="compiled: C++ on all processors; xla: JAX, also on a GPU; onnx: onnxruntime; numpy.",
        ),
    ] = "compiled",
    out: Out = None,
    hls: Hls = None,
    changes: Set = None,
    force: Force = False,
) -> int:
    """Compare Keras, the C++ of hls4ml and the exact emulator, bit by bit.

    The stages before it must be up to date.

    With --input and --output, write the outputs of a network for any number of events instead, bit by bit those of the
    firmware. CARD is then a run directory, or a graph.json.
    """
    if source is None and target is None:
        return execute(context.obj, card, out, hls, only="emulate", changes=changes or (), force=force)
    if source is None or target is None:
        msg = "--input and --output belong together"
        raise typer.BadParameter(msg)
    _emulate_file(card, source, target, engine)
    return 0


def _emulate_file(model: Path, source: Path, target: Path, engine: str) -> None:
    from l1dl.cli.console import display, show
    from l1dl.emulate.engines import Engine, make_engine
    from l1dl.flow.emulate_file import emulate_file, find_graph

    known = [each.value for each in Engine]
    if engine not in known:
        msg = f"--engine {engine!r} is not known; allowed are {', '.join(known)}"
        raise typer.BadParameter(msg)
    graph = find_graph(model)
    with tempfile.TemporaryDirectory() as scratch, display() as shown:
        shown.step(f"preparing {engine}", 0, 0)
        predict = make_engine(graph, Engine(engine), Path(scratch)).predict
        start = time.perf_counter()
        events = emulate_file(
            graph, predict, source, target, progress=lambda done, total: shown.step("emulating", done, total)
        )  # fmt: skip
        seconds = time.perf_counter() - start
    show(f"{events:,} events in {seconds:.1f} s ({events / seconds:,.0f} events/s): {target}")
