"""Real jets: Pythia 8 events, a detector, FastJet jets and their features, in one HDF5 file."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import l1dl
from l1dl.artifacts import digest_json, storage_error
from l1dl.data.features import FEATURES
from l1dl.data.images import ENCODINGS
from l1dl.data.pool import Task, read_shard, run_tasks
from l1dl.data.pythia import SETTINGS, import_generators
from l1dl.data.settings import CLASSES, Channel, Detector, JetSettings, ShardKey
from l1dl.data.shards import Arrays
from l1dl.data.store import write_sample
from l1dl.errors import InputError, StorageError

__all__ = ["Channel", "Detector", "JetSettings", "generate_jets"]

GENERATION = 1
"""Number of the generation code; it changes when the same settings would give other jets."""

KIN = ("pt_gev", "eta", "phi", "mass_gev")
CONSTITUENT = ("pt_gev", "delta_eta", "delta_phi")
_PACKAGES = ("pythia8mc", "fastjet", "numpy")

logger = logging.getLogger(__name__)


def generate_jets(
    settings: JetSettings,
    out: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
) -> Path:
    """Generate jets of the five classes and write them to one HDF5 file (layout: `l1dl.data.store`).

    Finished shards are kept in a hidden directory beside `out`, whose name carries a digest of the settings; a call
    that was stopped continues there, and a successful one removes it. The jets depend on `settings` and on the
    versions of the generators, not on `workers`. Rows are ordered by shard and position, with the five classes in
    turn, so that any stretch of the file holds all classes.

    Parameters
    ----------
    settings
        How many jets, and how.
    out
        The HDF5 file to write, ``.h5`` or ``.hdf5``.
    workers
        Number of processes; with more than one, a script needs its ``if __name__ == "__main__":`` guard.
    progress
        Called with the jets made so far and their total number.
    command
        The command line that asked for the sample, recorded in the file.

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    InputError
        A bad value.
    StorageError
        The disk is full, or the directory cannot be written.
    ToolMissingError
        A generator package is absent.
    ToolFailedError
        Pythia fails, or a process dies.
    """
    _check_call(out, workers)
    import_generators()
    versions = {name: metadata.version(name) for name in _PACKAGES}
    work = _work_directory(out, settings, versions)
    todo: list[Task] = []
    done = 0
    for key in settings.shards():
        if read_shard(_shard_path(work, key), key) is None:
            todo.append(Task(settings, key, _shard_path(work, key)))
        else:
            done += key.jets
    logger.info("%d of %d jets are already in %s", done, settings.jets, work)
    if progress is not None:
        progress(done, settings.jets)
    for task in run_tasks(todo, workers):
        done += task.key.jets
        if progress is not None:
            progress(done, settings.jets)
    attributes = _attributes(settings, versions, command)
    blocks = _interleaved(settings, work)
    write_sample(out, blocks, rows=settings.jets, split_seed=settings.seed, attributes=attributes)
    shutil.rmtree(work, ignore_errors=True)
    return out


def _check_call(out: Path, workers: int) -> None:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        msg = f"workers is {workers!r}; allowed: an integer from 1, at best the number of free cores"
        raise InputError(msg)
    if out.suffix not in (".h5", ".hdf5"):
        msg = f"the output is {str(out)!r}; allowed: a file name that ends in .h5 or .hdf5"
        raise InputError(msg)
    if out.is_dir():
        msg = f"the output {out} is a directory; name a file in it, such as {out / 'jets.h5'}"
        raise InputError(msg)


def _work_directory(out: Path, settings: JetSettings, versions: dict[str, str]) -> Path:
    digest = digest_json([GENERATION, settings.to_json(), versions])
    work = out.parent / f".{out.name}.{digest[:12]}.shards"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(work, error) from error
    return work


def _shard_path(work: Path, key: ShardKey) -> Path:
    return work / f"{key.name}.npz"


def _interleaved(settings: JetSettings, work: Path) -> Iterator[Arrays]:
    """Yield blocks of jets: the shards of one index, their rows in turn."""
    keys = settings.shards()
    for index in sorted({key.index for key in keys}):
        parts = []
        for key in keys:
            if key.index == index:
                arrays = read_shard(_shard_path(work, key), key)
                if arrays is None:
                    msg = f"shard {_shard_path(work, key)} was damaged after it was written; run the same command again"
                    raise StorageError(msg)
                parts.append(arrays)
        row = np.concatenate([np.arange(part["y"].size) for part in parts])
        order = np.argsort(row, kind="stable")
        yield {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def _attributes(settings: JetSettings, versions: dict[str, str], command: str) -> dict[str, Any]:
    import json

    attributes = {
        "command": command,
        "settings": json.dumps({**settings.to_json(), "generation": GENERATION}, sort_keys=True),
        "pythia_settings": list(SETTINGS),
        "versions": json.dumps({"l1dl": l1dl.__version__, **versions}, sort_keys=True),
        "seed": settings.seed,
        "shard_seeds": "numpy.random.SeedSequence([seed, class, shard]).spawn(3): Pythia, polarisation, detector",
        "features": list(FEATURES),
        "classes": list(CLASSES),
        "kin_columns": list(KIN),
        "constituent_columns": list(CONSTITUENT),
    }
    if not settings.constituents:
        del attributes["constituent_columns"]
    if settings.channels != (Channel.PT,):
        attributes["image_channels"] = [channel.value for channel in settings.channels]
        attributes["image_encodings"] = [ENCODINGS[channel] for channel in settings.channels]
    return attributes
