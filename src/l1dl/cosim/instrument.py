"""Give the Verilog of a parallel design a port that flips its bits: of registers, of constants, of table entries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from l1dl.errors import InputError

_LITERAL = re.compile(
    r"(?:(?P<head>shift_adder #\([^)]*\) op_\d+ \(v\d+\[\d+:0\],)(?P<sized>(?P<width>\d+)'b[01]+)"
    r"|(?P<target>assign v\d+\[(?P<high>\d+):0\] = )(?P<plain>'b[01]+))(?=[,;])"
)
"""A constant of an adder, or a wire that is a constant."""

_TABLE = re.compile(r"(?P<module>table_\w+) op_(?P<op>\d+) \((?P<source>v\d+), (?P<result>v\d+)\[(?P<high>\d+):0\]\);")
"""A table in a stage."""


class Kind(Enum):
    """What can be flipped."""

    REGISTER = "register"
    VALID = "valid chain"
    CONSTANT = "constants"
    TABLE = "table entries"

    @property
    def lasting(self) -> bool:
        """Whether an upset stays until the device is configured again."""
        return self in (Kind.CONSTANT, Kind.TABLE)


@dataclass(frozen=True)
class Bit:
    """One bit that can be flipped.

    Attributes
    ----------
    rank
        Registers between the input port and this bit: an upset hits the event that entered so many cycles before.
    toggles
        Bits of the port ``upset`` that are high while it is flipped.
    """

    rank: int
    toggles: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Bits of one kind in one stage of the pipeline."""

    name: str
    kind: Kind
    bits: tuple[Bit, ...]


@dataclass(frozen=True)
class Instrumented:
    """A design with the port ``upset``.

    Attributes
    ----------
    sources
        File name → Verilog.
    places
        What can be flipped: all registers, then the constants of the stages.
    latency_cycles
        Clock cycles from input to output: the number of data registers in a row.
    """

    sources: Mapping[str, str]
    places: tuple[Place, ...]
    latency_cycles: int


def instrument(sources: Mapping[str, str], top: str) -> Instrumented:
    """Return a parallel design whose bits can be flipped from a port ``upset`` of the top module.

    A register loads its next value XOR its part of the port, and so holds the wrong bit from one clock edge to the
    next. Constants and table entries are XORed where they stand, with a register that follows the port.

    Parameters
    ----------
    sources
        File name → Verilog as `l1dl.rtl` writes it; stages and tables may have been changed by hand.

    Raises
    ------
    InputError
        The registers are not where `l1dl.rtl.verilog` puts them, or there are others.
    """
    texts, pipeline, chain = dict(sources), f"{top}_pipeline.v", f"{top}.v"
    if pipeline not in texts or chain not in texts:
        msg = f"the Verilog of {top!r} has no {pipeline}; only parallel designs can be upset"
        raise InputError(msg)
    _refuse_other_registers(texts, pipeline, chain)
    registers = _registers(texts[pipeline])
    places, free = [], 0
    for rank, width in enumerate(registers):
        load = f"data{rank} <= next{rank}"
        texts[pipeline] = _replace(texts, pipeline, f"{load};", f"{load} ^ upset[{_bits(free, width)}];")
        places.append(Place(f"data{rank}", Kind.REGISTER, _single(range(free, free + width), rank)))
        free += width
    constants, first = [], free
    for stage in range(len(registers) - 1):
        name, before = f"{top}_stage{stage}", free
        texts[f"{name}.v"], found, free = _constants(texts, name, stage, free)
        if found:
            constants += found
            instance = f"stage{stage} (.model_inp"
            connected = instance.replace("(", f"(.upset(lasting[{free - 1}:{before}]), ")
            texts[pipeline] = _replace(texts, pipeline, instance, connected)
    if free > first:
        lasting = (
            f"    reg [{free - 1}:{first}] lasting;\n    always @(posedge clk) lasting <= upset[{free - 1}:{first}];\n"
        )
        texts[pipeline] = _replace(texts, pipeline, "\nendmodule", f"\n{lasting}endmodule")
    texts[pipeline] = _add_port(texts, pipeline, f"module {top}_pipeline (", free)

    latency = len(registers)
    places.append(Place("valid", Kind.VALID, tuple(Bit(rank, (free + rank,)) for rank in range(latency))))
    next_valid = f"rst ? {latency}'b0 : {{valid[{latency - 2}:0], in_valid}}"
    upset_valid = f"({next_valid}) ^ upset[{_bits(free, latency)}]"
    texts[chain] = _replace(texts, chain, f"valid <= {next_valid};", f"valid <= {upset_valid};")
    instance = "_pipeline pipeline (.clk(clk)"
    texts[chain] = _replace(texts, chain, instance, f"{instance}, .upset(upset[{free - 1}:0])")
    texts[chain] = _add_port(texts, chain, f"module {top} (", free + latency)
    return Instrumented(texts, (*places, *constants), latency)


