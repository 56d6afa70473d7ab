"""Delays of UltraScale+, and from them that of each operation of a program, before any synthesis."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Delays:
    """Delays of UltraScale+ in ns, for speed grade -1.

    No open tool knows its wires and cells, so the delays are typical ones. They are read off published timing
    reports of placed and routed designs (Vivado 2021.2, xczu3eg, speed grade -1, the slowest one, slow corner).

    Attributes
    ----------
    clock_to_out, setup
        Of a flip-flop; setup with clock uncertainty.
    lut
        Through a LUT: 0.04 to 0.18, by input and by place in the slice.
    wide_mux
        Through a MUXF7, MUXF8 or MUXF9.
    select_to_carry, data_to_carry
        From S and DI of a bit of a carry chain to the carry behind the bit.
    carry_to_carry
        From the carry in front of a bit to that behind it.
    carry_to_out
        From the carry in front of a bit to O of the bit.
    select_to_out
        From S to O of a bit.
    net, net_by_fanout
        Of a net with one sink, and added for each doubling of the sinks.
    net_in_slice
        From a LUT to S or DI of the carry chain in its slice, from a carry chain to the next slice, and to the
        flip-flop at the end.
    """

    clock_to_out: float = 0.10
    setup: float = 0.04
    lut: float = 0.12
    wide_mux: float = 0.07
    select_to_carry: float = 0.10
    data_to_carry: float = 0.06
    carry_to_carry: float = 0.011
    carry_to_out: float = 0.07
    select_to_out: float = 0.10
    net: float = 0.27
    net_by_fanout: float = 0.045
    net_in_slice: float = 0.03


ULTRASCALE_PLUS = Delays()
"""Speed grade -1."""

GRADES = {1: 1.0, 2: 0.86, 3: 0.75}
"""Speed grade → its delays in units of those of grade -1: as the highest clocks of the global buffers in the data sheet
of Virtex UltraScale+ (DS923), 667, 775 and 891 MHz."""

_GRADE = re.compile(r"-([123])[A-Z]*(-[a-z]+)?")


def speed_grade(part: str) -> int:
    """Return the speed grade in the name of a part, such as ``xcvu13p-flga2577-2-e``; 1 where there is none."""
    found = _GRADE.search(part)
    return int(found[1]) if found and found.end() == len(part) else 1
