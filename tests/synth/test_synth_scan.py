"""The registers around a stage: what enters through the chain is what the stage works on, and comes out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_design import BOTH, STAGE0

from l1dl.artifacts import read_json, write_files, write_json
from l1dl.errors import InputError
from l1dl.synth.scan import CAPTURE, LAUNCH, TOP, between_registers
from l1dl.tools import Tool, run_tool

STEPS = 40

# A wire, a constant, an inverter, and an input that nothing reads.
ODD = """
module odd (input [1:0] x, input unused, output [2:0] y);
    assign y = {~x[1], 1'b1, x[0]};
endmodule
"""


def run_yosys(yosys: Tool, directory: Path, script: str) -> str:
    (directory / "test.ys").write_text(script)
    run_tool(yosys, ["-l", "test.log", "-s", "test.ys"], cwd=directory, log=directory / "out", timeout_s=120)
    return (directory / "test.log").read_text()


def mapped(yosys: Tool, directory: Path, module: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the netlist of a stage for ECP5."""
    write_files(directory, files)
    reads = "".join(f"read_verilog {file}\n" for file in files)
    run_yosys(yosys, directory, f"{reads}synth_ecp5 -top {module}\nselect {module}\nwrite_json -selected stage.json\n")
    netlist: dict[str, Any] = read_json(directory / "stage.json")
    return netlist


def expected(stage: Callable[[Sequence[int]], Sequence[int]], inputs: int, bits: Sequence[int]) -> list[int]:
    """Return ``scan_out`` in each cycle, all registers being zero at first."""
    outputs = len(stage([0] * inputs))
    shift, launch, capture, result = [0] * inputs, [0] * inputs, [0] * outputs, [0] * outputs
    seen = []
    for bit in bits:
        seen.append(result[0])
        folded = [each ^ behind for each, behind in zip(capture, [*result[1:], 0], strict=True)]
        shift, launch, capture, result = [bit, *shift[:-1]], shift, list(stage(launch)), folded
    return seen


def behaves(yosys: Tool, directory: Path, bits: Sequence[int], outputs: Sequence[int]) -> bool:
    """Say whether the netlist answers these bits in this way, by Yosys with its own models of the cells."""
    sets = " ".join(
        f"-set-at {step} scan_in {bit} -set-at {step} scan_out {output}"
        for step, (bit, output) in enumerate(zip(bits, outputs, strict=True), start=1)
    )
    text = run_yosys(
        yosys, directory,
        "read_json netlist.json\nread_verilog -overwrite +/ecp5/cells_sim.v\n"
        f"hierarchy -top {TOP}\nproc\nflatten\nasync2sync\nopt_clean\n"
        f"sat -set-init-zero -seq {len(bits)} {sets} -show scan_out\n",
    )  # fmt: skip
    assert "model found" in text
    return "no model found" not in text


@pytest.mark.parametrize("name", ["products", "odd"])
def test_the_chain_computes_the_stage(name: str, yosys: Tool, tmp_path: Path) -> None:
    """Every bit of the answer is proved for random bits at the input; a wrong answer is refuted."""
    if name == "odd":
        netlist, inputs = mapped(yosys, tmp_path, "odd", {"odd.v": ODD}), 3
    else:
        netlist, inputs = mapped(yosys, tmp_path, "tiny_stage0", {"s.v": STAGE0, "b.v": BOTH}), 8

    def stage(x: Sequence[int]) -> list[int]:
        return [x[0], 1 - x[1]] if name == "odd" else [x[4 + bit] & x[bit] for bit in range(4)]

    write_json(tmp_path / "netlist.json", between_registers(netlist, "odd" if name == "odd" else "tiny_stage0"))
    draw = random.Random(3)
    bits = [draw.getrandbits(1) for _ in range(STEPS)]
    answer = expected(stage, inputs, bits)
    assert 5 < sum(answer) < STEPS - 5
    assert behaves(yosys, tmp_path, bits, answer)
    wrong = list(answer)
    wrong[-4] ^= 1
    assert not behaves(yosys, tmp_path, bits, wrong)


def lut(**connections: list[int | str]) -> dict[str, Any]:
    directions = {port: "output" if port == "Z" else "input" for port in connections}
    return {"type": "LUT4", "parameters": {}, "port_directions": directions, "connections": connections}


def netlist_of(inputs: list[int], outputs: list[int | str]) -> dict[str, Any]:
    ports = {"x": {"direction": "input", "bits": inputs}, "y": {"direction": "output", "bits": outputs}}
    return {"modules": {"m": {"ports": ports, "cells": {"l": lut(A=[2], Z=[4]), "s": {"type": "$scopeinfo"}}}}}


def test_only_registers_touch_the_stage() -> None:
    found = between_registers(netlist_of([2, 3], [4, "0", 3]), "m")
    ((name, module),) = found["modules"].items()
    assert name == TOP
    assert {port: value["direction"] for port, value in module["ports"].items()} == {
        "clk": "input", "scan_in": "input", "scan_out": "output",
    }  # fmt: skip
    cells = module["cells"]
    assert "s" not in cells
    assert {cells[f"{LAUNCH}x[{bit}]"]["connections"]["Q"][0] for bit in (0, 1)} == {2, 3}
    captured = {cell: cells[cell]["connections"]["DI"] for cell in cells if cell.startswith(CAPTURE)}
    assert captured == {f"{CAPTURE}y[0]": [4], f"{CAPTURE}y[2]": [3]}  # a constant needs no register
    driven = [
        cell["connections"][port][0] for cell in cells.values() for port in ("Q", "Z") if port in cell["connections"]
    ]
    assert len(driven) == len(set(driven)), "a net has two drivers"
    assert all(
        cell["connections"]["CLK"] == module["ports"]["clk"]["bits"]
        for cell in cells.values()
        if "Q" in cell["connections"]
    )


@pytest.mark.parametrize(
    ("netlist", "text"),
    [
        ({}, r"no usable module 'm' \(KeyError\('modules'\)\)"),
        ({"modules": {"other": {}}}, r"no usable module 'm'"),
        ({"modules": {"m": {"cells": {"l": 3}, "ports": {}}}}, r"no usable module 'm' \(TypeError"),
        (netlist_of([], [4]), "'m' has no inputs; there is nothing to place"),
        (netlist_of([2], ["1"]), "'m' has no outputs that change"),
    ],
)  # fmt: skip
def test_what_is_no_stage_is_refused(netlist: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        between_registers(netlist, "m")
