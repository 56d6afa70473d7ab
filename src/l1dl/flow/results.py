"""Results of stages and studies as JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from l1dl.artifacts import read_json, write_json
from l1dl.errors import InputError

T = TypeVar("T")


def write_result(path: Path, value: Any) -> None:
    """Write a result dataclass as JSON."""
    write_json(path, TypeAdapter(type(value)).dump_python(value, mode="json"))


def read_result(path: Path, kind: type[T]) -> T:
    """Read what `write_result` wrote.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        msg = f"{path} is damaged ({error.error_count()} fields); run the stage again with --force"
        raise InputError(msg) from None
