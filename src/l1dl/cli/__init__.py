"""The command line: one thin module per command; printing happens here and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Run the command line and end the process with its exit code.

    0: good. 1: a mismatch, or a broken budget. 2: bad usage or input. 3: a tool is missing or failed.
    70: a bug in l1dl. 130: interrupted; 129, 141 and 143: the terminal, the reader of the output or a
    batch system went away or ended it.
    """
    try:
        code = _run()
    except KeyboardInterrupt:  # before the commands were loaded, or after they ended
        code = 128 + signal.SIGINT
    if code > 128:
        # Stopped from outside: end at once, since a second interrupt would show a traceback, and Python
        # would die by the first one, should a library have seen it. All files are closed by now.
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Unicode shows a question mark rather than nothing at all.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    from l1dl.cli.app import BROKEN_PIPE, invoke
    from l1dl.cli.signals import install

    install()
    code = invoke(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    return code
