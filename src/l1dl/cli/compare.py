"""``l1dl compare``: the figures of several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl run models/jet_cnn --set training.sparsity=0 --out runs/dense "
                       "&& l1dl compare runs/dense runs/jet_cnn")(compare)  # fmt: skip


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories with a report.")],
) -> None:
    """Show the figures of finished runs side by side: physics, latency, resources, and how they change.

    LUT, FF, DSP and BRAM have their change from the first run beside them.
    """
    from l1dl.cli.console import print_table
    from l1dl.report.compare import compare_reports, read_reports

    reports = read_reports(runs)
    print_table("", compare_reports(list(reports.values())), ("", *reports))
