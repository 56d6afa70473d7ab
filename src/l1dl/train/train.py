"""Train the float reference and the quantised model that a card describes."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import atomic_path, digest_bytes, digest_json, storage_error, write_json, write_npz
from l1dl.card import Hgq2Card, ModelCard
from l1dl.data.augment import Augmentation, augment
from l1dl.data.dataset import Dataset, Split
from l1dl.errors import InputError
from l1dl.models.backend import devices, import_keras, predict_arrays, quiet_stderr
from l1dl.models.calibrate import calibrate, count_wrapped
from l1dl.models.load import load_any
from l1dl.models.network import build_float, build_quantised, check_layers
from l1dl.models.scaler import Scaler, fit_scaler
from l1dl.train.fit import Changes, Fit, fit
from l1dl.train.metrics import Scores, accuracy, macro_auc

BUILDERS: dict[str, Callable[[ModelCard, Scaler | None, tuple[int, ...], int], Any]] = {
    "float": build_float,
    "quantised": build_quantised,
}
"""The two models of a card, in the order of their training."""

FRONT_REACH = 4
"""How many times the EBOPs that are allowed a model may have to be written beside the best one."""

Progress = Callable[[str, int, int, str], None]
"""Called with the name of the training, epochs done, epochs in all, and the state in words."""


@dataclass(frozen=True)
class TrainedModel:
    """The files that a training leaves in its directory.

    Attributes
    ----------
    directory
        Holds ``float.keras``, ``quantised.keras``, ``training.json`` (history, rates, figures of all
        seeds, scaler, share of zero weights) and ``scores.npz`` (labels and logits of the test split).
    """

    directory: Path

    def model_path(self, kind: str) -> Path:
        """Return the path of the ``float`` or ``quantised`` model."""
        return self.directory / f"{kind}.keras"

    @property
    def facts_path(self) -> Path:
        """Path of the history and the figures."""
        return self.directory / "training.json"

    @property
    def scores_path(self) -> Path:
        """Path of the labels and logits of the test split."""
        return self.directory / "scores.npz"


def train_model(
    card: ModelCard, dataset: Dataset, directory: Path, *, seeds: int = 1, progress: Progress | None = None
) -> TrainedModel:
    """Train the float reference and the quantised model, and write them to `directory`.

    The model that goes on to the firmware is always that of the card's seed; further seeds only
    give the spread.

    Parameters
    ----------
    seeds
        Number of trainings of each model, with the seeds ``card.training.seed + 0, 1, …``.

    Raises
    ------
    InputError
        `seeds` is not positive, or the data do not fit the card.
    StorageError
        The results cannot be written.
    """
    if seeds < 1:
        msg = f"seeds = {seeds} is not allowed; give 1 or more"
        raise InputError(msg)
    check_layers(card, dataset.shape)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(directory, error) from error
    import_keras(card.training.backend)
    scaler = card_scaler(card, dataset)
    labels = dataset.part(Split.TEST)[1]
    scores: dict[str, Any] = {"labels": labels}
    facts: dict[str, Any] = {
        "backend": card.training.backend,
        "devices": devices(),
        "jets": {split.name.lower(): int(np.sum(dataset.split == split)) for split in Split},
        "features": list(dataset.features),
        "classes": list(dataset.classes),
        "data": {"source": dataset.source, "digest": dataset.digest},
        **({} if scaler is None else {"scaler": scaler.to_json()}),
        "models": {},
    }
    result = TrainedModel(directory)
    for kind in BUILDERS:
        figures = []
        for seed in range(card.training.seed, card.training.seed + seeds):
            model, fitted, bits = train_one(card, kind, dataset, seed, directory, progress)
            logits = predict(model, model_inputs(card, scaler, dataset.part(Split.TEST)[0]))
            ebops = {"ebops": bits["ebops"]} if bits else {}
            figures.append(
                {"seed": seed, "accuracy": accuracy(labels, logits), "macro_auc": macro_auc(labels, logits), **ebops}
            )
            if seed == card.training.seed:
                scores[kind] = logits
                facts["models"][kind] = {**_facts(model, fitted), **bits}
                save_model(model, result.model_path(kind))
        facts["models"][kind]["seeds"] = figures
    write_npz(result.scores_path, scores)
    write_json(result.facts_path, facts)
    return result


def card_scaler(card: ModelCard, dataset: Dataset) -> Scaler | None:
    """Return the scaling, fitted on the training split; None where the card asks for none."""
    if card.data.inputs == "unscaled":
        return None
    return fit_scaler(dataset.part(Split.TRAIN)[0], dataset.features)


def model_inputs(card: ModelCard, scaler: Scaler | None, x: Any) -> Any:
    """Return what reaches the model's input: the features, or the scaled ones where the card says so."""
    return scaler.apply(x) if scaler is not None and card.data.inputs == "scaled" else x


def predict(model: Any, x: Any, batch_size: int = 16384) -> Scores:
    """Return the outputs of a Keras model as float64, with float32 products in full precision on every device."""
    return predict_arrays(model, [x], batch_size)[0]


def save_model(model: Any, path: Path) -> None:
    """Write a Keras model atomically, in the ``.keras`` format."""
    with atomic_path(path) as temporary:
        model.save(temporary)


