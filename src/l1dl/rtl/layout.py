"""Which bit is where: the slots of the values at the ports, and the packed bits between the pipeline stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.fixed import FixedSpec
from l1dl.ports import Ports, value_specs


@dataclass(frozen=True)
class InputField:
    """Bits of the input port that the first stage reads.

    Attributes
    ----------
    low, width
        The bits that they become in the first register.
    start
        Their lowest bit in the input port.
    """

    low: int
    width: int
    start: int


@dataclass(frozen=True)
class OutputField:
    """One value of the output port, made of bits of the last register.

    Attributes
    ----------
    start, slot
        Lowest bit and width of its slot in the output port.
    low, width
        Its bits in the last register; a width of 0 stands for the value zero.
    below
        Number of zeros below these bits.
    above
        Number of bits above them: copies of the sign where `signed`, else zeros.
    signed
        Whether the highest bit is a sign.
    """

    start: int
    slot: int
    low: int
    width: int
    below: int
    above: int
    signed: bool


def slots(ports: Ports) -> list[tuple[int, FixedSpec]]:
    """Return lowest bit and type of each value at the ports, in the order of a row; the first value is lowest."""
    found, low = [], 0
    for spec in value_specs(ports):
        found.append((low, spec))
        low += spec.width
    return found


def port_width(ports: Ports) -> int:
    """Return the number of bits of all values at the ports."""
    return sum(port.size * port.spec.width for port in ports)


def register_widths(stages: Sequence[Any]) -> list[int]:
    """Return the bits of the register before the first stage and behind each stage."""
    return [int(stages[0].inp_kifs.sum()), *(int(stage.out_kifs.sum()) for stage in stages)]


def input_fields(stages: Sequence[Any], ports: Ports) -> list[InputField]:
    """Return which bits of the input port the first stage reads; values that it does not need are left out."""
    fields, low = [], 0
    for (slot, spec), (_, fraction, width) in zip(slots(ports), _types(stages[0].inp_kifs), strict=True):
        if width:
            start = spec.fraction - fraction
            assert 0 <= start <= spec.width - width, "the first stage reads bits that the port does not have"
            fields.append(InputField(low, width, slot + start))
        low += width
    return fields


def output_fields(stages: Sequence[Any], ports: Ports) -> list[OutputField]:
    """Return how each value of the output port is made of the result of the last stage."""
    fields, low = [], 0
    for (slot, spec), (signed, fraction, width) in zip(slots(ports), _types(stages[-1].out_kifs), strict=True):
        below = spec.fraction - fraction if width else spec.width
        above = spec.width - below - width
        assert below >= 0, "the last stage has bits below those of the port"
        assert above >= 0, "the last stage has bits above those of the port"
        fields.append(OutputField(slot, spec.width, low, width, below, above, signed))
        low += width
    return fields


def _types(kifs: Any) -> list[tuple[bool, int, int]]:
    """Return sign, number of fractional bits and width of each value."""
    return [
        (bool(keep), fraction, keep + integer + fraction) for keep, integer, fraction in np.asarray(kifs).T.tolist()
    ]
