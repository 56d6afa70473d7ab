"""Data sets from files: HDF5, npz, npy, Parquet, ARFF and sets of images, all through `l1dl.data.check.check`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import write_npz
from l1dl.card import DataCard
from l1dl.data.arff import read_arff
from l1dl.data.check import RawData, check
from l1dl.data.dataset import Dataset, Pixels, PixelScale
from l1dl.data.image_sets import DIGITS, byte_values, is_image_set, read_digits, read_image_set
from l1dl.data.images import SCALES
from l1dl.data.settings import Channel
from l1dl.data.store import GROUP, content_digest
from l1dl.errors import InputError, ToolMissingError, did_you_mean

_ARRAYS = ("x", "y", "event_id", "split", "features", "classes")
_LABEL_COLUMNS = ("label", "y", "class")
_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


class Inputs(Enum):
    """What of a file becomes the inputs of a network: the name of its array in a jet sample."""

    HLF = "x"
    """Features, (N, F)."""
    IMAGES = "images"
    """Images, (N, H, W, C)."""
    CONSTITUENTS = "constituents"
    """The constituents of a jet sample as flat columns, (N, F)."""


_CONTENT = MappingProxyType({"features": Inputs.HLF, "images": Inputs.IMAGES, "constituents": Inputs.CONSTITUENTS})
_AXES = MappingProxyType(
    {
        Inputs.HLF: ("objects", "features"),
        Inputs.IMAGES: ("objects", "height", "width", "channels"),
        Inputs.CONSTITUENTS: ("objects", "features"),
    }
)


def load_dataset(
    path: Path,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    labels: Path | None = None,
    seed: int = 0,
    inputs: Inputs | None = None,
) -> Dataset:
    """Load a data set and check it; the file's suffix or name tells its format.

    ===================  ========================================================================================
    ``.h5``, ``.hdf5``   a sample of `l1dl.data.generate` (its checksum is verified), or datasets ``x`` and ``y``
    ``.npz``             arrays ``x`` and ``y``
    ``.npy``             ``x``; give `labels`, a second ``.npy`` file
    ``.parquet``         one column a feature, and the class in ``label``, ``y`` or ``class``
    ``.arff``            as ``hls4ml_lhc_jets_hlf`` on OpenML (arXiv:1804.06913): nominal class column
    a directory          MNIST (IDX) or CIFAR-10 (binary version); see `l1dl.data.image_sets.read_image_set`
    ``…-ubyte[.gz]``     one IDX file of images, with its labels beside it
    ``digits``           the 8 x 8 handwritten digits that scikit-learn brings along
    ===================  ========================================================================================

    HDF5, npz and Parquet may add ``event_id`` and ``split`` (0 training, 1 validation, 2 test), HDF5 and npz also
    the names ``features`` and ``classes``. Without ``split``, events are split 64/16/20 %, by `seed`.

    Images of jets, MNIST and CIFAR-10 are numbers on the 8-bit grid, ``byte / 256``; digits are ``level / 16``. Images
    in the ``x`` of HDF5, npz and npy stay as they are; their channels are on the last axis.

    Parameters
    ----------
    path
        The file or directory, or ``digits``.
    features
        Columns (channels of images) to use, in order; where the file has no names, the names of all of them.
    classes
        Classes to use, in order; where the file has no names, the names of its classes.
    labels
        Labels, for ``.npy`` only.
    seed
        Seed of the split, where the file has none, and of the validation split of a directory of images.
    inputs
        What to use of a jet sample, and how many axes x must have elsewhere. By default, the features of a jet
        sample, and x as it is elsewhere.

    Returns
    -------
    Dataset
        Checked data.

    Raises
    ------
    InputError
        The file is missing or damaged, or its content cannot be used; the text says what is allowed.
    ToolMissingError
        Parquet without pyarrow.
    """
    raw = _read(Path(path), labels, seed, inputs)
    return check(raw, features, classes, seed, None if inputs is None else _AXES[inputs])


def load_card_data(data: DataCard, directory: Path) -> Dataset:
    """Load the data set that a model card names.

    Parameters
    ----------
    data
        The section of the card.
    directory
        The card's directory, to which its files are relative; the word ``digits`` is no file.

    Raises
    ------
    InputError
        As `load_dataset`.
    """
    return load_dataset(
        Path(DIGITS) if data.file == DIGITS else directory / data.file,
        features=data.features,
        classes=data.classes,
        labels=None if data.labels is None else directory / data.labels,
        inputs=_CONTENT[data.content],
    )


def holds_images(path: Path) -> bool:
    """Say whether a file is a readable jet sample with images."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return f"{GROUP}/{Inputs.IMAGES.value}" in file
    except OSError:
        return False


