"""The stages one after the other: what is up to date is skipped, the rest is run, and the outcome is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1dl.artifacts import RunDirectory, read_json
from l1dl.cosim.result import CosimReport
from l1dl.emulate.compare import require
from l1dl.errors import InputError, MismatchError, did_you_mean
from l1dl.flow.bench import Bench, changed_by_hand
from l1dl.flow.job import Job, Paths, Reporter
from l1dl.flow.results import read_result
from l1dl.flow.stages import EDITABLE, STAGES, Emulation

StageListener = Callable[[str, str, float], None]
"""Called with the name of a stage, ``started``, ``finished``, ``up to date`` or a remark, and its time in s."""


CHANGED = "changed by hand"
"""State of a stage whose output is not what it wrote."""


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes
    ----------
    paths
        Where the files are.
    report
        The content of ``report.json``; None if the run ended before that stage.
    """

    paths: Paths
    report: dict[str, Any] | None

    @property
    def page(self) -> Path:
        """Path of ``report.html``."""
        return self.paths.run / "report.html"

    @property
    def good(self) -> bool:
        """Whether the model is bit-exact and within its budget, as far as the run went."""
        return self.report is None or bool(self.report["verdict"]["good"])


def run_stages(
    job: Job,
    paths: Paths,
    stages: Sequence[str],
    until: str,
    only: str | None,
    force: bool,
    command: str,
    report: Reporter | None,
    listen: StageListener | None,
    advise: Callable[[str], str] = str,
) -> Outcome:
    """Run the stages of a job up to `until`, or `only` one of them.

    Parameters
    ----------
    advise
        Returns the command that brings a stage up to date.

    Raises
    ------
    MismatchError
        Two meanings of the model disagree.
    """
    last = only or until
    if last not in stages:
        msg = f"stage {last!r} is unknown{did_you_mean(last, stages)}; stages are {', '.join(stages)}"
        raise InputError(msg)
    tell = listen or (lambda _name, _state, _seconds: None)
    with RunDirectory(paths.run) as directory:
        bench = Bench(job, paths, directory, report or (lambda _text, _done, _total: None), command)
        for name in stages[: stages.index(last) + 1]:
            digest = STAGES[name].digest(bench)
            state = _state(bench, name, digest)
            if state == "up to date" and not (force and only in (None, name)):
                tell(name, state, directory.stages()[name].seconds)
            elif only in (None, name):
                if state == CHANGED:
                    tell(name, f"{CHANGED}: written anew", 0.0)
                _run_stage(bench, name, digest, tell)
            elif state == CHANGED and name in EDITABLE:
                tell(name, f"{CHANGED}: its files are used as they are", 0.0)
            else:
                before = stages[stages.index(only) - 1]
                msg = f"stage {only!r} needs stage {name!r}, which is {state}; run this first: {advise(before)}"
                raise InputError(msg)
        outcome = Outcome(paths, read_json(paths.run / "report.json") if last == "report" else None)
        try:
            _require_agreement(paths, stages[: stages.index(last) + 1])
        except MismatchError as error:
            if outcome.report is None:
                raise
            msg = f"{error} Report: {outcome.page}"
            raise MismatchError(msg) from None
    return outcome


def _state(bench: Bench, name: str, digest: str) -> str:
    """Say in words whether a stage has to run."""
    record = bench.directory.stages().get(name)
    if record is None:
        return "missing"
    if record.key != digest:
        return "out of date"
    if bench.directory.is_current(name, digest):
        return "up to date"
    return CHANGED if changed_by_hand(bench, name) else "incomplete (a file is gone)"


def _run_stage(bench: Bench, name: str, digest: str, tell: StageListener) -> None:
    """Run one stage and note that it is finished."""
    tell(name, "started", 0.0)
    start = time.perf_counter()
    outputs = STAGES[name].run(bench)
    seconds = time.perf_counter() - start
    bench.directory.record(name, digest, seconds, outputs)
    tell(name, "finished", seconds)


def _require_agreement(paths: Paths, stages: Sequence[str]) -> None:
    """Raise `MismatchError` if a comparison that was made found a difference."""
    if "emulate" in stages:
        emulation = read_result(paths.emulation, Emulation)
        wrong = next((layer.name for layer in emulation.layers if layer.mismatches), None)
        hint = f"The first layer that differs from Keras is {wrong!r}." if wrong else ""
        for agreement in emulation.agreements:
            require(agreement, hint)
    if "cosim" in stages:
        explanation = paths.run / "cosim" / "mismatch.json"
        agreement = read_result(paths.cosim, CosimReport).agreement
        require(agreement, read_json(explanation)["where"] if agreement.mismatches and explanation.exists() else "")
