"""``l1dl architectures``: one network, parallel and streaming, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from l1dl.cli.units import Clock


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Examples:  l1dl architectures runs/digits_cnn   |   l1dl architectures runs/mine --pixels 1")(
        architectures
    )


def architectures(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with a converted network.")],
    pixels: Annotated[
        list[int] | None,
        typer.Option("--pixels", min=1, help="Pixels per clock; may be repeated.", show_default="1, and a row"),
    ] = None,
    clock: Clock = 5.0,
) -> None:
    """Compare a network as parallel and as streaming designs: resources, latency, interval.

    Each design is simulated against the emulator, every code, and synthesised with Yosys. The results stand in
    architectures.json of the run directory, and in its next report.
    """
    from l1dl.cli.console import display, print_table
    from l1dl.flow.architectures import compare_architectures
    from l1dl.report.format import count

    with display() as shown:
        found = compare_architectures(
            run, pixels=pixels or (), clock_period_ns=clock,
            progress=lambda name, text: shown.step(f"{name}: {text}", 0, 0),
        )  # fmt: skip
    rows = [
        (each.name, *(count(value) for value in (each.lut, each.ff, each.dsp, each.bram)),
         "" if each.latency_ns is None else f"{each.latency_ns:g} ns", count(each.interval), each.reason)
        for each in found
    ]  # fmt: skip
    headers = ("architecture", "LUT", "FF", "DSP", "BRAM", "latency", "interval", "")
    width = len(headers) - (not any(each.reason for each in found))
    print_table(f"{run}: every code equal to the emulator's", [row[:width] for row in rows], headers[:width])
