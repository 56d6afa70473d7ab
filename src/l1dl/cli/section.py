"""Sections of a card from options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Card = TypeVar("Card")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {key: value for key, value in options.items() if value is not None}


def section(kind: type[Card], **values: Any) -> Card:
    """Return a section of a card with the values that were given.

    Raises
    ------
    InputError
        A value is not allowed.
    """
    from pydantic import ValidationError

    from l1dl.errors import InputError

    try:
        return kind(**given(values))
    except ValidationError as error:
        problem = error.errors()[0]
        text = problem["msg"].removeprefix("Value error, ")
        where = f"{problem['loc'][0]} = {problem['input']!r}: " if problem["loc"] else ""
        msg = f"{where}{text[0].lower()}{text[1:]}"
        raise InputError(msg) from None
