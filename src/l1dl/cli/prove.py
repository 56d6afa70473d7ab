"""``l1dl prove``: the handshakes of a streaming design, proved by induction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from l1dl.cli.section import section
from l1dl.cli.units import Clock


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl prove runs/digits_cnn --pixels 8")(prove)


def prove(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with a converted network.")],
    pixels: Annotated[int, typer.Option("--pixels", min=1, help="Pixels per clock.")] = 1,
    reuse: Annotated[
        int | None,
        typer.Option(
            "--reuse", min=1, help="Reuse factor of dense layers.", show_default="what the stream leaves time for"
        ),
    ] = None,
    clock: Clock = 5.0,
    limit: Annotated[float, typer.Option("--limit", min=1.0, help="Time limit of each proof in s.")] = 900.0,
) -> None:
    """Prove that the network as a streaming design never stops, and neither loses nor doubles a beat.

    Each element and the top level are proved by induction with Yosys, for all inputs and all stalls. The claims are
    handshake (what is offered stays until it is taken), content (the right beats, in order: of queues, windows,
    pipelines and what gathers or adds up beats), count (none is missing or doubled), progress (what is owed comes),
    frame_error (it stays low if tlast is right). Arithmetic, and which bits are wired where, are for the simulation.

    Exit code 0: all is proved; 1: there is a counterexample, or something stays open.
    """
    from l1dl.card import RtlCard
    from l1dl.cli.console import display, print_table
    from l1dl.flow.prove import prove_run
    from l1dl.formal.prove import Verdict

    with display() as shown:
        proofs, same = prove_run(
            run, section(
                RtlCard, architecture="stream", clock_period_ns=clock, pixels_per_clock=pixels, reuse_factor=reuse
            ), timeout_s=limit,
            progress=lambda done, total: shown.step("proving the handshakes", done, total),
        )  # fmt: skip
    rows: dict[tuple[str, str, str], list[str]] = {}
    for each in proofs:
        reason = "" if each.verdict is Verdict.PROVED else each.reason
        rows.setdefault((each.module, each.verdict.value, reason), []).append(each.claim.name.lower())
    table = [(module, ", ".join(claims), verdict, reason) for (module, verdict, reason), claims in rows.items()]
    which = f"the Verilog in {run / 'rtl'}" if same else f"the network of {run}, not about the Verilog that it holds"
    print_table(f"{len(proofs)} claims about {which}", table, ("module", "claims", "verdict", ""))
    if any(each.verdict is not Verdict.PROVED for each in proofs):
        raise typer.Exit(1)
