"""Sets of images from elsewhere: the digits of scikit-learn, MNIST in IDX, CIFAR-10 in its binary version.

Nothing is downloaded, and nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.data.check import RawData
from l1dl.data.dataset import BYTE_GRID, Pixels, Split
from l1dl.data.idx import MAX_BYTES, find_idx, is_idx, read_pair
from l1dl.data.store import split_by_event
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec

DIGITS = "digits"
"""The name of scikit-learn's handwritten digits, in place of a file."""

DIGITS_GRID = FixedSpec(signed=False, width=5, integer=1)
"""The digits have 17 grey levels, 0/16 to 16/16: five bits, one of them integer."""

_PARTS = ("train-", "t10k-")
_CIFAR_TRAINING = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_TEST = "test_batch.bin"
_CIFAR_NAMES = "batches.meta.txt"
_CIFAR_FILES = (*_CIFAR_TRAINING, _CIFAR_TEST, _CIFAR_NAMES)
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_CIFAR_CLASSES = 10
_VALIDATION_SHARE = 0.2
_MAX_NAMES_BYTES = 4_096

Bytes = npt.NDArray[np.uint8]


def is_image_set(path: Path) -> bool:
    """Say whether a path is read here: a directory, or a file that is called like IDX."""
    return path.is_dir() or is_idx(path)


def read_image_set(path: Path, seed: int) -> RawData:
    """Read MNIST (or another set of its form) or CIFAR-10.

    A directory keeps the official training and test parts; 20 % of each class of the training part become the
    validation split, drawn by `seed`. A single IDX file of images, with its labels beside it, has no split.

    Parameters
    ----------
    path
        A directory with the four IDX files (``train-`` and ``t10k-``) or with the seven files of CIFAR-10's binary
        version; or one IDX file of images.
    seed
        Seed of the validation split.

    Raises
    ------
    InputError
        A file is missing or damaged, or the directory holds something else.
    """
    if not path.is_dir():
        x, y = read_pair(path)
        return RawData(str(path), byte_values(x[..., None]), y, features=("intensity",), pixels=Pixels())
    if any(find_idx(path, part, kind) for part in _PARTS for kind in ("images", "labels")):
        return _read_mnist(path, seed)
    if any((path / name).is_file() for name in (*_CIFAR_TRAINING, _CIFAR_TEST)):
        return _read_cifar10(path, seed)
    found = sorted(entry.name for entry in path.iterdir())
    if "data_batch_1" in found:
        msg = (
            f"{path} holds the Python version of CIFAR-10, which l1dl never unpickles; download cifar-10-binary.tar.gz"
        )
        raise InputError(msg)
    some = f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}" if found else "nothing"
    msg = (
        f"{path} is a directory; name a file in it, or a directory with train-images-idx3-ubyte and its like (MNIST) "
        f"or data_batch_1.bin and its like (CIFAR-10, binary version); found {some}"
    )
    raise InputError(msg)


def read_digits() -> RawData:
    """Return the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn brings along, as ``level / 16``."""
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images[..., None] / 16).astype(np.float32)
    names = tuple(str(name) for name in bunch.target_names)
    source = f"{DIGITS} (scikit-learn {sklearn.__version__})"
    return RawData(source, x, bunch.target, features=("intensity",), classes=names, pixels=Pixels(DIGITS_GRID))


def byte_values(codes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return bytes as numbers on the 8-bit grid, ``code / 256``, float32 of the same shape."""
    values: npt.NDArray[np.float32] = np.multiply(codes, np.float32(BYTE_GRID.step), dtype=np.float32)
    return values


def _official_split(y: npt.NDArray[Any], training: int, seed: int) -> Bytes:
    """Return the split where the first `training` objects are the official training part."""
    split = np.full(len(y), Split.TEST, np.uint8)
    share = {Split.VALIDATION: _VALIDATION_SHARE}
    split[:training] = split_by_event(np.arange(training), y[:training], seed, share)
    return split


def _read_mnist(path: Path, seed: int) -> RawData:
    parts = []
    for part in _PARTS:
        images = find_idx(path, part, "images")
        if images is None:
            msg = f"{path} has no {part}images-idx3-ubyte, plain or .gz; allowed: images and labels of train and t10k"
            raise InputError(msg)
        parts.append(read_pair(images))
    (x, y), (x_test, y_test) = parts
    if x.shape[1:] != x_test.shape[1:]:
        msg = f"{path}: training images have shape {x.shape[1:]}, test images {x_test.shape[1:]}; allowed: one shape"
        raise InputError(msg)
    labels = np.concatenate([y, y_test])
    return RawData(
        str(path),
        byte_values(np.concatenate([x, x_test])[..., None]),
        labels,
        split=_official_split(labels, len(y), seed),
        features=("intensity",),
        pixels=Pixels(),
    )


def _read_cifar10(path: Path, seed: int) -> RawData:
    missing = [name for name in _CIFAR_FILES if not (path / name).is_file()]
    if missing:
        msg = f"{path} lacks {', '.join(missing)} of CIFAR-10; unpack cifar-10-binary.tar.gz again"
        raise InputError(msg)
    batches = [_read_batch(path / name) for name in (*_CIFAR_TRAINING, _CIFAR_TEST)]
    counts = [len(batch) for batch in batches]
    if len(set(counts)) != 1:
        msg = (
            f"{path}: the six batches hold {', '.join(map(str, counts))} images; allowed: the same number in each "
            "(10,000 in CIFAR-10); one is truncated, unpack cifar-10-binary.tar.gz again"
        )
        raise InputError(msg)
    records = np.concatenate(batches)
    y = records[:, 0]
    return RawData(
        str(path),
        byte_values(records[:, 1:].reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1).copy()),
        y,
        split=_official_split(y, 5 * counts[0], seed),
        features=("red", "green", "blue"),
        classes=_read_names(path / _CIFAR_NAMES),
        pixels=Pixels(),
    )


def _read_batch(path: Path) -> Bytes:
    """Return the records of a file, uint8 of shape (N, 3073): label, then red, green and blue, row by row."""
    size = path.stat().st_size
    if size == 0 or size % _CIFAR_RECORD or size > MAX_BYTES:
        msg = (
            f"{path} has {size:,} bytes; allowed: a multiple of {_CIFAR_RECORD:,}, up to {MAX_BYTES:,} (30,730,000 in "
            "CIFAR-10); truncated or another format, unpack cifar-10-binary.tar.gz again"
        )
        raise InputError(msg)
    return np.fromfile(path, np.uint8).reshape(-1, _CIFAR_RECORD)


def _read_names(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        content = file.read(_MAX_NAMES_BYTES)
    names = tuple(name.strip() for name in content.decode("utf-8", "replace").splitlines() if name.strip())
    if len(names) != _CIFAR_CLASSES:
        msg = f"{path} names {len(names)} classes; allowed: {_CIFAR_CLASSES}; unpack cifar-10-binary.tar.gz again"
        raise InputError(msg)
    return names
