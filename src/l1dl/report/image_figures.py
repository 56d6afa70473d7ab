"""The figures about images: examples, filters, feature maps, and where the image counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from l1dl.report.inputs import FeatureMaps, ImageStudy, Scores
from l1dl.report.style import label, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, CLASSES = 8, 5
"""Most filters, and most outputs, in a row."""


WIDTH = 5.5
"""Width of all panels of a row together, in inches, so that text is as large in all figures."""


def image_figures(study: ImageStudy) -> dict[str, Figure | None]:
    """Return the figures by name."""
    return {
        "image_examples": examples_figure(study),
        "image_filters": None if study.filters is None else filters_figure(study.filters),
        "image_maps": None if study.maps is None else maps_figure(study.maps),
        "image_correlation": correlation_figure(study),
    }


def examples_figure(study: ImageStudy) -> Figure:
    """Draw the mean image and one image of each class; colours go by the square root."""
    with style():
        from matplotlib.colors import PowerNorm

        figure, axes = _grid(2, len(study.classes))
        for row, images in enumerate((study.means, study.examples)):
            top = float(images.max()) or 1.0
            for column, image in enumerate(images):
                axes[row][column].imshow(image, cmap="viridis", norm=PowerNorm(0.5, vmin=0, vmax=top))
                if row == 0:
                    axes[row][column].set_title(label(study.classes[column]), fontsize=12)
        axes[0][0].set_ylabel("mean")
        axes[1][0].set_ylabel("one image")
    return figure


def filters_figure(filters: Scores) -> Figure:
    """Draw each filter, all on one scale around zero."""
    return _tiles(filters, COLUMNS, [])


def maps_figure(maps: FeatureMaps) -> Figure:
    """Draw the maps of each event: a row for the float model, and one for the firmware below it."""
    kinds = [("float", maps.real), ("firmware", maps.firmware)]
    events, count = maps.firmware.shape[0], maps.firmware.shape[-1]
    rows = [
        (f"{name} {event + 1}", values[event])
        for event in range(events)
        for name, values in kinds
        if values is not None
    ]
    top = max(float(values.max()) for _, values in rows) or 1.0
    with style():
        figure, axes = _grid(len(rows), count)
        for row, (name, values) in enumerate(rows):
            axes[row][0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
            for column in range(count):
                shown = axes[row][column].imshow(values[..., column], cmap="viridis", vmin=0, vmax=top)
        _scale(figure, shown, axes)
    return figure


def correlation_figure(study: ImageStudy) -> Figure:
    """Draw the correlation of each pixel with each output."""
    return _tiles(study.correlation, CLASSES, study.outputs)


def _tiles(images: Scores, most: int, titles: Sequence[str]) -> Figure:
    """Draw images row by row, all on one scale around zero."""
    columns = min(most, len(images))
    top = float(np.abs(images).max()) or 1.0
    with style():
        figure, axes = _grid(math.ceil(len(images) / columns), columns)
        for panel in axes.flat[len(images) :]:
            panel.set_axis_off()
        for panel, image in zip(axes.flat, images, strict=False):
            shown = panel.imshow(image, cmap="RdBu_r", vmin=-top, vmax=top)
        for panel, title in zip(axes.flat, titles, strict=False):
            panel.set_title(label(title), fontsize=12)
        _scale(figure, shown, axes)
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, Any]:
    """Return a figure with panels that have no ticks."""
    from matplotlib.figure import Figure

    side = WIDTH / columns
    figure = Figure(figsize=(WIDTH + 1.0, side * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.minorticks_off()
    return figure, axes


def _scale(figure: Figure, shown: Any, axes: Any) -> None:
    figure.colorbar(shown, ax=axes.ravel().tolist(), shrink=0.8)
