"""The figures of the report, each a function that returns a Matplotlib figure; no state of pyplot is touched.

Text and axes are drawn in `INK`, which the page replaces by the colour of its text, so that a figure
fits a light and a dark page. Save a figure within `style`, or its fonts are not those it was laid out with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from l1dl.cosim.instrument import Kind
from l1dl.emulate.profile import LayerProfile
from l1dl.metrics import Array, RocCurve, roc_auc, roc_curve
from l1dl.report.clocks import ClockPoint
from l1dl.report.format import NOTHING, count
from l1dl.report.image_figures import image_figures
from l1dl.report.inputs import Physics, ReportInputs
from l1dl.report.physics import Evaluation, Scored, confusion_counts, evaluate
from l1dl.report.placement import PlacementStudy
from l1dl.report.style import INK, label, style
from l1dl.report.upsets import PlaceStudy, UpsetStudy
from l1dl.synth.resources import Resources

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#3f7fe0", "#e8871e", "#d8324a", "#9a52b0", "#2a9d74", "#8a6d5a", "#0fa3b8", "#b8950f")
"""Colours that stand out on white and on black."""

RANGE_GREY = "#8d95a3"
MINUS = "\N{MINUS SIGN}"
_POINTS = 250


def all_figures(inputs: ReportInputs) -> dict[str, Figure]:
    """Return every figure for which there are data, by name, in the order of the report."""
    figures: dict[str, Figure | None] = {}
    if inputs.physics is not None:
        figures["roc"] = roc_figure(inputs.physics)
        figures["confusion"] = confusion_figure(inputs.physics)
        figures["logit_tails"] = tails_figure(inputs.physics)
    if inputs.images is not None:
        figures |= image_figures(inputs.images)
    weights = [profile for profile in inputs.profiles if profile.kind == "constant"]
    activations = [profile for profile in inputs.profiles if profile.kind != "constant"]
    figures["profile_weights"] = profile_figure(weights) if weights else None
    figures["profile_activations"] = profile_figure(activations) if activations else None
    figures["training"] = training_figure(inputs.history) if any(inputs.history.values()) else None
    figures["resources"] = resources_figure(inputs.resources) if inputs.resources.stages else None
    figures["clocks"] = clocks_figure(inputs.clocks) if inputs.clocks else None
    figures["placement"] = placement_figure(inputs.placement) if inputs.placement is not None else None
    figures["upsets"] = upsets_figure(inputs.upsets) if inputs.upsets is not None else None
    return {name: figure for name, figure in figures.items() if figure is not None}


def roc_figure(physics: Physics) -> Figure | None:
    """Draw the ROC curve of each class: float solid, RTL dashed; None if no model or class can be judged."""
    evaluation = evaluate(physics)
    lines: dict[str, Any] = {"float": "-", "rtl": "--"}
    models = {name: evaluation.models[name] for name in lines if name in evaluation.models}
    signals = [(name, index) for name, index in evaluation.signals if 0 < np.mean(evaluation.positive(index)) < 1]
    if not models or not signals:
        return None
    with style():
        from matplotlib.lines import Line2D

        figure, (axes,) = _panels(1, (6.4, 5.6))
        for color, (_, index) in zip(_colors(len(signals)), signals, strict=True):
            positive = evaluation.positive(index)
            for model, scored in models.items():
                curve = roc_curve(scored.probabilities[:, index], positive)
                points = _thin(curve)
                axes.plot(curve.signal[points], curve.background[points], lines[model], color=color)
        handles = [Line2D([], [], color=INK, linestyle=lines[model]) for model in models]
        texts = [{"float": "float", "rtl": "hardware (RTL)"}[model] for model in models]
        axes.add_artist(axes.legend(handles, texts, loc="lower right"))
        areas = [_arealabel(evaluation, models, name, index) for name, index in signals]
        handles = [Line2D([], [], color=color) for color in _colors(len(signals))]
        axes.legend(handles, areas, loc="upper left", title=f"AUC: {' / '.join(_plain(model) for model in models)}")
        floor = min(np.count_nonzero(~evaluation.positive(index)) for _, index in signals)
        axes.set(xlim=(0, 1), ylim=(1e-4 if floor >= 20_000 else 1e-3, 1), yscale="log")
        axes.set_xlabel("Signal efficiency")
        axes.set_ylabel("Background efficiency")
        axes.grid(visible=True, which="major", alpha=0.25)
    return figure


def confusion_figure(physics: Physics) -> Figure | None:
    """Draw the confusion matrix of the RTL, each row normalised to one; None without scores of the RTL."""
    evaluation = evaluate(physics)
    if "rtl" not in evaluation.models:
        return None
    counts = confusion_counts(evaluation, evaluation.models["rtl"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = len(counts)
    with style():
        figure, (axes,) = _panels(1, (6.4, 5.6))
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        for row, column in np.ndindex(size, size):
            share = shares[row, column]
            text = NOTHING if totals[row, 0] == 0 else f"{100 * share:.1f}"
            color = "#ffffff" if share > 0.5 else "#10141a"
            size_pt = min(13.0, 75 / size)
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=color, fontsize=size_pt)
        names = [label(name) for name in evaluation.axis]
        slanted: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 6 else {}
        axes.set_xticks(np.arange(size) + 0.5, names, **slanted)
        axes.set_yticks(np.arange(size) + 0.5, names)
        axes.tick_params(which="both", length=0)
        axes.minorticks_off()
        axes.set_xlabel("Decided class (RTL)")
        axes.set_ylabel("True class")
        axes.invert_yaxis()
    return figure


def tails_figure(physics: Physics) -> Figure | None:
    """Draw the logits of float model and RTL and their difference, on a logarithmic axis to show the tails."""
    evaluation = evaluate(physics)
    if "float" not in evaluation.models or "rtl" not in evaluation.models:
        return None
    real, hardware = _logits(evaluation, "float"), _logits(evaluation, "rtl")
    shift = hardware - real
    with style():
        figure, (upper, lower) = _panels(2, (6.4, 7.0))
        edges = _edges(np.concatenate([real, hardware]), 80)
        upper.hist(real, edges, histtype="step", color=PALETTE[0], linewidth=1.7, label="float")
        upper.hist(
            hardware, edges, histtype="step", color=PALETTE[2], linewidth=1.7, linestyle="--", label="hardware (RTL)"
        )
        upper.set_xlabel("Logit, all outputs")
        upper.legend(loc="upper right")
        lower.hist(shift, _edges(shift, 80), histtype="stepfilled", color=PALETTE[3], alpha=0.75)
        lower.axvline(0, color=INK, linewidth=0.9)
        lower.set_xlabel(f"Logit, RTL {MINUS} float")
        text = f"RMS {np.sqrt(np.mean(shift**2)):.3g}\nlargest {np.max(np.abs(shift)):.3g}"
        lower.text(0.97, 0.94, text, transform=lower.transAxes, ha="right", va="top", fontsize=11)
        for axes in (upper, lower):
            axes.set_yscale("log")
            axes.set_ylabel("Entries")
            axes.set_ylim(bottom=0.5, top=20 * axes.get_ylim()[1])
    return figure


def profile_figure(profiles: Sequence[LayerProfile]) -> Figure:
    """Draw the values of layers as boxes, before the range of their types in grey.

    Box: 25 % to 75 %, with the median; whiskers: 0.1 % to 99.9 %; points: minimum and maximum. The axis is
    logarithmic on both sides of a linear part around zero.
    """
    with style():
        from matplotlib.ticker import FuncFormatter, NullLocator

        figure, (axes,) = _panels(1, (6.4, 1.6 + 0.46 * len(profiles)))
        for row, profile in enumerate(profiles):
            overflows = profile.wraps + profile.saturations
            color = PALETTE[2] if overflows else PALETTE[0]
            low, whisker_low, box_low, median, box_high, whisker_high, high = profile.quantiles
            axes.barh(row, profile.high - profile.low, 0.72, profile.low, color=RANGE_GREY, alpha=0.35, linewidth=0)
            axes.plot([whisker_low, whisker_high], [row, row], color=color, linewidth=1.5)
            axes.barh(row, box_high - box_low, 0.36, box_low, color=color, alpha=0.8, edgecolor=color, linewidth=1.5)
            axes.plot([median, median], [row - 0.25, row + 0.25], color=INK, linewidth=1.8)
            axes.plot([low, high], [row, row], ".", color=color, markersize=5)
        largest, smallest = _range_of(profiles)
        axes.set_xscale("symlog", base=2, linthresh=smallest, linscale=1)
        axes.set_xlim(-2 * largest if _reaches_below(profiles, smallest) else -smallest, 2 * largest)
        axes.set_xticks(_symlog_ticks(smallest, largest))
        axes.xaxis.set_major_formatter(FuncFormatter(_power_of_two))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(profiles)), [label(profile.name) for profile in profiles])
        axes.tick_params(axis="y", which="both", length=0)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(len(profiles) - 0.4, -0.6)
        axes.grid(visible=True, axis="x", alpha=0.25)
        axes.set_xlabel("Value")
    return figure


def training_figure(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw loss and validation accuracy by epoch, for each model that was trained."""
    titles = {"float": "float", "quantised": "quantised"}
    with style():
        figure, (loss, accuracy) = _panels(2, (6.4, 7.0), sharex=True)
        for (model, curves), color in zip(history.items(), _colors(len(history)), strict=True):
            title = label(titles.get(model, model))
            for key, line, what in (("loss", ":", "training"), ("validation_loss", "-", "validation")):
                _curve(loss, curves.get(key, ()), line, color, f"{title}, {what}")
            _curve(accuracy, curves.get("validation_accuracy", ()), "-", color, title)
        loss.set_ylabel("Loss")
        accuracy.set_ylabel("Validation accuracy")
        accuracy.set_xlabel("Epoch")
        for axes in (loss, accuracy):
            if axes.lines:
                axes.legend(loc="best")
            axes.grid(visible=True, alpha=0.25)
    return figure


