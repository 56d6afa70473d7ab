"""The files of an IP core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

from l1dl.card import HlsCard
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.graph import check_design_name, check_identifier
from l1dl.ip.core import Core, core_json, hex_words
from l1dl.ports import Ports
from l1dl.rtl.verilog import emit_constraints


def core_files(
    core: Core,
    verilog: Mapping[str, str],
    interface_page: str,
    ports: tuple[Ports, Ports],
    vectors: Mapping[str, tuple[Codes, Codes]],
) -> dict[str, str]:
    """Return file name → text of an IP core.

    Parameters
    ----------
    verilog
        File name → text of all modules.
    interface_page
        The bit layout as Markdown.
    ports
        Inputs and outputs of the network.
    vectors
        Kind of vector → rows of input codes and of the output codes that must come out, shape (events, values).

    Raises
    ------
    InputError
        A name is no identifier, there are no vectors, or the ports of the core are not those of the network.
    """
    check_design_name(core.top)
    for name in (*(file.removesuffix(".v") for file in verilog), *(port["name"] for port in core.ports)):
        check_identifier(name)
    counts = {name: len(rows) for name, (rows, _) in vectors.items()}
    if not sum(counts.values()):
        msg = "an IP without test vectors cannot be checked; give some"
        raise InputError(msg)
    inputs, outputs = (
        "".join(hex_words(pair[place], ports[place], side) for pair in vectors.values())
        for place, side in enumerate((core.input, core.output))
    )
    return {
        **{f"src/{name}": text for name, text in verilog.items()},
        f"constraints/{core.top}_ooc.xdc": emit_constraints(core.clock_period_ns),
        "package_ip.tcl": emit_script(core, sorted(verilog)),
        f"tb/tb_{core.top}.sv": emit_bench(core, sum(counts.values())),
        f"tb/test_{core.top}.py": _read("cocotb_stream.py" if core.stream else "cocotb_parallel.py"),
        "tb/run.py": _read("run.py"),
        "tb/vectors/inputs.hex": inputs,
        "tb/vectors/outputs.hex": outputs,
        "interface.md": interface_page,
        "ip.json": json.dumps(core_json(core, counts), indent=2) + "\n",
    }


def emit_script(core: Core, verilog: list[str]) -> str:
    """Return the Tcl script that has Vivado write ``component.xml``.

    Every word in it is made of letters, digits and ``._-``, so that nothing needs quoting.
    """
    settings = {
        "name": core.top,
        "vendor": core.name.vendor,
        "library": core.name.library,
        "version": core.name.version,
        "part": HlsCard().part,
        "ports": f"{{{' '.join(port['name'] for port in core.ports)}}}",
        "streams": "{s_axis m_axis}" if core.stream else "{}",
        "sources": "{\n" + "".join(f"    src/{name}\n" for name in verilog) + "}",
        "description": f"{{Network {core.top}, written by l1dl from the graph {core.digest}}}",
    }
    return (
        "# Makes this directory a Vivado IP: vivado -mode batch -source package_ip.tcl [-tclargs PART]\n\n"
        + "".join(f"set {name} {value}\n" for name, value in settings.items())
        + _read("package_ip.tcl")
    )


def emit_bench(core: Core, events: int) -> str:
    """Return the test bench in SystemVerilog."""
    beats = f"    localparam integer IN_BEATS = {core.input.beats}, OUT_BEATS = {core.output.beats};\n"
    wires = ", ".join(f".{port['name']}({port['name']})" for port in core.ports)
    return (
        "// Self-checking test bench: ends with PASS, or with FAIL and an error.\n"
        f"`timescale 1ns / 1ps\n\nmodule tb_{core.top};\n"
        f"    localparam integer EVENTS = {events}, LATENCY = {core.latency_cycles};\n"
        f"    localparam integer IN_BITS = {core.input.bits}, OUT_BITS = {core.output.bits};\n"
        f"{beats if core.stream else ''}"
        f"    localparam real HALF_PERIOD_NS = {round(500 * core.clock_period_ns) / 1000:.3f};\n\n"
        f"{_read('bench_stream.sv' if core.stream else 'bench_parallel.sv')}\n"
        f"    {core.top} dut ({wires});\nendmodule\n"
    )


def _read(name: str) -> str:
    return (resources.files("l1dl.ip") / "files" / name).read_text(encoding="utf-8")
