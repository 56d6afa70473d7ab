"""A small reader of ARFF, the text format of OpenML: dense numeric columns and one nominal class column."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TextIO

import numpy as np

from l1dl.data.check import RawData
from l1dl.errors import InputError

_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_NUMERIC = ("numeric", "real", "integer")


def read_arff(path: Path) -> RawData:
    """Read an ARFF file such as ``hls4ml_lhc_jets_hlf`` of OpenML.

    The only nominal attribute is the class; its values, in the order of the header, are the class names.

    Raises
    ------
    InputError
        The file is no such ARFF file, or a row does not follow its header.
    """
    try:
        with path.open(encoding="utf-8") as file:
            attributes = _read_header(path, file)
            rows = [line for line in map(str.strip, file) if line and not line.startswith("%")]
    except UnicodeDecodeError:
        msg = f"cannot read {path} as ARFF: it is no text; write or download it again"
        raise InputError(msg) from None
    nominal = [i for i, (_, values) in enumerate(attributes) if values is not None]
    if len(nominal) != 1:
        example = "@attribute class {g,q,w,z,t}"
        msg = f"{path}: {len(nominal)} nominal attributes; allowed: one, the class, such as {example}"
        raise InputError(msg)
    if not rows:
        msg = f"{path}: no rows after @data; truncated; write or download it again"
        raise InputError(msg)
    column = nominal[0]
    classes = tuple(attributes[column][1] or ())
    features = tuple(name for i, (name, _) in enumerate(attributes) if i != column)
    position = {name: i for i, name in enumerate(classes)}
    x = np.empty((len(rows), len(features)), np.float64)
    y = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows):
        cells = [cell.strip().strip("'\"") for cell in row.split(",")]
        if len(cells) != len(attributes):
            msg = f"{path}: data row {i} has {len(cells)} values; allowed: {len(attributes)}, one for each @attribute"
            raise InputError(msg)
        label = cells.pop(column)
        if label not in position:
            msg = f"{path}: data row {i} has class {label!r}; allowed: {', '.join(classes)}"
            raise InputError(msg)
        y[i] = position[label]
        try:
            x[i] = cells
        except ValueError:
            msg = f"{path}: data row {i} holds a value that is no number; allowed: numbers; remove or replace '?'"
            raise InputError(msg) from None
    return RawData(str(path), x, y, features=features, classes=classes)


def _read_header(path: Path, file: TextIO) -> list[tuple[str, tuple[str, ...] | None]]:
    """Return name and nominal values (None for a number) of each attribute; stop after ``@data``."""
    attributes: list[tuple[str, tuple[str, ...] | None]] = []
    for line in map(str.strip, file):
        word = line.split(None, 1)[0].lower() if line else "%"
        if word == "@data":
            return attributes
        if word == "@attribute":
            match = _ATTRIBUTE.match(line)
            if match is None:
                msg = f"{path}: cannot read {line!r}; allowed: @attribute NAME numeric, or @attribute NAME {{a,b,...}}"
                raise InputError(msg)
            name, kind = match[1].strip("'\""), match[2].strip()
            if kind.startswith("{") and kind.endswith("}"):
                attributes.append((name, tuple(value.strip().strip("'\"") for value in kind[1:-1].split(","))))
            elif kind.lower() in _NUMERIC:
                attributes.append((name, None))
            else:
                msg = f"{path}: attribute {name} has type {kind!r}; allowed: {', '.join(_NUMERIC)}, {{a,b,...}}"
                raise InputError(msg)
        elif not word.startswith("%") and word != "@relation":
            msg = f"cannot read {path} as ARFF: unexpected header line {line[:40]!r}; write or download it again"
            raise InputError(msg)
    msg = f"cannot read {path} as ARFF: no @data line; truncated, or another format; write or download it again"
    raise InputError(msg)
