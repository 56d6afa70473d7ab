"""Vitis HLS: C synthesis, by hls4ml's parser, and co-simulation, by our own.

hls4ml's parser of the co-simulation takes any line with the word Verilog, ends with a KeyError where no language was
simulated, and yields the text ``NA`` as a latency.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from l1dl.artifacts import write_files
from l1dl.emulate.compare import NO_CODE, Agreement, compare
from l1dl.errors import ToolMissingError
from l1dl.fixed import Codes
from l1dl.ports import Ports, decode_rows, encode_rows
from l1dl.synth.resources import Resources
from l1dl.synth.timing import Timing, timing_of
from l1dl.vendor.reports.common import missing, number, same_design, whole, whole_lines
from l1dl.vendor.result import Cycles

CSYNTH, COSIM, OUTPUTS = "csynth.xml", "cosim.rpt", "outputs.log"


def read_csynth(text: str, top: str, part: str) -> tuple[Resources, Timing, Cycles]:
    """Return what C synthesis expects, which placed and routed designs are often far from."""
    version = re.search(r"<Version>\s*([\d.]+)", text)
    origin = f"C-synthesis (Vitis HLS {version[1] if version else 'of unknown version'}, {part})"
    found, wrong = _by_hls4ml(text)
    if wrong:
        return Resources(None, None, None, None, origin, wrong), timing_of(None, None, origin, wrong), Cycles(
            None, None, origin, wrong
        )  # fmt: skip
    name = re.search(r"<TopModelName>\s*(\w+)", text)
    same_design(name[1] if name else None, top, CSYNTH)
    figure = {key: number(str(value)) for key, value in found.items()}
    halves = figure.get("BRAM_18K")
    counts = {
        "LUT": whole(figure.get("LUT")), "FF": whole(figure.get("FF")), "DSP": whole(figure.get("DSP")),
        "BRAM": whole(None if halves is None else halves / 2),
    }  # fmt: skip
    reason = missing([key for key, value in counts.items() if value is None], CSYNTH)
    resources = Resources(counts["LUT"], counts["FF"], counts["DSP"], counts["BRAM"], origin, reason)
    period, estimate = figure.get("TargetClockPeriod"), figure.get("EstimatedClockPeriod")
    slack = None if period is None or estimate is None else period - estimate
    timing = timing_of(period, slack, origin, missing(["clock period"] if slack is None else [], CSYNTH))
    latency = _pair(figure, "BestLatency", "WorstLatency")
    interval = _pair(figure, "IntervalMin", "IntervalMax")
    return resources, timing, _cycles(latency, interval, origin, CSYNTH)


def read_cosim(text: str, top: str) -> Cycles:
    """Return the simulated latency and interval of the Verilog."""
    version = re.search(r"v(20\d\d\.\d)", text)
    origin = f"co-simulated (Vitis HLS {version[1] if version else 'of unknown version'})"
    name = re.search(r"(?:[Rr]eport for|Cosimulation Report for) '(\w+)'", text)
    same_design(name[1] if name else None, top, COSIM)
    for line in whole_lines(text):
        cells = [cell.strip() for cell in line.strip().split("|")]
        if len(cells) < 10 or cells[0] or cells[1] != "Verilog":
            continue
        status, figures = cells[2], [whole(number(cell)) for cell in cells[3:9]]
        if status.lower() != "pass":
            return Cycles(None, None, origin, f"the status in {COSIM} is {status!r}, not 'Pass'")
        low, _, high, first, _, last = figures
        latency = None if low is None or high is None else (low, high)
        interval = None if first is None or last is None else (first, last)
        return _cycles(latency, interval, origin, COSIM)
    return Cycles(None, None, origin, f"there is no row of the Verilog in {COSIM}")


def read_outputs(text: str, expected: Codes, ports: Ports) -> tuple[Agreement | None, str]:
    """Compare the outputs of the simulated Verilog with those of the emulator.

    Parameters
    ----------
    expected
        Output codes of the emulator for the events of the test bench, shape (events, outputs).

    Returns
    -------
    The agreement, and the reason where there is none.
    """
    rows = [line.split() for line in whole_lines(text)]
    try:
        values = np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64)
    except ValueError:
        return None, f"{OUTPUTS} is no table of numbers"
    if values.shape != expected.shape:
        return None, f"{OUTPUTS} holds values of shape {values.shape}, not {expected.shape}"
    codes = encode_rows(np.nan_to_num(values), ports)
    codes[decode_rows(codes, ports) != values] = NO_CODE
    return compare("emulator_hls", expected, codes), ""


def _by_hls4ml(text: str) -> tuple[Mapping[str, str], str]:
    """Let hls4ml read the report, which it finds in a whole project only; return its figures, or why there are none."""
    try:
        from hls4ml.report import parse_vivado_report
    except ImportError as error:
        msg = f"hls4ml cannot be imported ({error}); install it: pip install 'l1dl[qkeras]'"
        raise ToolMissingError(msg) from error
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        project = Path(directory) / "project"
        write_files(project, {
            "project.tcl": 'set project_name "top"\nset backend "vitis"\n',
            "top_prj/hls.app": '<project><solutions><solution name="solution1"/></solutions></project>',
            "top_prj/solution1/syn/report/top_csynth.xml": text,
        })  # fmt: skip
        try:
            found: Mapping[str, str] = parse_vivado_report(str(project))["CSynthesisReport"]
        except (ET.ParseError, AttributeError, KeyError, TypeError) as error:
            return {}, f"{CSYNTH} is not whole: {error}"
    return found, ""


def _pair(figure: Mapping[str, float | None], low: str, high: str) -> tuple[int, int] | None:
    first, last = whole(figure.get(low)), whole(figure.get(high))
    return None if first is None or last is None else (first, last)


def _cycles(latency: tuple[int, int] | None, interval: tuple[int, int] | None, origin: str, file: str) -> Cycles:
    lacking = [name for name, value in (("latency", latency), ("interval", interval)) if value is None]
    return Cycles(latency, interval, origin, missing(lacking, file))
