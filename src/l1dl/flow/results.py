"""Results of stages and studies, as they stand in a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from l1dl.artifacts import digest_path, read_json, write_json
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.flow.job import Paths
from l1dl.graph import FixedGraph
from l1dl.ports import check_rows

T = TypeVar("T")


class OfVerilog(Protocol):
    """A study of Verilog; it names the digests of the network and of the Verilog that it was made of."""

    @property
    def graph(self) -> str: ...  # noqa: D102
    @property
    def verilog(self) -> str: ...  # noqa: D102


Study = TypeVar("Study", bound=OfVerilog)


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
    return _read(path, kind, "run the stage again with --force")


def read_study(paths: Paths, file: str, kind: type[Study], graph: FixedGraph, command: str) -> Study | None:
    """Return the study of this very network and its Verilog; None if there was none.

    Parameters
    ----------
    file
        Its place in the run directory.
    command
        What makes it.

    Raises
    ------
    InputError
        The file is damaged.
    """
    path = paths.run / file
    if not path.exists():
        return None
    study = _read(path, kind, f"remove it, or run `{command}` again")
    return study if (study.graph, study.verilog) == (graph.digest, digest_path(paths.rtl / "src")) else None


def _read(path: Path, kind: type[T], remedy: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        msg = f"{path} is damaged ({error.error_count()} fields); {remedy}"
        raise InputError(msg) from None


def read_test_rows(paths: Paths, graph: FixedGraph) -> Codes | None:
    """Return the input codes of the test events that were co-simulated; None if there are none.

    Raises
    ------
    InputError
        They are not those of the network.
    """
    rows: Codes | None = None
    if paths.cosim_outputs.exists():
        with np.load(paths.cosim_outputs, allow_pickle=False) as file:
            rows = file.get("inputs")
    if rows is None or not len(rows):
        return None
    check_rows(rows, graph.input_ports)
    return rows