def resources_figure(resources: Resources) -> Figure:
    """Draw LUT and flip-flops by pipeline stage."""
    stages = resources.stages
    with style():
        from matplotlib.ticker import MaxNLocator, NullLocator

        figure, (axes,) = _panels(1, (6.4, 1.7 + 0.5 * len(stages)))
        rows = np.arange(len(stages))
        axes.barh(rows - 0.19, [stage.lut for stage in stages], 0.36, color=PALETTE[0], label="LUT")
        axes.barh(rows + 0.19, [stage.ff for stage in stages], 0.36, color=PALETTE[1], label="FF")
        for row, stage in enumerate(stages):
            for shift, count in ((-0.19, stage.lut), (0.19, stage.ff)):
                note = (f"{count:,}", (count, row + shift))
                axes.annotate(*note, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_yticks(rows, [label(stage.name) for stage in stages])
        axes.tick_params(axis="y", which="both", length=0)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylim(len(stages) - 0.4, -0.6)
        axes.set_xlim(0, 1.2 * max(1, *(max(stage.lut, stage.ff) for stage in stages)))
        axes.set_xlabel("Count")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def clocks_figure(points: Sequence[ClockPoint]) -> Figure:
    """Draw the latency, and below it LUT and flip-flops, against the clock."""
    clocks = [point.clock_mhz for point in points]
    with style():
        figure, (latency, resources) = _panels(2, (6.4, 5.6), sharex=True)
        latency.plot(clocks, [point.latency_ns for point in points], "o-", color=PALETTE[0])
        for point in points:
            at = (point.clock_mhz, point.latency_ns)
            note = f"{point.latency_cycles} cycles"
            latency.annotate(note, at, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9.5)
        latency.set_ylim(0, 1.2 * max(point.latency_ns for point in points))
        latency.set_ylabel("Latency in ns")
        resources.plot(clocks, [point.lut / 1e3 for point in points], "o-", color=PALETTE[0], label="LUT")
        resources.plot(clocks, [point.ff / 1e3 for point in points], "s--", color=PALETTE[1], label="FF")
        resources.set_ylim(bottom=0)
        resources.set_ylabel("Thousands")
        resources.set_xlabel("Clock in MHz")
        resources.set_xlim(0, 1.12 * max(clocks))
        resources.legend()
    return figure


def placement_figure(study: PlacementStudy) -> Figure | None:
    """Draw placed against estimated delay of each stage; None with fewer than two points."""
    stages = [stage for stage in study.stages if stage.estimate_ns is not None]
    estimates = [stage.estimate_ns for stage in study.stages if stage.estimate_ns is not None]
    if len(stages) < 2:
        return None
    with style():
        figure, (axes,) = _panels(1, (6.4, 4.8))
        middle = np.array([stage.delay_ns.median for stage in stages])
        below = middle - [stage.delay_ns.min for stage in stages]
        above = np.array([stage.delay_ns.max for stage in stages]) - middle
        axes.errorbar(estimates, middle, yerr=[below, above], fmt="o", color=PALETTE[0], markersize=4, elinewidth=1.4)
        for stage, x, y in zip(stages, estimates, middle, strict=True):
            text = label(stage.name.removeprefix(f"{study.model}_stage"))
            axes.annotate(text, (x, y), (5, 3), textcoords="offset points", fontsize=9, color=INK)
        axes.set_xlabel("Estimated on UltraScale+ (-1) / ns")
        axes.set_ylabel(f"Placed on {study.device} / ns")
        axes.set_xlim(0, 1.1 * max(estimates))
        axes.set_ylim(0, 1.1 * float((middle + above).max()))
        axes.grid(visible=True, alpha=0.25)
    return figure


def upsets_figure(study: UpsetStudy) -> Figure:
    """Draw the shares by stage: flip-flops, and below them the constants, if there are any."""
    titles = {"Registers, flipped for one cycle": False, f"Constants, flipped for {study.hold_events} events": True}
    groups = {
        title: places
        for title, lasting in titles.items()
        if (places := [place for place in study.places if Kind(place.kind).lasting == lasting])
    }
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 1.9 + 0.7 * len(groups) + 0.26 * len(study.places)), layout="constrained")
        ratios = [len(group) + 1 for group in groups.values()]
        panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
        for axes, (title, group) in zip(panels, groups.items(), strict=True):
            _draw_shares(axes, group)
            axes.set_title(title, loc="left", fontsize=12)
        panels[-1].set_xlabel("Share of upsets")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _draw_shares(axes: Axes, places: Sequence[PlaceStudy]) -> None:
    """Draw one point with its error for each place and question."""
    from matplotlib.ticker import NullLocator

    rows = np.arange(len(places))
    for shares, shift, color, marker, name in (
        ([place.changed for place in places], -0.14, PALETTE[0], "o", "changes an output"),
        ([place.decision for place in places], 0.14, PALETTE[2], "s", "changes the decision"),
    ):
        there = [(row, share) for row, share in zip(rows, shares, strict=True) if share is not None]
        if there:
            values = np.array([share.value for _, share in there])
            errors = [[share.value - share.low for _, share in there], [share.high - share.value for _, share in there]]
            at = np.array([row for row, _ in there]) + shift
            axes.errorbar(values, at, xerr=errors, fmt=marker, color=color, markersize=3.5, elinewidth=1.4, label=name)
    axes.set_yticks(rows, [label(f"{place.name}: {count(place.bits)} bits") for place in places])
    axes.tick_params(axis="y", which="both", length=0)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(visible=True, axis="x", alpha=0.25)


