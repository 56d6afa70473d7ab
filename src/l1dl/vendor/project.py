"""The folder that a vendor tool works in: sources, constraints, scripts, and their digests. It needs no other file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources

from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ports import decode_rows
from l1dl.rtl.verilog import emit_constraints
from l1dl.vendor.settings import BuildSettings, Vendor
from l1dl.vendor.sources import HlsSources, RtlSources, events_text

SETTINGS, DIGESTS = "settings.json", "inputs.sha256"
"""Files that tell an import what was built, and from what."""

SCHEMA = "l1dl-build/1"


def rtl_project(settings: BuildSettings, sources: RtlSources) -> dict[str, str]:
    """Return path → text of the project of our Verilog for Vivado or Quartus."""
    constraints = "clock.xdc" if settings.vendor is Vendor.VIVADO else "clock.sdc"
    ports = {"ports": " ".join(sources.ports)} if settings.vendor is Vendor.QUARTUS else {}
    return _complete(settings, {
        **{f"src/{name}": text for name, text in sources.files.items()},
        constraints: sources.constraints,
        "settings.tcl": _settings_tcl(settings, sources="src", **ports),
    })  # fmt: skip


def hls_project(
    settings: BuildSettings, sources: HlsSources, graph: FixedGraph, rows: Codes, outputs: Codes
) -> dict[str, str]:
    """Return path → text of the project of hls4ml's C++ for Vitis.

    Parameters
    ----------
    rows, outputs
        Codes of the test bench's events, and what the emulator makes of them.
    """
    events = {
        "tb_input_features.dat": decode_rows(rows, graph.input_ports),
        "tb_output_predictions.dat": decode_rows(outputs, graph.output_ports),
    }
    return _complete(settings, {
        **{f"hls/{name}": text for name, text in sources.files.items()},
        **{f"hls/tb_data/{name}": events_text(values) for name, values in events.items()},
        "clock.xdc": emit_constraints(settings.clock_period_ns).replace("get_ports clk", f"get_ports {settings.clock}"),
        "settings.tcl": _settings_tcl(settings, sources="reports/csynth/verilog", **sources.options),
    })  # fmt: skip


def digests(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of each file, as ``sha256sum`` writes and checks them."""
    return "".join(f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in sorted(files))


def _complete(settings: BuildSettings, files: dict[str, str]) -> dict[str, str]:
    for name in files:
        if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*", name, re.ASCII):
            msg = f"file name {name!r} cannot stand in a script; rename it: letters, digits and . _ + - can"
            raise InputError(msg)
    folder = resources.files("l1dl.vendor") / "scripts"
    calls = []
    for step in settings.steps:
        script = "quartus" if step.program == "quartus" else step.name
        files[f"{step.name}.tcl"] = (folder / f"{script}.tcl").read_text(encoding="utf-8")
        calls.append(f"{step.program} {step.name}\n")
    files["run.sh"] = (folder / "run.sh").read_text(encoding="utf-8") + "".join(calls) + "pack\n"
    facts = {"schema": SCHEMA, "tool": settings.vendor.value, "part": settings.part}
    files[SETTINGS] = json.dumps(facts, indent=2) + "\n"
    return {**files, DIGESTS: digests(files)}


def _settings_tcl(settings: BuildSettings, **others: str) -> str:
    values = {
        "top": settings.top, "part": settings.part, "clock_period_ns": f"{settings.clock_period_ns:g}", **others,
    }  # fmt: skip
    return "".join(f"set {name} {{{_quotable(value)}}}\n" for name, value in values.items())


def _quotable(value: str) -> str:
    """Return a value that may stand in braces in Tcl."""
    if not re.fullmatch(r"[\w ./%-]*", value, re.ASCII):
        msg = f"{value!r} cannot stand in a script; letters, digits and space _ - . / % can"
        raise InputError(msg)
    return value
