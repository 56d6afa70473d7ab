"""The longest path of a mapped netlist: logic levels and estimated delay on UltraScale+.

Yosys maps to LUTs and carry chains but knows neither places nor wires of UltraScale+, so the delays are the typical
ones of `l1dl.rtl.delays`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from l1dl.errors import InputError
from l1dl.rtl.delays import ULTRASCALE_PLUS, Delays

_LUT = re.compile(r"LUT[1-6]")
_WIDE_MUX = re.compile(r"MUXF[789]")
_KNOWN = re.compile(rf"{_LUT.pattern}|{_WIDE_MUX.pattern}|CARRY[48]|INV")


VERSION = 1
"""Of how a path is found; it rises where the same netlist and delays give another result."""


@dataclass(frozen=True)
class StageTiming:
    """The longest path of a combinational stage between two ranks of registers.

    Attributes
    ----------
    levels
        LUTs and carry chains on the longest path.
    delay_ns
        Its estimated delay for speed grade -1, registers and wires included, in ns.
    """

    levels: int
    delay_ns: float


def longest_path(netlist: Mapping[str, Any], module: str, delays: Delays = ULTRASCALE_PLUS) -> StageTiming | None:
    """Find the longest path of a combinational module.

    Parameters
    ----------
    netlist
        What Yosys wrote with ``write_json``.

    Returns
    -------
    The path; None if there is a cell whose delay is not known, such as a DSP.

    Raises
    ------
    InputError
        The netlist lacks the module, or has a loop.
    """
    try:
        found = netlist["modules"][module]
        cells = {name: cell for name, cell in found["cells"].items() if cell["type"] != "$scopeinfo"}
        ports = found["ports"].values()
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"the netlist has no module {module!r} with cells and ports: {error}"
        raise InputError(msg) from None
    if not all(_KNOWN.fullmatch(cell["type"]) for cell in cells.values()):
        return None
    network = _Network(cells, delays)
    for port in ports:
        if port["direction"] == "input":
            for bit in port["bits"]:
                network.arrivals[bit] = _Arrival(delays.clock_to_out, 0)
    network.compute()
    ends = [network.at_register(bit) for port in ports if port["direction"] == "output" for bit in port["bits"]]
    if not ends:
        return StageTiming(0, 0.0)
    last = max(ends)
    return StageTiming(last.levels, last.time + delays.setup)


@dataclass(frozen=True, order=True)
class _Arrival:
    time: float
    levels: int

    def after(self, delay: float, levels: int = 0) -> _Arrival:
        return _Arrival(self.time + delay, self.levels + levels)


_START = _Arrival(0.0, 0)
"""Of constants."""


class _Network:
    """Arrival times at the bits of a netlist, computed cell by cell in the order of the signals."""

    def __init__(self, cells: Mapping[str, Any], delays: Delays) -> None:
        self._cells, self._delays = cells, delays
        self.arrivals: dict[int | str, _Arrival] = {}
        self._drivers: dict[int | str, str] = {}
        self._sinks: dict[int | str, int] = {}
        for name, cell in cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][port] == "output":
                        self._drivers[bit] = name
                    else:
                        self._sinks[bit] = self._sinks.get(bit, 0) + 1

    def compute(self) -> None:
        order = TopologicalSorter({name: {*self._sources(cell)} for name, cell in self._cells.items()})
        try:
            for name in order.static_order():
                self._pass(self._cells[name])
        except CycleError:
            msg = "the netlist has a combinational loop"
            raise InputError(msg) from None

    def at_register(self, bit: int | str) -> _Arrival:
        """Return when a bit is at the flip-flop behind the stage: in the slice of its driver, or behind a net."""
        arrival = self.arrivals.get(bit, _START)
        return arrival.after(self._delays.net_in_slice if bit in self._drivers else self._delays.net)

    def _sources(self, cell: Mapping[str, Any]) -> Iterator[str]:
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                yield from (self._drivers[bit] for bit in bits if bit in self._drivers)

    def _pass(self, cell: Mapping[str, Any]) -> None:
        kind, connections, delays = cell["type"], cell["connections"], self._delays
        if kind == "INV":  # becomes part of a LUT
            (bit,) = connections["I"]
            self.arrivals[connections["O"][0]] = self.arrivals.get(bit, _START)
        elif _LUT.fullmatch(kind):
            latest = max(self._behind_net(bits[0]) for port, bits in connections.items() if port != "O")
            self.arrivals[connections["O"][0]] = latest.after(delays.lut, 1)
        elif _WIDE_MUX.fullmatch(kind):
            latest = max(
                self._behind_net(bits[0]) if port == "S" else self.arrivals.get(bits[0], _START)
                for port, bits in connections.items()
                if port != "O"
            )
            self.arrivals[connections["O"][0]] = latest.after(delays.wide_mux)
        else:
            self._pass_carry(connections)

    def _pass_carry(self, connections: Mapping[str, Any]) -> None:
        """Pass a carry chain; the first cell of one counts as a logic level."""
        delays = self._delays
        first = max(self._into_carry(bit) for port in ("CI", "CYINIT") for bit in connections.get(port, ()))
        carry = first
        starts = not any(bit in self._drivers for bit in connections.get("CI", ()))
        for place, (select_bit, data_bit) in enumerate(zip(connections["S"], connections["DI"], strict=True)):
            select, data = (self._into_slice(bit).after(0.0, 1) for bit in (select_bit, data_bit))
            if starts and place == 0:
                carry = carry.after(0.0, 1)
            self.arrivals[connections["O"][place]] = max(
                carry.after(delays.carry_to_out), select.after(delays.select_to_out)
            )
            carry = max(
                carry.after(delays.carry_to_carry),
                select.after(delays.select_to_carry),
                data.after(delays.data_to_carry),
            )
            self.arrivals[connections["CO"][place]] = carry

    def _behind_net(self, bit: int | str) -> _Arrival:
        if isinstance(bit, str):
            return _START
        doublings = math.log2(self._sinks[bit])
        return self.arrivals.get(bit, _START).after(self._delays.net + self._delays.net_by_fanout * doublings)

    def _into_slice(self, bit: int | str) -> _Arrival:
        """Return when a bit is at S or DI of a carry chain, which is in the slice of a LUT that has no other sink."""
        if isinstance(bit, str):
            return _START
        driver = self._cells.get(self._drivers.get(bit, ""))
        if driver is not None and _LUT.fullmatch(driver["type"]) and self._sinks[bit] <= 2:
            return self.arrivals[bit].after(self._delays.net_in_slice)
        return self._behind_net(bit)

    def _into_carry(self, bit: int | str) -> _Arrival:
        """Return when a bit is at the carry input: the cascade from another carry chain is a wire of its own."""
        driver = self._cells.get(self._drivers.get(bit, ""))
        if driver is not None and driver["type"].startswith("CARRY"):
            return self.arrivals[bit].after(self._delays.net_in_slice / 2)
        return self._behind_net(bit)
