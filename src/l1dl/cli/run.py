"""``l1dl run``: a card through all stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from l1dl.flow.runner import Outcome

Card = Annotated[Path, typer.Argument(metavar="CARD", help="Model card: a TOML file, or the directory of model.toml.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run directory.", show_default="runs/<name>")]
Hls = Annotated[
    Path | None,
    typer.Option("--hls", help="Directory of the HLS project.", show_default="hls_projects/<name>, or OUT/hls"),
]
Force = Annotated[bool, typer.Option("--force", help="Run it even if it is up to date.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="A value in place of the card's; may be repeated."),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        help="Trainings of each model; the first goes on to the firmware.",
        show_default="as the last time, 1 at first",
    ),
]


EXAMPLES = (
    "Examples:  l1dl run models/jet_mlp   |   l1dl run models/jet_mlp --until rtl --out /tmp/try   |   "
    "l1dl run models/jet_cnn --set rtl.architecture=stream --set hls.io_type=io_stream --out runs/jet_stream"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    card: Card,
    out: Out = None,
    hls: Hls = None,
    until: Annotated[str, typer.Option("--until", metavar="STAGE", help="Last stage.")] = "report",
    seeds: Seeds = None,
    changes: Set = None,
    force: Force = False,
) -> int:
    """Run all stages: data, train, convert, emulate, rtl, cosim, synth, report.

    Finished stages are skipped while their inputs, settings and tools are unchanged, so that an
    interrupted run goes on where it stopped.
    """
    return execute(context.obj, card, out, hls, until=until, seeds=seeds, changes=changes or (), force=force)


def execute(command: str, card: Path, out: Path | None, hls: Path | None, **options: Any) -> int:
    """Run stages with progress on the terminal; print the summary if the report was made."""
    from l1dl.cli.console import display
    from l1dl.flow.run import run_card

    with display() as shown:
        outcome = run_card(card, out=out, hls=hls, command=command, report=shown.step, listen=shown.stage, **options)
    return summarise(outcome)


def summarise(outcome: Outcome) -> int:
    """Print the summary if the report was made; return the exit code."""
    from l1dl.cli.console import print_table, show
    from l1dl.report.costs import HEADERS, cost_rows
    from l1dl.report.write import summary_rows

    if outcome.report is not None:
        costs = outcome.report["costs"]
        if costs["reason"] is None:
            print_table(f"LUT by layer, {costs['origin']}", cost_rows(costs), HEADERS)
        print_table(outcome.report["model"]["name"], summary_rows(outcome.report))
        show(f"report: {outcome.page}")
    return 0 if outcome.good else 1
