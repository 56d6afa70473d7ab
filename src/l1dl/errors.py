"""The errors that l1dl raises on purpose, each with the exit code it ends a command with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class L1dlError(Exception):
    """Base of every deliberate error; its text is one line for the user."""

    exit_code = 2


class InputError(L1dlError, ValueError):
    """A bad value, file or option was given (exit code 2)."""


class UnsupportedError(InputError):
    """A layer, quantiser or option that no l1dl back end implements (exit code 2)."""


class StorageError(L1dlError):
    """A file could not be written: no space, no permission (exit code 2)."""


class MismatchError(L1dlError):
    """Two meanings of a model disagree in at least one output code (exit code 1)."""

    exit_code = 1


class ToolMissingError(L1dlError):
    """An external tool is absent or too old (exit code 3)."""

    exit_code = 3


class ToolFailedError(L1dlError):
    """An external tool ran and failed, or ran past its time limit (exit code 3)."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
