"""``l1dl seu``: random bits of the simulated RTL flipped, and what that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl seu runs/jet_mlp --upsets 5000 --seed 2")(seu)


def seu(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with a co-simulated parallel design.")],
    upsets: Annotated[
        int, typer.Option("--upsets", min=1, help="Upsets of each register rank, and of the constants of each stage.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of bits and events.")] = 1,
) -> None:
    """Flip random flip-flops and constants in the simulated RTL, and count what that changes.

    For each pipeline stage: the share of the upsets that change an output code, and the decision, with its statistical
    error (68 %), wrong events per upset, and for how many cycles. Checked on the way: without upsets the codes are
    those of the emulator, no other events become wrong than those that were hit, and what must be seen is seen.
    The results stand in seu/ of the run directory, and in its next report.

    Exit code 0: counted; 1: one of these checks failed.
    """
    from l1dl.cli.console import display, print_table, show
    from l1dl.flow.seu import FILE, study_run
    from l1dl.report.format import count
    from l1dl.report.upsets import HEADERS, table

    with display() as shown:
        study = study_run(run, upsets=upsets, seed=seed, progress=shown.step)
    title = (
        f"{study.model}: {count(study.upsets_per_place)} upsets in each stage, of {count(study.events)} test events, "
        f"seed {study.seed}"
    )
    print_table(title, table(study), HEADERS)
    for text in (study.decision_reason, study.constants_reason):
        if text:
            show(text)
    show(f"written: {(run / FILE).parent}")
