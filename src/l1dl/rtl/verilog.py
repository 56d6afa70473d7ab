"""Verilog text of a pipelined design: stages, lookup tables, registers, and the top level with its valid chain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from l1dl.ports import Ports
from l1dl.rtl.layout import input_fields, output_fields, port_width, register_widths

_TABLE = re.compile(r"^module (table_\w+).*?^endmodule$", re.MULTILINE | re.DOTALL)


def emit_stages(name: str, stages: Sequence[Any]) -> dict[str, str]:
    """Return module name → Verilog of each combinational stage (ports ``model_inp``, ``model_out``)."""
    from alkaid.codegen.rtl.verilog import comb_logic_gen

    return {f"{name}_stage{index}": comb_logic_gen(stage, f"{name}_stage{index}") for index, stage in enumerate(stages)}


def emit_tables(stages: Sequence[Any]) -> dict[str, str]:
    """Return module name → Verilog of each lookup table; equal tables of all stages share one module.

    The entries stand in the text, so that nothing has to be found beside it.
    """
    from alkaid.codegen.rtl.verilog.lookup import lookup_source

    return {match[1]: f"{match[0]}\n" for match in _TABLE.finditer(lookup_source(list(stages)))}


def primitives(modules: Iterable[str]) -> dict[str, str]:
    """Return file name → Verilog of the primitive modules that the given texts instantiate.

    They are alkaid's, but for the adders: those of this package do the same, simulate faster and are no larger.
    """
    folders = resources.files("alkaid.codegen.rtl.verilog") / "source", resources.files("l1dl.rtl") / "primitives"
    entries = [entry for folder in folders for entry in folder.iterdir() if entry.name.endswith(".v")]
    texts = {entry.name: entry.read_text() for entry in entries}
    needed: dict[str, str] = {}
    pending = list(modules)
    while pending:
        text = pending.pop()
        for file, source in texts.items():
            if file not in needed and re.search(rf"\b{file.removesuffix('.v')}\s*#\(", text):
                needed[file] = source
                pending.append(source)
    return dict(sorted(needed.items()))


def emit_pipeline(name: str, stages: Sequence[Any], *, probes: bool = False, enabled: bool = False) -> str:
    """Return the module that holds every data register and instantiates the stages.

    Registers stand before the first stage, between the stages and behind the last one. The data
    registers need no reset: the valid chain of the top level says which of them count.

    Parameters
    ----------
    probes
        Also lead all registers to an output port ``probes``, the first register in the lowest bits.
    enabled
        Give it a port ``enable``, without which the registers keep what they hold.
    """
    widths = register_widths(stages)
    lines = [
        f"module {name}_pipeline (",
        "    input wire clk,",
        *(["    input wire enable,"] if enabled else []),
        f"    input wire [{widths[0] - 1}:0] model_inp,",
        *([f"    output wire [{sum(widths) - 1}:0] probes,"] if probes else []),
        f"    output wire [{widths[-1] - 1}:0] model_out",
        ");",
        *(f"    reg [{width - 1}:0] data{index};" for index, width in enumerate(widths)),
        *(f"    wire [{width - 1}:0] next{index};" for index, width in enumerate(widths)),
        "",
        "    assign next0 = model_inp;",
        *(
            f"    {name}_stage{index} stage{index} (.model_inp(data{index}), .model_out(next{index + 1}));"
            for index in range(len(stages))
        ),
        "",
        f"    always @(posedge clk) {'if (enable) ' if enabled else ''}begin",
        *(f"        data{index} <= next{index};" for index in range(len(widths))),
        "    end",
        "",
        f"    assign model_out = data{len(stages)};",
    ]
    if probes:
        order = ", ".join(f"data{index}" for index in reversed(range(len(widths))))
        lines.append(f"    assign probes = {{{order}}};")
    return "\n".join([*lines, "endmodule", ""])


def emit_top(name: str, stages: Sequence[Any], inputs: Ports, outputs: Ports, *, probes: bool = False) -> str:
    """Return the top module: a slot for each value at the ports, in the order of a row, and the valid chain.

    ``out_valid`` follows ``in_valid`` after the latency of the pipeline; ``rst`` (synchronous, active
    high) clears the chain, so that nothing under way comes out after a reset.
    """
    widths, latency = register_widths(stages), len(stages) + 1
    lines = [
        f"module {name} (",
        "    input wire clk,",
        "    input wire rst,",
        "    input wire in_valid,",
        f"    input wire [{port_width(inputs) - 1}:0] in_data,",
        *([f"    output wire [{sum(widths) - 1}:0] probes,"] if probes else []),
        "    output wire out_valid,",
        f"    output wire [{port_width(outputs) - 1}:0] out_data",
        ");",
        f"    wire [{widths[0] - 1}:0] model_inp;",
        f"    wire [{widths[-1] - 1}:0] model_out;",
        f"    reg [{latency - 1}:0] valid = {latency}'b0;",
        "",
        "    always @(posedge clk) begin",
        f"        valid <= rst ? {latency}'b0 : {{valid[{latency - 2}:0], in_valid}};",
        "    end",
        f"    assign out_valid = valid[{latency - 1}];",
        "",
        f"    {name}_pipeline pipeline (.clk(clk), .model_inp(model_inp), "
        f"{'.probes(probes), ' if probes else ''}.model_out(model_out));",
        "",
        *pack_inputs(stages, inputs),
        *unpack_outputs(stages, outputs),
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def pack_inputs(stages: Sequence[Any], ports: Ports) -> list[str]:
    """Take from each input slot the bits that the first stage reads."""
    return [
        f"    assign model_inp[{field.low + field.width - 1}:{field.low}] = "
        f"in_data[{field.start + field.width - 1}:{field.start}];"
        for field in input_fields(stages, ports)
    ]


def unpack_outputs(stages: Sequence[Any], ports: Ports) -> list[str]:
    """Extend each result to its slot: zeros below, sign or zeros above."""
    lines = []
    for field in output_fields(stages, ports):
        slot = f"out_data[{field.start + field.slot - 1}:{field.start}]"
        if not field.width:
            lines.append(f"    assign {slot} = {field.slot}'b0;")
            continue
        high = field.low + field.width - 1
        parts = [f"model_out[{high}:{field.low}]"]
        if field.above:
            parts.insert(0, f"{{{field.above}{{model_out[{high}]}}}}" if field.signed else f"{field.above}'b0")
        if field.below:
            parts.append(f"{field.below}'b0")
        lines.append(f"    assign {slot} = {{{', '.join(parts)}}};")
    return lines


def emit_constraints(clock_period_ns: float) -> str:
    """Return a Vivado constraint file for out-of-context implementation."""
    return f"create_clock -name clk -period {clock_period_ns:.3f} [get_ports clk]\n"
