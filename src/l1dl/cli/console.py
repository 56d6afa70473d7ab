"""Progress on the terminal: bars where someone watches, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from l1dl.cli.signals import check

console = Console(soft_wrap=True, markup=False, highlight=False)
"""Standard output. Texts are printed as they are: names and paths may hold brackets."""

_ASCII = {"✓": "ok", "—": "-", "±": "+-", "×": "x", "µ": "u", "→": "->", "\N{NARROW NO-BREAK SPACE}": " "}  # noqa: RUF001

LINE_INTERVAL_S = 10.0
"""Time between two plain lines of progress, in s."""


def show(text: str, style: str | None = None) -> None:
    """Print a line at once."""
    console.print(_printable(text), style=style)
    console.file.flush()


def _printable(text: str) -> str:
    """Return the text in letters that standard output can encode."""
    if console.encoding.startswith("utf"):
        return text
    for letter, replacement in _ASCII.items():
        text = text.replace(letter, replacement)
    return text


class Display:
    """Shows stages and their progress."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._stage, self._said = "", 0.0

    def stage(self, name: str, state: str, seconds: float) -> None:
        """Show that a stage was started, is finished, or was up to date."""
        check()
        self._stage, self._said = name, time.monotonic()
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if state == "started":
            if self._bars is None:
                show(f"{name:8} started")
            else:
                self._task = self._bars.add_task("", total=None, stage=name)
        elif state == "finished":
            show(f"✓ {name:8} {seconds:7.1f} s", style="green")
        elif state == "up to date":
            show(f"✓ {name:8} {state} (took {seconds:.1f} s)", style="dim")
        else:
            show(f"! {name:8} {state}", style="yellow")

    def step(self, text: str, done: int, total: int) -> None:
        """Show what the current stage is doing."""
        check()
        if self._bars is not None:
            if self._task is None:
                self._task = self._bars.add_task("", total=None, stage=self._stage)
            self._bars.update(self._task, description=text, completed=done, total=total or None)
        elif time.monotonic() - self._said > LINE_INTERVAL_S:
            self._said = time.monotonic()
            show(f"{self._stage:8} {text}{f' ({done:,} of {total:,})' if total else ''}")


@contextmanager
def display() -> Iterator[Display]:
    """Yield a display; bars are taken away at the end."""
    if not console.is_terminal:
        yield Display(None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[stage]:8}", markup=False),
        BarColumn(24),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield Display(bars)


def print_table(title: str, rows: Iterable[tuple[str, ...]], headers: tuple[str, ...] = ()) -> None:
    """Print rows of text as a table."""
    table = Table(title=Text(_printable(title)), title_justify="left", show_header=bool(headers), header_style="bold")
    rows = list(rows)
    for index in range(len(headers) or len(rows[0])):
        table.add_column(headers[index] if headers else "", overflow="fold", no_wrap=index == 0 and console.width >= 60)
    for row in rows:
        table.add_row(*(Text(_printable(cell)) for cell in row))
    console.print(table)
    console.file.flush()
