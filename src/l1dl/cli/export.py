"""``l1dl export``: a network for offline software, or as an IP core for Vivado."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "Examples:  l1dl export runs/jet_mlp --onnx jet_mlp.onnx   |   l1dl export runs/jet_mlp --cpp emulator   |   "
    "l1dl export runs/jet_mlp --ip ip/jet_mlp --vendor cern.ch --model-version 2_1"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(export)


def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run directory with a converted network (for --ip finished), or a graph."),
    ],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="ONNX model to write.")] = None,
    cpp: Annotated[
        Path | None, typer.Option("--cpp", help="Directory for a C++ library: a header and a source.")
    ] = None,
    ip: Annotated[Path | None, typer.Option("--ip", help="New directory for an IP core and its test benches.")] = None,
    version: Annotated[
        str, typer.Option("--model-version", help="Version in the C++ library's namespace, and of the IP core.")
    ] = "1",
    vendor: Annotated[str, typer.Option("--vendor", help="Vendor of the IP core.")] = "user.org",
    library: Annotated[str, typer.Option("--library", help="Library of the IP core.")] = "user",
    events: Annotated[int, typer.Option("--events", help="Test events in the IP core's vectors.")] = 100,
) -> None:
    """Write a network for offline software or for Vivado: what it computes is, bit by bit, what the firmware computes.

    For offline software, the quantisation of the inputs is part of it. The C++ library has the interface of the CMS
    emulators of hls4ml models.
    """
    from l1dl.cli.console import show

    if onnx is None and cpp is None and ip is None:
        msg = "nothing to write; give --onnx FILE, --cpp DIRECTORY or --ip DIRECTORY"
        raise typer.BadParameter(msg)
    if onnx is not None or cpp is not None:
        from l1dl.flow.emulate_file import find_graph

        graph = find_graph(run)
    if onnx is not None:
        from l1dl.emulate.onnx import export_onnx

        export_onnx(graph, onnx)
        show(str(onnx))
    if cpp is not None:
        from l1dl.emulate.library import write_library

        for path in write_library(graph, cpp, version=version):
            show(str(path))
    if ip is not None:
        from l1dl.flow.export_ip import export_ip
        from l1dl.ip.core import CoreName

        name = CoreName(vendor, library, version)
        for file in export_ip(run, ip, name=name, events=events):
            show(str(ip / file))
