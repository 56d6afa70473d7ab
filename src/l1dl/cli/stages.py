"""``l1dl train``, ``convert``, ``rtl``, ``cosim``, ``synth``, ``report``: one stage each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

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
        command = _OWN.get(name) or _stage(name)
        example = f"Example:  l1dl {name} models/jet_mlp"
        more = "   |   l1dl synth models/jet_mlp --clock all   |   l1dl synth models/jet_mlp --clock 360MHz --clock 4ns"
        app.command(name, help=text + needs, epilog=example + (more if name == "synth" else ""))(command)


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


def _synth(
    context: typer.Context,
    card: Card,
    out: Out = None,
    hls: Hls = None,
    changes: Set = None,
    force: Force = False,
    clock: Annotated[
        list[str] | None,
        typer.Option(
            "--clock",
            metavar="CLOCK",
            help="Instead of the stage: find the fewest pipeline stages with a positive estimated slack at a clock "
            "such as 360MHz or 2.5ns, or at all of 200, 240, 320, 360 and 480 MHz; may be repeated. Results of all "
            "clocks stand in clocks/ of the run directory, and in its next report.",
        ),
    ] = None,
) -> int:
    if not clock:
        return execute(context.obj, card, out, hls, only="synth", changes=changes or (), force=force)
    return _compare_clocks(card, out, clock, changes or ())


def _compare_clocks(card_path: Path, out: Path | None, clocks: Sequence[str], changes: Sequence[str]) -> int:
    from l1dl.card import load_card
    from l1dl.cli.console import display, print_table, show
    from l1dl.cli.units import clock_period_ns
    from l1dl.flow.clocks import CLOCKS_MHZ, FILE, compare_clocks
    from l1dl.report.clocks import HEADERS, table

    texts = [text for clock in clocks for text in ([f"{mhz}MHz" for mhz in CLOCKS_MHZ] if clock == "all" else [clock])]
    periods = [clock_period_ns(text) for text in texts]
    card = load_card(card_path, changes)
    run = out or Path("runs") / card.name
    with display() as shown:
        points = compare_clocks(
            run, card.rtl, card.hls.part, periods, progress=lambda name, text: shown.step(f"{name}: {text}", 0, 0)
        )
    print_table(f"{card.name} on {card.hls.part}: every code equal to the emulator's", table(points), HEADERS)
    show(f"written: {(run / FILE).parent}")
    return 0


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


_OWN: dict[str, Callable[..., int]] = {"train": _train, "synth": _synth}
