"""Claims about a module, as assertions of SystemVerilog that stand in a copy of its text.

They stand inside the module, so that they can see its registers: the invariants that make an induction close name
them, the claims do not (but for the names of ports).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Claim(Enum):
    """What is claimed of a module."""

    HANDSHAKE = "what is offered stays, unchanged, until it is taken"
    CONTENT = "every beat comes out as it must, in its order"
    COUNT = "no result is missing and none is there twice"
    PROGRESS = "while the results are taken, what is owed comes in bounded time"
    FRAME_ERROR = "frame_error stays low if tlast is right"


@dataclass(frozen=True)
class Checks:
    """Claims, and what their proof needs.

    Attributes
    ----------
    claims
        Each claim as expressions that hold in every cycle after the reset.
    ghosts
        Declarations and registers that only the checks read.
    assumptions
        What holds of the inputs, as expressions.
    helpers
        Invariants: proved together with the claims.
    """

    claims: Mapping[Claim, Sequence[str]]
    ghosts: Sequence[str] = ()
    assumptions: Sequence[str] = ()
    helpers: Sequence[str] = ()


def with_checks(text: str, checks: Checks, claims: Sequence[Claim], *, helpers: bool) -> str:
    """Return the Verilog of a module with assertions before its end.

    Parameters
    ----------
    claims
        The claims to assert.
    helpers
        Assert the helpers too.
    """
    asserted = [expression for each in claims for expression in checks.claims[each]]
    asserted += checks.helpers if helpers else ()
    lines = [
        "",
        "reg formal_begun = 0;",
        "always @(posedge clk) formal_begun <= 1;",
        *checks.ghosts,
        "always @* begin",
        "    assume (rst == ~formal_begun);",
        *(f"    assume ({expression});" for expression in checks.assumptions),
        *(f"    assert (~formal_begun || ({expression}));" for expression in asserted),
        "end",
        "",
    ]
    body, end, rest = text.rpartition("endmodule")
    return body + "\n".join(f"    {line}" if line else "" for line in lines) + end + rest


def register(name: str, largest: int, update: str, *, start: str = "0") -> list[str]:
    """Return a register that holds 0 to `largest`, and `start` after the reset."""
    bits = max(1, largest.bit_length())
    return [
        f"reg [{bits - 1}:0] {name};",
        f"always @(posedge clk) {name} <= rst ? {start} : {update};",
    ]


def frame_counter(name: str, taken: str, beats: int) -> list[str]:
    """Return a register that counts the beats of a frame, one for each cycle in which `taken` holds."""
    return register(name, beats - 1, f"~({taken}) ? {name} : {name} == {beats - 1} ? 0 : {name} + 1'b1")


def holds(name: str, width: int, *, valid: str, ready: str, data: str) -> tuple[list[str], str]:
    """Return registers, and the expression that a beat offered stays until it is taken."""
    ghosts = [
        f"reg {name}_waits = 0;",
        f"reg [{width - 1}:0] {name}_was;",
        "always @(posedge clk) begin",
        f"    {name}_waits <= {valid} & ~{ready} & ~rst;",
        f"    {name}_was <= {data};",
        "end",
    ]
    return ghosts, f"~{name}_waits || ({valid} && {data} == {name}_was)"


def element_ports(in_width: int, out_width: int) -> tuple[list[str], str, str]:
    """Return registers, the assumption on the input and the claim on the output of an element."""
    before, assumed = holds("formal_in", in_width, valid="in_valid", ready="in_ready", data="in_data")
    behind, claimed = holds("formal_out", out_width, valid="out_valid", ready="out_ready", data="out_data")
    names = [
        "wire formal_take = in_valid & in_ready;",
        "wire formal_give = out_valid & out_ready;",
    ]
    return [*before, *behind, *names], assumed, claimed


def waiting(name: str, condition: str, limit: int) -> list[str]:
    """Return a register that counts the cycles in a row in which `condition` holds, up to one more than `limit`."""
    return register(name, limit + 1, f"({condition}) ? {name} + 1'b1 : 0")


def implies(condition: str, expression: str) -> str:
    """Return an implication."""
    return f"~({condition}) || ({expression})"
