"""When each value of a program is there: delays of operations on UltraScale+, estimated before any synthesis.

The estimate counts what Yosys' netlists show, cell by cell, with the delays of `l1dl.rtl.delays`:

- Logic is packed into LUTs of six inputs as long as what it reads together is no more.
- A sum is a LUT and a carry chain. Sums of sums whose parts nothing else reads become one: levels of LUTs that make
  two addends of three (C. S. Wallace, IEEE Trans. Electron. Comput. EC-13 (1964) 14), and one carry chain. Yosys does
  not see that a part has fewer bits than its addends seem to need, and leaves such a part alone.
- Each net costs the more, the more operations read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from l1dl.rtl.delays import ULTRASCALE_PLUS as DELAYS

LUT_INPUTS = 6


class Opcode(IntEnum):
    """Operations of ALIR."""

    NEGATION = -2
    INPUT = -1
    ADDITION = 0
    SUBTRACTION = 1
    RELU = 2
    WRAP = 3
    CONSTANT_ADDITION = 4
    CONSTANT = 5
    MULTIPLEXER = 6
    MULTIPLICATION = 7
    LOOKUP = 8
    UNARY = 9
    BITWISE = 10
    SUM = 11


_SUMS = frozenset((
    Opcode.NEGATION, Opcode.ADDITION, Opcode.SUBTRACTION, Opcode.CONSTANT_ADDITION, Opcode.MULTIPLICATION, Opcode.SUM,
))  # fmt: skip


class Arrival(NamedTuple):
    """A value on its way; what reads it may still become part of the same LUT or sum.

    Attributes
    ----------
    time
        When the last bit that it is made of is at its LUT, in ns from the clock edge.
    inputs
        Bits that each of its bits is made of within the LUT; 1 for the output of a register or a carry chain.
    addends
        Of a sum that no carry chain has computed yet; 1 of everything else.
    reach
        Of such a sum, how far its addends may reach in all, by the bits that they have.
    """

    time: float
    inputs: int = 1
    addends: int = 1
    reach: float = 0.0


_KNOWN = Arrival(0.0, 0)
"""Of a constant."""


class Arrivals:
    """Arrival of the values of a program.

    Parameters
    ----------
    program
        An ``alkaid.types.CombLogic``.
    """

    def __init__(self, program: Any) -> None:
        self._ops: Sequence[Any] = program.ops
        self.widths = [sum(op.qint.kif) for op in program.ops]
        self._readers = _count_readers(program)

    def registered(self, index: int) -> Arrival:
        """Return when a value arrives that a register holds; constants are always there."""
        if self._ops[index].opcode == Opcode.CONSTANT:
            return _KNOWN
        return Arrival(DELAYS.clock_to_out + _net(self._readers[index]))

    def computed(self, index: int, operand: Callable[[int], Arrival]) -> Arrival:
        """Return when the result of an operation arrives.

        Parameters
        ----------
        operand
            Index of an operand → its arrival.
        """
        op, width = self._ops[index], self.widths[index]
        if op.opcode in _SUMS:
            return self._sum(op, operand)
        values = [self._whole(address, operand) for address in op.addr]
        result, source = values[0], self.widths[op.addr[0]]
        match op.opcode:
            case Opcode.RELU if self._ops[op.addr[0]].qint.min < 0:
                late = result.time + DELAYS.net_by_fanout * _doublings(width)
                result = _logic([result, result if result.inputs > 1 else Arrival(late)])
            case Opcode.MULTIPLEXER:
                *choices, key = values
                result = _logic([*choices, _through_lut(key, width) if key.inputs > 1 and width > 1 else key])
            case Opcode.BITWISE:
                result = _logic(values)
            case Opcode.UNARY if op.data[0] != 0:
                result = _reduce(result, source)
            case Opcode.LOOKUP:
                result = self._look_up(result, source, index)
        return result  # of everything else only other wires

    def at_register(self, index: int, arrival: Arrival) -> float:
        """Return the delay of a stage that ends with a value, from register to register, in ns."""
        return self._at_driver(index, arrival) + DELAYS.net_in_slice + DELAYS.setup

    def _at_driver(self, index: int, arrival: Arrival) -> float:
        """Return when a value is at the output of the cell that makes it."""
        if arrival.addends > 1:
            level = DELAYS.lut + _net(2)
            return arrival.time + _levels(arrival.addends) * level + _carry_chain(self.widths[index])
        if arrival.inputs > 1:
            return arrival.time + DELAYS.lut
        return max(0.0, arrival.time - _net(self._readers[index]))

    def _whole(self, index: int, operand: Callable[[int], Arrival]) -> Arrival:
        """Return an operand; a sum behind its carry chain."""
        arrival = operand(index)
        if arrival.addends == 1:
            return arrival
        return Arrival(self._at_driver(index, arrival) + _net(self._readers[index]))

    def _sum(self, op: Any, operand: Callable[[int], Arrival]) -> Arrival:
        if op.opcode == Opcode.MULTIPLICATION:  # rows of partial products
            rows = max(2, min(self.widths[address] for address in op.addr))
            return Arrival(max(self._addend(address, operand).time for address in op.addr), 1, rows)
        time, addends, reach = 0.0, 0, 0.0
        if op.opcode in (Opcode.CONSTANT_ADDITION, Opcode.NEGATION):
            addends, reach = 1, _reach(op)
        fractions = self._fractions(op)
        for address, fraction in zip(op.addr, fractions, strict=False):
            arrival = operand(address)
            if arrival.addends == 1 or not self._is_part(address, op, fraction == max(fractions), arrival.reach):
                arrival = self._addend(address, operand, alone=op.opcode == Opcode.CONSTANT_ADDITION)
                arrival = arrival._replace(reach=_reach(self._ops[address]))
            time, addends = max(time, arrival.time), addends + arrival.addends
            reach += arrival.reach * 2.0 ** (self._ops[address].qint.kif[2] - fraction)
        return Arrival(time, 1, addends, reach)

    def _is_part(self, index: int, reader: Any, aligned: bool, reach: float) -> bool:
        """Say whether Yosys makes a sum part of the sum that reads it, and not one of its own.

        It does where nothing else reads it, all of its bits are read as they are, and none was cut off that the
        addends seem to need.
        """
        op = self._ops[index]
        if op.opcode == Opcode.MULTIPLICATION:
            return False
        whole = max(self._fractions(op)) == op.qint.kif[2]
        narrower = reach > _reach(op) and self.widths[index] != sum(reader.qint.kif)
        return self._readers[index] == 1 and aligned and whole and op.qint.min < 0 and not narrower

    def _fractions(self, op: Any) -> list[int]:
        """Return the fractional bits of the addends of a sum, those of a constant last."""
        operands = [self._ops[address].qint.kif[2] for address in op.addr]
        if op.opcode == Opcode.CONSTANT_ADDITION:
            return [*operands, int(op.data[1])]
        return [fraction - shift for fraction, shift in zip(operands, _shifts(op), strict=True)]

    def _addend(self, index: int, operand: Callable[[int], Arrival], *, alone: bool = False) -> Arrival:
        """Return an addend as it is in front of the LUT of its sum.

        Parameters
        ----------
        alone
            There is no other addend but a constant: no LUT adds the two, so that the logic of the addend may be there.
        """
        arrival = self._whole(index, operand)
        if not alone:
            return _through_lut(arrival) if arrival.inputs > 1 else arrival
        spared = 0.0 if arrival.inputs > 1 else DELAYS.lut + DELAYS.net_in_slice
        return Arrival(arrival.time - spared)

    def _look_up(self, key: Arrival, width: int, index: int) -> Arrival:
        """Return the entry of a table: LUTs, the wide multiplexers of a slice, and LUTs that choose one of four."""
        if width * key.inputs <= LUT_INPUTS:
            return Arrival(key.time, width * key.inputs)
        multiplexers = min(width - LUT_INPUTS, 3)
        time = (_through_lut(key) if key.inputs > 1 else key).time + DELAYS.lut
        if multiplexers > 0:
            choices = math.ceil((width - LUT_INPUTS - multiplexers) / 2)
            time += multiplexers * DELAYS.wide_mux + choices * (DELAYS.lut + _net(1))
        return Arrival(time + _net(self._readers[index]))


def _count_readers(program: Any) -> list[int]:
    """Return how many operations and outputs read each value, itself or through wires."""
    readers = [0] * len(program.ops)
    for index in program.out_idxs:
        if index >= 0:
            readers[index] += 1
    for index in range(len(program.ops) - 1, -1, -1):
        op = program.ops[index]
        for address in op.addr:
            readers[address] += max(1, readers[index]) if op.opcode == Opcode.WRAP else 1
    return [max(1, count) for count in readers]


def _reach(op: Any) -> float:
    """Return the weight of the bit above the highest one of a value."""
    signed, integers, _ = op.qint.kif
    return float(2.0 ** (signed + integers))


def _shifts(op: Any) -> list[int]:
    """Return the exponents of the powers of two that a sum of values scales them with."""
    if op.opcode == Opcode.SUM:
        return [int(shift) for shift in op.data[1 : 2 * len(op.addr) : 2]]
    return [0, int(op.data[0])] if len(op.addr) > 1 else [0]


def _doublings(readers: int) -> float:
    return math.log2(max(1, readers))


def _net(readers: int) -> float:
    return DELAYS.net + DELAYS.net_by_fanout * _doublings(readers)


def _carry_chain(width: int) -> float:
    """Return the delay from the inputs of the LUTs of an adder to its last bit."""
    into = DELAYS.lut + DELAYS.net_in_slice + DELAYS.select_to_carry
    return into + DELAYS.carry_to_carry * width + DELAYS.carry_to_out


def _levels(addends: int) -> int:
    """Return the levels of LUTs that make two addends of many, three by three."""
    levels = 0
    while addends > 2:
        addends -= addends // 3
        levels += 1
    return levels


def _through_lut(arrival: Arrival, readers: int = 1) -> Arrival:
    return Arrival(arrival.time + DELAYS.lut + _net(readers))


def _logic(values: Sequence[Arrival]) -> Arrival:
    """Pack logic and what it reads into one LUT; what reads most bits gets LUTs of its own until the rest fits."""
    values = sorted(values, key=lambda value: value.inputs)
    while sum(value.inputs for value in values) > LUT_INPUTS and values[-1].inputs > 1:
        values[-1] = _through_lut(values[-1])
        values.sort(key=lambda value: value.inputs)
    return Arrival(max(value.time for value in values), max(1, sum(value.inputs for value in values)))


def _reduce(value: Arrival, width: int) -> Arrival:
    """Return the AND or OR of all bits of a value."""
    if width * value.inputs <= LUT_INPUTS:
        return Arrival(value.time, max(1, width * value.inputs))
    value = _through_lut(value) if value.inputs > 1 else value
    while width > LUT_INPUTS:
        value, width = _through_lut(value), math.ceil(width / LUT_INPUTS)
    return Arrival(value.time, width)
