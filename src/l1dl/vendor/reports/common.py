"""What the parsers share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from l1dl.errors import InputError


def whole_lines(text: str) -> list[str]:
    """Return the lines that end with a line break: the last one of a report that was cut off is not to be trusted."""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def number(text: str) -> float | None:
    """Return a number as the reports write it, e.g. ``1,842`` or ``-0.333``; None for ``NA``, ``inf`` and the like."""
    plain = text.strip().replace(",", "")
    return float(plain) if re.fullmatch(r"[+-]?\d+(\.\d+)?", plain) else None


def whole(value: float | None) -> int | None:
    """Return a count; halves of a block are rounded up."""
    return None if value is None else -int(-value // 1)


def tables(lines: Iterable[str], mark: str) -> Iterator[list[Mapping[str, str]]]:
    """Yield each table of ``|`` whose first column is called `mark`, as rows of column → cell, without broken ones."""
    header: list[str] = []
    rows: list[Mapping[str, str]] = []
    for line in [*lines, ""]:
        text = line.strip()
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if text.startswith("|") and text.endswith("|"):
            if cells[0] == mark:
                header, rows = cells, []
            elif header and len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
        elif header and not text.startswith("+"):
            yield rows
            header = []


def missing(names: Iterable[str], file: str, why: str = "") -> str:
    """Return the reason for figures that a report lacks; empty for none."""
    text = ", ".join(names)
    return f"{text}: {why or 'not'} in {file}" if text else ""


def same_design(found: str | None, top: str, file: str) -> None:
    """Refuse a report that names another design.

    Raises
    ------
    InputError
        It does.
    """
    if found is not None and found != top:
        msg = f"{file} is a report of the design {found!r}, not of {top!r}; import the reports of this run"
        raise InputError(msg)