def _read(path: Path, labels: Path | None, seed: int, inputs: Inputs | None) -> RawData:
    suffix = path.suffix.lower()
    if labels is not None and suffix != ".npy":
        msg = f"{path}: a file of labels was given ({labels}); allowed with .npy only; leave it out"
        raise InputError(msg)
    reader = _READERS.get(suffix)
    if inputs is Inputs.CONSTITUENTS and reader is not _read_hdf5:
        msg = f"{path}: no constituents; allowed: a sample of `l1dl data jets`, .h5 or .hdf5"
        raise InputError(msg)
    if str(path) == DIGITS:
        return read_digits()
    if is_image_set(path):
        try:
            return read_image_set(path, seed)
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror or error}"
            raise InputError(msg) from None
    if reader is None:
        known = (*_READERS, DIGITS)
        hint = did_you_mean(suffix or path.name.lower(), known)
        what = f"unknown format {path.suffix!r}" if path.suffix or path.exists() else "not found"
        msg = f"{path}: {what}; allowed: {', '.join(_READERS)}, a directory of images, {DIGITS}{hint}"
        raise InputError(msg)
    check_file(path)
    if suffix == ".npy":
        return _read_npy(path, labels)
    return _read_hdf5(path, inputs or Inputs.HLF) if reader is _read_hdf5 else reader(path)


def fetch_openml_jets(out: Path) -> Path:
    """Download ``hls4ml_lhc_jets_hlf`` (830,000 jets, arXiv:1804.06913) from OpenML and write it as npz.

    Nothing else in l1dl uses the network; call this only to ask for the download.

    Raises
    ------
    InputError
        `out` is no ``.npz`` name, or the download fails.
    """
    if out.suffix != ".npz":
        msg = f"the output is {str(out)!r}; allowed: a file name that ends in .npz"
        raise InputError(msg)
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml("hls4ml_lhc_jets_hlf", as_frame=False, parser="liac-arff")
    except (OSError, ValueError) as error:
        msg = f"cannot download hls4ml_lhc_jets_hlf from OpenML: {error}; check the network, or load a local .arff file"
        raise InputError(msg) from None
    classes, y = np.unique(np.asarray(bunch.target, np.str_), return_inverse=True)
    names = np.array(bunch.feature_names, np.str_)
    write_npz(out, {"x": np.asarray(bunch.data, np.float32), "y": y, "features": names, "classes": classes})
    return out


def check_file(path: Path) -> None:
    """Refuse a path that is missing, no file, or empty."""
    if not path.exists():
        msg = f"file not found: {path}"
        raise InputError(msg)
    if not path.is_file():
        msg = f"{path} is a directory; name a file in it"
        raise InputError(msg)
    if path.stat().st_size == 0:
        msg = f"{path} is empty (0 bytes); write or download it again"
        raise InputError(msg)


