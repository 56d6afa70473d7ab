"""The values at the ports of a network: one row of flat codes for each event, over all inputs or all outputs.

Inputs (outputs) stand one after the other in the order of the model's arguments, each flattened in C order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import Codes, FixedSpec, Values, decode, encode

Rows = TypeVar("Rows", Codes, Values)


@dataclass(frozen=True)
class Port:
    """One input or output of a network.

    Attributes
    ----------
    name
        Name of its node.
    shape
        Shape of its values for one event.
    spec
        Type of each value.
    """

    name: str
    shape: tuple[int, ...]
    spec: FixedSpec

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


Ports = tuple[Port, ...]

Arrays = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]
"""Values for some ports: an array for a single port, one for each port in a tuple or list, or by name."""


def count_values(ports: Ports) -> int:
    """Return the number of values of one event at all ports."""
    return sum(port.size for port in ports)


def value_specs(ports: Ports) -> tuple[FixedSpec, ...]:
    """Return the type of each value of a row."""
    return tuple(port.spec for port in ports for _ in range(port.size))


def split(rows: Rows, ports: Ports) -> tuple[Rows, ...]:
    """Cut rows of shape (events, values) into one array of shape (events, *shape) for each port."""
    ends = np.cumsum([port.size for port in ports])[:-1]
    parts: list[Any] = np.split(rows, ends, axis=1)
    return tuple(part.reshape(len(rows), *port.shape) for part, port in zip(parts, ports, strict=True))


def join(parts: Sequence[Rows]) -> Rows:
    """Return the rows, shape (events, values), of arrays of shape (events, *shape)."""
    return np.concatenate([part.reshape(len(part), math.prod(part.shape[1:])) for part in parts], axis=1)


def as_rows(x: Arrays, ports: Ports) -> Values:
    """Return real values for all ports as rows, float64 of shape (events, values).

    Parameters
    ----------
    x
        One array of shape (events, *shape), or (events, size), for each port; a single port may have its
        array alone. Nested lists of numbers are an array.

    Raises
    ------
    InputError
        An array is missing, too many, no array of numbers, or of the wrong shape.
    """
    if isinstance(x, Mapping):
        unknown = [name for name in x if name not in {port.name for port in ports}]
        if unknown or len(x) != len(ports):
            names = ", ".join(port.name for port in ports)
            hint = did_you_mean(unknown[0], [port.name for port in ports]) if unknown else ""
            msg = f"arrays are given for {', '.join(x)}{hint}; the model's ports are {names}"
            raise InputError(msg)
        parts = [x[port.name] for port in ports]
    elif len(ports) == 1 and not (isinstance(x, (tuple, list)) and len(x) == 1 and isinstance(x[0], np.ndarray)):
        parts = [x]  # type: ignore[list-item]
    else:
        parts = list(x)  # type: ignore[arg-type]
    if len(parts) != len(ports):
        msg = f"{len(parts)} arrays are given for a model with {len(ports)} ports"
        raise InputError(msg)
    rows = []
    for part, port in zip(parts, ports, strict=True):
        try:
            values = np.asarray(part, dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"the values for port {port.name!r} are no array of numbers: {error}"
            raise InputError(msg) from None
        if values.ndim == 0 or values.shape[1:] not in (port.shape, (port.size,)):
            wanted = ", ".join(["events", *map(str, port.shape)])
            msg = f"inputs of shape {values.shape} do not fit port {port.name!r} of shape ({wanted})"
            raise InputError(msg)
        rows.append(values)
    if len({len(values) for values in rows}) != 1:
        msg = f"the arrays hold different numbers of events: {[len(values) for values in rows]}"
        raise InputError(msg)
    return join(rows)


def encode_rows(values: Values, ports: Ports) -> Codes:
    """Convert rows of real values, shape (events, values), to codes, with the rounding and overflow of each port.

    Raises
    ------
    InputError
        A value is NaN or infinite.
    """
    return join([encode(part, port.spec) for part, port in zip(split(values, ports), ports, strict=True)])


def decode_rows(codes: Codes, ports: Ports) -> Values:
    """Return the real values of rows of codes, shape (events, values)."""
    return join([decode(part, port.spec) for part, port in zip(split(codes, ports), ports, strict=True)])


def check_rows(codes: Codes, ports: Ports) -> None:
    """Refuse codes that are not of shape (events, values), or outside the types of the ports.

    Raises
    ------
    InputError
        They are not.
    """
    if codes.ndim != 2 or codes.shape[1] != count_values(ports):
        msg = f"codes of shape {codes.shape} do not fit the ports: (events, {count_values(ports)})"
        raise InputError(msg)
    for part, port in zip(split(codes, ports), ports, strict=True):
        if part.size and (part.min() < port.spec.minimum_code or part.max() > port.spec.maximum_code):
            msg = f"codes from {part.min()} to {part.max()} are outside {port.spec} of port {port.name!r}"
            raise InputError(msg)
