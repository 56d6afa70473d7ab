"""``l1dl data``: make and check data sets."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from l1dl.data.dataset import Dataset

Word = TypeVar("Word", bound=Enum)

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Out = Annotated[Path, typer.Option("--out", help="HDF5 file to write.")]
Number = Annotated[int, typer.Option("--jets", help="Number of jets, spread evenly over the five classes.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes, one Pythia each.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Master seed; the same seed gives the same jets.")]
Response = Annotated[str, typer.Option("--detector", help="Detector response: fine or coarse.")]
Channels = Annotated[
    str, typer.Option("--channels", help="Channels of the images, of pt, charged, neutral, multiplicity, with commas.")
]


@app.command(epilog="Example:  l1dl data jets --jets 100000 --out jets.h5 --workers 8 --seed 7")
def jets(
    context: typer.Context,
    out: Out,
    number: Number = 22_000,
    workers: Workers = 1,
    seed: Seed = 1,
    detector: Response = "fine",
    channels: Channels = "pt",
) -> None:
    """Generate jets of gluons, light quarks, W, Z and top: Pythia 8, detector response, anti-kT.

    Each jet has 16 features, an image and its 16 hardest constituents.
    Finished shards are kept, so that an interrupted call goes on where it stopped.
    """
    _generate(context, out, number, workers, seed, detector, channels, constituents=True)


@app.command(
    epilog="Example:  l1dl data images --channels pt,charged,neutral,multiplicity --jets 20000 --out images.h5"
)
def images(
    context: typer.Context,
    out: Out,
    channels: Channels = "pt",
    number: Number = 22_000,
    workers: Workers = 1,
    seed: Seed = 1,
    detector: Response = "fine",
) -> None:
    """Generate images of jets: 16 x 16 pixels within 0.4 in eta and phi, centred and rotated.

    Events, features and file are those of `l1dl data jets`, without constituents.
    Channels pt, charged (tracks), neutral (calorimeter cells): roots of shares of pt.
    Channel multiplicity: the number of constituents in a pixel.
    """
    _generate(context, out, number, workers, seed, detector, channels, constituents=False)


def _generate(
    context: typer.Context,
    out: Path,
    number: int,
    workers: int,
    seed: int,
    detector: str,
    channels: str,
    *,
    constituents: bool,
) -> None:
    from l1dl.cli.console import display, show
    from l1dl.data.generate import generate_jets
    from l1dl.data.settings import Channel, Detector, JetSettings

    names = [name.strip() for name in channels.split(",")]
    settings = JetSettings(
        jets=number,
        seed=seed,
        detector=_word("--detector", detector, Detector),
        channels=tuple(_word("--channels", name, Channel) for name in names),
        constituents=constituents,
    )
    with display() as shown:
        shown.stage("jets", "started", 0.0)
        generate_jets(
            settings, out, workers=workers, command=context.obj,
            progress=lambda done, total: shown.step("generating", done, total),
        )  # fmt: skip
    show(f"{number:,} jets written to {out}")


def _word(option: str, value: str, kind: type[Word]) -> Word:
    from l1dl.errors import InputError, did_you_mean

    known = [word.value for word in kind]
    if value not in known:
        msg = f"{option} {value!r} is unknown{did_you_mean(value, known)}; allowed are {', '.join(known)}"
        raise InputError(msg)
    return kind(value)


@app.command(epilog="Example:  l1dl data check jets.npz")
def check(
    file: Annotated[
        Path,
        typer.Argument(
            help="HDF5, npz, npy, Parquet or ARFF file; directory of MNIST (IDX) or CIFAR-10 (binary); or: digits."
        ),
    ],
    labels: Annotated[Path | None, typer.Option("--labels", help="Labels of an npy file.")] = None,
) -> None:
    """Read a data set, check it, and show what is in it: classes, features, images.

    Of images it shows, for each channel, the share of pixels that are not zero, the mean and the largest value.
    """
    import numpy as np

    from l1dl.cli.console import print_table, show
    from l1dl.data.dataset import Split
    from l1dl.data.load import Inputs, holds_images, load_dataset

    dataset = load_dataset(file, labels=labels)
    rows = []
    for index, name in enumerate(dataset.classes):
        counts = [int(np.sum((dataset.y == index) & (dataset.split == split))) for split in Split]
        rows.append((name, *(f"{count:,}" for count in counts)))
    print_table(f"{file}: {len(dataset.y):,} objects", rows, ("class", *(split.name.lower() for split in Split)))
    if dataset.x.ndim == 2:
        quantiles = np.quantile(dataset.x, [0, 0.5, 1], axis=0).T
        print_table(
            f"{len(dataset.features)} features",
            [(name, *(f"{value:.4g}" for value in row)) for name, row in zip(dataset.features, quantiles, strict=True)],
            ("feature", "minimum", "median", "maximum"),
        )
    else:
        _show_images(dataset)
    if holds_images(file):
        _show_images(load_dataset(file, inputs=Inputs.IMAGES))
    show(f"source: {dataset.source}")


def _show_images(dataset: Dataset) -> None:
    import numpy as np

    from l1dl.cli.console import print_table

    *size, channels = dataset.shape
    title = f"images of {' x '.join(map(str, size))} pixels, {channels} channel{'s' * (channels > 1)}"
    if dataset.pixels is not None:
        grid = dataset.pixels.grid
        title += f", multiples of 1/{2**grid.fraction} in {grid.width} bits"
    rows = []
    for channel, name in enumerate(dataset.features):
        values = dataset.x[..., channel]
        mean = float(values.mean(dtype=np.float64))
        rows.append((name, f"{np.count_nonzero(values) / values.size:.1%}", f"{mean:.4g}", f"{values.max():.4g}"))
    print_table(title, rows, ("channel", "not zero", "mean", "maximum"))


@app.command("fetch-openml", epilog="Example:  l1dl data fetch-openml hls4ml_lhc_jets_hlf.npz")
def fetch_openml(out: Annotated[Path, typer.Argument(help="npz file to write.")]) -> None:
    """Download the public benchmark hls4ml_lhc_jets_hlf from OpenML (830,000 jets, over the network)."""
    from l1dl.cli.console import show
    from l1dl.data.load import fetch_openml_jets

    show(f"written to {fetch_openml_jets(out)}")
