"""Calibration events and labels from files: arrays by name in npz and HDF5, one array in npy, or a data set."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.data.blocks import DAMAGED, SINGLE, pick_arrays
from l1dl.data.load import check_file, damaged, load_dataset
from l1dl.data.store import GROUP
from l1dl.errors import InputError, did_you_mean

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".parquet", ".arff")
"""Kinds of files that are read."""

_LABELS = ("y", "labels", "label", "y_test")
_OTHERS = (*_LABELS, "event_id", "split", "features", "classes")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration events.

    Attributes
    ----------
    arrays
        One array, one for each input in a list, or by name.
    labels, classes
        Class indices and names of the classes, where the file has them.
    source
        Name of the file; empty for arrays from Python.
    """

    arrays: Any
    labels: npt.NDArray[Any] | None = None
    classes: tuple[str, ...] = ()
    source: str = ""


def read_calibration(path: Path, names: Sequence[str]) -> Calibration:
    """Read calibration events from a file.

    Parameters
    ----------
    path
        ``.npy`` (one array); ``.npz`` or ``.h5`` (arrays by the names of the inputs, or ``x`` for a single one, and
        perhaps ``y``); or a data set of `l1dl.data.load.load_dataset`.
    names
        Names of the model's inputs.

    Raises
    ------
    InputError
        The file is missing, damaged, or lacks an input; the text says what it holds.
    """
    suffix = path.suffix.lower()
    check_file(path)
    if suffix not in SUFFIXES:
        msg = f"{path}: unknown format {suffix!r}; allowed: {', '.join(SUFFIXES)}{did_you_mean(suffix, SUFFIXES)}"
        raise InputError(msg)
    if suffix in (".parquet", ".arff"):
        return _dataset(path)
    if suffix == ".npy":
        return Calibration(_one_array(path), source=path.name)
    arrays = _read_npz(path) if suffix == ".npz" else _read_hdf5(path)
    if arrays is None:
        return _dataset(path)
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    classes = tuple(
        value.decode() if isinstance(value, bytes) else str(value)
        for value in arrays.get("classes", np.array([])).tolist()
    )
    return Calibration(_inputs(path, arrays, names), labels, classes, path.name)


def read_labels(path: Path) -> npt.NDArray[Any]:
    """Read class indices from a file: ``.npy``, or ``y`` or ``labels`` of ``.npz`` or ``.h5``.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds none.
    """
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _one_array(path)
    if suffix not in (".npz", ".h5", ".hdf5"):
        msg = f"{path}: unknown format {suffix!r}; allowed for labels: .npy, .npz, .h5"
        raise InputError(msg)
    arrays = (_read_npz(path) if suffix == ".npz" else _read_hdf5(path)) or {}
    for name in _LABELS if len(arrays) != 1 else arrays:
        if name in arrays:
            return arrays[name]
    msg = f"{path} holds no labels: found {', '.join(arrays) or 'nothing'}, looked for {', '.join(_LABELS)}"
    raise InputError(msg)


def _inputs(path: Path, arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> Any:
    picked = pick_arrays(path, list(arrays), names, single=SINGLE, others=_OTHERS)
    by_name = all(name == array for name, array in picked.items())
    return {name: arrays[name] for name in names} if by_name else arrays[picked[names[0]]]


def _dataset(path: Path) -> Calibration:
    dataset = load_dataset(path)
    return Calibration(dataset.x, dataset.y, dataset.classes, path.name)


def _one_array(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise _damaged(path, "npy", error) from None
    if not isinstance(array, np.ndarray):
        msg = f"{path} holds several arrays; rename it to .npz"
        raise InputError(msg)
    return array


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile("not a zip archive")  # noqa: EM101
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise _damaged(path, "npz", error) from None


def _read_hdf5(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file; None for a sample of `l1dl.data.generate`, which has a reader of its own."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if GROUP in file and "content_sha256" in file.attrs:
                return None
            arrays = {name: np.asarray(item[()]) for name, item in file.items() if isinstance(item, h5py.Dataset)}
            if "classes" in file.attrs:
                arrays["classes"] = np.asarray(file.attrs["classes"])
            return arrays
    except DAMAGED as error:
        raise _damaged(path, "HDF5", error) from None


def _damaged(path: Path, kind: str, error: BaseException) -> InputError:
    if "allow_pickle" in str(error):
        msg = f"{path} holds Python objects or is no NumPy file; l1dl never unpickles; allowed: arrays of numbers"
        return InputError(msg)
    return damaged(path, kind, error)
