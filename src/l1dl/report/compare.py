"""The figures of several runs side by side: what a choice costs, and what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l1dl.artifacts import read_json
from l1dl.errors import InputError
from l1dl.report.build import SCHEMA
from l1dl.report.format import NARROW, NOTHING, count, with_error

RESOURCES = ("lut", "ff", "dsp", "bram")


def read_reports(runs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return run directory → content of its ``report.json``.

    Raises
    ------
    InputError
        A directory has no report, or one of another version.
    """
    reports = {}
    for run in runs:
        path = run / "report.json"
        if not path.exists():
            msg = f"{run} has no report ({path} is missing); finish the run with `l1dl run`, or `l1dl deploy`"
            raise InputError(msg)
        report = read_json(path)
        if not isinstance(report, dict) or report.get("schema") != SCHEMA:
            msg = f"{path} is no report of this version ({SCHEMA}); write it anew with `l1dl report`"
            raise InputError(msg)
        reports[str(run)] = report
    return reports


def compare_reports(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of a table: the name of a figure, and the figure in each report.

    Counts of the later reports have their change from the first one beside them.
    """
    first = reports[0]["resources"]
    rows = [
        ("verdict", *("good" if each["verdict"]["good"] else "not good" for each in reports)),
        ("accuracy", *(_physics(each, "accuracy") for each in reports)),
        ("macro AUC", *(_physics(each, "auc", "macro") for each in reports)),
        ("constants not 0", *(_constants(each["model"]) for each in reports)),
        ("latency", *(_latency(each["latency"]) for each in reports)),
        ("interval", *(count(each["latency"]["initiation_interval"]) for each in reports)),
    ]
    rows += [(name.upper(), *(_change(each["resources"][name], first[name]) for each in reports)) for name in RESOURCES]
    origins = [each["resources"]["origin"] or NOTHING for each in reports]
    return [*rows, ("resources are", *origins)]


def _physics(report: Mapping[str, Any], figure: str, part: str = "") -> str:
    judged = (report["physics"] or {}).get("rtl")
    if judged is None:
        return NOTHING
    value, error = judged[figure], judged[f"{figure}_error"]
    if part:
        value, error = value[part], error[part]
    return with_error(value, error)


def _constants(model: Mapping[str, Any]) -> str:
    return f"{count(model['nonzero_parameters'])} of {count(model['parameters'])}"


def _latency(latency: Mapping[str, Any]) -> str:
    return NOTHING if latency["ns"] is None else f"{latency['ns']:g}{NARROW}ns"


def _change(value: int | None, first: int | None) -> str:
    if value is None or not first or value == first:
        return count(value)
    return f"{count(value)} ({100 * (value - first) / first:+.1f}{NARROW}%)"
