"""``l1dl data``: make and check data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.command(epilog="Example:  l1dl data jets --jets 100000 --out jets.h5 --workers 8 --seed 7")
def jets(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="HDF5 file to write.")],
    number: Annotated[
        int, typer.Option("--jets", help="Number of jets, spread evenly over the five classes.")
    ] = 22_000,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes, one Pythia each.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Master seed; the same seed gives the same jets.")] = 1,
    detector: Annotated[str, typer.Option("--detector", help="Detector response: fine or coarse.")] = "fine",
) -> None:
    """Generate jets of gluons, light quarks, W, Z and top: Pythia 8, detector response, anti-kT, 16 features.

    Finished shards are kept, so that an interrupted call goes on where it stopped.
    """
    from l1dl.cli.console import display, show
    from l1dl.data.generate import generate_jets
    from l1dl.data.settings import Detector, JetSettings
    from l1dl.errors import InputError, did_you_mean

    if detector not in list(Detector):
        known = [kind.value for kind in Detector]
        msg = f"--detector {detector!r} is unknown{did_you_mean(detector, known)}; allowed are {', '.join(known)}"
        raise InputError(msg)
    settings = JetSettings(jets=number, seed=seed, detector=Detector(detector))
    with display() as shown:
        shown.stage("jets", "started", 0.0)
        generate_jets(
            settings, out, workers=workers, command=context.obj,
            progress=lambda done, total: shown.step("generating", done, total),
        )  # fmt: skip
    show(f"{number:,} jets written to {out}")


@app.command(epilog="Example:  l1dl data check jets.npz")
def check(
    file: Annotated[Path, typer.Argument(help="HDF5, npz, npy, Parquet or ARFF file.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="Labels of an npy file.")] = None,
) -> None:
    """Read a data set, check it, and show what is in it."""
    import numpy as np

    from l1dl.cli.console import print_table, show
    from l1dl.data.dataset import Split
    from l1dl.data.load import load_dataset

    dataset = load_dataset(file, labels=labels)
    rows = []
    for index, name in enumerate(dataset.classes):
        counts = [int(np.sum((dataset.y == index) & (dataset.split == split))) for split in Split]
        rows.append((name, *(f"{count:,}" for count in counts)))
    print_table(f"{file}: {len(dataset.y):,} objects", rows, ("class", *(split.name.lower() for split in Split)))
    quantiles = np.quantile(dataset.x, [0, 0.5, 1], axis=0).T
    print_table(
        f"{len(dataset.features)} features",
        [(name, *(f"{value:.4g}" for value in row)) for name, row in zip(dataset.features, quantiles, strict=True)],
        ("feature", "minimum", "median", "maximum"),
    )
    show(f"source: {dataset.source}")


@app.command("fetch-openml", epilog="Example:  l1dl data fetch-openml hls4ml_lhc_jets_hlf.npz")
def fetch_openml(out: Annotated[Path, typer.Argument(help="npz file to write.")]) -> None:
    """Download the public benchmark hls4ml_lhc_jets_hlf from OpenML (830,000 jets, over the network)."""
    from l1dl.cli.console import show
    from l1dl.data.load import fetch_openml_jets

    show(f"written to {fetch_openml_jets(out)}")
