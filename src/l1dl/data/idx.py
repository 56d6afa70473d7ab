"""IDX, the format of MNIST (http://yann.lecun.com/exdb/mnist), plain or compressed with gzip."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError

MAX_BYTES = 1 << 30
"""The largest array that is read, in bytes: a small compressed file may unpack to anything."""

_NAME = re.compile(r"(?P<stem>.*)(?P<kind>images|labels)(?P<dot>[-.])idx(?P<axes>[13])-ubyte(?P<gz>\.gz)?")
_AXES = {"images": 3, "labels": 1}
_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


def is_idx(path: Path) -> bool:
    """Say whether a file is called like IDX, such as ``train-images-idx3-ubyte.gz``."""
    return _NAME.fullmatch(path.name) is not None


def find_idx(directory: Path, stem: str, kind: str) -> Path | None:
    """Return the file of ``images`` or ``labels`` in a directory, the plain one before the compressed one, or None."""
    names = [f"{stem}{kind}{dot}idx{_AXES[kind]}-ubyte{end}" for end in ("", ".gz") for dot in "-."]
    return next((directory / name for name in names if (directory / name).is_file()), None)


def read_pair(images: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read a file of images and the file of labels beside it.

    Returns
    -------
    tuple
        Images, uint8 of shape (N, rows, columns), and labels, uint8 of shape (N,).

    Raises
    ------
    InputError
        A file is missing or damaged, or they do not belong together.
    """
    match = _NAME.fullmatch(images.name)
    if match is None or match["kind"] != "images":
        msg = f"{images} is no file of IDX images; allowed: a name such as train-images-idx3-ubyte or ….gz"
        raise InputError(msg)
    if not images.is_file():
        msg = f"file not found: {images}"
        raise InputError(msg)
    labels = find_idx(images.parent, match["stem"], "labels")
    if labels is None:
        msg = (
            f"{images}: the labels are missing; put {match['stem']}labels{match['dot']}idx1-ubyte, plain or .gz, "
            "beside it"
        )
        raise InputError(msg)
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        msg = f"{images} holds {len(x)} images but {labels.name} {len(y)} labels; download both again"
        raise InputError(msg)
    return x, y


def read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with the given number of axes.

    Raises
    ------
    InputError
        The file is damaged, is of another kind, or holds more than `MAX_BYTES`.
    """
    try:
        with _open(path) as file:
            shape = _read_header(path, file, axes)
            expected = math.prod(shape)
            content = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"cannot read {path} as IDX: truncated or corrupt ({error}); download it again"
        raise InputError(msg) from None
    if len(content) != expected:
        found = f"only {len(content)}" if len(content) < expected else "more"
        size = " x ".join(map(str, shape))
        msg = f"{path} announces {size} bytes but holds {found}; truncated or corrupt, download it again"
        raise InputError(msg)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _read_header(path: Path, file: gzip.GzipFile | io.BufferedReader, axes: int) -> tuple[int, ...]:
    mark = bytes((0, 0, _UNSIGNED_BYTE, axes))
    header = file.read(4 * (1 + axes))
    if header[:4] != mark:
        what = "images" if axes == 3 else "labels"
        remedy = f"rename it to {path.name}.gz" if header[:2] == _GZIP else "download it again"
        msg = f"{path} begins with 0x{header[:4].hex() or '(nothing)'}, not with 0x{mark.hex()} of IDX {what}; {remedy}"
        raise InputError(msg)
    if len(header) < 4 * (1 + axes):
        msg = f"{path} ends after {len(header)} bytes, within its header; truncated, download it again"
        raise InputError(msg)
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if 0 in shape or math.prod(shape) > MAX_BYTES:
        msg = f"{path} announces {' x '.join(map(str, shape))} bytes; allowed: 1 to {MAX_BYTES:,}; download it again"
        raise InputError(msg)
    return shape
