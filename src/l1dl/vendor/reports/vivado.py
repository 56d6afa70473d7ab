"""Vivado's ``report_utilization`` and ``report_timing_summary``, as 2019.1 to 2024.2 print them.

hls4ml's parser is not used here: it finds sections by their number, which differs between synthesis and placement and
between families, so that block RAM and DSP of a placed design are lost without a word.
"""

from __future__ import annotations

import re

from l1dl.synth.resources import Resources
from l1dl.synth.timing import Timing, timing_of
from l1dl.vendor.reports.common import missing, number, same_design, tables, whole, whole_lines

UTILISATION, TIMING = "utilization.rpt", "timing.rpt"

_SITES = {
    "LUT": ("CLB LUTs", "Slice LUTs"),
    "FF": ("CLB Registers", "Slice Registers", "Registers"),
    "DSP": ("DSPs", "DSP Slices"),
    "BRAM": ("Block RAM Tile",),
}
"""What UltraScale(+), the 7 series and Versal call them."""

_OF_FIRST_TABLE = (*_SITES["LUT"], *_SITES["FF"])
"""In a placed design, a later table has rows of these names with other counts."""


def read_utilisation(text: str, top: str, stage: str, part: str) -> Resources:
    """Return the resources of a design.

    Parameters
    ----------
    stage
        ``synthesised`` or ``implemented``; figures of a design that is not yet routed are not implemented ones.
    """
    origin = _origin(text, stage, part)
    wrong = _wrong_state(text, top, stage, UTILISATION)
    if wrong:
        return Resources(None, None, None, None, origin, wrong)
    used: dict[str, float | None] = {}
    for index, table in enumerate(tables(whole_lines(text), "Site Type")):
        for row in table:
            site = row["Site Type"].rstrip("*")
            if index == 0 or site not in _OF_FIRST_TABLE:
                used.setdefault(site, number(row.get("Used", "")))
    found = {
        name: whole(next((used[site] for site in sites if used.get(site) is not None), None))
        for name, sites in _SITES.items()
    }
    reason = missing([name for name, value in found.items() if value is None], UTILISATION)
    return Resources(found["LUT"], found["FF"], found["DSP"], found["BRAM"], origin, reason)


def read_timing(text: str, top: str, stage: str, part: str) -> Timing:
    """Return clock period and worst setup slack of a design with one clock."""
    origin = _origin(text, stage, part)
    wrong = _wrong_state(text, top, stage, TIMING)
    if wrong:
        return timing_of(None, None, origin, wrong)
    lines = whole_lines(text)
    period, slack = _period(lines), _slack(lines)
    if "There are no user specified timing constraints" in text:
        return timing_of(
            period, None, origin, f"slack: {TIMING} says that there are no user specified timing constraints"
        )
    lacking = [name for name, value in (("clock period", period), ("slack", slack)) if value is None]
    return timing_of(period, slack, origin, missing(lacking, TIMING))


def _slack(lines: list[str]) -> float | None:
    """Return WNS of the design timing summary: the row under the dashes under the headers."""
    for index, line in enumerate(lines[:-2]):
        headers = re.split(r"\s{2,}", line.strip())
        values = lines[index + 2].split()
        if headers[0] == "WNS(ns)" and set(lines[index + 1].strip()) == {"-", " "} and len(values) == len(headers):
            return number(values[0])
    return None


def _period(lines: list[str]) -> float | None:
    """Return the period of the only clock of the clock summary."""
    start = next((index for index, line in enumerate(lines) if line.strip() == "| Clock Summary"), len(lines))
    periods = []
    for line in lines[start + 1 :]:
        if line.startswith("| ") and "---" not in line:  # the next section
            break
        row = re.fullmatch(r"\s*\S+\s+\{[^}]*\}\s+([\d.]+)\s+([\d.]+)\s*", line)
        if row:
            periods.append(number(row[1]))
    return periods[0] if len(periods) == 1 else None


def _field(text: str, name: str) -> str | None:
    """Return a value of the head of a report."""
    match = re.search(rf"^\| {name}\s*:\s*(.*?)\s*$", text, re.MULTILINE)
    return match[1] if match else None


def _origin(text: str, stage: str, part: str) -> str:
    version = re.search(r"v\.?(\d+\.\d+)", _field(text, "Tool Version") or "")
    return f"{stage} (Vivado {version[1] if version else 'of unknown version'}, {part}, out of context)"


def _wrong_state(text: str, top: str, stage: str, file: str) -> str:
    """Return why a report says nothing about a design at this stage; empty if it does."""
    same_design(_field(text, "Design"), top, file)
    state = _field(text, "Design State")
    if state is None:
        return f"the head of {file} is missing"
    if stage == "implemented" and "rout" not in state.lower():
        return f"the design of {file} is not routed, but {state!r}"
    return ""
