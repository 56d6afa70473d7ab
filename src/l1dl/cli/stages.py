"""``l1dl train``, ``convert``, ``rtl``, ``cosim``, ``synth``, ``report``: one stage each."""

from __future__ import annotations

from collections.abc import Callable

import typer

from l1dl.cli.run import Card, Force, Hls, Out, Seeds, Set, execute

HELP = {
    "train": "Train the float reference and the quantised model of a card.",
    "convert": "Convert the quantised model to an hls4ml project and a FixedGraph.",
    "rtl": "Compile the FixedGraph to pipelined Verilog.",
    "cosim": "Simulate the Verilog cycle by cycle against the emulator.",
    "synth": "Synthesise the Verilog with Yosys: LUT, FF, DSP, BRAM.",
    "report": "Write report.json and report.html.",
}


def add_to(app: typer.Typer) -> None:
    """Add one command for each stage."""
    for name, text in HELP.items():
        needs = "" if name == "train" else " The stages before it must be up to date."
        command = _train if name == "train" else _stage(name)
        app.command(name, help=text + needs, epilog=f"Example:  l1dl {name} models/jet_mlp")(command)


def _train(
    context: typer.Context,
    card: Card,
    out: Out = None,
    hls: Hls = None,
    seeds: Seeds = None,
    changes: Set = None,
    force: Force = False,
) -> int:
    return execute(context.obj, card, out, hls, until="train", seeds=seeds, changes=changes or (), force=force)


def _stage(name: str) -> Callable[..., int]:
    def command(
        context: typer.Context,
        card: Card,
        out: Out = None,
        hls: Hls = None,
        changes: Set = None,
        force: Force = False,
    ) -> int:
        return execute(context.obj, card, out, hls, only=name, changes=changes or (), force=force)

    return command
