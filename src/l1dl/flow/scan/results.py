"""What a scan has found: its points, the front among them, and the files that show both."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1dl.artifacts import read_json, write_bytes, write_json, write_text
from l1dl.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "l1dl-scan/1"

GAINS = {"auc": "macro AUC", "accuracy": "accuracy"}
"""Figures to be large, with their titles."""

COSTS = {"lut": "LUT", "ff": "FF", "latency": "latency in ns"}
"""Figures to be small."""

_KEYS = {"latency": "latency_ns"}

FIGURES = (
    "auc", "auc_error", "accuracy", "accuracy_error", "events", "lut", "lut_low", "lut_high", "ff", "latency_cycles",
    "latency_ns", "ebops", "parameters", "epochs", "graph",
)  # fmt: skip
"""Columns of the table, in their order."""

PROVED = ("bit_exact", "lut", "ff", "auc", "auc_error", "accuracy", "latency_ns", "same_network")
"""What the whole road finds: LUTs of Yosys, figures of the test split, and whether it is the network of the trial."""


@dataclass(frozen=True)
class Objectives:
    """What is weighed: the larger the first, the smaller the second, the better."""

    gain: str = "auc"
    cost: str = "lut"

    @classmethod
    def parse(cls, text: str) -> Objectives:
        """Read a pair as ``auc,lut``.

        Raises
        ------
        InputError
            It is no pair, or one of the two is not known.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 2:
            msg = f"--objectives {text!r} is no pair; give one of {', '.join(GAINS)} and one of {', '.join(COSTS)}"
            raise InputError(msg)
        for part, known in zip(parts, (GAINS, COSTS), strict=True):
            if part not in known:
                msg = f"--objectives: {part!r} is not allowed{did_you_mean(part, known)}; allowed: {', '.join(known)}"
                raise InputError(msg)
        return cls(*parts)

    def known(self, figures: Mapping[str, Any]) -> bool:
        """Say whether both figures are there."""
        return all(figures.get(_KEYS.get(name, name)) is not None for name in (self.gain, self.cost))

    def values(self, figures: Mapping[str, Any]) -> tuple[float, float]:
        """Return the two figures."""
        gain, cost = (figures[_KEYS.get(name, name)] for name in (self.gain, self.cost))
        return float(gain), float(cost)


