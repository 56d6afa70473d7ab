"""Counting cells, reading Verilog, and checking a design: all without Yosys."""

from __future__ import annotations

import pytest
from tiny_design import ESTIMATE, FILES, PIPELINE, STAGE0, tiny

from l1dl.errors import InputError, ToolFailedError
from l1dl.synth import yosys as module
from l1dl.synth.cells import count_cells
from l1dl.synth.design import SynthDesign
from l1dl.synth.verilog import black_box, index_modules, may_multiply, needed_modules


def test_every_kind_of_cell_is_counted_once() -> None:
    cells = {f"LUT{n}": 1 for n in range(1, 7)} | {"INV": 10, "SRL16E": 100, "RAM32M": 1000}
    cells |= {"FDRE": 1, "FDSE": 10, "FDCE": 100, "FDPE": 1000, "DSP48E2": 3}
    cells |= {"CARRY4": 5, "CARRY8": 50, "MUXF7": 7, "MUXF8": 7, "$scopeinfo": 9, "GND": 1}
    stage = count_cells("stage", cells)
    assert (stage.lut, stage.ff, stage.dsp, stage.bram, stage.carry) == (4116, 1111, 3, 0, 105)


def test_inverter_is_a_lut() -> None:
    assert count_cells("stage", {"INV": 3}).lut == 3


@pytest.mark.parametrize(("cells", "blocks"), [({"RAMB18E2": 1}, 1), ({"RAMB18E2": 3, "RAMB36E2": 1}, 3), ({}, 0)])
def test_block_ram_is_in_units_of_36_kb(cells: dict[str, int], blocks: int) -> None:
    assert count_cells("stage", cells).bram == blocks


@pytest.mark.parametrize("kind", ["$add", "LDCE", "URAM288", "my_cell", "$_NOT_"])
def test_unknown_cell_is_an_error(kind: str) -> None:
    with pytest.raises(ToolFailedError) as caught:
        count_cells("stage7", {"LUT2": 1, kind: 4})
    assert str(caught.value).startswith("'stage7': ")
    assert f": 4 {kind}. " in str(caught.value)


def test_needed_modules_ignore_comments() -> None:
    assert needed_modules(FILES, "tiny_stage0") == {"tiny_stage0", "both"}
    assert needed_modules(FILES, "tiny") == set(index_modules(FILES))
    leaves = ("tiny_stage0", "tiny_stage1")
    assert needed_modules(FILES, "tiny", leaves=leaves) == {"tiny", "tiny_pipeline", *leaves}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assign y = a * b;", True),
        ("localparam W = 2*N;", True),
        ("always @(*) y = a; // a * b", False),
        ("always @* y = a; /* a * b */", False),
        ('(* keep = "a*b" *) wire x;', False),
        ("(* keep *) wire x; assign y = (a) * (b);", True),
    ],
)
def test_products_are_found(text: str, expected: bool) -> None:
    assert may_multiply([text]) is expected


def test_black_box_keeps_the_header() -> None:
    box = black_box("`timescale 1ns/1ps\n" + STAGE0, "tiny_stage0")
    assert "module tiny_stage0 (input [7:0] model_inp, output [3:0] model_out);" in box
    assert "both" not in box
    assert box.startswith("(* blackbox, keep *)")


def test_black_box_needs_ports_in_the_header() -> None:
    with pytest.raises(InputError, match="'old' declares no ports in its header"):
        black_box("module old (a, y); input a; output y; endmodule", "old")


def design(**changes: object) -> SynthDesign:
    whole = {"top": "tiny", "stages": ("tiny_stage0", "tiny_stage1"), "sequential": ("tiny_pipeline", "tiny")}
    return SynthDesign(**{**whole, "files": FILES, "estimate": ESTIMATE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("tiny_stage0", "tiny_stage")}, r"'tiny_stage' is defined in none of the 6 files; did you mean"),
        ({"stages": ("tiny_stage0", "tiny_stage0")}, r"'tiny_stage0' is named twice"),
        ({"stages": ("tiny_stage0", "tiny")}, r"'tiny' is named twice"),
        ({"top": "tinny"}, r"top module 'tinny' is not among the sequential modules"),
        ({"sequential": ()}, r"top module 'tiny' is not among"),
        ({"stages": (), "sequential": ()}, r"names no module"),
        ({"files": {**FILES, "again.v": STAGE0}}, r"'tiny_stage0' is defined twice"),
        ({"files": {**FILES, "tiny_stage0.v": STAGE0 + "module spare (); endmodule"}}, r"needs a file of its own"),
        ({"files": {**FILES, "a b.v": ""}}, r"file name 'a b.v' is not usable"),
        ({"files": {**FILES, "../b.v": ""}}, r"file name '../b.v' is not usable"),
    ],
)
def test_inconsistent_design(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        design(**changes)


def test_stage_within_a_stage_is_an_error() -> None:
    nested = STAGE0.replace("endmodule", "    tiny_stage1 inner (.model_inp(model_inp[3:0]), .model_out());\nendmodule")
    with pytest.raises(InputError, match=r"stage 'tiny_stage0' uses 'tiny_stage1'.*counted twice"):
        module._plan(tiny(tiny_stage0=nested))


def test_stage_that_is_not_used_is_an_error() -> None:
    without = "\n".join(line for line in PIPELINE.splitlines() if "tiny_stage1" not in line)
    with pytest.raises(InputError, match="'tiny_stage1' is not used below the top module 'tiny'"):
        module._plan(tiny(tiny_pipeline=without))
