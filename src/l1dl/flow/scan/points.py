"""Single points of a scan: their cards, and the whole road for those of the front."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from l1dl.artifacts import write_text
from l1dl.card import ModelCard, to_toml
from l1dl.errors import InputError, MismatchError
from l1dl.flow.job import Reporter
from l1dl.flow.run import run_card
from l1dl.flow.runner import StageListener
from l1dl.flow.scan.results import Results, write_results
from l1dl.flow.scan.study import POINTS, Scan, read_scan


def prove_front(
    directory: Path,
    *,
    storage: str | None = None,
    report: Reporter | None = None,
    listen: StageListener | None = None,
    tell: Callable[[str], None] | None = None,
) -> Results:
    """Take the points of the front through all stages, each in a run directory of its own in ``points/``.

    A point whose meanings disagree is noted, and the others go on.

    Parameters
    ----------
    tell
        Called with what comes next.
    """
    scan, results = read_scan(directory, storage=storage)
    scan.check_card()
    for point in results.front:
        if tell is not None:
            tell(f"point {point.number}: {results.command(point)}")
        try:
            run_card(
                Path(scan.card), changes=point.changes, out=directory / POINTS / f"{point.number:04}",
                command=results.command(point), report=report, listen=listen,
            )  # fmt: skip
        except MismatchError as error:
            if tell is not None:
                tell(f"point {point.number}: {error}")
    _, results = read_scan(directory, storage=storage)
    write_results(results, directory)
    return results


def export_card(scan: Scan, results: Results, number: int, target: Path) -> Path:
    """Write the card of a point as ``model.toml`` into a directory; return its path.

    Raises
    ------
    InputError
        There is no such point, or there is a card already.
    """
    scan.check_card()
    point = results[number]
    card = scan.load(point.changes[len(scan.changes) :])
    path = target / "model.toml"
    if path.exists():
        msg = f"{path} exists; choose another --out"
        raise InputError(msg)
    source = Path(scan.card)
    write_text(path, card_text(card, source if source.is_dir() else source.parent, target, number))
    return path


def card_text(card: ModelCard, source: Path, target: Path, number: int) -> str:
    """Return a card as TOML, as it must stand in another directory."""
    content = card.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for key in ("file", "labels"):
        name = content["data"].get(key)
        if name is not None and not Path(name).is_absolute() and (source / name).exists():
            content["data"][key] = os.path.relpath((source / name).resolve(), target.resolve())
    content["name"] = f"{card.name}_{number}"
    lines = [f"# Point {number} of a scan of {card.name}.", ""]
    lines += [f"{key} = {to_toml(value)}" for key, value in content.items() if not isinstance(value, dict)]
    for section, values in content.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {to_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
