"""Verilog text of a pipelined design: stages, registers, and the top level with its valid chain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from l1dl.fixed import FixedSpec


def emit_stages(name: str, stages: Sequence[Any]) -> dict[str, str]:
    """Return module name → Verilog of each combinational stage (ports ``model_inp``, ``model_out``)."""
    from alkaid.codegen.rtl.verilog import comb_logic_gen

    return {f"{name}_stage{index}": comb_logic_gen(stage, f"{name}_stage{index}") for index, stage in enumerate(stages)}


def primitives(modules: Sequence[str]) -> dict[str, str]:
    """Return file name → Verilog of alkaid's primitive modules that the given texts instantiate."""
    folder = resources.files("alkaid.codegen.rtl.verilog") / "source"
    texts = {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".v")}
    needed: dict[str, str] = {}
    pending = list(modules)
    while pending:
        text = pending.pop()
        for file, source in texts.items():
            if file not in needed and re.search(rf"\b{file.removesuffix('.v')}\s*#\(", text):
                needed[file] = source
                pending.append(source)
    return dict(sorted(needed.items()))


def emit_pipeline(name: str, stages: Sequence[Any], *, probes: bool = False) -> str:
    """Return the module that holds every data register and instantiates the stages.

    Registers stand before the first stage, between the stages and behind the last one. The data
    registers need no reset: the valid chain of the top level says which of them count.

    Parameters
    ----------
    probes
        Also lead all registers to an output port ``probes``, the first register in the lowest bits.
    """
    widths = [int(stages[0].inp_kifs.sum()), *(int(stage.out_kifs.sum()) for stage in stages)]
    lines = [
        f"module {name}_pipeline (",
        "    input wire clk,",
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
        "    always @(posedge clk) begin",
        *(f"        data{index} <= next{index};" for index in range(len(widths))),
        "    end",
        "",
        f"    assign model_out = data{len(stages)};",
    ]
    if probes:
        order = ", ".join(f"data{index}" for index in reversed(range(len(widths))))
        lines.append(f"    assign probes = {{{order}}};")
    return "\n".join([*lines, "endmodule", ""])


def emit_top(name: str, stages: Sequence[Any], inputs: FixedSpec, outputs: FixedSpec, *, probes: bool = False) -> str:
    """Return the top module: equal slots for all values at the ports, and the valid chain.

    ``out_valid`` follows ``in_valid`` after the latency of the pipeline; ``rst`` (synchronous, active
    high) clears the chain, so that nothing under way comes out after a reset.
    """
    n_inputs, n_outputs = stages[0].shape[0], stages[-1].shape[1]
    packed_in, packed_out = int(stages[0].inp_kifs.sum()), int(stages[-1].out_kifs.sum())
    latency = len(stages) + 1
    probe_width = packed_in + sum(int(stage.out_kifs.sum()) for stage in stages)
    lines = [
        f"module {name} (",
        "    input wire clk,",
        "    input wire rst,",
        "    input wire in_valid,",
        f"    input wire [{n_inputs * inputs.width - 1}:0] in_data,",
        *([f"    output wire [{probe_width - 1}:0] probes,"] if probes else []),
        "    output wire out_valid,",
        f"    output wire [{n_outputs * outputs.width - 1}:0] out_data",
        ");",
        f"    wire [{packed_in - 1}:0] model_inp;",
        f"    wire [{packed_out - 1}:0] model_out;",
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
        *_pack_inputs(stages[0].inp_kifs, inputs),
        *_unpack_outputs(stages[-1].out_kifs, outputs),
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _pack_inputs(kifs: Any, spec: FixedSpec) -> list[str]:
    """Take from each input slot the bits that the first stage reads."""
    lines, low = [], 0
    for index, (keep, integer, fraction) in enumerate(np.asarray(kifs, dtype=int).T):
        width = int(keep + integer + fraction)
        if width:
            start = index * spec.width + spec.fraction - int(fraction)
            lines.append(f"    assign model_inp[{low + width - 1}:{low}] = in_data[{start + width - 1}:{start}];")
        low += width
    return lines


def _unpack_outputs(kifs: Any, spec: FixedSpec) -> list[str]:
    """Extend each result to its slot: zeros below, sign or zeros above."""
    lines, low = [], 0
    for index, (keep, integer, fraction) in enumerate(np.asarray(kifs, dtype=int).T):
        width, start = int(keep + integer + fraction), index * spec.width
        slot = f"out_data[{start + spec.width - 1}:{start}]"
        if not width:
            lines.append(f"    assign {slot} = {spec.width}'b0;")
            continue
        below = spec.fraction - int(fraction)
        above = spec.width - below - width
        parts = [f"model_out[{low + width - 1}:{low}]"]
        if above:
            parts.insert(0, f"{{{above}{{model_out[{low + width - 1}]}}}}" if keep else f"{above}'b0")
        if below:
            parts.append(f"{below}'b0")
        lines.append(f"    assign {slot} = {{{', '.join(parts)}}};")
        low += width
    return lines


def emit_constraints(clock_period_ns: float) -> str:
    """Return a Vivado constraint file for out-of-context implementation."""
    return f"create_clock -name clk -period {clock_period_ns:.3f} [get_ports clk]\n"
