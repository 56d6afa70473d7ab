"""A model card through the stages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from l1dl.card import load_card
from l1dl.errors import InputError
from l1dl.flow.deploy import deploy
from l1dl.flow.job import CardJob, Paths, Reporter
from l1dl.flow.runner import Outcome, StageListener, run_stages
from l1dl.flow.stages import STAGES
from l1dl.models.engines import check_engine

__all__ = ["Outcome", "StageListener", "deploy", "run_card"]


WITH_KERAS = ("train", "convert", "emulate")
"""Stages that compute with the quantised Keras model."""


def run_card(
    card_path: Path,
    *,
    changes: Sequence[str] = (),
    out: Path | None = None,
    hls: Path | None = None,
    until: str = "report",
    only: str | None = None,
    seeds: int | None = None,
    force: bool = False,
    command: str = "",
    report: Reporter | None = None,
    listen: StageListener | None = None,
) -> Outcome:
    """Take a model card through the stages.

    Parameters
    ----------
    card_path
        The card, or the directory that holds it as ``model.toml``.
    changes
        Values in place of the card's, each ``section.key=value``.
    out
        Run directory, ``runs/<name>`` by default.
    hls
        Directory of the HLS project, ``hls_projects/<name>`` by default, ``<out>/hls`` if `out` is given.
    until
        Last stage.
    only
        Run this stage alone; the stages before it must be up to date, but the HLS project, the graph
        and the Verilog may have been changed by hand: then the stage takes them as they are.
    seeds
        Number of trainings of each model; by default as many as the last time, 1 at first.
    force
        Run the stages (with `only`: that stage) even if they are up to date.
    command
        The command line, for the report.

    Raises
    ------
    MismatchError
        Two meanings of the model disagree.
    ToolMissingError
        The engine of the card does not work in this environment.
    L1dlError
        Whatever else went wrong, in one line.
    """
    if seeds is not None and seeds < 1:
        msg = f"seeds = {seeds} is not allowed; give 1 or more"
        raise InputError(msg)
    card = load_card(card_path, changes)
    run = out or Path("runs") / card.name
    paths = Paths(run, hls or (run / "hls" if out else Path("hls_projects") / card.name))
    directory = card_path if card_path.is_dir() else card_path.parent
    if only in WITH_KERAS if only else until != "data":
        check_engine(card.model.engine)
    job = CardJob(card, directory, paths, seeds)
    places = [("--out", out), ("--hls", hls)]
    options = [text for option, path in places if path is not None for text in (option, str(path))]
    options += [text for change in changes for text in ("--set", change)]

    def advise(stage: str) -> str:
        return shlex.join(["l1dl", "run", str(card_path), "--until", stage, *options])

    return run_stages(job, paths, list(STAGES), until, only, force, command, report, listen, advise)
