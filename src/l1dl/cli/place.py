"""``l1dl place``: pipeline stages placed and routed with nextpnr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SLOWEST = 3
"""Stages that are placed where the command line names none."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl place runs/jet_mlp --stages 3 --seeds 5")(place)


def place(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with the Verilog of a parallel design.")],
    stages: Annotated[
        int | None,
        typer.Option("--stages", min=1, help="So many stages, the slowest by estimate.", show_default=str(SLOWEST)),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--stage", metavar="NAME", help="This stage, e.g. stage3; may be repeated.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Placements of each stage.")] = 3,
    device: Annotated[str, typer.Option("--device", help="Device of the ECP5 family.")] = "LFE5UM5G-85F",
    speed: Annotated[int, typer.Option("--speed", help="Its speed grade, 6 to 8.")] = 8,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes at a time.")] = 2,
    limit: Annotated[float, typer.Option("--limit", min=1.0, help="Time limit of each process in s.")] = 1800.0,
) -> None:
    """Place and route single pipeline stages with nextpnr on a Lattice ECP5.

    Each stage stands alone between two ranks of registers. The highest clock frequency over several seeds and the
    critical path with its two parts are shown beside the estimated delay on UltraScale+. ECP5 is a slower device: the
    figures compare stages with each other, and are no clock of an UltraScale+. The results stand in place/place.json of
    the run directory, and in its next report.

    Exit code 0: placed; 2: a stage does not fit in the device; 3: Yosys or nextpnr is missing or failed.
    """
    from l1dl.cli.console import display, print_table, show
    from l1dl.errors import InputError
    from l1dl.flow.place import FILE, Choice, place_run
    from l1dl.report.placement import HEADERS, sentences, table
    from l1dl.synth.place import Device

    if stages is not None and names:
        msg = "--stages and --stage exclude each other; give one of them"
        raise InputError(msg)
    choice, chosen = Choice(tuple(names or ()), stages or SLOWEST), Device(device, speed)
    with display() as shown:
        study = place_run(
            run, choice=choice, device=chosen, seeds=seeds, jobs=jobs, timeout_s=limit, progress=shown.step
        )  # fmt: skip
    title = f"{study.model}: {len(study.stages)} of {study.stages_in_all} stages, {study.origin}, seeds: {seeds}"
    print_table(title, table(study), HEADERS)
    for text in sentences(study):
        show(text)
    show(f"estimate: {study.estimate_origin}")
    show(f"written: {run / FILE}")
