"""``l1dl build``: the firmware of a finished run through a vendor tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from l1dl.vendor.result import BuildResult

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
    from l1dl.report.vendor import columns, reasons, table
    from l1dl.vendor.result import State

    found = columns(result, yosys_resources(run))
    if found:
        print_table(f"{result.top} for {result.part} at {result.clock_period_ns:g} ns", table(found), ("", *found))
    for step in result.steps:
        for reason in reasons(step):
            show(f"{step.name}: {reason}", style="yellow")
        if step.agreement is not None:
            wrong, events = step.agreement.mismatches, step.agreement.events
            show(f"{step.name}: {wrong} mismatches with the emulator in {events} events")
    show(f"figures: {run / 'build' / result.tool}.json")
    for step in result.steps:
        if step.agreement is not None:
            require(step.agreement, "The co-simulated Verilog of Vitis is wrong.")
    return 0 if all(step.state is State.FINISHED for step in result.steps) else 3
