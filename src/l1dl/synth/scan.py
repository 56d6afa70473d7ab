"""A netlist between ranks of registers that are loaded and read bit by bit, so that it can be placed and routed alone.

A stage has hundreds of inputs and outputs, more than a device has pins. Here each of its inputs is driven by a register
(``launch``) and each output is taken by one (``capture``), with nothing else on the way, as in the pipeline. The launch
rank takes its bits from a shift register, and behind the capture rank a shift register folds them with XOR into one
output. So three pins are enough, every input can change and every output counts. All of it is built behind synthesis,
which can therefore neither remove nor merge anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from l1dl.errors import InputError

TOP = "l1dl_scan"
LAUNCH, CAPTURE = "l1dl.launch.", "l1dl.capture."
"""What the names of the registers in front of and behind the stage begin with; the rest is the bit, e.g. ``y[3]``."""

_SHIFT, _FOLD, _RESULT = "l1dl.shift.", "l1dl.fold.", "l1dl.result."
_XOR = "0110011001100110"
"""Contents of a LUT4: A XOR B."""

Bit = int | str
"""A net, or a constant: ``0``, ``1``, ``x``, ``z``."""


def between_registers(netlist: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Return a netlist of a module for ECP5 with registers around it.

    In each cycle the scan chain takes one bit from ``scan_in``, the stage works on the bits that the chain held in the
    cycle before, and ``scan_out`` is the XOR over the output bits k (counted from 0), each as it was captured
    k + 1 cycles before.

    Parameters
    ----------
    netlist
        What ``synth_ecp5`` left and ``write_json`` wrote.

    Raises
    ------
    InputError
        The netlist lacks the module, or the module has no inputs or no outputs that change.
    """
    try:
        found = netlist["modules"][module]
        cells = {name: cell for name, cell in found["cells"].items() if cell["type"] != "$scopeinfo"}
        inputs, outputs = (list(_bits_of(found["ports"], way)) for way in ("input", "output"))
        used = [bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits]
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"the netlist has no usable module {module!r} ({error!r})"
        raise InputError(msg) from None
    outputs = [(name, bit) for name, bit in outputs if isinstance(bit, int)]
    if not inputs or not outputs:
        msg = f"module {module!r} has no {'outputs that change' if inputs else 'inputs'}; there is nothing to place"
        raise InputError(msg)
    free = itertools.count(max(bit for bit in (*used, *(bit for _, bit in inputs)) if isinstance(bit, int)) + 1)
    clock, scan_in = next(free), next(free)
    around: dict[str, Any] = {}
    chain = scan_in
    for name, bit in inputs:
        shifted = next(free)
        around[_SHIFT + name] = _flip_flop(clock, chain, shifted)
        around[LAUNCH + name] = _flip_flop(clock, shifted, bit)
        chain = shifted
    result: Bit = "0"
    # Against the direction of the chain: what moves along with the bits that are shifted in would cancel itself.
    for name, bit in reversed(outputs):
        captured, folded, following = next(free), next(free), next(free)
        around[CAPTURE + name] = _flip_flop(clock, bit, captured)
        around[_FOLD + name] = _xor(result, captured, folded)
        around[_RESULT + name] = _flip_flop(clock, folded, following)
        result = following
    ports = {
        "clk": {"direction": "input", "bits": [clock]},
        "scan_in": {"direction": "input", "bits": [scan_in]},
        "scan_out": {"direction": "output", "bits": [result]},
    }
    top = {"attributes": {"top": f"{1:032b}"}, "ports": ports, "cells": cells | around, "netnames": {}}
    return {"creator": "l1dl", "modules": {TOP: top}}


def _bits_of(ports: Mapping[str, Any], direction: str) -> Iterator[tuple[str, Bit]]:
    """Yield name and net of each bit of the inputs or outputs."""
    for name, port in ports.items():
        if port["direction"] == direction:
            yield from ((f"{name}[{index}]", bit) for index, bit in enumerate(port["bits"]))


def _flip_flop(clock: Bit, data: Bit, output: Bit) -> dict[str, Any]:
    # The blank keeps a reader of the netlist from taking the text for a binary number.
    parameters = {
        "GSR": "DISABLED", "CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET", "SRMODE": "LSR_OVER_CE",
    }  # fmt: skip
    return _cell("TRELLIS_FF", parameters, {"CLK": clock, "DI": data, "LSR": "0", "CE": "1"}, {"Q": output})


def _xor(first: Bit, second: Bit, output: Bit) -> dict[str, Any]:
    return _cell("LUT4", {"INIT": _XOR}, {"A": first, "B": second, "C": "0", "D": "0"}, {"Z": output})


def _cell(
    kind: str, parameters: Mapping[str, str], inputs: Mapping[str, Bit], outputs: Mapping[str, Bit]
) -> dict[str, Any]:
    return {
        "hide_name": 0,
        "type": kind,
        "parameters": dict(parameters),
        "attributes": {},
        "port_directions": {**dict.fromkeys(inputs, "input"), **dict.fromkeys(outputs, "output")},
        "connections": {port: [bit] for port, bit in (*inputs.items(), *outputs.items())},
    }
