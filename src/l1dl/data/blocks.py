"""Events from and to files of any size, block by block: HDF5, npy, npz, Parquet."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import atomic_path
from l1dl.data.image_sets import byte_values
from l1dl.data.load import check_file, damaged
from l1dl.data.store import GROUP
from l1dl.errors import InputError, ToolMissingError, did_you_mean
from l1dl.ports import Ports

SUFFIXES = (".h5", ".hdf5", ".npy", ".npz", ".parquet")
"""Kinds of files that are read and written."""

SINGLE = ("x", "X", "x_test", "X_test", "inputs", "data")
"""Names under which the array of a model with one input may stand."""

_SINGLE = (*SINGLE, "images")
_NO_INPUTS = ("y", "labels", "label", "class", "y_test", "event_id", "split", "features", "classes", "kin")

DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error)

Array = npt.NDArray[Any]
Block = dict[str, Array]
"""Name of a port → its values, shape (events, *shape)."""


@dataclass(frozen=True)
class Events:
    """Events in an open file.

    Attributes
    ----------
    count
        How many there are.
    blocks
        Most events of a block → the blocks, in order.
    """

    count: int
    blocks: Callable[[int], Iterator[Block]]


@contextmanager
def read_events(path: Path, ports: Ports) -> Iterator[Events]:
    """Open a file of real inputs.

    Parameters
    ----------
    path
        ``.h5`` or ``.npz``: an array for each input, by its name, or one array for a model with one input; a jet sample
        of ``l1dl data``. ``.npy``: one array. ``.parquet``: a column for each value of a single input.

    Raises
    ------
    InputError
        The file is missing, damaged, lacks an input, or holds other numbers of events for its inputs.
    ToolMissingError
        Parquet is asked for, and pyarrow is missing.
    """
    check_file(path)
    reader = _READERS[_suffix(path)]
    with ExitStack() as stack:
        with _readable(path):
            events = reader(path, ports, stack)

        def blocks(size: int) -> Iterator[Block]:
            found = events.blocks(size)
            while True:
                with _readable(path):
                    block = next(found, None)
                if block is None:
                    return
                yield block

        yield Events(events.count, blocks)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            msg = f"{path} holds Python objects; l1dl never unpickles; allowed: arrays of numbers"
            raise InputError(msg) from None
        raise damaged(path, _suffix(path).removeprefix("."), error) from None


@contextmanager
def write_events(path: Path, ports: Ports, events: int) -> Iterator[Callable[[Sequence[Array]], None]]:
    """Write a file of real outputs; it is there when all are written, and not before.

    Yields
    ------
    A function that takes the next values of all outputs, each of shape (events, *shape).

    Raises
    ------
    InputError
        The format is unknown, or holds one array and the model has several outputs.
    StorageError
        The disk is full, or the directory cannot be written.
    """
    writer = _WRITERS[_suffix(path)]
    with atomic_path(path) as temporary, ExitStack() as stack:
        yield writer(temporary, ports, events, stack)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"{path}: unknown format {suffix!r}; allowed: {', '.join(SUFFIXES)}{did_you_mean(suffix, SUFFIXES)}"
        raise InputError(msg)
    return suffix


def pick_arrays(
    path: Path, found: Sequence[str], names: Sequence[str], *, single: Sequence[str], others: Sequence[str]
) -> dict[str, str]:
    """Return input → array of a file that holds its values.

    Parameters
    ----------
    found
        Names of the arrays.
    names
        Names of the inputs.
    single
        Names that the array of a single input may have, the likeliest first.
    others
        Names of arrays that are no inputs; a single one besides them is that of a single input.

    Raises
    ------
    InputError
        An input has no array.
    """
    if all(name in found for name in names):
        return {name: name for name in names}
    values = [name for name in found if name not in others]
    if len(names) == 1:
        for name in single if len(values) != 1 else values:
            if name in found:
                return {names[0]: name}
    missing = next(name for name in names if name not in found)
    msg = (
        f"{path} holds no array {missing!r}{did_you_mean(missing, found)}; found {', '.join(found) or 'nothing'}; "
        f"the inputs of the model are {', '.join(names)}"
    )
    raise InputError(msg)


def _pick(path: Path, found: Sequence[str], ports: Ports) -> dict[str, str]:
    return pick_arrays(path, found, [port.name for port in ports], single=_SINGLE, others=_NO_INPUTS)


def _same_count(path: Path, counts: Mapping[str, int]) -> int:
    if len(set(counts.values())) > 1:
        msg = f"{path} holds different numbers of events: {', '.join(f'{k} {v}' for k, v in counts.items())}"
        raise InputError(msg)
    return next(iter(counts.values()))


def _slices(path: Path, arrays: Mapping[str, Any], convert: Callable[[Array], Array] = np.asarray) -> Events:
    """Return the events of arrays that are read slice by slice."""
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "fiub":
            msg = f"{path}: {name} has type {array.dtype} and shape {array.shape}; allowed: numbers, (events, …)"
            raise InputError(msg)
    count = _same_count(path, {name: len(array) for name, array in arrays.items()})

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, count, size):
            yield {name: convert(array[start : start + size]) for name, array in arrays.items()}

    return Events(count, blocks)


def _read_npy(path: Path, ports: Ports, _stack: ExitStack) -> Events:
    if len(ports) > 1:
        msg = f"{path} holds one array, and the model has {len(ports)} inputs; give them by name in .npz or .h5"
        raise InputError(msg)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        msg = f"{path} holds several arrays; rename it to .npz"
        raise InputError(msg)
    return _slices(path, {ports[0].name: array})


def _read_hdf5(path: Path, ports: Ports, stack: ExitStack) -> Events:
    import h5py

    file = stack.enter_context(h5py.File(path, "r"))
    sample = GROUP in file and "content_sha256" in file.attrs
    group = file[GROUP] if sample else file
    datasets = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
    if sample:  # a jet sample has features and images: the shape tells which ones are meant
        (port,) = ports
        name = "images" if len(port.shape) > 1 else "x"
        return _slices(path, {port.name: datasets[name]}, byte_values if name == "images" else np.asarray)
    picked = _pick(path, list(datasets), ports)
    return _slices(path, {port: datasets[name] for port, name in picked.items()})


def _read_npz(path: Path, ports: Ports, stack: ExitStack) -> Events:
    """Read the members of the archive as streams, so that none is in memory as a whole."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    members = {port: _Member(archive, f"{name}.npy", stack) for port, name in _pick(path, names, ports).items()}
    count = _same_count(path, {name: member.shape[0] for name, member in members.items()})

    def blocks(size: int) -> Iterator[Block]:
        for start in range(0, count, size):
            yield {name: member.read(min(size, count - start)) for name, member in members.items()}

    return Events(count, blocks)


