"""The HDF5 layout of a jet sample: written from shards in blocks, sealed with a digest of its content.

Group ``hlf``, one row a jet: ``x`` f4 (N, 16), ``y`` u1, ``kin`` f4 (N, 4), ``event_id`` i8, ``split`` u1,
``images`` u1 (N, 16, 16), ``constituents`` f2 (N, 16, 3). Everything else is in attributes of the file.

Images of several channels, or of another channel than the transverse momentum, are u1 (N, 16, 16, C), and the
attributes ``image_channels`` and ``image_encodings`` say what they hold. A sample that was made for its images has
no ``constituents``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import atomic_path
from l1dl.data.dataset import Split

GROUP = "hlf"
FORMAT = 1
_BLOCK_ROWS = 8_192
_CHUNK_ROWS = 2_048
SHARE: Mapping[Split, float] = MappingProxyType({Split.VALIDATION: 0.16, Split.TEST: 0.20})

Arrays = Mapping[str, npt.NDArray[Any]]


def split_by_event(
    event_id: npt.NDArray[np.int64],
    y: npt.NDArray[np.integer[Any]],
    seed: int,
    share: Mapping[Split, float] = SHARE,
) -> npt.NDArray[np.uint8]:
    """Return a `Split` value for each object: 64 % training, 16 % validation, 20 % test, drawn event by event.

    The shares hold within each class (an event counts for the class of its first object), so that every class is in
    every part as soon as it has three events. All objects of an event get the same value.

    Parameters
    ----------
    event_id, y
        Event number and class of each object, integers of shape (N,).
    seed
        Seed of the draw.
    share
        Shares of other splits than training.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (N,).
    """
    _, first, event = np.unique(event_id, return_index=True, return_inverse=True)
    label = y[first]
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5B117]))
    value = np.full(first.size, Split.TRAIN, np.uint8)
    for chosen in np.unique(label):
        members = rng.permutation(np.flatnonzero(label == chosen))
        start = 0
        for part, fraction in share.items():
            count = max(round(fraction * members.size), int(members.size >= len(Split)))
            value[members[start : start + count]] = part
            start += count
    return value[event]


def content_digest(group: Any) -> str:
    """Return the SHA-256 of the datasets of an HDF5 group.

    For each dataset in alphabetical order, the digest takes the ASCII line ``"<name> <dtype.str> <shape>"`` and a
    newline, with little-endian dtype and the shape as in Python, then the values in C order. Attributes, chunks and
    compression do not count.
    """
    state = hashlib.sha256()
    for name in sorted(group):
        dataset = group[name]
        dtype = dataset.dtype.newbyteorder("<")
        state.update(f"{name} {dtype.str} {dataset.shape}\n".encode())
        for start in range(0, dataset.shape[0], _BLOCK_ROWS):
            state.update(np.ascontiguousarray(dataset[start : start + _BLOCK_ROWS], dtype).tobytes())
    return state.hexdigest()


def write_sample(
    path: Path, blocks: Iterable[Arrays], *, rows: int, split_seed: int, attributes: Mapping[str, Any]
) -> None:
    """Write a jet sample atomically, block by block, then its split, its attributes and ``content_sha256``.

    Parameters
    ----------
    path
        The HDF5 file.
    blocks
        Arrays by column name (all but ``split``), in file order.
    rows
        Total number of jets.
    split_seed
        Seed of the split.
    attributes
        Attributes of the file, each text, a number, or a list of texts.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    import h5py

    event_id = np.zeros(rows, np.int64)
    y = np.zeros(rows, np.uint8)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group(GROUP)
        start = 0
        for block in blocks:
            stop = start + block["y"].size
            event_id[start:stop], y[start:stop] = block["event_id"], block["y"]
            for name, values in block.items():
                if name not in group:
                    _create(group, name, (rows, *values.shape[1:]), values.dtype)
                group[name][start:stop] = values
            start = stop
        _create(group, "split", (rows,), np.dtype(np.uint8))
        group["split"][:] = split_by_event(event_id, y, split_seed)
        file.attrs.update({"format": FORMAT, **attributes, "content_sha256": content_digest(group)})


def round_mantissa(values: npt.NDArray[np.floating[Any]], bits: int) -> npt.NDArray[np.float32]:
    """Return float32 values rounded to `bits` bits after the leading one (finite input), so that they compress."""
    drop = np.uint32(23 - bits)
    half = np.uint32(1) << (drop - np.uint32(1))
    integer = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.asarray(((integer + half) >> drop << drop).view(np.float32))


def _create(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    chunks = (min(_CHUNK_ROWS, shape[0]), *shape[1:])
    group.create_dataset(
        name, shape, dtype.newbyteorder("<"), chunks=chunks, compression="gzip", compression_opts=9, shuffle=True
    )
