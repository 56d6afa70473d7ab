"""The project folder as one file for another machine, and the reports that come back."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from l1dl.artifacts import write_bytes
from l1dl.errors import InputError
from l1dl.vendor.project import DIGESTS

LARGEST = 64 << 20
"""Largest report that is read, in bytes."""

Read = Callable[[str], str | None]
"""Returns the text of a file by its path in the project folder; None if it is not there."""


def write_archive(path: Path, name: str, files: Mapping[str, str]) -> None:
    """Write the project as a ``tar.gz`` with one folder `name`; the same files give the same bytes."""
    content = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=content, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(files):
            data = files[file].encode()
            member = tarfile.TarInfo(f"{name}/{file}")
            member.size, member.mode = len(data), 0o755 if file.endswith(".sh") else 0o644
            archive.addfile(member, io.BytesIO(data))
    write_bytes(path, content.getvalue())


def open_results(source: Path) -> Read:
    """Return a reader of a project folder in which the steps were run, or of the ``results.tar.gz`` that it packed.

    Nothing is unpacked to disk, and nothing outside the folder is read.

    Raises
    ------
    InputError
        It is neither; or a path in it leads out of it.
    """
    if source.is_dir():
        return lambda name: _from_folder(source, name)
    if not source.is_file():
        msg = f"not found: {source}; give the folder in which run.sh ran, or its results.tar.gz"
        raise InputError(msg)
    texts: dict[str, str] = {}
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    msg = f"{source} is refused: {member.name!r} leads out of its folder, or is no plain file"
                    raise InputError(msg)
                if member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None
                    texts[str(path)] = _text(str(path), file.read(LARGEST + 1))
    except (tarfile.TarError, OSError, EOFError) as error:
        msg = f"{source} cannot be read as a tar.gz file: {error}"
        raise InputError(msg) from None
    return texts.get


def check_inputs(read: Read, expected: str) -> None:
    """Refuse results of other sources, constraints, settings or scripts than those of this run.

    Parameters
    ----------
    expected
        The digests of this run's files.

    Raises
    ------
    InputError
        A file differs; the text names it.
    """
    found = read(DIGESTS)
    if found == expected:
        return
    ours, theirs = (
        dict(line.split("  ", 1)[::-1] for line in text.splitlines() if "  " in line)
        for text in (expected, found or "")
    )
    different = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    msg = (
        f"these are no results of this run: {', '.join(different[:5]) or DIGESTS}"
        f"{' and others' if len(different) > 5 else ''} differ; write the archive again with --remote-script"
    )
    raise InputError(msg)


def _from_folder(folder: Path, name: str) -> str | None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        msg = f"{path} is refused: it leads out of its folder"
        raise InputError(msg)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return _text(str(path), file.read(LARGEST + 1))


def _text(name: str, content: bytes) -> str:
    if len(content) > LARGEST:
        msg = f"{name} is larger than {LARGEST >> 20} MiB, which no report is"
        raise InputError(msg)
    return content.decode(errors="replace")
