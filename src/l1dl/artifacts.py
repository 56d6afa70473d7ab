"""Files that are either whole or absent: atomic writes, digests, and the manifest of a run directory."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, StorageError

log = logging.getLogger(__name__)

_REMEDY = {
    errno.ENOSPC: "no space left on the device; free some space or choose another --out, then run again",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another --out, then run again",
    errno.EFBIG: "the file size limit (ulimit -f) is reached; raise it, then run again",
    errno.EACCES: "permission denied; choose a writable directory",
    errno.EPERM: "operation not permitted; choose a writable directory",
    errno.EROFS: "the file system is read-only; choose a writable directory",
}


_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.[^.]*)?")
"""Names that `atomic_path` and `atomic_directory` give to what is not finished yet."""


def storage_error(path: Path, error: OSError) -> StorageError:
    """Turn an operating-system error on `path` into one line with its remedy."""
    reason = _REMEDY.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"cannot write {path}: {reason}")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any failure it is removed.

    Raises
    ------
    StorageError
        The disk is full, or the directory cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; on success it replaces `path`, on any failure it is removed."""
    temporary: Path | None = None
    older: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o755)
        yield temporary
        if path.is_dir() and not path.is_symlink():
            older = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            path.replace(older)  # a removal that is interrupted must not leave half of the old directory
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if older is not None:
            if not path.exists():
                older.replace(path)
            shutil.rmtree(older, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays to `path` atomically, as a compressed npz file without pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write ``name -> text`` below `directory`, all of them or none; names stay inside it."""
    for name in files:
        inside = Path(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            msg = f"file name {name!r} leaves its directory"
            raise InputError(msg)
    with atomic_directory(directory) as temporary:
        for name, text in files.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        The file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"file not found: {path}"
        raise InputError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"cannot read {path} as JSON: {error}"
        raise InputError(msg) from None


def digest_bytes(*parts: bytes) -> str:
    """Return the SHA-256 of the parts, each preceded by its length."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no white space)."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def digest_array(array: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of an array's dtype, shape and content."""
    contiguous = np.ascontiguousarray(array)
    return digest_bytes(str(contiguous.dtype).encode(), str(contiguous.shape).encode(), contiguous.tobytes())


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def digest_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a directory's relative names and contents."""
    if path.is_file():
        return digest_file(path)
    entries = sorted(entry for entry in path.rglob("*") if entry.is_file())
    return digest_json([[str(entry.relative_to(path)), digest_file(entry)] for entry in entries])


@dataclass(frozen=True)
class StageRecord:
    """What the manifest keeps of a finished stage.

    Attributes
    ----------
    key
        Digest of the inputs, settings and tool versions.
    seconds
        Time that the stage took, in s.
    finished
        When it was finished, ISO 8601 in UTC.
    outputs
        Path below the run directory (or absolute) → digest.
    """

    key: str
    seconds: float
    finished: str
    outputs: dict[str, str]


class RunDirectory:
    """The directory of one run, with a manifest of its finished stages.

    Use it as a context manager: only one process at a time may work in a directory.

    Parameters
    ----------
    path
        Made if it does not exist.

    Raises
    ------
    StorageError
        The directory cannot be written.
    InputError
        Another process works in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunDirectory:
        """Lock the directory."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise storage_error(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            msg = f"another process works in {self.path}; wait for it, or choose another --out"
            raise InputError(msg) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s cannot be locked (%s); start no second run in it", self.path, error.strerror or error)
        else:
            _remove_temporaries(self.path)
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        """Release the directory."""
        if self._lock is not None:
            self._lock.close()

    def stages(self) -> dict[str, StageRecord]:
        """Return the finished stages; none if the manifest is missing or damaged."""
        try:
            content = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
            records = {name: StageRecord(**record) for name, record in content["stages"].items()}
            return {name: record for name, record in records.items() if isinstance(record.outputs, dict)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def is_current(self, stage: str, key: str) -> bool:
        """Say whether `stage` was finished with `key` and its outputs are still what it wrote."""
        record = self.stages().get(stage)
        if record is None or record.key != key:
            return False
        paths = {name: self.path / name for name in record.outputs}
        return all(path.exists() and digest_path(path) == record.outputs[name] for name, path in paths.items())

    def record(self, stage: str, key: str, seconds: float, outputs: Iterable[Path]) -> None:
        """Note that `stage` is finished; the records of the stages before it are kept."""
        digests = {_relative(path, self.path): digest_path(path) for path in outputs}
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        stages = {**self.stages(), stage: StageRecord(key, seconds, now, digests)}
        write_json(
            self.path / "manifest.json",
            {"schema": "l1dl-manifest/1", "stages": {name: asdict(record) for name, record in stages.items()}},
        )


def _remove_temporaries(directory: Path) -> None:
    """Remove what a run that was killed outright (SIGKILL, power) had not finished writing."""
    for path in [path for path in directory.rglob(".*") if _TEMPORARY.fullmatch(path.name)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _relative(path: Path, directory: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(directory.resolve()) if resolved.is_relative_to(directory.resolve()) else resolved)
