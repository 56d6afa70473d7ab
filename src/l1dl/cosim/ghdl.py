"""Simulate the VHDL of a design with GHDL: rows of codes in a text file in, rows in a text file out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from l1dl.cosim.protocol import stream
from l1dl.cosim.verilate import RESET, VALID, Outcome, check_shape
from l1dl.emulate.compare import NO_CODE
from l1dl.errors import MismatchError
from l1dl.fixed import Codes, FixedSpec
from l1dl.ports import Ports, count_values
from l1dl.rtl.layout import port_width, slots
from l1dl.rtl.project import RtlDesign
from l1dl.tools import find_tool, run_tool

GHDL_LIMIT_S = 3600
"""Time limit of the analysis and of the simulation, in s."""

VECTORS, RESULTS = "vectors.txt", "results.txt"
"""Files that the test bench reads and writes, in its working directory."""

_STANDARD = "--std=08"
_ZERO = ord("0")


def emit_test_bench(top: str, inputs: Ports, outputs: Ports) -> str:
    """Return a test bench that clocks a design once for each line of a file.

    A line of `VECTORS` holds ``rst`` and ``in_valid`` as two digits, a space, and the bits of ``in_data``.
    Where ``out_valid`` is high, the number of the cycle and the bits of ``out_data`` go to `RESULTS`.
    """
    in_width, out_width = port_width(inputs), port_width(outputs)
    return f"""\
library ieee;
use ieee.std_logic_1164.all;
use std.textio.all;

entity {top}_testbench is
end entity {top}_testbench;

architecture test of {top}_testbench is
    signal clk, rst, in_valid, out_valid : std_logic := '0';
    signal in_data : std_logic_vector({in_width - 1} downto 0) := (others => '0');
    signal out_data : std_logic_vector({out_width - 1} downto 0);
begin
    dut : entity work.{top} port map (
        clk => clk, rst => rst, in_valid => in_valid, in_data => in_data, out_valid => out_valid, out_data => out_data
    );

    process
        file vectors : text open read_mode is "{VECTORS}";
        file results : text open write_mode is "{RESULTS}";
        variable words, answer : line;
        variable control : bit_vector(1 downto 0);
        variable data : bit_vector({in_width - 1} downto 0);
        variable cycle : natural := 0;
    begin
        while not endfile(vectors) loop
            readline(vectors, words);
            read(words, control);
            read(words, data);
            rst <= to_stdulogic(control(1));
            in_valid <= to_stdulogic(control(0));
            in_data <= to_stdlogicvector(data);
            clk <= '0';
            wait for 1 ns;
            if out_valid = '1' then
                write(answer, cycle);
                write(answer, ' ');
                write(answer, out_data);
                writeline(results, answer);
            end if;
            clk <= '1';
            wait for 1 ns;
            cycle := cycle + 1;
        end loop;
        wait;
    end process;
end architecture test;
"""


def simulate_vhdl(design: RtlDesign, rows: Codes, work: Path, *, sources: Mapping[str, str] | None = None) -> Codes:
    """Stream rows of input codes through the VHDL of a design and return the rows of output codes.

    Parameters
    ----------
    work
        Directory for logs.
    sources
        VHDL to simulate instead of the design's own, in the order of analysis.

    Raises
    ------
    ToolMissingError
        GHDL is missing.
    ToolFailedError
        GHDL refuses the VHDL.
    MismatchError
        Not as many rows come out as go in.
    """
    control = stream(len(rows), 4 * design.latency_cycles + 8)
    outcome = run_vhdl(sources or design.vhdl_sources(), design.top, design.inputs, design.outputs, rows, control, work)
    if len(outcome.codes) != len(rows):
        msg = f"{len(outcome.codes)} events came out of the VHDL of {design.top!r}, {len(rows)} were expected"
        raise MismatchError(msg)
    return outcome.codes


def run_vhdl(
    sources: Mapping[str, str],
    top: str,
    inputs: Ports,
    outputs: Ports,
    codes: Codes,
    control: npt.NDArray[np.uint8],
    work: Path,
    *,
    seed: int = 1,
) -> Outcome:
    """Clock a design in VHDL once for each control word, as `Simulation.run` does with Verilog.

    Parameters
    ----------
    sources
        File name → VHDL, in the order of analysis.
    codes
        Rows of input codes, one for each control word with the bit `VALID`.
    seed
        Seed of what stands at the port in bubbles.

    Returns
    -------
    What came out; a value with an undefined bit is `NO_CODE`.
    """
    check_shape(codes, control, inputs)
    ghdl, work = find_tool("ghdl"), work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    bench = f"{top}_testbench"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        directory = Path(scratch)
        texts = {**sources, f"{bench}.vhd": emit_test_bench(top, inputs, outputs)}
        for name, text in texts.items():
            (directory / name).write_text(text)
        (directory / VECTORS).write_bytes(_vector_file(codes, control, inputs, seed))
        log = work / "ghdl.log"
        run_tool(ghdl, ["-a", _STANDARD, *texts], cwd=directory, log=log, timeout_s=GHDL_LIMIT_S)
        # Registers are undefined until the first event arrives, of which numeric_std warns without end.
        arguments = ["--elab-run", _STANDARD, bench, "--ieee-asserts=disable"]
        run_tool(ghdl, arguments, cwd=directory, log=log, timeout_s=GHDL_LIMIT_S)
        return _read_results((directory / RESULTS).read_text(), outputs)


def _vector_file(codes: Codes, control: npt.NDArray[np.uint8], inputs: Ports, seed: int) -> bytes:
    """Return the lines that the test bench reads; what stands at the port without in_valid is random."""
    width = port_width(inputs)
    bits = np.random.default_rng(seed).integers(0, 2, (len(control), width), dtype=np.uint8)
    valid = (control & VALID) != 0
    packed = np.empty((len(codes), width), dtype=np.uint8)
    for column, (low, spec) in zip(codes.T, slots(inputs), strict=True):
        packed[:, low : low + spec.width] = (column[:, None] >> np.arange(spec.width)) & 1
    bits[valid] = packed
    lines = np.full((len(control), width + 4), ord(" "), dtype=np.uint8)
    lines[:, 0] = _ZERO + ((control & RESET) != 0)
    lines[:, 1] = _ZERO + valid
    lines[:, 3:-1] = _ZERO + bits[:, ::-1]  # the highest bit stands first
    lines[:, -1] = ord("\n")
    return lines.tobytes()


def _read_results(text: str, outputs: Ports) -> Outcome:
    """Read what the test bench wrote."""
    words = text.split()
    cycles = np.array([int(word) for word in words[::2]], dtype=np.int64)
    letters = np.frombuffer("".join(words[1::2]).encode(), dtype=np.uint8)
    bits = letters.reshape(len(cycles), port_width(outputs))[:, ::-1]
    codes = np.empty((len(cycles), count_values(outputs)), dtype=np.int64)
    for index, (low, spec) in enumerate(slots(outputs)):
        codes[:, index] = _code(bits[:, low : low + spec.width], spec)
    return Outcome(codes, cycles, None)


def _code(letters: npt.NDArray[np.uint8], spec: FixedSpec) -> Codes:
    """Return the codes of one value from its bits as letters, the lowest first."""
    weights = np.left_shift(np.int64(1), np.arange(spec.width, dtype=np.int64))
    if spec.signed:
        weights[-1] = -weights[-1]
    defined = np.all((letters == _ZERO) | (letters == ord("1")), axis=1)
    codes: Codes = np.where(defined, (letters == ord("1")) @ weights, NO_CODE)
    return codes
