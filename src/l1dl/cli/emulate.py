"""``l1dl emulate``: the stage that compares the meanings of a network, or its outputs for the events of a file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from l1dl.cli.run import Card, Force, Hls, Out, Set, execute


class Engine(str, Enum):
    """What computes the codes; all give the same ones."""

    NUMPY = "numpy"
    XLA = "xla"


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
    engine: Annotated[Engine, typer.Option("--engine", help="What computes; xla takes a GPU where JAX has one.")] = (
        Engine.XLA
    ),
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


def _emulate_file(model: Path, source: Path, target: Path, engine: Engine) -> None:
    import time

    from l1dl.cli.console import display, show
    from l1dl.emulate.engine import Emulator
    from l1dl.emulate.xla import XlaEmulator
    from l1dl.flow.emulate_file import emulate_file, find_graph

    graph = find_graph(model)
    emulator = Emulator(graph) if engine is Engine.NUMPY else XlaEmulator(graph)
    start = time.perf_counter()
    with display() as shown:
        events = emulate_file(
            emulator, source, target, progress=lambda done, total: shown.step("emulating", done, total)
        )  # fmt: skip
    seconds = time.perf_counter() - start
    show(f"{events:,} events in {seconds:.1f} s ({events / seconds:,.0f} events/s): {target}")
