"""Fit one model: schedule, early stopping, best weights, and a checkpoint to resume from after a kill."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import write_npz
from l1dl.card import Hgq2Card, TrainingCard
from l1dl.errors import InputError
from l1dl.models.backend import import_keras
from l1dl.train.bits import LUT_PER_EBOP, Candidate, Front, Price
from l1dl.train.pruning import is_final, sparsity_at, zeros_of
from l1dl.train.runner import Arrays, Features, Labels, Runner, make_runner

log = logging.getLogger(__name__)

CHECKPOINT_INTERVAL_S = 5.0
"""Time between two checkpoints, in s."""

History = dict[str, list[float]]
Changes = Callable[[int], Features]
"""Called with the number of the epoch; returns the training features as they are in it."""
Progress = Callable[[int, int, str], None]
"""Called with epochs done, epochs in all, and the state in words."""


@dataclass(frozen=True)
class Fit:
    """The outcome of a training.

    Attributes
    ----------
    history
        Lists by epoch: ``loss``, ``validation_loss``, ``validation_accuracy``; with trained bits ``beta``, ``ebops``.
    best_epoch
        Epoch (from 0) with the smallest validation loss among those with the final sparsity, or with no more EBOPs than
        allowed; the model has its weights.
    jets_per_s
        Training rate, without compilation, validation and the epochs of an earlier process; NaN for one epoch.
    front
        With trained bits, the best models of all epochs, from few EBOPs to many.
    """

    history: History
    best_epoch: int
    jets_per_s: float
    front: tuple[Candidate, ...] = ()


@dataclass
class _Progress:
    """What changes from epoch to epoch, and what a checkpoint holds."""

    epoch: int
    history: History
    best_epoch: int
    best_loss: float
    best: Arrays
    slow: float = 0.0
    front: Front = field(default_factory=Front)


def fit(
    model: Any,
    training: tuple[Features, Labels],
    validation: tuple[Features, Labels],
    settings: TrainingCard,
    *,
    seed: int,
    checkpoint: Path,
    key: str,
    changes: Changes | None = None,
    progress: Progress | None = None,
    bits: Hgq2Card | None = None,
) -> Fit:
    """Train `model` in place and leave the weights of its best epoch in it.

    Parameters
    ----------
    model
        A built ``keras.Model`` from features (N, F) or images (N, H, W, C) to logits (N, K).
    training, validation
        Features or images, float32, and class indices int64 (N,).
    seed
        Seed of the shuffling.
    checkpoint
        Where the state is kept while training; removed at the end.
    key
        Digest of everything that determines the result; a checkpoint of another key is not used.
    changes
        Returns the training features of each epoch, where augmentation changes them.
    bits
        How bits are trained, for a model of HGQ2.

    Raises
    ------
    InputError
        The loss became infinite or NaN, or no epoch had as few EBOPs as wanted.
    StorageError
        The checkpoint cannot be written.
    """
    batch_size = min(settings.batch_size, len(training[0]))
    steps = settings.epochs * (len(training[0]) // batch_size)
    runner = make_runner(model, _optimiser(settings, steps), training, validation, batch_size=batch_size, seed=seed)
    names = ("loss", "validation_loss", "validation_accuracy", *(("beta", "ebops") if bits else ()))
    done = _restore(runner, checkpoint, key) or _Progress(
        0, {name: [] for name in names}, -1, float("inf"), runner.weights()
    )
    price = None if bits is None else Price(bits, settings.epochs, done.slow)
    seconds, epochs, saved = 0.0, 0, time.monotonic()
    while done.epoch < settings.epochs and not _out_of_patience(done, settings):
        start = time.perf_counter()
        features = None if changes is None else changes(done.epoch)
        zeros = zeros_of(model.trainable_variables, sparsity_at(settings, done.epoch)) if settings.sparsity else ()
        beta = 0.0 if price is None else price.beta(done.epoch, done.history["ebops"])
        loss = runner.run_epoch(done.epoch, features, zeros, beta)
        if epochs:  # the first epoch compiles
            seconds += time.perf_counter() - start
        epochs += 1
        final = is_final(settings, done.epoch)
        if price is not None:
            done.slow = price.slow
            done.history["beta"].append(beta)
            done.history["ebops"].append(runner.ebops())
            final = runner.ebops() <= price.settings.ebops
        _note(done, loss, runner, final=final)
        if progress is not None:
            progress(done.epoch, settings.epochs, _state(done, loss))
        if time.monotonic() - saved > CHECKPOINT_INTERVAL_S:
            _save(runner, done, checkpoint, key)
            saved = time.monotonic()
    if price is not None and done.best_epoch < 0:
        msg = (
            f"no epoch had {price.settings.ebops} EBOPs or fewer; the fewest were {min(done.history['ebops']):.0f}: "
            "raise hgq2.ebops, training.epochs, or the end of hgq2.beta"
        )
        raise InputError(msg)
    model.set_weights(done.best)
    with contextlib.suppress(OSError):  # what stays is of no use to another training
        checkpoint.unlink()
    jets = (epochs - 1) * (len(training[0]) // batch_size) * batch_size
    rate = jets / seconds if seconds > 0 else float("nan")
    return Fit(done.history, done.best_epoch, rate, tuple(done.front.candidates()))


def _state(done: _Progress, loss: float) -> str:
    """Say in words how the training stands."""
    text = f"loss {loss:.4f}, validation accuracy {done.history['validation_accuracy'][-1]:.4f}"
    ebops = done.history.get("ebops")
    return text if ebops is None else f"{text}, {ebops[-1]:.0f} EBOPs (about {LUT_PER_EBOP * ebops[-1]:.0f} LUT)"


def _out_of_patience(done: _Progress, settings: TrainingCard) -> bool:
    """Say whether too many epochs have passed since the best one, or since the sparsity is final."""
    if done.best_epoch < 0 and done.history.get("ebops") is not None:
        return False
    return is_final(settings, done.best_epoch) and done.epoch - done.best_epoch > settings.patience


def _optimiser(settings: TrainingCard, steps: int) -> Any:
    keras = import_keras()
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    elif settings.schedule == "restarts":
        each = max(1, math.ceil(steps / settings.restarts))
        rate = keras.optimizers.schedules.CosineDecayRestarts(rate, each, t_mul=1.0, alpha=0.01)
    kinds = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
    return kinds[settings.optimiser](rate)


def _note(done: _Progress, loss: float, runner: Runner, *, final: bool) -> None:
    """Validate after an epoch, and keep the weights if they are the best so far and have the `final` sparsity."""
    validation_loss, accuracy = runner.evaluate()
    if not (math.isfinite(loss) and math.isfinite(validation_loss)):
        msg = (
            f"the training diverged: loss {loss}, validation loss {validation_loss} in epoch {done.epoch + 1}; "
            "lower training.learning_rate, or take another training.optimiser"
        )
        raise InputError(msg)
    done.history["loss"].append(loss)
    done.history["validation_loss"].append(validation_loss)
    done.history["validation_accuracy"].append(accuracy)
    ebops, weights = done.history.get("ebops"), None
    if ebops and done.front.wants(ebops[-1], validation_loss):
        weights = runner.weights()
        done.front.add(Candidate(done.epoch, ebops[-1], validation_loss, accuracy, weights))
    if final and validation_loss < done.best_loss:
        done.best_loss, done.best_epoch, done.best = validation_loss, done.epoch, weights or runner.weights()
    done.epoch += 1


def _save(runner: Runner, done: _Progress, checkpoint: Path, key: str) -> None:
    facts = {
        "key": key,
        "epoch": done.epoch,
        "history": done.history,
        "best_epoch": done.best_epoch,
        "best_loss": done.best_loss,
        "slow": done.slow,
        "front": [candidate.facts() for candidate in done.front.candidates()],
    }
    arrays = {"facts": np.array(json.dumps(facts))}
    arrays.update({f"state{index}": value for index, value in enumerate(runner.get_state())})
    arrays.update({f"best{index}": value for index, value in enumerate(done.best)})
    for number, candidate in enumerate(done.front.candidates()):
        arrays.update({f"front{number}_{index}": value for index, value in enumerate(candidate.weights)})
    write_npz(checkpoint, arrays)


def _restore(runner: Runner, checkpoint: Path, key: str) -> _Progress | None:
    if not checkpoint.exists():
        return None
    try:
        with np.load(checkpoint, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            state, best = _arrays(file, "state"), _arrays(file, "best")
            front = Front(
                [
                    Candidate(**known, weights=_arrays(file, f"front{number}_"))
                    for number, known in enumerate(facts["front"])
                ]
            )
        same = facts["key"] == key
        done = _Progress(
            facts["epoch"], facts["history"], facts["best_epoch"], facts["best_loss"], best, facts["slow"], front
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("checkpoint %s cannot be read (%s); training starts afresh", checkpoint, error)
        return None
    if not same:
        log.info("checkpoint %s belongs to other settings; training starts afresh", checkpoint)
        return None
    runner.set_state(state)
    log.info("training resumes after epoch %d", done.epoch)
    return done


def _arrays(file: Any, name: str) -> Arrays:
    """Return the arrays of a file that are called so, with a number behind it."""
    return [file[f"{name}{index}"] for index in range(sum(each.startswith(name) for each in file.files))]