def _panels(rows: int, size: tuple[float, float], *, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False, sharex=sharex)[:, 0])


def _plain(model: str) -> str:
    return {"rtl": "RTL"}.get(model, model)


def _colors(count: int) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(count)]


def _arealabel(evaluation: Evaluation, models: Mapping[str, Scored], name: str, index: int) -> str:
    areas = [roc_auc(scored.probabilities[:, index], evaluation.positive(index)) for scored in models.values()]
    return f"{label(name)}: {' / '.join(f'{area.value:.4f}' for area in areas if area is not None)}"


def _thin(curve: RocCurve) -> list[int]:
    """Choose points of a curve for the screen, dense in signal efficiency and in decades of background."""
    first = int(np.argmax(curve.background > 0))
    start = max(float(curve.background[first]), 1e-6)
    by_signal = np.searchsorted(curve.signal, np.linspace(0, 1, _POINTS))
    by_background = np.searchsorted(curve.background, np.geomspace(start, 1, _POINTS))
    chosen = np.unique(np.concatenate([by_signal, by_background, [first]]))
    return [int(point) for point in chosen if first <= point < len(curve.signal)]


def _logits(evaluation: Evaluation, model: str) -> Array:
    """Return all logits of a model, flat; the zero that stands for the background of a binary model is left out."""
    logits = evaluation.models[model].logits
    return logits[:, 1] if not np.any(logits[:, 0]) else logits.ravel()


