"""VHDL text of a pipelined design: the same stages, registers, ports and valid chain as in Verilog.

The texts need VHDL-2008 (the shifts of ``std_logic_vector`` in alkaid's primitives).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from l1dl.errors import InputError
from l1dl.ports import Ports
from l1dl.rtl.layout import OutputField, input_fields, output_fields, port_width, register_widths

_WORDS = """
abs access after alias all and architecture array assert assume assume_guarantee attribute begin block body buffer bus
case component configuration constant context cover default disconnect downto else elsif end entity exit fairness file
for force function generate generic group guarded if impure in inertial inout is label library linkage literal loop map
mod nand new next nor not null of on open or others out package parameter port postponed procedure process property
protected pure range record register reject release rem report restrict restrict_guarantee return rol ror select
sequence severity shared signal sla sll sra srl strong subtype then to transport type unaffected units until use
variable vmode vprop vunit wait when while with xnor xor ieee std work
"""
"""The keywords of IEEE 1076-2008, and the libraries that the texts use."""

_RESERVED = frozenset(_WORDS.split())

_RELU = 2
"""alkaid's operation code of a ReLU."""

_HEADER = "library ieee;\nuse ieee.std_logic_1164.all;\n"
_TABLE = re.compile(r"^library ieee;.*?^entity (table_\w+) is.*?^end architecture rtl;$", re.MULTILINE | re.DOTALL)


def check_vhdl_name(name: str) -> None:
    """Refuse a design name that VHDL does not allow, or that one of its primitives has (case does not count).

    Raises
    ------
    InputError
        It is not allowed.
    """
    word = name.lower()
    if "__" in word or word.endswith("_") or word in _RESERVED or f"{word}.vhd" in _primitive_texts():
        msg = (
            f"the name {name!r} cannot stand in VHDL, which allows no double or final underscore, no keyword and not "
            'the name of a primitive; give the model another name, or use language = "verilog"'
        )
        raise InputError(msg)


def emit_vhdl(name: str, stages: Sequence[Any], inputs: Ports, outputs: Ports) -> dict[str, str]:
    """Return file name → VHDL of all entities, each before those that use it.

    Raises
    ------
    InputError
        `name` is not allowed in VHDL.
    """
    check_vhdl_name(name)
    logic = {
        f"{name}_stage{index}.vhd": _emit_stage(f"{name}_stage{index}", stage) for index, stage in enumerate(stages)
    }
    return {
        **_primitives(logic.values()),
        **_emit_tables(stages),
        **logic,
        f"{name}_pipeline.vhd": _emit_pipeline(name, stages),
        f"{name}.vhd": _emit_top(name, stages, inputs, outputs),
    }


def _emit_stage(name: str, stage: Any) -> str:
    from alkaid.codegen.rtl.vhdl import comb_logic_gen

    text: str = comb_logic_gen(stage, name)
    for index, op in enumerate(stage.ops):
        if op.opcode == _RELU and sum(op.qint.kif) == 1:
            # alkaid 0.8 always takes bit 0 of the source here, whatever bits are dropped below.
            source = op.addr[0]
            lowest = stage.ops[source].qint.kif[2] - op.qint.kif[2]
            text = text.replace(f" v{index}(0) <= v{source}(0) and", f" v{index}(0) <= v{source}({lowest}) and")
    return text


def _emit_tables(stages: Sequence[Any]) -> dict[str, str]:
    from alkaid.codegen.rtl.vhdl.lookup import lookup_source

    return {f"{match[1]}.vhd": f"{match[0]}\n" for match in _TABLE.finditer(lookup_source(list(stages)))}


def _primitive_texts() -> dict[str, str]:
    folder = resources.files("alkaid.codegen.rtl.vhdl") / "source"
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".vhd")}


