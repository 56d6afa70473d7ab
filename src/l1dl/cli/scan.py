"""``l1dl scan``: the front of accuracy and resources over a card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1dl.cli.run import Set

if TYPE_CHECKING:
    from l1dl.flow.scan.results import Point, Results

EXAMPLES = (
    "Examples:  l1dl scan models/jet_mlp --trials 60 --jobs 2 --set training.epochs=40   |   "
    "l1dl scan models/jet_hgq2 --vary hgq2.ebops=300..20000:log   |   "
    "l1dl scan --prove scans/jet_mlp   |   l1dl scan --card 12 scans/jet_mlp --out models/small"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(scan)


def scan(
    target: Annotated[
        Path, typer.Argument(metavar="CARD-or-SCAN", help="Model card; with --show, --prove or --card the scan.")
    ],
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Trials in all, those of earlier calls included.")
    ] = 30,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials at a time.")] = 1,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="LOW..HIGH, LOW..HIGH:log or A,B,C; may be repeated.",
            show_default="as the engine of the card has it",
        ),
    ] = None,
    only: Annotated[bool, typer.Option("--only-vary", help="Vary nothing else by default.")] = False,
    changes: Set = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives", metavar="A,B", help="auc or accuracy, and lut, ff or latency.", show_default="auc,lut"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the search.")] = 1,
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URL", help="Database that several machines share.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory of the scan, or of a card.", show_default="scans/<name>")
    ] = None,
    show_it: Annotated[bool, typer.Option("--show", help="Show a scan; nothing runs.")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Take the front of a scan through all stages.")] = False,
    number: Annotated[
        int | None, typer.Option("--card", metavar="NUMBER", min=0, help="Write the card of a point to --out.")
    ] = None,
) -> int:
    """Search the front of accuracy and resources over a model card.

    Each trial trains the quantised model with other values of the card, converts it, judges the exact emulator on the
    validation split, and compiles the RTL for its calibrated estimate; what it varies is told as --set arguments. The
    same command goes on where it stopped. Results: results.csv, results.json and front.png.

    Exit code 0: done; 1: with --prove, a point is not bit-exact.
    """
    from l1dl.cli.console import display, show
    from l1dl.errors import InputError
    from l1dl.flow.scan.points import export_card, prove_front
    from l1dl.flow.scan.results import Objectives, write_results
    from l1dl.flow.scan.study import prepare, read_scan, scan_card

    if show_it + prove + (number is not None) > 1:
        msg = "--show, --prove and --card exclude each other; give one of them"
        raise InputError(msg)
    goal = None if objectives is None else Objectives.parse(objectives)
    if number is not None:
        if out is None:
            msg = "--card needs --out, the directory of the new card"
            raise InputError(msg)
        show(f"written: {export_card(*read_scan(target, storage=storage), number, out)}")
        return 0
    if prove:
        with display() as shown:
            results = prove_front(target, storage=storage, report=shown.step, listen=shown.stage, tell=show)
    elif show_it:
        _, results = read_scan(target, storage=storage, objectives=goal)
        write_results(results, target)
    else:
        prepared, space = prepare(target, changes or (), vary or (), goal or Objectives(), usual=not only, seed=seed)
        directory = out or Path("scans") / space.card.name
        with display() as shown:
            results = scan_card(
                prepared, space, directory, trials=trials, jobs=jobs, storage=storage, progress=shown.step
            )
        target = directory
    _print(results, target)
    return 0 if all(point.proved is None or point.proved["bit_exact"] for point in results.front) else 1


def _print(results: Results, directory: Path) -> None:
    from l1dl.cli.console import print_table, show
    from l1dl.flow.scan.results import COSTS, GAINS
    from l1dl.report.format import with_error

    goal, counts = results.objectives, Counter(point.state for point in results.points)
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    show(f"{results.name}: {len(results.points)} trials ({said})")
    if not results.front:
        show("no trial is complete", style="yellow")
        for point in results.points[-3:]:
            show(f"trial {point.number}: {point.reason.splitlines()[0] if point.reason else point.state}")
        return
    headers = ("point", "macro AUC", "accuracy", "LUT (95 %)", "FF", "latency", "proved")
    proved = any(point.proved for point in results.front)
    width = len(headers) - (not proved)
    rows = [_row(point)[:width] for point in results.front]
    if results.reference is not None:
        found = results.reference
        judged = (with_error(found[key], found[f"{key}_error"]) for key in ("auc", "accuracy"))
        rows.append(("float", *judged, *[""] * 4)[:width])
    title = f"front of {GAINS[goal.gain]} and {COSTS[goal.cost]}; validation split, estimated LUT and FF"
    print_table(title, rows, headers[:width])
    show(f"all points: {directory / 'results.csv'}, {directory / 'front.png'}")
    number = results.front[-1].number
    show(f"card of a point: l1dl scan --card {number} {directory} --out models/{results.name}_{number}")
    if not proved:
        show(f"proof of the front: l1dl scan --prove {directory}")


def _row(point: Point) -> tuple[str, ...]:
    from l1dl.report.format import count, with_error, with_interval

    found, proved = point.figures, ""
    if point.proved is not None:
        exact = "bit-exact" if point.proved["bit_exact"] else "NOT bit-exact"
        other = "" if point.proved["same_network"] else ", another network"
        area = with_error(point.proved["auc"], point.proved["auc_error"])
        proved = f"{exact}, {count(point.proved['lut'])} LUT, test AUC {area}{other}"
    return (
        str(point.number), with_error(found["auc"], found["auc_error"]),
        with_error(found["accuracy"], found["accuracy_error"]),
        with_interval(found["lut"], found["lut_low"], found["lut_high"]), count(found["ff"]),
        f"{found['latency_cycles']} cycles, {found['latency_ns']:g} ns", proved,
    )  # fmt: skip
