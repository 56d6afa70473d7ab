"""Run stages: one after the other, skipping what is up to date, and judge the outcome."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from l1dl.artifacts import RunDirectory, read_json
from l1dl.card import BudgetCard, CosimCard, HlsCard, RtlCard, load_card
from l1dl.cosim.result import CosimReport
from l1dl.emulate.compare import require
from l1dl.errors import InputError, MismatchError, did_you_mean
from l1dl.flow.bench import Bench, changed_by_hand
from l1dl.flow.job import CardJob, Job, ModelJob, Paths, Reporter, Settings
from l1dl.flow.stages import EDITABLE, STAGES, TRAINING_STAGES, Emulation, read_result
from l1dl.graph import check_design_name

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


def run_card(
    card_path: Path,
    *,
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
    L1dlError
        Whatever else went wrong, in one line.
    """
    if seeds is not None and seeds < 1:
        msg = f"seeds = {seeds} is not allowed; give 1 or more"
        raise InputError(msg)
    card = load_card(card_path)
    run = out or Path("runs") / card.name
    paths = Paths(run, hls or (run / "hls" if out else Path("hls_projects") / card.name))
    directory = card_path if card_path.is_dir() else card_path.parent
    job = CardJob(card, directory, paths, seeds)
    places = [("--out", out), ("--hls", hls)]
    options = [text for option, path in places if path is not None for text in (option, str(path))]

    def advise(stage: str) -> str:
        return shlex.join(["l1dl", "run", str(card_path), "--until", stage, *options])

    return _run(job, paths, list(STAGES), until, only, force, command, report, listen, advise)


def deploy(
    model: Any,
    *,
    calibration: npt.ArrayLike,
    out: Path | str,
    labels: npt.ArrayLike | None = None,
    classes: Sequence[str] = (),
    name: str | None = None,
    hls: HlsCard = HlsCard(),  # noqa: B008  frozen
    rtl: RtlCard = RtlCard(),  # noqa: B008  frozen
    cosim: CosimCard = CosimCard(),  # noqa: B008  frozen
    budget: BudgetCard = BudgetCard(),  # noqa: B008  frozen
    report: Reporter | None = None,
    listen: StageListener | None = None,
) -> Outcome:
    """Take a QKeras model to proved firmware: convert, emulate, RTL, co-simulation, synthesis, report.

    Parameters
    ----------
    model
        A Keras 3 model of QKeras layers that begins with an input quantiser and ends in logits.
    calibration
        Real inputs, shape (N, F): every meaning of the model is compared on all of them.
    out
        Run directory.
    labels
        Class indices of the calibration events, shape (N,), for the physics figures.
    classes
        Names of the outputs.
    name
        Name of the firmware; that of the model by default.

    Returns
    -------
    Outcome
        With the report's content and the path of its page.

    Raises
    ------
    MismatchError
        Two meanings of the model disagree.
    UnsupportedError
        The model has a layer or an option without exact firmware.

    Examples
    --------
    >>> outcome = l1dl.deploy(model, calibration=x_test, labels=y_test, out="runs/mine")  # doctest: +SKIP
    >>> outcome.report["latency"]["ns"], outcome.report["resources"]["lut"]  # doctest: +SKIP
    """
    from l1dl.convert.support import check_supported

    check_supported(model)
    paths = Paths(Path(out), Path(out) / "hls")
    job = ModelJob(
        model, calibration, name=check_design_name(name or model.name), settings=Settings(hls, rtl, cosim, budget),
        labels=labels, classes=tuple(classes),
    )  # fmt: skip
    stages = [stage for stage in STAGES if stage not in TRAINING_STAGES]
    return _run(job, paths, stages, "report", None, False, "", report, listen)  # noqa: FBT003


def _run(
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
