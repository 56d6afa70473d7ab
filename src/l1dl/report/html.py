"""The report as one HTML page: no script, no file beside it, no request to any server."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from l1dl.report import format as formats
from l1dl.report.build import LOGITS
from l1dl.report.costs import HEADERS, cost_rows
from l1dl.report.figures import MINUS
from l1dl.report.judge import MEANINGS, comparison_title
from l1dl.report.physics import MODELS
from l1dl.report.style import INK, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "roc": (
        "ROC by class",
        "Each class against all others, on the test split: float model solid, RTL dashed. Where only one line is to be "
        "seen, they coincide.",
    ),
    "confusion": ("Confusion matrix of the RTL", "Decisions in per cent of the true class; each row adds up to 100."),
    "logit_tails": (
        "Tails of the logits",
        "Above, all logits of the float model and of the RTL; below, their difference event by event. An overflow "
        "that hides in the accuracy shows here as an isolated bump.",
    ),
    "image_examples": (
        "Images by class",
        "Above, the mean of all test images of a class; below, the first of them. Colours go by the square root; "
        "channels are added up.",
    ),
    "image_filters": ("Filters of the first convolution", "As in the firmware; channels added up."),
    "image_maps": (
        "Feature maps",
        "What these filters and the activation behind them make of the first test images, on one scale: the firmware, "
        "and above it the float model where it has the same layer.",
    ),
    "image_correlation": (
        "Where the image counts",
        "Pearson's correlation of each pixel's intensity with each output of the firmware, over the test images.",
    ),
    "profile_weights": (
        "Weights against their types",
        "Box: 25 % to 75 % with the median; whiskers: 0.1 % to 99.9 %; points: extremes; grey: what the type can hold. "
        "Logarithmic on both sides of a linear part around zero.",
    ),
    "profile_activations": (
        "Activations against their types",
        "The same for the values of each layer over the events profiled. Red: some values were out of range.",
    ),
    "training": ("Training", "Loss of the training split dotted, of the validation split solid."),
    "clocks": (
        "Latency and resources against the clock",
        "Stages as full as a positive estimated slack allows; as co-simulated and synthesised.",
    ),
    "upsets": (
        "Upsets by pipeline stage",
        "Share of the flipped bits that change an output code, or the decision, of one event at least.",
    ),
    "placement": (
        "Placed against estimated",
        "Critical path of each stage, by its number, on ECP5: median over the seeds, with the smallest and "
        "largest, against the estimate for UltraScale+. Where the points rise, the estimate orders the stages rightly.",
    ),
    "resources": ("Resources by pipeline stage", "LUT and flip-flops of each stage, as synthesised."),
}
"""Title and caption of each figure."""

BUDGET_TITLES = {"max_auc_loss": "Loss of macro AUC", "max_latency_ns": "Latency", "max_lut": "LUT"}

_MARKS = {"met": "✓", "broken": "✗", "unknown": "?", "none": "\N{EN DASH}"}


def render_html(report: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    """Return the page.

    Parameters
    ----------
    report
        What `build_report` returned.
    figures
        Figures by name; those that `CAPTIONS` does not know are shown under their name.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("l1dl.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=formats.count,
        number=formats.number,
        share=formats.share,
        duration=formats.duration,
        flat=_flat,
    )
    environment.globals.update(
        with_error=formats.with_error,
        with_interval=formats.with_interval,
        comparison_title=comparison_title,
        signed=_signed,
        nothing=formats.NOTHING,
    )
    drawn = {name: _figure(name, figure, Markup) for name, figure in figures.items()}
    # Where Keras was compared on what a softmax reads, it is no link of the chain of equal outputs.
    links = [name for name in report["agreement"] if name != LOGITS]
    titles = list(MEANINGS.values())[-len(links) - 1 :]
    chain: list[dict[str, Any]] = [{"name": title, "comparison": None} for title in titles]
    for link, name in zip(chain[1:], links, strict=True):
        link["comparison"] = {"name": name, **report["agreement"][name]}
    return environment.get_template("report.html.j2").render(
        report=report,
        figures=drawn,
        chain=chain,
        models=[name for name in MODELS if name in (report["physics"] or {})],
        model_titles={"float": "float", "quantised": "quantised (Keras)", "rtl": "RTL"},
        budget_titles=BUDGET_TITLES,
        marks=_MARKS,
        cost_headers=HEADERS,
        cost_rows=cost_rows(report["costs"]),
        vectors=sum(report["cosim"]["vectors"].values()),
    )


def to_svg(name: str, figure: Figure) -> str:
    """Return a figure as an SVG element for a page that holds several: text colour of the page, unique ids.

    Parameters
    ----------
    name
        Name of the figure, distinct on the page; also the seed of the ids, so that they never change.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with style(), mpl.rc_context({"svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9]", "-", name)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('xlink:href="', 'href="').replace('href="#', f'href="#{prefix}-')
    body = body.replace("url(#", f"url(#{prefix}-")
    body = re.sub(r"\s*\n\s*", "\n", body.replace(INK, "currentColor"))
    return f'<svg viewBox="{box.group(1) if box else "0 0 460 350"}" aria-hidden="true">{body}</svg>'


def _figure(name: str, figure: Figure, markup: type[str]) -> dict[str, Any]:
    title, caption = CAPTIONS.get(name, (name, ""))
    return {"name": name, "title": title, "caption": caption, "svg": markup(to_svg(name, figure))}


def _flat(value: Any) -> str:
    """Return nested facts on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_flat(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(item) for item in value)
    if value is None or isinstance(value, float):
        return formats.number(value, 6)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _signed(value: float | None, error: float | None, scale: float = 1.0, unit: str = "") -> str:
    """Return a difference with its sign and its error."""
    text = formats.with_error(value, error, scale, unit)
    if value is None or value <= 0:
        return text.replace("-", MINUS)
    return f"(+{text[1:]}" if text.startswith("(") else f"+{text}"