class _Member:
    """An array in an archive, read in order."""

    def __init__(self, archive: zipfile.ZipFile, name: str, stack: ExitStack) -> None:
        self._file = stack.enter_context(archive.open(name))
        version = np.lib.format.read_magic(self._file)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        self.shape, fortran, self._dtype = headers[version](self._file)
        if self._dtype.kind not in "fiub" or fortran or not self.shape:
            msg = f"{name} has type {self._dtype} and shape {self.shape}; allowed: numbers, (events, …), row by row"
            raise InputError(msg)

    def read(self, events: int) -> Array:
        size = events * int(np.prod(self.shape[1:])) * self._dtype.itemsize
        content = self._file.read(size)
        if len(content) < size:
            raise EOFError("the array ends too early")  # noqa: EM101
        return np.frombuffer(content, self._dtype).reshape(events, *self.shape[1:])


def _read_parquet(path: Path, ports: Ports, stack: ExitStack) -> Events:
    pq = _pyarrow()[1]
    if len(ports) > 1:
        msg = f"{path} is a table, and the model has {len(ports)} inputs; give them by name in .npz or .h5"
        raise InputError(msg)
    file = stack.enter_context(pq.ParquetFile(path))
    columns = [name for name in file.schema_arrow.names if name not in _NO_INPUTS]

    def blocks(size: int) -> Iterator[Block]:
        for batch in file.iter_batches(batch_size=size, columns=columns):
            values = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            yield {ports[0].name: np.stack(values, axis=1)}

    return Events(file.metadata.num_rows, blocks)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        msg = 'Parquet needs pyarrow; install with: pip install "l1dl[parquet]"'
        raise ToolMissingError(msg) from None
    return pa, pq


Write = Callable[[Sequence[Array]], None]


def _append_to(targets: Sequence[Any]) -> Write:
    """Return what fills arrays from their beginning on."""
    place = 0

    def write(values: Sequence[Array]) -> None:
        nonlocal place
        for target, part in zip(targets, values, strict=True):
            target[place : place + len(part)] = part
        place += len(values[0])

    return write


def _write_hdf5(path: Path, ports: Ports, events: int, stack: ExitStack) -> Write:
    import h5py

    file = stack.enter_context(h5py.File(path, "w"))
    return _append_to([file.create_dataset(port.name, (events, *port.shape), np.float64) for port in ports])


def _write_npy(path: Path, ports: Ports, events: int, stack: ExitStack) -> Write:
    if len(ports) > 1:
        msg = f"a .npy file holds one array, and the model has {len(ports)} outputs; write .npz or .h5"
        raise InputError(msg)
    return _append_to([_memmap(path, (events, *ports[0].shape), stack)])


def _memmap(path: Path, shape: tuple[int, ...], stack: ExitStack) -> Any:
    """Return an array on the disk, which is written out at the end."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
    stack.callback(array.flush)
    return array


def _write_npz(path: Path, ports: Ports, events: int, stack: ExitStack) -> Write:
    """Write each output to a file of its own; all together become the archive at the end."""
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent)))
    parts = {f"{port.name}.npy": scratch / f"{index}.npy" for index, port in enumerate(ports)}
    stack.callback(_pack, path, parts)
    return _append_to([
        _memmap(part, (events, *port.shape), stack) for part, port in zip(parts.values(), ports, strict=True)
    ])  # fmt: skip


def _pack(path: Path, parts: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.write(part, name)


def _write_parquet(path: Path, ports: Ports, _events: int, stack: ExitStack) -> Write:
    pa, pq = _pyarrow()
    names = [f"{port.name}_{index}" for port in ports for index in range(port.size)]
    schema = pa.schema([(name, pa.float64()) for name in names])
    writer = stack.enter_context(pq.ParquetWriter(path, schema))

    def write(values: Sequence[Array]) -> None:
        columns = np.concatenate([part.reshape(len(part), -1) for part in values], axis=1)
        writer.write_table(pa.table([*columns.T], schema=schema))

    return write


_READERS: dict[str, Callable[[Path, Ports, ExitStack], Events]] = {
    ".h5": _read_hdf5, ".hdf5": _read_hdf5, ".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet,
}  # fmt: skip
_WRITERS: dict[str, Callable[[Path, Ports, int, ExitStack], Write]] = {
    ".h5": _write_hdf5, ".hdf5": _write_hdf5, ".npy": _write_npy, ".npz": _write_npz, ".parquet": _write_parquet,
}  # fmt: skip
