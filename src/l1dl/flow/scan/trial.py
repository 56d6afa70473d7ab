"""One trial of a scan, in a process of its own: a card with changes, trained, converted, emulated and compiled.

``python -m l1dl.flow.scan.trial DIRECTORY`` reads ``task.json`` there and writes ``result.json``.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import RunDirectory, read_json, write_json
from l1dl.card import ModelCard, load_card
from l1dl.data.dataset import Dataset, Split
from l1dl.data.load import load_card_data
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, StorageError, ToolMissingError, UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.metrics import as_logits, binomial_error, macro_auc, roc_auc, softmax
from l1dl.models.engines import check_engine
from l1dl.models.network import check_layers
from l1dl.ports import decode_rows
from l1dl.rtl.delays import speed_grade
from l1dl.rtl.project import build_rtl

TASK, RESULT, LOG = "task.json", "result.json", "log.txt"
"""Files of a trial: what to do, what came of it, and what the libraries said."""

Figures = dict[str, Any]
"""Name of a figure → number; ``graph`` is the digest of the network."""


def run_trial(card: ModelCard, directory: Path, work: Path) -> Figures:
    """Train the quantised model of a card and return the figures of its firmware; the test split is not touched.

    Parameters
    ----------
    directory
        Of the card; data files are relative to it.
    work
        Holds the checkpoint of the training, and the HLS project while it is made.

    Raises
    ------
    UnsupportedError
        The network has something that has no RTL, or no estimate.
    InputError
        The training diverged, or cannot reach what the card asks for.
    """
    from l1dl.convert.convert import convert_model
    from l1dl.train.train import card_scaler, model_inputs, train_one

    check_architecture(card)
    dataset = _dataset(card, directory)
    model, fitted, bits = train_one(card, "quantised", dataset, card.training.seed, work)
    inputs, labels = dataset.part(Split.VALIDATION)
    graph = convert_model(model, work / "hls", settings=card.hls, name=card.name).graph
    shutil.rmtree(work / "hls", ignore_errors=True)
    events = (model_inputs(card, card_scaler(card, dataset), inputs),)
    return {
        **judge(labels, emulate(graph, events)),
        **resources(graph, card),
        **({"ebops": bits["ebops"]} if bits else {}),
        "parameters": int(model.count_params()),
        "epochs": len(fitted.history["loss"]),
        "graph": graph.digest,
    }


def run_float(card: ModelCard, directory: Path, work: Path) -> Figures:
    """Train the float reference of a card and return its figures on the validation split."""
    from l1dl.train.train import card_scaler, model_inputs, predict, train_one

    dataset = _dataset(card, directory)
    model, _, _ = train_one(card, "float", dataset, card.training.seed, work)
    inputs, labels = dataset.part(Split.VALIDATION)
    return judge(labels, predict(model, model_inputs(card, card_scaler(card, dataset), inputs)))


KINDS: dict[str, Callable[[ModelCard, Path, Path], Figures]] = {"quantised": run_trial, "float": run_float}


def check_architecture(card: ModelCard) -> None:
    """Refuse streaming designs, which have no calibrated estimate.

    Raises
    ------
    UnsupportedError
        The card asks for one.
    """
    if card.rtl.architecture != "parallel":
        msg = 'a scan needs the calibrated estimate of a parallel design; set rtl.architecture = "parallel"'
        raise UnsupportedError(msg)


def _dataset(card: ModelCard, directory: Path) -> Dataset:
    check_engine(card.model.engine)
    dataset = load_card_data(card.data, directory)
    check_layers(card, dataset.shape)
    return dataset


def emulate(graph: FixedGraph, events: tuple[Any, ...]) -> npt.NDArray[np.float64]:
    """Return the logits that the firmware gives, bit by bit."""
    emulator = Emulator(graph)
    return decode_rows(emulator.run(emulator.encode(events)), graph.output_ports)


def judge(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> Figures:
    """Return macro AUC and accuracy with their statistical errors."""
    logits = as_logits(scores)
    probabilities = softmax(logits)
    areas = [roc_auc(probabilities[:, index], labels == index) for index in range(logits.shape[1])]
    area = macro_auc([each for each in areas if each is not None])
    right = float(np.mean(np.argmax(logits, axis=1) == labels))
    return {
        "auc": area.value, "auc_error": area.error, "accuracy": right,
        "accuracy_error": binomial_error(right, len(labels)), "events": len(labels),
    }  # fmt: skip


def resources(graph: FixedGraph, card: ModelCard) -> Figures:
    """Return what the pipeline is expected to take, and its latency."""
    design = build_rtl(graph, card.rtl, grade=speed_grade(card.hls.part))
    lut, ff = (design.estimate.expected(figure) for figure in ("lut", "ff"))
    if lut is None or ff is None:
        msg = "the network has no calibrated estimate of its LUTs"
        raise UnsupportedError(msg)
    return {
        "lut": lut.value, "lut_low": lut.low, "lut_high": lut.high, "ff": ff.value,
        "latency_cycles": design.latency_cycles,
        "latency_ns": round(design.latency_cycles * design.clock_period_ns, 6),
    }  # fmt: skip


def main(directory: Path) -> None:
    """Do the task of a directory. A card that is refused is a result, too; anything else ends the process."""
    _end_with_parent()
    with RunDirectory(directory):
        task = read_json(directory / TASK)
        path, start = Path(task["card"]), time.perf_counter()
        try:
            card = load_card(path, task["changes"])
            figures = KINDS[task["kind"]](card, path if path.is_dir() else path.parent, directory)
            result: dict[str, Any] = {"figures": figures, "reason": None}
        except InputError as error:
            result = {"figures": None, "reason": str(error)}
        write_json(directory / RESULT, {**result, "seconds": round(time.perf_counter() - start, 3)})


def _end_with_parent() -> None:
    """Watch for the death of the process that scans: what it no longer waits for must not go on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except (StorageError, ToolMissingError) as error:
        sys.exit(f"{error}")
