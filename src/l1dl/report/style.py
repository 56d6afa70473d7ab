"""How the figures of the report look."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1b2026"
"""Colour of text and axes."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the fonts and ticks of mplhep, at the size of the report, and restore what was set before."""
    import matplotlib as mpl
    import mplhep

    settings: Any = {
        **mplhep.style.ROOT,
        "font.size": 13,
        "axes.labelsize": "medium",
        "legend.fontsize": 11,
        "legend.title_fontsize": 11,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "axes.linewidth": 1.1,
        "lines.linewidth": 1.7,
        "xtick.major.size": 7,
        "xtick.minor.size": 3.5,
        "ytick.major.size": 7,
        "ytick.minor.size": 3.5,
        "axes.unicode_minus": True,
        "svg.fonttype": "path",
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }
    with mpl.rc_context(settings):
        yield


def to_png(draw: Callable[[], Figure]) -> bytes:
    """Return what is drawn as a PNG file, in the fonts that it was laid out with."""
    image = io.BytesIO()
    with style():
        draw().savefig(image, format="png", dpi=150)
    return image.getvalue()


def label(name: str) -> str:
    """Keep a name from being read as a formula, or hidden from a legend."""
    plain = name.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain
