from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from l1dl import artifacts
from l1dl.artifacts import (
    RunDirectory,
    atomic_directory,
    atomic_path,
    digest_array,
    digest_bytes,
    digest_json,
    digest_path,
    read_json,
    storage_error,
    write_files,
    write_json,
    write_npz,
    write_text,
)
from l1dl.errors import InputError, StorageError


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(error), atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_the_old_directory(tmp_path, error):
    path = tmp_path / "out"
    write_files(path, {"a.txt": "old"})
    with pytest.raises(error), atomic_directory(path) as temporary:  # noqa: PT012
        (temporary / "b.txt").write_text("half")
        raise error
    assert visible(path) == ["a.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "out"
    write_files(path, {"a.txt": "old"})
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target == path and (self / "b.txt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="no space left"):
        write_files(path, {"b.txt": "new"})
    assert visible(path) == ["a.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_directories_are_replaced_as_a_whole(tmp_path):
    write_files(tmp_path / "out", {"a.txt": "1", "deep/er/b.txt": "2"})
    write_files(tmp_path / "out", {"c.txt": "é"})
    assert visible(tmp_path / "out") == ["c.txt"]
    assert (tmp_path / "out" / "c.txt").read_bytes() == "é".encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_killed_process_leaves_nothing_half_written(tmp_path, kind):
    write_text(tmp_path / "kept", "old") if kind == "file" else write_files(tmp_path / "kept", {"a": "old"})
    script = """
        import sys, time
        from pathlib import Path
        from l1dl.artifacts import atomic_directory, atomic_path
        for name in ("new", "kept"):
            context = (atomic_path if sys.argv[2] == "file" else atomic_directory)(Path(sys.argv[1]) / name)
            temporary = context.__enter__()
            (temporary if sys.argv[2] == "file" else temporary / "a").write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert visible(tmp_path) == ["kept"]
    kept = tmp_path / "kept"
    assert (kept if kind == "file" else kept / "a").read_text() == "old"


def test_a_file_size_limit_is_reported_and_leaves_nothing(tmp_path):
    script = """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from l1dl.artifacts import write_npz, write_text
        from l1dl.errors import StorageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        noise = np.random.default_rng(1).integers(0, 2**60, 10_000)
        for write, value in ((write_text, "x" * 100_000), (write_npz, {"noise": noise})):
            try:
                write(Path(sys.argv[1]) / "file", value)
            except StorageError as error:
                print(error)
    """
    done = python(script, tmp_path)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("cannot write" in line and "file size limit (ulimit -f) is reached" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "no space left on the device; free some space or choose another --out"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied; choose a writable directory"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_storage_errors_name_path_and_remedy(tmp_path, monkeypatch, number, remedy):
    def fail(*_: object) -> None:
        raise OSError(number, "Input/output error")

    path = tmp_path / "file"
    assert remedy in str(storage_error(path, OSError(number, "Input/output error")))
    monkeypatch.setattr(artifacts.os, "fsync", fail)
    with pytest.raises(StorageError, match=f"cannot write {path}: {remedy}"):
        write_text(path, "text")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", Path("/proc/nothing")):
        with pytest.raises(StorageError, match=f"cannot write {place}"):
            write_text(place / "x", "text") if place.parent == Path("/proc") else write_text(place, "text")
        with pytest.raises(StorageError, match=f"cannot write {place}"), RunDirectory(place):
            pass
    with pytest.raises(StorageError, match="cannot write"):
        write_files(tmp_path / "file", {"a": "text"})
    assert visible(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a/..", "", "."])
def test_file_names_stay_inside_their_directory(tmp_path, name):
    with pytest.raises(InputError, match=r"leaves its directory"):
        write_files(tmp_path / "out", {"good": "1", name: "2"})
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_npz_refuses_objects(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_npz(tmp_path / "x.npz", {"a": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == []


def test_read_json_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"file not found: .*x\.json"):
        read_json(tmp_path / "x.json")
    for content in (b"", b"{", b"\xff"):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*x\.json as JSON"):
            read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path)


def test_digests_depend_on_all_there_is(tmp_path):
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json([1]) != digest_json(["1"])
    array = np.arange(6)
    others = [array.reshape(2, 3), array.astype(np.int32), array[::-1], array + 1]
    assert len({digest_array(other) for other in [array, *others]}) == 5
    assert digest_array(array[::2]) == digest_array(array[::2].copy())
    write_files(tmp_path / "d", {"a": "1", "b/c": "2"})
    first = digest_path(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "z")
    assert digest_path(tmp_path / "d") != first
    assert digest_path(tmp_path / "d" / "z") != digest_path(tmp_path / "d" / "b" / "c")


@pytest.fixture
def finished(tmp_path):
    """A run directory with two finished stages."""
    write_files(tmp_path / "run" / "train", {"weights.txt": "1"})
    write_text(tmp_path / "outside.txt", "3")
    with RunDirectory(tmp_path / "run") as run:
        run.record("train", "key1", 1.5, [run.path / "train"])
        write_text(run.path / "report.json", "{}")
        run.record("report", "key2", 0.5, [run.path / "report.json", tmp_path / "outside.txt"])
    return run


def test_finished_stages_are_current(finished, tmp_path):
    assert finished.is_current("train", "key1")
    assert finished.is_current("report", "key2")
    assert not finished.is_current("train", "key2")
    assert not finished.is_current("convert", "key1")
    record = finished.stages()["report"]
    assert set(record.outputs) == {"report.json", str(tmp_path / "outside.txt")}
    assert record.seconds == 0.5
    assert record.finished.endswith("+00:00")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda run: (run / "train" / "weights.txt").write_text("2"),
        lambda run: (run / "train" / "weights.txt").unlink(),
        lambda run: (run / "train" / "more.txt").write_text(""),
        lambda run: (run / "train").rename(run / "other"),
    ],
)
def test_changed_outputs_are_not_current(finished, tamper):
    tamper(finished.path)
    assert not finished.is_current("train", "key1")
    assert finished.is_current("report", "key2")


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", '{"stages": 1}', '{"stages": {"train": {}}}', '{"stages": {"train": null}}',
        '{"stages": {"train": {"key": "key1", "seconds": 1, "finished": "", "outputs": 5}}}',
        '{"stages": {"train": {"key": "key1", "seconds": 1, "finished": "", "outputs": {}, "new": 1}}}', "\x00\xff",
    ],
)  # fmt: skip
def test_a_damaged_manifest_means_that_nothing_is_finished(finished, content):
    (finished.path / "manifest.json").write_bytes(content.encode("latin-1"))
    assert finished.stages() == {}
    assert not finished.is_current("train", "key1")
    finished.record("train", "key1", 1.0, [finished.path / "train"])
    assert finished.is_current("train", "key1")
    assert json.loads((finished.path / "manifest.json").read_text())["schema"] == "l1dl-manifest/1"


def test_only_one_process_works_in_a_directory(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from l1dl.artifacts import RunDirectory
        from l1dl.errors import InputError
        try:
            with RunDirectory(Path(sys.argv[1])):
                print("entered")
        except InputError as error:
            print(error)
    """
    with RunDirectory(tmp_path):
        assert f"another process works in {tmp_path}; wait for it" in python(script, tmp_path).stdout
    assert python(script, tmp_path).stdout == "entered\n"


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    script = f"""
import time
from pathlib import Path
from l1dl.artifacts import RunDirectory
with RunDirectory(Path({str(tmp_path)!r})):
    print("locked", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="another process works in"), RunDirectory(tmp_path):
            pass
        process.kill()
    time.sleep(0.05)
    with RunDirectory(tmp_path):
        pass


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
    with atomic_path(tmp_path / "train" / "a.npz") as half_written:
        half_written.write_bytes(b"whole")
    (tmp_path / "train" / "a.npz").unlink()
    half_written.write_bytes(b"half")  # as after SIGKILL
    (tmp_path / "kept").mkdir()
    (tmp_path / ".rtl.abcdefgh").mkdir()
    (tmp_path / ".rtl.abcdefgh" / "top.v").write_text("module")
    (tmp_path / "kept" / ".hidden").write_text("of the user")
    with RunDirectory(tmp_path):
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".hidden", ".lock"]


def test_file_systems_without_locks_are_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(artifacts.fcntl, "flock", fail)
    with RunDirectory(tmp_path):
        pass
    assert "cannot be locked (Function not implemented)" in caplog.text
