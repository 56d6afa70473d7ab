"""The sources of a finished run that a vendor tool reads: our Verilog, or the HLS project with its test bench."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import read_json
from l1dl.cosim.stimuli import random_codes
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ports import decode_rows, encode_rows

EVENTS = 50
"""Events of the test bench: as many of the test split and random ones; simulating HLS Verilog is slow."""

_OPTIONS = ("clock_uncertainty", "maximum_size")
_PRECISION = "std::ofstream fout(RESULTS_LOG);"
_PORT = re.compile(r"^\s*(?:input|output)\s+(?:wire|reg)?\s*(?:\[[^\]]*\]\s*)?(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class RtlSources:
    """Our Verilog.

    Attributes
    ----------
    top
        Name of the top module.
    clock_period_ns
        Clock of the design, in ns.
    constraints
        Its constraint file.
    ports
        Ports of the top module, the clock not among them.
    files
        File name → text.
    """

    top: str
    clock_period_ns: float
    constraints: str
    ports: tuple[str, ...]
    files: Mapping[str, str]


@dataclass(frozen=True)
class HlsSources:
    """The HLS project.

    Attributes
    ----------
    top
        Name of the C++ top function.
    part, clock_period_ns
        Its device, and its clock in ns.
    options
        Further variables of its scripts, by name.
    files
        Path in the project → text, without the test events.
    """

    top: str
    part: str
    clock_period_ns: float
    options: Mapping[str, str]
    files: Mapping[str, str]


def read_rtl(directory: Path) -> RtlSources:
    """Read the RTL project of a run.

    Raises
    ------
    InputError
        It is missing or damaged.
    """
    interface: Any = read_json(directory / "interface.json")
    try:
        top, period = str(interface["top"]), float(interface["clock_period_ns"])
    except (KeyError, TypeError, ValueError):
        msg = f"{directory / 'interface.json'} is damaged; write it again with the stage rtl"
        raise InputError(msg) from None
    files = {path.name: _read(path) for path in sorted((directory / "src").glob("*.v"))}
    if f"{top}.v" not in files:
        msg = f"{directory / 'src'} lacks {top}.v; write it again with the stage rtl"
        raise InputError(msg)
    head = files[f"{top}.v"].partition(");")[0]
    ports = tuple(name for name in _PORT.findall(head) if name != "clk")
    return RtlSources(top, period, _read(directory / f"{top}.xdc"), ports, files)


def read_hls(directory: Path) -> HlsSources:
    """Read the HLS project of a run; C++ headers that Vitis brings itself stay out.

    Raises
    ------
    InputError
        It is missing, damaged, or written for Vivado HLS.
    """
    variables = hls_variables(directory)
    try:
        top, backend, part = variables["project_name"], variables["backend"], variables["part"]
        period, options = float(variables["clock_period"]), {name: variables[name] for name in _OPTIONS}
    except (KeyError, ValueError) as error:
        msg = f"{directory / 'project.tcl'} is damaged ({error}); write it again with the stage convert"
        raise InputError(msg) from None
    if backend != "vitis":
        msg = f"{directory} is written for the back end {backend!r}; set backend = 'Vitis' in [hls] of the card"
        raise InputError(msg)
    firmware = [path for path in sorted((directory / "firmware").rglob("*")) if path.is_file()]
    files = {
        path.relative_to(directory).as_posix(): _read(path)
        for path in (*firmware, directory / f"{top}_test.cpp")
        if "ap_types" not in path.relative_to(directory).parts
    }
    bench = files[f"{top}_test.cpp"]
    if bench.count(_PRECISION) != 1:
        msg = f"{directory}/{top}_test.cpp opens its results otherwise than hls4ml 1.3.0 writes it; convert again"
        raise InputError(msg)
    # All digits, so that the outputs can be compared bit by bit; six are the default.
    files[f"{top}_test.cpp"] = bench.replace(_PRECISION, f"{_PRECISION}\n    fout.precision(200);")
    return HlsSources(top, part, period, options, files)


def hls_variables(directory: Path) -> dict[str, str]:
    """Return the variables that ``project.tcl`` of an HLS project sets, by name."""
    return dict(re.findall(r'^set (\w+) "?([^"\n]*?)"?$', _read(directory / "project.tcl"), re.MULTILINE))


def bench_events(graph: FixedGraph, test_inputs: Path) -> tuple[Codes, Codes]:
    """Return codes for the inputs of the C++ test bench, and the output codes of the emulator.

    They are events of the test split, as far as the project holds any, and random codes. The test bench reads them as
    float32, so that others than those are left out.

    Raises
    ------
    InputError
        The file of test events is damaged.
    """
    rows = random_codes(EVENTS, graph.input_ports, 1)
    if test_inputs.exists():
        lines = _read(test_inputs).splitlines()[:EVENTS]
        try:
            values = np.array([line.split() for line in lines], dtype=np.float64).reshape(-1, rows.shape[1])
        except ValueError:
            msg = f"{test_inputs} does not fit the inputs of the network; write it again with the stage convert"
            raise InputError(msg) from None
        rows = np.concatenate([encode_rows(values, graph.input_ports), rows])
    single = decode_rows(rows, graph.input_ports).astype(np.float32).astype(np.float64)
    rows = encode_rows(single, graph.input_ports)
    rows = rows[(decode_rows(rows, graph.input_ports) == single).all(axis=1)]
    return rows, Emulator(graph).run(rows)


def events_text(values: Any) -> str:
    """Return real values, shape (events, values), as the test bench reads them."""
    return "".join(f"{' '.join(map(repr, row))}\n" for row in values.tolist())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"file not found: {path}; finish the run first, with `l1dl run` or `l1dl deploy`"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise InputError(msg) from None
