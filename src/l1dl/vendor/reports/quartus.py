"""The summaries of Quartus Prime's fitter and timing analyser, Standard and Pro."""

from __future__ import annotations

import re

from l1dl.synth.resources import Resources
from l1dl.synth.timing import Timing, timing_of
from l1dl.vendor.reports.common import missing, number, same_design, whole, whole_lines

FIT, STA = "design.fit.summary", "design.sta.summary"

_LINES = {
    "ALM": ("Logic utilization (in ALMs)",),
    "FF": ("Total dedicated logic registers", "Total registers"),
    "DSP": ("Total DSP Blocks",),
    "BRAM": ("Total RAM Blocks",),
}


def read_fit(text: str, top: str, part: str) -> Resources:
    """Return the resources of a fitted design."""
    fields = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in whole_lines(text) if ":" in line)
    origin = quartus_origin(text, part)
    same_design(fields.get("Top-level Entity Name"), top, FIT)
    status = fields.get("Fitter Status", "missing")
    if not status.startswith("Successful"):
        return Resources(None, None, None, None, origin, f"the fitter status in {FIT} is {status!r}")
    found = {
        name: whole(next((number(fields[line].split("/")[0]) for line in lines if line in fields), None))
        for name, lines in _LINES.items()
    }
    reasons = [
        "LUT: Quartus counts adaptive logic modules (ALM) instead",
        missing([name for name, value in found.items() if value is None], FIT),
    ]
    return Resources(
        None, found["FF"], found["DSP"], found["BRAM"], origin, "; ".join(filter(None, reasons)), alm=found["ALM"]
    )


def read_sta(text: str, clock_period_ns: float, origin: str) -> Timing:
    """Return the worst setup slack over all corners.

    Parameters
    ----------
    clock_period_ns
        The clock constraint, in ns; the summary does not repeat it.
    """
    corners = re.findall(r"^Type\s*:\s*.*\bSetup\b.*\nSlack\s*:\s*(\S+)\s*\nTNS\s*:\s*\S+\s*$", text, re.MULTILINE)
    slacks = [number(slack) for slack in corners]
    known = [slack for slack in slacks if slack is not None]
    worst = min(known) if known and len(known) == len(slacks) else None
    return timing_of(clock_period_ns, worst, origin, missing(["slack"] if worst is None else [], STA))


def quartus_origin(text: str, part: str) -> str:
    """Return the origin of all figures, with the version that the summary of the fitter names."""
    version = re.search(
        r"Quartus Prime Version : (\d+\.\d+)\S* .*?(Pro|Standard|Lite)?(?: Edition)?$", text, re.MULTILINE
    )
    name = " ".join(filter(None, version.groups())) if version else "of unknown version"
    return f"implemented (Quartus {name}, {part}, virtual pins)"