def load_model(path: Path) -> Any:
    """Load a model from its file; no code of the file is run.

    Raises
    ------
    InputError
        The file is missing or cannot be loaded.
    """
    return load_any(path).model


def digest_layers(architecture: str) -> str:
    """Return the SHA-256 of a Keras model in JSON, without the addresses in memory that Keras writes into it."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key != "shared_object_id"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return digest_json(strip(json.loads(architecture)))


def model_digest(path: Path) -> str:
    """Return the SHA-256 of the layers and weights in a ``.keras`` file, without importing Keras.

    The time of writing, which the file also holds, does not enter.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    if not path.is_file():
        msg = f"model file not found: {path}"
        raise InputError(msg)
    try:
        with zipfile.ZipFile(path) as file:
            layers = digest_layers(file.read("config.json").decode())
            return digest_bytes(layers.encode(), file.read("model.weights.h5"))
    except (OSError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path} is no Keras model file ({error}); train again with --force"
        raise InputError(msg) from None


def train_one(
    card: ModelCard, kind: str, dataset: Dataset, seed: int, directory: Path, progress: Progress | None = None
) -> tuple[Any, Fit, dict[str, Any]]:
    """Train the ``float`` or the ``quantised`` model with one seed; return it, its history, the facts of its bits.

    Parameters
    ----------
    directory
        Holds the checkpoint while training.
    """
    keras = import_keras(card.training.backend)
    scaler = card_scaler(card, dataset)
    with quiet_stderr():  # it imports TensorFlow where that is installed
        keras.utils.set_random_seed(seed)
    model = BUILDERS[kind](card, scaler, dataset.shape, len(dataset.classes))
    settings = card.training if kind == "quantised" else card.training.model_copy(update={"sparsity": 0.0})
    parts = {}
    for split in Split:
        x, y = dataset.part(split)
        parts[split] = (model_inputs(card, scaler, x), y)
    high_granularity = card.hgq2 if kind == "quantised" else None
    fitted = fit(
        model,
        parts[Split.TRAIN],
        parts[Split.VALIDATION],
        settings,
        seed=seed,
        checkpoint=directory / f"{kind}-seed{seed}.checkpoint.npz",
        key=digest_json([_training_settings(card), dataset.digest, seed, keras.__version__]),
        changes=_changes(card, dataset, seed),
        progress=None if progress is None else lambda *state: progress(f"{kind}, seed {seed}", *state),
        bits=high_granularity,
    )
    bits: dict[str, Any] = {}
    if high_granularity is not None:
        x, margin = parts[Split.TRAIN][0], high_granularity.margin
        if seed == card.training.seed:
            bits["front"] = _save_front(model, fitted, x, high_granularity, directory)
        bits["ebops"] = calibrate(model, x, margin)
        bits["wrapped_events"] = {split.name.lower(): count_wrapped(model, parts[split][0]) for split in Split}
    return model, fitted, bits


def _save_front(model: Any, fitted: Fit, x: Any, settings: Hgq2Card, directory: Path) -> list[dict[str, Any]]:
    """Write the best models at each level of EBOPs, calibrated, as ``front-<epoch>.keras``; return their facts.

    Those of far more EBOPs than allowed are noted only.
    """
    for old in directory.glob("front-*.keras"):
        old.unlink()
    best, facts = model.get_weights(), []
    for candidate in fitted.front:
        facts.append(candidate.facts())
        if candidate.ebops <= FRONT_REACH * settings.ebops:
            model.set_weights(candidate.weights)
            calibrate(model, x, settings.margin)
            save_model(model, directory / f"front-{candidate.epoch}.keras")
    model.set_weights(best)
    return facts


def _changes(card: ModelCard, dataset: Dataset, seed: int) -> Changes | None:
    """Return what yields the augmented training images of an epoch; None where the card asks for none."""
    settings = Augmentation(**card.training.augmentation.model_dump())
    if not settings.changes:
        return None
    images = dataset.part(Split.TRAIN)[0]
    return lambda epoch: augment(images, settings, np.random.default_rng([seed, epoch]), dataset.pixels)


def _training_settings(card: ModelCard) -> list[Any]:
    """Return the sections of the card that determine the trained weights."""
    return [card.model_dump(mode="json", include={"data", "model", "quantisation", "hgq2", "training"})]


def _facts(model: Any, fitted: Fit) -> dict[str, Any]:
    return {
        "parameters": int(model.count_params()),
        "epochs": len(fitted.history["loss"]),
        "best_epoch": fitted.best_epoch,
        "jets_per_s": None if np.isnan(fitted.jets_per_s) else fitted.jets_per_s,
        "history": fitted.history,
        **({"sparsity": sparsity} if (sparsity := zero_weights(model)) else {}),
    }


def zero_weights(model: Any) -> dict[str, float]:
    """Return layer → share of its quantised weights that are zero, for the layers with quantised kernels."""
    found = {}
    for layer in model.layers:
        quantiser = getattr(layer, "kernel_quantizer_internal", None)
        if quantiser is not None:
            kernel = np.asarray(import_keras().ops.convert_to_numpy(quantiser(layer.kernel)))
            found[layer.name] = float(np.mean(kernel == 0))
    return found
