"""The adders of this package do what those of alkaid do: proved with the SAT solver of Yosys, for all inputs."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from support import need_tools

from l1dl.errors import ToolFailedError
from l1dl.rtl.verilog import primitives
from l1dl.tools import find_tool, run_tool

CASES = 60


def original(module: str) -> str:
    """Return alkaid's module under another name."""
    folder = resources.files("alkaid.codegen.rtl.verilog") / "source"
    text, number = re.subn(rf"\bmodule {module}\b", f"module alkaid_{module}", (folder / f"{module}.v").read_text())
    assert number == 1
    return text


def adder_of_two(rng: np.random.Generator) -> dict[str, int]:
    widths, shift = rng.integers(1, 6, 2), int(rng.integers(-4, 5))
    signed, subtract = rng.integers(0, 2, 2), int(rng.integers(0, 2))
    needed = max(widths[0] + max(-shift, 0), widths[1] + max(shift, 0)) + (signed[0] != signed[1]) + subtract + 1
    dropped = int(rng.integers(0, 3))
    return {
        "BW_INPUT0": int(widths[0]), "BW_INPUT1": int(widths[1]), "SIGNED0": int(signed[0]), "SIGNED1": int(signed[1]),
        "BW_OUT": max(int(needed) - dropped - int(rng.integers(0, 3)), 1), "DROP_LSBS": dropped, "SHIFT1": shift,
        "IS_SUB": subtract,
    }  # fmt: skip


def adder_of_three(rng: np.random.Generator) -> dict[str, int]:
    found: dict[str, int] = {}
    for place in range(3):
        found |= {
            f"BW_INPUT{place}": int(rng.integers(1, 5)), f"SIGNED{place}": int(rng.integers(0, 2)),
            f"NEGATE{place}": int(rng.integers(0, 2)), f"PAD{place}": int(rng.integers(0, 4)),
        }  # fmt: skip
    return found | {"BW_OUT": int(rng.integers(1, 10)), "DROP_LSBS": int(rng.integers(0, 3))}


def bench(module: str, cases: list[dict[str, int]]) -> str:
    """Return a module with both adders for each case, and an output bit for each: whether they are equal."""
    lines, inputs = [], 3 if module == "ternary_adder" else 2
    for number, case in enumerate(cases):
        parameters = ", ".join(f".{name}({value})" for name, value in case.items())
        ports = ", ".join(f".in{place}(x{place}[{case[f'BW_INPUT{place}'] - 1}:0])" for place in range(inputs))
        width = case["BW_OUT"] - 1
        lines += [
            f"wire [{width}:0] a{number}, b{number};",
            f"{module} #({parameters}) ours{number} ({ports}, .out(a{number}));",
            f"alkaid_{module} #({parameters}) theirs{number} ({ports}, .out(b{number}));",
            f"assign same[{number}] = a{number} == b{number};",
        ]
    values = ", ".join(f"input [5:0] x{place}" for place in range(inputs))
    body = "\n".join(lines)
    return f"module bench ({values}, output [{len(cases) - 1}:0] same);\n{body}\nendmodule\n"


def prove(module: str, text: str, cases: list[dict[str, int]], work: Path) -> None:
    for name, content in (("ours.v", text), ("theirs.v", original(module)), ("bench.v", bench(module, cases))):
        (work / name).write_text(content)
    script = (
        "read_verilog ours.v theirs.v bench.v; hierarchy -check -top bench; proc; flatten; opt -full; "
        f"sat -verify -prove same {len(cases)}'b{'1' * len(cases)} bench"
    )
    run_tool(find_tool("yosys"), ["-q", "-p", script], cwd=work, log=work / "yosys.log", timeout_s=300)


@pytest.mark.parametrize(("module", "draw"), [("shift_adder", adder_of_two), ("ternary_adder", adder_of_three)])
def test_our_adders_are_those_of_alkaid(module, draw, tmp_path):
    need_tools("yosys")
    rng = np.random.default_rng(1)
    cases = [draw(rng) for _ in range(CASES)]
    text = primitives([f"{module} #("])[f"{module}.v"]
    assert text != original(module)
    prove(module, text, cases, tmp_path)
    # A wrong sign extension is seen.
    with pytest.raises(ToolFailedError, match="proof did fail"):
        prove(module, text.replace("$signed(in1)", "$signed({1'b0, in1})"), cases, tmp_path)