@dataclass(frozen=True)
class Point:
    """A trial.

    Attributes
    ----------
    number
        As the study counts them.
    state
        ``complete``, ``refused`` (no firmware can be made of it), ``failed`` (the process broke down) or ``running``.
    changes
        Values in place of the card's, those of all trials first.
    figures
        Of a complete trial.
    reason
        Why there are none.
    proved
        What the whole road found, by `PROVED`; None where it was not gone.
    """

    number: int
    state: str
    changes: tuple[str, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    proved: Mapping[str, Any] | None = None


def front(values: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the pairs (gain, cost) that no other one beats, from the cheapest on.

    A pair beats another if it is as good in both and better in one; of equal ones the first stands for all.
    """
    found: list[int] = []
    for index in sorted(range(len(values)), key=lambda index: (values[index][1], -values[index][0], index)):
        if not found or values[index][0] > values[found[-1]][0]:
            found.append(index)
    return found


@dataclass(frozen=True)
class Results:
    """All points of a scan.

    Attributes
    ----------
    name
        Of the card.
    card, command
        Path of the card; what each ``--set`` belongs to.
    reference
        Figures of the float model on the same events; None where it could not be trained.
    """

    name: str
    card: str
    objectives: Objectives
    points: tuple[Point, ...]
    reference: Mapping[str, Any] | None = None

    @property
    def complete(self) -> tuple[Point, ...]:
        """The points with figures."""
        return tuple(point for point in self.points if point.state == "complete")

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that no other one beats, from the cheapest on."""
        return tuple(
            self.complete[index] for index in front([self.objectives.values(each.figures) for each in self.complete])
        )

    def __getitem__(self, number: int) -> Point:
        """Return the point with a number.

        Raises
        ------
        InputError
            There is none.
        """
        for point in self.points:
            if point.number == number:
                return point
        msg = f"the scan has no point {number}; it has {len(self.points)}, from 0 on"
        raise InputError(msg)

    def command(self, point: Point) -> str:
        """Return the command that makes the firmware of a point."""
        words = [word for change in point.changes for word in ("--set", change)]
        return shlex.join(["l1dl", "run", self.card, *words])

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        chosen = {point.number for point in self.front}
        return {
            "schema": SCHEMA,
            "model": self.name,
            "card": self.card,
            "objectives": [self.objectives.gain, self.objectives.cost],
            "split": "validation",
            "float": self.reference,
            "front": [point.number for point in self.front],
            "points": [
                {
                    "number": point.number, "state": point.state, "front": point.number in chosen,
                    "figures": dict(point.figures) or None, "reason": point.reason or None, "set": list(point.changes),
                    "proved": point.proved,
                } for point in self.points
            ],
        }  # fmt: skip

    def to_csv(self) -> str:
        """Return the points as a table."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        proved = [f"proved_{name}" for name in PROVED]
        writer.writerow(["number", "state", "front", *FIGURES, *proved, "reason", "set"])
        chosen = {point.number for point in self.front}
        for point in self.points:
            found = [point.figures.get(name, "") for name in FIGURES]
            found += [(point.proved or {}).get(name, "") for name in PROVED]
            words = shlex.join([word for change in point.changes for word in ("--set", change)])
            writer.writerow([point.number, point.state, int(point.number in chosen), *found, point.reason, words])
        return text.getvalue()


def write_results(results: Results, directory: Path, *, figure: bool = True) -> None:
    """Write ``results.json``, ``results.csv`` and, where points are complete, ``front.png``."""
    from l1dl.report.style import to_png

    write_json(directory / "results.json", results.to_json())
    write_text(directory / "results.csv", results.to_csv())
    if figure and results.complete:
        write_bytes(directory / "front.png", to_png(lambda: front_figure(results)))


def front_figure(results: Results) -> Figure:
    """Return the points and their front; what was proved stands at its own figures."""
    from matplotlib.figure import Figure

    from l1dl.report.figures import PALETTE, RANGE_GREY
    from l1dl.report.style import INK, label

    goal = results.objectives
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.subplots()
    others, best = ([goal.values(point.figures) for point in points] for points in (results.complete, results.front))
    axes.plot([cost for _, cost in others], [gain for gain, _ in others], "o", color=RANGE_GREY, ms=4, label="trials")
    axes.plot(
        [cost for _, cost in best], [gain for gain, _ in best], "o-", drawstyle="steps-post", color=PALETTE[0], ms=6,
        label="front",
    )  # fmt: skip
    for point, (gain, cost) in zip(results.front, best, strict=True):
        axes.annotate(str(point.number), (cost, gain), xytext=(4, -11), textcoords="offset points", fontsize=9)
    proved = [point.proved for point in results.points if point.proved is not None]
    found = [goal.values(figures) for figures in proved if goal.known(figures)]
    if found:
        axes.plot(
            [cost for _, cost in found], [gain for gain, _ in found], "D", color=PALETTE[2], ms=6, mfc="none",
            label="proved: test split, Yosys",
        )  # fmt: skip
    if results.reference is not None:
        axes.axhline(results.reference[goal.gain], color=INK, ls=":", lw=1.2, label="float model of the card")
    axes.set_xscale("linear" if goal.cost == "latency" else "log")
    origin = "" if goal.cost == "latency" else ", calibrated estimate"
    axes.set_xlabel(f"{COSTS[goal.cost]}{origin}")
    axes.set_ylabel(f"{GAINS[goal.gain]}, validation split")
    axes.set_title(label(results.name), fontsize=13)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def read_proof(directory: Path, graph: str | None) -> dict[str, Any] | None:
    """Return what the whole road found in the run directory of a point; None if it was not gone to its end.

    Parameters
    ----------
    graph
        Digest of the network of the trial.
    """
    path = directory / "report.json"
    if not path.exists():
        return None
    report = read_json(path)
    physics = (report["physics"] or {}).get("rtl") or {}
    areas, errors = physics.get("auc") or {}, physics.get("auc_error") or {}
    return {
        "bit_exact": report["verdict"]["bit_exact"],
        "lut": report["resources"]["lut"],
        "ff": report["resources"]["ff"],
        "auc": areas.get("macro"),
        "auc_error": errors.get("macro"),
        "accuracy": physics.get("accuracy"),
        "latency_ns": report["latency"]["ns"],
        "same_network": report["model"]["digest"] == graph,
    }
