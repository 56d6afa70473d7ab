"""``l1dl export``: a network for offline software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Examples:  l1dl export runs/jet_mlp --onnx jet_mlp.onnx   |   l1dl export runs/jet_mlp --cpp emulator"


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(export)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory with a converted network, or a graph.json.")
    ],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="ONNX model to write.")] = None,
    cpp: Annotated[
        Path | None, typer.Option("--cpp", help="Directory for a C++ library: a header and a source.")
    ] = None,
    version: Annotated[str, typer.Option("--model-version", help="Version in the C++ library's namespace.")] = "1",
) -> None:
    """Write a network for offline software: what it computes is, bit by bit, what the firmware computes.

    The quantisation of the inputs is part of it. The C++ library has the interface of the CMS emulators of hls4ml
    models.
    """
    from l1dl.cli.console import show
    from l1dl.flow.emulate_file import find_graph

    if onnx is None and cpp is None:
        msg = "nothing to write; give --onnx FILE or --cpp DIRECTORY"
        raise typer.BadParameter(msg)
    graph = find_graph(run)
    if onnx is not None:
        from l1dl.emulate.onnx import export_onnx

        export_onnx(graph, onnx)
        show(str(onnx))
    if cpp is not None:
        from l1dl.emulate.library import write_library

        for path in write_library(graph, cpp, version=version):
            show(str(path))
