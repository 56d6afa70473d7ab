"""Shards on several processes: spawned, stopped between two batches of events, never left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import write_npz
from l1dl.data.settings import JetSettings, ShardKey
from l1dl.data.shards import Arrays, make_shard
from l1dl.errors import ToolFailedError


class _StoppedError(Exception):
    """A worker was told to stop."""


@dataclass(frozen=True)
class Task:
    """One shard to make, and the file to write it to."""

    settings: JetSettings
    key: ShardKey
    path: Path


def run_tasks(tasks: list[Task], workers: int) -> Iterator[Task]:
    """Make the shards and yield each task when its file is complete.

    One worker runs in this process; more are spawned. If the caller stops early, or an error or Ctrl-C ends the
    loop, the workers leave off at their next batch of events, and this function returns once they have ended.

    Raises
    ------
    ToolFailedError
        A worker process died.
    """
    if workers == 1 or len(tasks) == 1:
        for task in tasks:
            _make(task, None)
            yield task
        return
    try:
        with _executor(min(workers, len(tasks))) as (executor, stop):
            waiting = iter(tasks)
            pending: dict[Future[None], Task] = {}
            try:
                while True:
                    # Few tasks wait in the pool at a time: a long list would only slow down Ctrl-C.
                    for task in waiting:
                        pending[executor.submit(_make_in_worker, task)] = task
                        if len(pending) > workers:
                            break
                    if not pending:
                        return
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        future.result()
                        yield pending.pop(future)
            finally:
                stop.set()
    except BrokenProcessPool:
        msg = (
            "a generator process died: out of memory, killed, or started from a script without "
            "`if __name__ == '__main__':`; run the same command again to continue with the shards that are finished"
        )
        raise ToolFailedError(msg) from None


@contextmanager
def _executor(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(workers, context, _start_worker, (stop,))
    try:
        yield executor, stop
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_stop: Any = None


def _start_worker(stop: Any) -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    global _stop  # noqa: PLW0603
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_in_worker(task: Task) -> None:
    _make(task, _stop)


def _make(task: Task, stop: Any) -> None:
    def keep_going() -> None:
        if stop is not None and stop.is_set():
            raise _StoppedError

    write_npz(task.path, make_shard(task.settings, task.key, keep_going))


def read_shard(path: Path, key: ShardKey) -> Arrays | None:
    """Return the arrays of a finished shard, or None if the file is absent, damaged or of another size."""
    import zipfile
    import zlib

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    complete = bool(arrays) and all(array.shape[:1] == (key.jets,) for array in arrays.values())
    return arrays if complete else None
