"""Signals that end a command: remembered, since libraries swallow exceptions that are raised in their callbacks."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGHUP)
"""Exit codes of a command that a batch system or a closed terminal ended."""

_received: list[int] = []


def install() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end the command in order: its programs end, and no half-written file stays."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, default in defaults.items():
        if signal.getsignal(number) is default:  # nohup ignores SIGHUP, and so shall we
            signal.signal(number, stop)
    sys.unraisablehook = _say_unless_interrupted


def stop(number: int, _frame: object = None) -> NoReturn:
    """Note a signal and end what is going on."""
    _received.append(number)
    _end(number)


def check() -> None:
    """End the command if a signal came and its exception was swallowed."""
    if _received:
        _end(_received[0])


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _say_unless_interrupted(failure: Any) -> None:
    if not (_received and issubclass(failure.exc_type, (KeyboardInterrupt, SystemExit))):
        sys.__unraisablehook__(failure)