def _registers(pipeline: str) -> list[int]:
    """Return the widths of the data registers."""
    return [int(high) + 1 for high in re.findall(r"^ *reg \[(\d+):0\] data\d+;", pipeline, re.MULTILINE)]


def _refuse_other_registers(texts: Mapping[str, str], pipeline: str, chain: str) -> None:
    """Refuse registers that were added by hand: they would be left out of the count."""
    allowed = {pipeline: len(_registers(texts[pipeline])), chain: 1}
    for name, text in texts.items():
        count = len(re.findall(r"\breg\b", re.sub(r"//.*", "", text)))
        if count != allowed.get(name, 0) and not name.startswith("table_"):
            msg = f"{name} holds registers that l1dl did not write and cannot upset; write it anew with the stage rtl"
            raise InputError(msg)


def _constants(texts: Mapping[str, str], module: str, stage: int, free: int) -> tuple[str, list[Place], int]:
    """Return a stage whose constants and table entries can be flipped, these, and the next free bit of the port.

    Parameters
    ----------
    free
        First bit of the port that is free.
    """
    first, text = free, texts[f"{module}.v"]
    literals: list[Bit] = []
    entries: list[Bit] = []

    def flip_literal(match: re.Match[str]) -> str:
        nonlocal free
        width = int(match["width"] or int(match["high"]) + 1)
        literals.extend(_single(range(free, free + width), stage))
        part = _bits(free, width)
        free += width
        digits = match["sized"] or f"{width}{match['plain']}"
        return f"{match['head'] or match['target']}{digits} ^ upset[{part}]"

    def flip_entry(match: re.Match[str]) -> str:
        nonlocal free
        places, in_width = _table(texts, f"{match['module']}.v")
        width, op = int(match["high"]) + 1, match["op"]
        address, mask = free, free + in_width
        for place in places:
            chosen = tuple(address + bit for bit in range(in_width) if place >> bit & 1)
            entries.extend(Bit(stage, (mask + bit, *chosen)) for bit in range(width))
        free = mask + width
        return (
            f"wire [{width - 1}:0] entry{op}; {match['module']} op_{op} ({match['source']}, entry{op}); "
            f"assign {match['result']} = entry{op} ^ ({match['source']} == upset[{_bits(address, in_width)}] ? "
            f"upset[{_bits(mask, width)}] : {width}'b0);"
        )

    text = _TABLE.sub(flip_entry, _LITERAL.sub(flip_literal, text))
    found = [
        Place(f"stage{stage} {kind.value}", kind, tuple(bits))
        for kind, bits in ((Kind.CONSTANT, literals), (Kind.TABLE, entries)) if bits
    ]  # fmt: skip
    if found:
        header = f"module {module} ("
        text = _replace({module: text}, module, header, f"{header}\n    input wire [{free - 1}:{first}] upset,")
    return text, found, free


def _table(texts: Mapping[str, str], name: str) -> tuple[list[int], int]:
    """Return the places that hold entries, and the width of the address."""
    places = re.findall(r"^(\d+)'h([0-9A-Fa-f]+): out =", texts.get(name, ""), re.MULTILINE)
    if not places:
        msg = f"{name} is no table as l1dl writes it; write it anew with the stage rtl"
        raise InputError(msg)
    return [int(place, 16) for _, place in places], int(places[0][0])


def _single(bits: Iterable[int], rank: int) -> tuple[Bit, ...]:
    return tuple(Bit(rank, (bit,)) for bit in bits)


def _bits(low: int, width: int) -> str:
    return f"{low + width - 1}:{low}"


def _add_port(texts: Mapping[str, str], name: str, header: str, width: int) -> str:
    return _replace(texts, name, header, f"{header}\n    input wire [{width - 1}:0] upset,")


def _replace(texts: Mapping[str, str], name: str, old: str, new: str) -> str:
    """Replace a piece of a file that must be there once."""
    if texts[name].count(old) != 1:
        msg = f"{name} is not as l1dl writes it ({old.strip()!r} is not there once); write it anew with the stage rtl"
        raise InputError(msg)
    return texts[name].replace(old, new)
