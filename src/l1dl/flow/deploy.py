"""A model that someone brings, from its object or its file to proved firmware."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from l1dl.card import BudgetCard, CosimCard, HlsCard, RtlCard
from l1dl.errors import InputError
from l1dl.flow.bring import DRAWN_EVENTS, ModelJob, check_inputs, draw_inputs, input_names
from l1dl.flow.calibration import Calibration, read_calibration, read_labels
from l1dl.flow.job import Inputs, Paths, Reporter, Settings
from l1dl.flow.runner import Outcome, StageListener, run_stages
from l1dl.flow.stages import STAGES, TRAINING_STAGES
from l1dl.graph import check_design_name
from l1dl.models.fit import FitSettings
from l1dl.models.load import Loaded, load_any
from l1dl.models.prepare import prepare_model
from l1dl.models.rebuild import identifier

DRAW_SEED = 1
"""Seed of the inputs that are drawn."""


def deploy(
    model: Any,
    *,
    calibration: npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike] | Path | str | None = None,
    out: Path | str | None = None,
    weights: Path | str | None = None,
    labels: npt.ArrayLike | Path | str | None = None,
    classes: Sequence[str] = (),
    name: str | None = None,
    keep_softmax: bool = False,
    fit: FitSettings = FitSettings(),  # noqa: B008  frozen
    hls: HlsCard = HlsCard(),  # noqa: B008  frozen
    rtl: RtlCard = RtlCard(),  # noqa: B008  frozen
    cosim: CosimCard = CosimCard(),  # noqa: B008  frozen
    budget: BudgetCard = BudgetCard(),  # noqa: B008  frozen
    until: str = "report",
    force: bool = False,
    command: str = "",
    report: Reporter | None = None,
    listen: StageListener | None = None,
    advise: Callable[[str], str] = str,
) -> Outcome:
    """Take a Keras or QKeras model to proved firmware: convert, emulate, RTL, co-simulation, synthesis, report.

    Parameters
    ----------
    model
        A Keras 3 model; or the path of a ``.keras`` file, of a full ``.h5`` file (QKeras 0.9 on Keras 2 too), or
        of the JSON of ``model.to_json()`` with `weights`. No code of a file is run.
    calibration
        Real inputs, shape (N, *shape), one array for each input (in a list, or by name), or the path of a file that
        holds them: every meaning of the model is compared on all of them, and types are fitted to them where the
        model has none. Without, inputs are drawn evenly over the type of each input.
    out
        Run directory, ``runs/<name>`` by default.
    weights
        The ``.h5`` file of ``model.save_weights()``, for a model from JSON.
    labels
        Class indices of the calibration events, shape (N,), or the path of their file, for the physics figures.
    classes
        Names of the outputs.
    name
        Name of the firmware; that of the model by default.
    keep_softmax
        Leave a final softmax or sigmoid in the firmware; it is cut off by default.
    fit
        The bit budget for what has no types yet, and types that are given.
    until, force
        Last stage; and whether stages run even if they are up to date.

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
    InputError
        A file or an array is not what it should be.

    Examples
    --------
    >>> outcome = l1dl.deploy(model, calibration=x_test, labels=y_test, out="runs/mine")  # doctest: +SKIP
    >>> outcome.report["latency"]["ns"], outcome.report["resources"]["lut"]  # doctest: +SKIP
    """
    from l1dl.convert.support import check_supported

    loaded = load_any(model, weights)
    design = check_design_name(name) if name is not None else _design_name(loaded.model, model)
    given = _calibration(calibration, loaded.model)
    inputs = None if given is None else check_inputs(given.arrays, loaded.model)
    prepared = prepare_model(loaded.model, inputs, fit, keep_softmax=keep_softmax)
    check_supported(prepared.model)
    if labels is None and given is not None:
        labels = given.labels
    if labels is not None and inputs is None:
        msg = "labels are given without calibration data; give the events that they belong to as well"
        raise InputError(msg)
    if isinstance(labels, (str, Path)):
        labels = read_labels(Path(labels))
    job = ModelJob(
        prepared,
        draw_inputs(prepared.model, DRAWN_EVENTS, DRAW_SEED) if inputs is None else inputs,
        name=design,
        settings=Settings(hls, rtl, cosim, budget),
        labels=labels,
        classes=tuple(classes) or (() if given is None else given.classes),
        notes=_notes(loaded, inputs, given),
    )
    run = Path("runs") / design if out is None else Path(out)
    paths = Paths(run, run / "hls")
    stages = [stage for stage in STAGES if stage not in TRAINING_STAGES]
    return run_stages(job, paths, stages, until, None, force, command, report, listen, advise)


def _calibration(given: Any, model: Any) -> Calibration | None:
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        return read_calibration(Path(given), input_names(model))
    return Calibration(given)


def _design_name(model: Any, source: Any) -> str:
    """Return a name for the firmware: that of the model, or of its file where Keras numbered the models."""
    numbered = re.fullmatch(r"(sequential|functional|model)(_\d+)?", model.name)
    if isinstance(source, (str, Path)) and numbered:
        return check_design_name(identifier(Path(source).stem))
    return check_design_name(identifier(model.name) if isinstance(source, (str, Path)) else model.name)


def _notes(loaded: Loaded, inputs: Inputs | None, given: Calibration | None) -> tuple[str, ...]:
    if inputs is None:
        where = (
            f"No calibration data were given: {DRAWN_EVENTS} events were drawn evenly over the type of each input "
            f"(seed {DRAW_SEED}). They prove the arithmetic, but are not like real events."
        )
    elif given is not None and given.source:
        where = f"The {len(inputs[0])} events of the proof are those of {given.source}."
    else:
        return loaded.notes
    return (*loaded.notes, where)
