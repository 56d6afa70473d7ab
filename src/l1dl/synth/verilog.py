"""The little that has to be known of Verilog: which file defines a module, which it needs, and its header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from l1dl.errors import InputError

_NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_MODULE = re.compile(r"\bmodule\s+(\w+)")
_WORD = re.compile(r"\b[A-Za-z_]\w*")
_STAR_WITHOUT_PRODUCT = re.compile(r"\(\s*\*.*?\*\s*\)|@\s*\*|\(\s*\*\s*\)", re.DOTALL)


def strip_comments(text: str) -> str:
    """Return `text` without comments and string literals."""
    return _NOT_CODE.sub(" ", text)


def index_modules(files: Mapping[str, str]) -> dict[str, str]:
    """Return module name to file name.

    Raises
    ------
    InputError
        Two files define the same module.
    """
    where: dict[str, str] = {}
    for file, text in files.items():
        for module in _MODULE.findall(strip_comments(text)):
            if module in where:
                msg = f"module {module!r} is defined twice, in {where[module]} and in {file}"
                raise InputError(msg)
            where[module] = file
    return where


def needed_modules(files: Mapping[str, str], root: str, *, leaves: Iterable[str] = ()) -> set[str]:
    """Return the modules whose text is needed to elaborate `root`, itself included.

    A module counts as needed when its name occurs as a word in the code of a needed file: never
    too few, and too many only when a net is named like a module. The search stops at `leaves`,
    which are part of the result.
    """
    where = index_modules(files)
    stop = set(leaves)
    needed = {root}
    pending = [root]
    while pending:
        words = set(_WORD.findall(strip_comments(files[where[pending.pop()]])))
        found = (words & where.keys()) - needed
        needed |= found
        pending += found - stop
    return needed


def may_multiply(texts: Iterable[str]) -> bool:
    """Return whether the code contains the operator ``*``, from which a DSP block can be inferred."""
    return any("*" in _STAR_WITHOUT_PRODUCT.sub(" ", strip_comments(text)) for text in texts)


def black_box(text: str, module: str) -> str:
    """Return an empty module with the ports of `module`, which synthesis keeps but does not look into.

    Raises
    ------
    InputError
        The ports are not declared in the header (ANSI style).
    """
    match = re.search(rf"\bmodule\s+{re.escape(module)}\b[^;]*;", strip_comments(text))
    header = match.group(0) if match else ""
    if not re.search(r"\b(?:input|output)\b", header):
        msg = f"module {module!r} declares no ports in its header; write them as `input [7:0] x` in the parentheses"
        raise InputError(msg)
    return f"(* blackbox, keep *)\n{header}\nendmodule\n"
