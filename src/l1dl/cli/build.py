"""``l1dl build``: the firmware of a finished run through a vendor tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from l1dl.synth.resources import Resources
    from l1dl.vendor.result import BuildResult, StepResult

EXAMPLES = (
    "Examples:  l1dl build runs/jet_mlp --tool vivado   |   "
    "l1dl build runs/jet_mlp --tool vitis --remote-script vitis.tar.gz   |   "
    "l1dl build runs/jet_mlp --import results.tar.gz"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(build)


def build(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, finished up to the stage rtl.")],
    tool: Annotated[
        str | None,
        typer.Option(
            "--tool", help="vitis: the HLS project; vivado, quartus: our Verilog.", show_default="that of the import"
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Device.", show_default="that of the card; an Agilex 7 for quartus")
    ] = None,
    hls: Annotated[
        Path | None, typer.Option("--hls", help="The HLS project.", show_default="where the run has written it")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="STEP", help="Last step: csynth, cosim, synth or implement.")
    ] = None,
    limit: Annotated[float, typer.Option("--limit", min=1.0, help="Time limit of each step in s.")] = 14400.0,
    script: Annotated[
        Path | None,
        typer.Option("--remote-script", metavar="FILE.tar.gz", help="Write all that another machine needs, and stop."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--import", metavar="DIR", help="Read what run.sh left there: its folder, or results.tar.gz."),
    ] = None,
) -> int:
    """Implement a finished run with Vitis, Vivado or Quartus, out of context.

    vitis: C-synthesis of the HLS project, co-simulation of its Verilog, whose outputs must be the emulator's bit by
    bit, synthesis, placement and routing with Vivado. vivado, quartus: synthesis, placement and routing of our
    Verilog; the figures are shown beside those of Yosys.

    Finished steps are skipped while sources, scripts and tool are unchanged. Logs and reports stand in RUN/build.
    """
    from l1dl.cli.console import display, show
    from l1dl.errors import InputError, did_you_mean
    from l1dl.flow.build import build_run, export_project, import_results, vendor_project
    from l1dl.vendor.settings import Vendor

    if source is not None:
        given = [("--tool", tool), ("--part", part), ("--until", until), ("--remote-script", script)]
        others = [name for name, value in given if value is not None]
        if others:
            msg = f"--import takes tool and device from the reports; leave out {', '.join(others)}"
            raise InputError(msg)
        return _summarise(import_results(run, source, hls=hls), run)
    known = [vendor.value for vendor in Vendor]
    if tool not in known:
        hint = did_you_mean(tool, known) if tool else ""
        msg = f"--tool is {tool!r}{hint}; allowed are {', '.join(known)}"
        raise InputError(msg)
    project = vendor_project(run, Vendor(tool), part=part, hls=hls)
    if script is not None:
        export_project(project, script)
        show(f"{script}: unpack it where {tool} is installed, and call run.sh in it")
        return 0
    with display() as shown:
        result = build_run(project, run, until=until, limit_s=limit, listen=shown.stage)
    return _summarise(result, run)


def _summarise(result: BuildResult, run: Path) -> int:
    """Print the figures, and what is missing and why; return the exit code.

    Raises
    ------
    MismatchError
        An output of the co-simulation is not the emulator's.
    """
    from l1dl.cli.console import print_table, show
    from l1dl.emulate.compare import require
    from l1dl.flow.build import yosys_resources
    from l1dl.vendor.result import State

    columns = {step.name: figures for step in result.steps if (figures := _figures(step))}
    ours = None if result.tool == "vitis" else yosys_resources(run)
    if columns and ours is not None:
        columns["Yosys"] = {**_counts(ours), "origin": ours.origin}
    names = dict.fromkeys(name for figures in columns.values() for name in figures if name != "origin")
    if columns:
        rows = [(name, *(figures.get(name, "") for figures in columns.values())) for name in (*names, "origin")]
        title = f"{result.top} for {result.part} at {result.clock_period_ns:g} ns"
        print_table(title, rows, ("", *columns))
    for step in result.steps:
        for reason in _reasons(step):
            show(f"{step.name}: {reason}", style="yellow")
        if step.agreement is not None:
            wrong, events = step.agreement.mismatches, step.agreement.events
            show(f"{step.name}: {wrong} mismatches with the emulator in {events} events")
    show(f"figures: {run / 'build' / result.tool}.json")
    for step in result.steps:
        if step.agreement is not None:
            require(step.agreement, "The co-simulated Verilog of Vitis is wrong.")
    return 0 if all(step.state is State.FINISHED for step in result.steps) else 3


def _figures(step: StepResult) -> dict[str, str]:
    """Return figure → text of a step; empty without figures."""
    from l1dl.report.format import NOTHING

    found: dict[str, str] = {}
    if step.resources is not None:
        found |= {**_counts(step.resources), "origin": step.resources.origin}
    if step.timing is not None:
        slack, fmax = step.timing.slack_ns, step.timing.fmax_mhz
        found["slack"] = NOTHING if slack is None else f"{slack:+.3f} ns"
        found["Fmax"] = NOTHING if fmax is None else f"{fmax:.0f} MHz"
    if step.cycles is not None:
        found |= {"latency": _range(step.cycles.latency), "interval": _range(step.cycles.interval)}
        found["origin"] = step.cycles.origin
    return found


def _counts(resources: Resources) -> dict[str, str]:
    from l1dl.report.format import count

    found = {"LUT": resources.lut, "ALM": resources.alm, "FF": resources.ff, "DSP": resources.dsp,
             "BRAM": resources.bram}  # fmt: skip
    if resources.alm is None:
        del found["ALM"]
    return {name: count(value) for name, value in found.items()}


def _range(pair: tuple[int, int] | None) -> str:
    from l1dl.report.format import NOTHING

    if pair is None:
        return NOTHING
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} to {pair[1]}"


def _reasons(step: StepResult) -> list[str]:
    """Return why the step, or a figure of it, is missing; each reason once."""
    parts = (step.resources, step.timing, step.cycles)
    return list(dict.fromkeys(filter(None, [step.reason, *(part.reason for part in parts if part is not None)])))