def _primitives(texts: Iterable[str]) -> dict[str, str]:
    """Return alkaid's primitive entities that the given texts instantiate; none of them uses another."""
    used = {word for text in texts for word in re.findall(r"entity work\.(\w+)", text)}
    return {file: text for file, text in sorted(_primitive_texts().items()) if file.removesuffix(".vhd") in used}


def _emit_pipeline(name: str, stages: Sequence[Any]) -> str:
    """Return the entity that holds every data register and instantiates the stages."""
    widths = register_widths(stages)
    return "\n".join([
        f"{_HEADER}",
        f"entity {name}_pipeline is port (",
        "    clk : in std_logic;",
        f"    model_inp : in {_vector(widths[0])};",
        f"    model_out : out {_vector(widths[-1])}",
        f");\nend entity {name}_pipeline;",
        "",
        f"architecture rtl of {name}_pipeline is",
        *(f"    signal data{index}, next{index} : {_vector(width)};" for index, width in enumerate(widths)),
        "begin",
        "    next0 <= model_inp;",
        *(
            f"    stage{index} : entity work.{name}_stage{index} "
            f"port map (model_inp => data{index}, model_out => next{index + 1});"
            for index in range(len(stages))
        ),
        "",
        "    process (clk)",
        "    begin",
        "        if rising_edge(clk) then",
        *(f"            data{index} <= next{index};" for index in range(len(widths))),
        "        end if;",
        "    end process;",
        "",
        f"    model_out <= data{len(stages)};",
        "end architecture rtl;",
        "",
    ])  # fmt: skip


def _emit_top(name: str, stages: Sequence[Any], inputs: Ports, outputs: Ports) -> str:
    """Return the top entity; ports and valid chain are those of the Verilog."""
    widths, latency = register_widths(stages), len(stages) + 1
    return "\n".join([
        f"{_HEADER}",
        f"entity {name} is port (",
        "    clk : in std_logic;",
        "    rst : in std_logic;",
        "    in_valid : in std_logic;",
        f"    in_data : in {_vector(port_width(inputs))};",
        "    out_valid : out std_logic;",
        f"    out_data : out {_vector(port_width(outputs))}",
        f");\nend entity {name};",
        "",
        f"architecture rtl of {name} is",
        f"    signal model_inp : {_vector(widths[0])};",
        f"    signal model_out : {_vector(widths[-1])};",
        f"    signal valid : {_vector(latency)} := (others => '0');",
        "begin",
        "    process (clk)",
        "    begin",
        "        if rising_edge(clk) then",
        "            if rst = '1' then",
        "                valid <= (others => '0');",
        "            else",
        f"                valid <= valid({latency - 2} downto 0) & in_valid;",
        "            end if;",
        "        end if;",
        "    end process;",
        f"    out_valid <= valid({latency - 1});",
        "",
        f"    pipeline : entity work.{name}_pipeline "
        "port map (clk => clk, model_inp => model_inp, model_out => model_out);",
        "",
        *(
            f"    model_inp({_range(field.low, field.width)}) <= in_data({_range(field.start, field.width)});"
            for field in input_fields(stages, inputs)
        ),
        *(f"    out_data({_range(field.start, field.slot)}) <= {_value(field)};"
          for field in output_fields(stages, outputs)),
        "end architecture rtl;",
        "",
    ])  # fmt: skip


def _value(field: OutputField) -> str:
    """Return a result extended to its slot: zeros below, sign or zeros above."""
    parts = []
    if field.above:
        sign = f"model_out({field.low + field.width - 1})" if field.signed else "'0'"
        parts.append(f"({field.above - 1} downto 0 => {sign})")
    if field.width:
        parts.append(f"model_out({_range(field.low, field.width)})")
    if field.below:
        parts.append(f'"{"0" * field.below}"')
    return " & ".join(parts)


def _vector(width: int) -> str:
    return f"std_logic_vector({_range(0, width)})"


def _range(low: int, width: int) -> str:
    return f"{low + width - 1} downto {low}"