def damaged(path: Path, kind: str, error: BaseException) -> InputError:
    """Return the error about a file that cannot be read as what it is called."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    msg = f"cannot read {path} as {kind}: truncated, corrupt or another format ({reason}); write or download it again"
    return InputError(msg)


def _assemble(path: Path, arrays: Mapping[str, npt.NDArray[Any]], found: Sequence[str]) -> RawData:
    for name in ("x", "y"):
        if name not in arrays:
            msg = f"{path}: no array {name!r}; found {', '.join(found) or 'nothing'}; allowed: {', '.join(_ARRAYS)}"
            raise InputError(msg)
    features, classes = (_names(path, name, arrays.get(name)) for name in ("features", "classes"))
    return RawData(str(path), arrays["x"], arrays["y"], arrays.get("event_id"), arrays.get("split"), features, classes)


def _names(path: Path, what: str, values: npt.NDArray[Any] | None) -> tuple[str, ...] | None:
    if values is None:
        return None
    texts = _texts(values)
    if not all(isinstance(text, str) for text in texts):
        msg = f"{path}: {what} are {texts[:3]}...; allowed: texts"
        raise InputError(msg)
    return tuple(texts)


def _texts(values: Any) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in np.asarray(values).ravel().tolist()]


def _read_hdf5(path: Path, inputs: Inputs = Inputs.HLF) -> RawData:
    try:
        import h5py

        with h5py.File(path, "r") as file:
            sealed = file.attrs.get("content_sha256")
            group = file.get(GROUP, file)
            present = sorted(group)
            found = None if sealed is None else content_digest(group)
            x = "x" if GROUP not in file and inputs is Inputs.IMAGES else inputs.value
            wanted = {"x": x, **{name: name for name in ("y", "event_id", "split")}}
            channels = _texts(file.attrs.get("image_channels", [Channel.PT.value]))
            arrays = {name: group[key][()] for name, key in wanted.items() if key in group}
            for name in ("features", "classes"):
                if name in file.attrs:
                    arrays[name] = np.asarray(file.attrs[name])
                elif name in group:
                    arrays[name] = group[name][()]
    except _DAMAGED as error:
        raise damaged(path, "HDF5", error) from None
    if found != sealed:
        msg = f"{path}: content changed since it was written: SHA-256 {found}, recorded {sealed}; generate it again"
        raise InputError(msg)
    if x != "x" and "x" not in arrays:
        msg = f"{path}: no dataset {GROUP}/{x}; found {', '.join(present)}; allowed: a sample of `l1dl data jets`"
        raise InputError(msg)
    if x == Inputs.IMAGES.value:
        return _jet_images(path, arrays, present, channels)
    if x == Inputs.CONSTITUENTS.value:
        names = ["_".join(["constituent", *map(str, index)]) for index in np.ndindex(*arrays["x"].shape[1:])]
        arrays = {**arrays, "x": arrays["x"].reshape(len(arrays["x"]), -1), "features": np.array(names)}
    return _assemble(path, arrays, present)


def _jet_images(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], present: Sequence[str], channels: list[Any]
) -> RawData:
    x = arrays["x"] if arrays["x"].ndim == 4 else arrays["x"][..., None]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != len(channels):
        msg = (
            f"{path}: {GROUP}/images are {arrays['x'].dtype} of shape {arrays['x'].shape}; allowed: uint8 of shape "
            f"(jets, height, width, {len(channels)}) for the channels {', '.join(map(str, channels))}"
        )
        raise InputError(msg)
    raw = _assemble(path, {**arrays, "x": byte_values(x), "features": np.array(channels)}, present)
    known = {channel.value: SCALES[channel] for channel in Channel}
    scales = tuple(known.get(name, PixelScale.LINEAR) for name in raw.features or ())
    return replace(raw, pixels=Pixels(scales=scales))


def _read_npz(path: Path) -> RawData:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                msg = "not a zip archive"
                raise zipfile.BadZipFile(msg)
            present = sorted(file.files)
            arrays = {name: file[name] for name in present if name in _ARRAYS}
    except _DAMAGED as error:
        raise _refused_pickle(path, error) or damaged(path, "npz", error) from None
    return _assemble(path, arrays, present)


def _read_npy(path: Path, labels: Path | None) -> RawData:
    if labels is None:
        msg = f"{path}: labels are missing; a .npy file holds x only; name a second .npy file with the labels"
        raise InputError(msg)
    check_file(labels)
    return RawData(str(path), _one_array(path), _one_array(labels))


def _one_array(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except _DAMAGED as error:
        raise _refused_pickle(path, error) or damaged(path, "npy", error) from None
    if not isinstance(array, np.ndarray):
        msg = f"{path} holds several arrays; allowed: one; rename it to .npz"
        raise InputError(msg)
    return array


def _refused_pickle(path: Path, error: BaseException) -> InputError | None:
    if "pickle" not in str(error) or "allow_pickle" not in str(error):
        return None
    msg = f"{path} holds Python objects or is no NumPy file; l1dl never unpickles; allowed: arrays of numbers and texts"
    return InputError(msg)


def _read_parquet(path: Path) -> RawData:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        msg = 'cannot read Parquet without pyarrow; install with: pip install "l1dl[parquet]"'
        raise ToolMissingError(msg) from None
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, "Parquet", error) from None
    label = next((name for name in _LABEL_COLUMNS if name in table.column_names), None)
    if label is None:
        found = ", ".join(table.column_names)
        msg = f"{path}: no column of labels; found {found}; allowed: {', '.join(_LABEL_COLUMNS)}"
        raise InputError(msg)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    y, classes = _encode_labels(columns.pop(label))
    event_id, split = columns.pop("event_id", None), columns.pop("split", None)
    for name, values in columns.items():
        if values.dtype.kind not in "fiub":
            msg = f"{path}: column {name} has type {table[name].type}; allowed: numbers; remove the column"
            raise InputError(msg)
    x = np.stack(list(columns.values()), axis=1) if columns else np.zeros((len(y), 0))
    return RawData(str(path), x, y, event_id, split, tuple(columns), classes)


def _encode_labels(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...] | None]:
    """Turn labels given as texts into class numbers, in alphabetical order."""
    if values.dtype.kind not in "OU" or not all(isinstance(value, str) for value in values.tolist()):
        return values, None
    names, y = np.unique(values.astype(np.str_), return_inverse=True)
    return y, tuple(names.tolist())


_READERS: Mapping[str, Callable[[Path], RawData]] = MappingProxyType(
    {
        ".h5": _read_hdf5,
        ".hdf5": _read_hdf5,
        ".npz": _read_npz,
        ".npy": lambda path: _read_npy(path, None),
        ".parquet": _read_parquet,
        ".arff": read_arff,
    }
)
