"""``l1dl fit``: a model against its limits, and what would help."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1dl.cli.run import Set

if TYPE_CHECKING:
    from l1dl.flow.fit.result import Figure, Fit, Suggestion
    from l1dl.flow.fit.subject import Subject

EXAMPLES = (
    "Examples:  l1dl fit models/jet_mlp --max-latency 50ns --max-lut 20k   |   "
    "l1dl fit runs/jet_mlp --max-lut 30000 --json fit.json"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(fit)


def fit(
    target: Annotated[
        Path, typer.Argument(metavar="CARD-or-RUN", help="Model card, or run directory with a converted network.")
    ],
    latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="TIME", help="For example 100ns or 0.1us; a number is in ns.")
    ] = None,
    lut: Annotated[str | None, typer.Option("--max-lut", metavar="N", help="For example 20000 or 20k.")] = None,
    ff: Annotated[str | None, typer.Option("--max-ff", metavar="N", help="Flip-flops.")] = None,
    auc: Annotated[
        float | None, typer.Option("--max-auc-loss", metavar="X", help="Loss of macro AUC against the float model.")
    ] = None,
    changes: Set = None,
    clock: Annotated[
        bool, typer.Option("--any-clock/--keep-clock", help="Whether another clock may be suggested.")
    ] = True,
    always: Annotated[bool, typer.Option("--measures", help="Try all measures even if every limit is kept.")] = False,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON.")] = None,
) -> int:
    """Say which limits a model breaks, by how much, and what would help.

    Limits that are not given are those of the card's [budget]. A card that is not trained yet stands for a network with
    random weights. Each measure is made a network and put to the RTL compiler; with test events, its loss of AUC
    without training again is computed exactly, which is the worst that training again leaves.

    Exit code 0: all limits are kept; 1: one is broken.
    """
    from l1dl.artifacts import write_json
    from l1dl.cli.console import display, show
    from l1dl.flow.fit.limits import Limits, parse_count, parse_time_ns
    from l1dl.flow.fit.study import fit as study
    from l1dl.flow.fit.subject import find_subject

    given = Limits(
        None if latency is None else parse_time_ns(latency, "--max-latency"),
        None if lut is None else parse_count(lut, "--max-lut"),
        None if ff is None else parse_count(ff, "--max-ff"),
        None if auc is None else _share(auc),
    )
    with display() as shown:
        subject = find_subject(target, changes or (), lambda text: shown.step(text, 0, 0))
        limits = given.or_those_of(subject.budget)
        done = study(subject, limits, clock=clock, always=always, progress=shown.step)
    if file is not None:
        write_json(file, done.to_json())
    _print(done, subject)
    if file is not None:
        show(f"figures: {file}")
    return 0 if done.kept else 1


def _share(value: float) -> float:
    from l1dl.errors import InputError

    if not 0 < value < 1:
        msg = f"--max-auc-loss {value:g} is not allowed; give a number between 0 and 1, for example 0.01"
        raise InputError(msg)
    return value


TITLES = {"latency_ns": "latency in ns", "lut": "LUT", "ff": "FF", "auc_loss": "loss of macro AUC"}


def _print(done: Fit, subject: Subject) -> None:
    from l1dl.cli.console import print_table, show
    from l1dl.report.format import NOTHING, count, number

    show(f"{done.model}: {done.source}")
    rows, origins = [], []
    for each in done.verdicts:
        title, found = TITLES[each.name], each.figure
        if found is None:
            rows.append((title, number(each.limit, 6), NOTHING, "unknown"))
        else:
            state = f"BROKEN by {_rounded(each.excess)}" if each.broken else "kept"
            rows.append((title, number(each.limit, 6), _figure(found), state))
            origins.append(f"{title}: {found.origin}")
        origins += [f"{title}: {each.remark}"] if each.remark else []
    if rows:
        print_table("limits", rows, ("", "limit", "figure (95 %)", ""))
        for text in origins:
            show(text)
    else:
        figures = done.figures
        show(f"no limits are given; {_figure(figures.lut)} LUT, {_figure(figures.ff)} FF, {figures.latency_ns:g} ns")
    total = done.figures.lut.value
    print_table(
        "LUT by layer, estimated, in proportion to the sum above",
        [(name, count(lut), f"{100 * lut / total:.0f} %") for name, lut in done.layers if abs(lut) >= 0.005 * total],
        ("layer", "LUT", "share"),
    )
    if done.tried:
        _print_measures(done)
    for note in done.notes:
        show(note, style="yellow")
    if done.suggestion is not None:
        _print_suggestion(done.suggestion, subject)


def _print_measures(done: Fit) -> None:
    from l1dl.cli.console import print_table
    from l1dl.report.format import NOTHING, count

    base = done.figures
    rows = []
    for each in done.tried:
        found = each.figures
        loss = NOTHING if found.auc_loss is None else f"{found.auc_loss:.4f}"
        rows.append((
            each.measure.text,
            count(base.lut.value - found.lut.value),
            count(base.ff.value - found.ff.value),
            f"{base.latency_ns - found.latency_ns:+.4g}",
            loss,
        ))  # fmt: skip
    headers = ("measure", "LUT saved", "FF saved", "ns saved", "loss of AUC")
    judged = base.auc_loss is not None
    print_table(
        "measures", [row[: len(headers) - (not judged)] for row in rows], headers[: len(headers) - (not judged)]
    )


def _print_suggestion(found: Suggestion, subject: Subject) -> None:
    from l1dl.cli.console import show

    figures = found.figures
    show("")
    if found.enough:
        show("smallest set of these measures that keeps the limits, with 10 % and a cycle to spare for new weights:")
    else:
        show("no set of up to four of these measures keeps the limits; the nearest is:", style="yellow")
    for text in found.measures:
        show(f"  {text}")
    show(
        f"expected: {_figure(figures.lut)} LUT, {_figure(figures.ff)} FF, {figures.latency_cycles} cycles, "
        f"{figures.latency_ns:g} ns"
    )
    if figures.auc_loss is not None:
        show(f"loss of AUC without training again: {figures.auc_loss:.4f}; training again should lower it")
    else:
        show("what accuracy is left is not known before training again")
    if found.settings is not None and subject.card_path is not None:
        words = ["l1dl", "run", str(subject.card_path)]
        words += [word for change in (*subject.changes, *found.settings) for word in ("--set", change)]
        show(shlex.join(words))


def _rounded(value: float | None) -> str:
    from l1dl.report.format import count, number

    return number(value) if value is None or value < 100 else count(value)


def _figure(found: Figure) -> str:
    from l1dl.report.format import count, number, with_interval

    whole = found.value >= 100
    if found.low == found.high:
        return count(found.value) if whole else number(found.value)
    if whole:
        return with_interval(found.value, found.low, found.high)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"
