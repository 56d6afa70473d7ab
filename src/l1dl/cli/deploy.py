"""``l1dl deploy``: a model that someone brings, to proved firmware."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from l1dl.cli.section import given, section
from l1dl.cli.units import Clock

EXAMPLES = (
    "Examples:  l1dl deploy model.h5 --calibration x_test.npy --out runs/mine   |   "
    "l1dl deploy model.json --weights weights.h5   |   l1dl deploy float.keras --calibration test.npz --bits 6   |   "
    "l1dl deploy float.keras --types types.toml"
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=EXAMPLES)(deploy)


def deploy(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A .keras or .h5 file, or the JSON of model.to_json() with --weights."),
    ],
    weights: Annotated[Path | None, typer.Option("--weights", help="The .h5 file of model.save_weights().")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Events of the proof, and of the fit of types: npy, npz, HDF5, Parquet or ARFF.",
            show_default="drawn over the type of each input",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Class indices of these events: npy, npz or HDF5.")
    ] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Names of the outputs, e.g. g,q,W,Z,t.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the firmware.", show_default="that of the model")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run directory.", show_default="runs/<name>")] = None,
    keep_softmax: Annotated[
        bool, typer.Option("--keep-softmax", help="Leave a final softmax or sigmoid; it is cut off by default.")
    ] = False,
    bits: Annotated[
        int | None,
        typer.Option("--bits", min=2, max=24, help="Bits of weights without a type.", show_default="8"),
    ] = None,
    activation_bits: Annotated[
        int | None,
        typer.Option("--activation-bits", min=2, max=24, help="Bits of values without a type.", show_default="12"),
    ] = None,
    input_bits: Annotated[
        int | None,
        typer.Option("--input-bits", min=2, max=24, help="Bits of inputs without a type.", show_default="12"),
    ] = None,
    layer_bits: Annotated[
        list[str] | None, typer.Option("--layer-bits", metavar="LAYER=BITS", help="Bits of one layer; may be repeated.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="LAYER[.PART]=TYPE",
            help="Type of a layer's result (or .weight, .bias, .sum) or of an input, e.g. dense='fixed<8,3,RND,SAT>'; "
            "may be repeated.",
        ),
    ] = None,
    types_file: Annotated[
        Path | None, typer.Option("--types", metavar="FILE", help="Such types in a TOML file, a table for each layer.")
    ] = None,
    margin: Annotated[
        int, typer.Option("--margin", min=0, max=8, help="Integer bits beyond what the calibration events need.")
    ] = 1,
    clock: Clock = 5.0,
    part: Annotated[
        str | None, typer.Option("--part", help="FPGA part of the HLS project.", show_default="xcvu13p-flga2577-2-e")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture", help="parallel: an event in each clock; stream: pixel by pixel.", show_default="parallel"
        ),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option("--pixels-per-clock", min=1, help="Pixels that enter a streaming design with each clock."),
    ] = None,
    random_vectors: Annotated[
        int, typer.Option("--random-vectors", min=0, help="Random events of the proof besides the given ones.")
    ] = 100_000,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", help="Budget: largest latency in ns.", show_default="none")
    ] = None,
    max_lut: Annotated[
        int | None, typer.Option("--max-lut", help="Budget: largest number of LUTs.", show_default="none")
    ] = None,
    until: Annotated[str, typer.Option("--until", metavar="STAGE", help="Last stage.")] = "report",
    force: Annotated[bool, typer.Option("--force", help="Run the stages even if they are up to date.")] = False,
) -> int:
    """Take a model of Keras, QKeras or HGQ2 to proved firmware: convert, emulate, rtl, cosim, synth, report.

    The file may be of Keras 3 or of Keras 2 with QKeras 0.9; no code in it is run. A model without quantisers gets
    the types that --type and --types give, and others from the calibration events. Exit code 0 means that all
    meanings of the model agree in every bit.
    """
    from l1dl.card import BudgetCard, CosimCard, HlsCard, RtlCard
    from l1dl.cli.console import display
    from l1dl.cli.run import summarise
    from l1dl.flow.deploy import deploy as run_deploy
    from l1dl.models.fit import FitSettings

    widths = given({"weight_bits": bits, "activation_bits": activation_bits, "input_bits": input_bits})
    fit = FitSettings(
        margin_bits=margin, layers=_layer_bits(layer_bits or []), types=_types(types_file, types or []), **widths
    )
    options = {"--weights": weights, "--calibration": calibration, "--labels": labels, "--name": name, "--out": out}

    def advise(stage: str) -> str:
        places = [text for option, value in options.items() if value is not None for text in (option, str(value))]
        return shlex.join(["l1dl", "deploy", str(model), *places, "--until", stage])

    with display() as shown:
        outcome = run_deploy(
            model, weights=weights, calibration=calibration, labels=labels, classes=_names(classes), name=name, out=out,
            keep_softmax=keep_softmax, fit=fit,
            hls=section(HlsCard, clock_period_ns=clock, part=part),
            rtl=section(RtlCard, clock_period_ns=clock, architecture=architecture, pixels_per_clock=pixels),
            cosim=section(CosimCard, random_vectors=random_vectors),
            budget=section(BudgetCard, max_latency_ns=max_latency, max_lut=max_lut),
            until=until, force=force, command=context.obj, report=shown.step, listen=shown.stage, advise=advise,
        )  # fmt: skip
    return summarise(outcome)


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _layer_bits(texts: Sequence[str]) -> dict[str, int]:
    from l1dl.errors import InputError

    found = {}
    for text in texts:
        name, _, bits = text.rpartition("=")
        if not name or not bits.isdecimal():
            msg = f"--layer-bits {text!r} is not allowed; give LAYER=BITS, e.g. dense_1=6"
            raise InputError(msg)
        found[name] = int(bits)
    return found


def _types(file: Path | None, texts: Sequence[str]) -> dict[str, str]:
    """Return the types of a file and of the options, which come last."""
    from l1dl.errors import InputError
    from l1dl.models.given_types import read_types

    found = {} if file is None else read_types(file)
    for text in texts:
        name, _, spec = text.partition("=")
        if not name or not spec:
            msg = f"--type {text!r} is not allowed; give LAYER[.PART]=TYPE, e.g. dense_1.weight=fixed<6,1,RND,SAT>"
            raise InputError(msg)
        found[name.removesuffix(".result")] = spec
    return found
