"""Cells of a mapped netlist, and what each of them uses on the device."""

from __future__ import annotations

from collections.abc import Mapping

from l1dl.errors import ToolFailedError
from l1dl.synth.resources import StageResources

# LUTs that a cell takes. An inverter that logic did not absorb is a LUT1. A shift register takes one
# LUT used as memory, and a distributed RAM as many as the UltraScale libraries guide (UG974) says.
_LUT = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    **dict.fromkeys(("INV", "LUT6_2", "CFGLUT5"), 1),
    **dict.fromkeys(("SRL16", "SRL16E", "SRLC16", "SRLC16E", "SRLC32E"), 1),
    **dict.fromkeys(("RAM16X1S", "RAM32X1S", "RAM64X1S"), 1),
    **dict.fromkeys(("RAM16X1D", "RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
    **dict.fromkeys(("RAM32M16", "RAM64M8", "RAM256X1D", "RAM512X1S"), 8),
}
_FF = frozenset(f"FD{kind}{edge}" for kind in ("RE", "SE", "CE", "PE") for edge in ("", "_1"))
_DSP = frozenset(("DSP48E1", "DSP48E2"))
_BRAM_HALVES = {"RAMB18E1": 1, "RAMB18E2": 1, "RAMB36E1": 2, "RAMB36E2": 2}
_CARRY = {"CARRY4": 1, "CARRY8": 2}
# Constants, the wide multiplexers that sit beside the LUTs of a slice, and notes on the hierarchy.
_FREE = frozenset(("GND", "VCC", "MUXF7", "MUXF8", "MUXF9", "$scopeinfo"))


def count_cells(name: str, cells: Mapping[str, int]) -> StageResources:
    """Add up the cells of one synthesised module.

    LUT
        LUT1 to LUT6 and INV, one each, and the LUTs that serve as shift registers or RAM. Yosys
        never puts two small functions into one LUT6, which place and route may do.
    FF
        FDRE, FDSE, FDCE, FDPE.
    DSP
        DSP48E1, DSP48E2.
    BRAM
        Blocks of 36 kb; a block of 18 kb is half of one, and the sum is rounded up.
    Carry
        In units of CARRY4; a CARRY8 is two.

    Wide multiplexers (MUXF7 to MUXF9) and constants cost nothing.

    Raises
    ------
    ToolFailedError
        A cell is of no known kind.
    """
    lut = ff = dsp = halves = carry = 0
    unknown: dict[str, int] = {}
    for kind, number in cells.items():
        if kind in _LUT:
            lut += _LUT[kind] * number
        elif kind in _FF:
            ff += number
        elif kind in _DSP:
            dsp += number
        elif kind in _BRAM_HALVES:
            halves += _BRAM_HALVES[kind] * number
        elif kind in _CARRY:
            carry += _CARRY[kind] * number
        elif kind not in _FREE:
            unknown[kind] = number
    if unknown:
        what = ", ".join(f"{number} {kind}" for kind, number in sorted(unknown.items()))
        msg = (
            f"{name!r}: Yosys left cells of an unknown kind, so its resources cannot be added up: {what}. "
            "Latches and unmapped cells are not allowed; check the Verilog of this module"
        )
        raise ToolFailedError(msg)
    return StageResources(name=name, lut=lut, ff=ff, dsp=dsp, bram=(halves + 1) // 2, carry=carry)