def _edges(values: Array, bins: int) -> list[float]:
    """Return edges at multiples of a power of two, so that each bin holds equally many fixed-point codes."""
    low, high = float(values.min()), float(values.max())
    width = 2.0 ** math.ceil(math.log2((high - low or 1.0) / bins))
    first, last = math.floor(low / width) - 1, math.floor(high / width) + 2
    return [width * edge for edge in range(first, last + 1)]


def _range_of(profiles: Sequence[LayerProfile]) -> tuple[float, float]:
    """Return the largest value to draw, and where the logarithmic part of the axis begins; powers of two."""
    shown = [profile for profile in profiles if any(profile.quantiles)] or profiles  # zeros need no range
    ranges = [max(abs(profile.low), abs(profile.high)) for profile in shown]
    values = [abs(value) for profile in profiles for value in profile.quantiles]
    largest = 2.0 ** math.ceil(math.log2(max(*ranges, *values)))
    smallest = 2.0 ** (math.floor(math.log2(min(ranges))) - 3)
    return largest, max(smallest, largest * 2.0**-24)


def _reaches_below(profiles: Sequence[LayerProfile], smallest: float) -> bool:
    return min(min(profile.low, profile.quantiles[0]) for profile in profiles) < -smallest


def _symlog_ticks(smallest: float, largest: float) -> list[float]:
    first, last = round(math.log2(smallest)), round(math.log2(largest))
    step = max(2, math.ceil((last - first + 1) / 4))
    powers = [2.0**power for power in range(last, first - 1, -step)]
    return [-value for value in powers] + [0.0] + powers[::-1]


def _power_of_two(value: float, _: int | None) -> str:
    if value == 0:
        return "0"
    power = round(math.log2(abs(value)))
    text = f"{abs(value):g}" if -3 <= power <= 10 else f"$2^{{{power}}}$"
    return f"{MINUS}{text}" if value < 0 else text


def _curve(axes: Axes, values: Sequence[float], line: str, color: str, label: str) -> None:
    if len(values):
        axes.plot(np.arange(1, len(values) + 1), np.asarray(values, dtype=np.float64), line, color=color, label=label)
