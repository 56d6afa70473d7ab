"""Numbers as text, for the page and the terminal."""

from __future__ import annotations

import math

NOTHING = "—"
"""What stands where a figure is missing."""

NARROW = "\N{NARROW NO-BREAK SPACE}"


def count(value: float | None) -> str:
    """Return a count with its thousands grouped, e.g. ``166 000``; large fractions are rounded."""
    if value is None:
        return NOTHING
    return f"{round(value):,}".replace(",", NARROW)


def rough(value: float) -> str:
    """Return a count to three significant digits, e.g. ``29 100``."""
    if not value:
        return "0"
    return count(round(value, 2 - math.floor(math.log10(abs(value)))))


def with_interval(value: float, low: float, high: float) -> str:
    """Return an estimated count with the ends of its interval, e.g. ``29 100 (19 000 to 35 000)``."""
    middle, *ends = (rough(each) for each in (value, low, high))
    return middle if ends == [middle, middle] else f"{middle} ({ends[0]} to {ends[1]})"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits, without exponent where that stays short."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or (abs(value) >= 10**digits and abs(value) < 1e15):
        return count(value)
    return f"{value:.{digits}g}"


def with_error(value: float | None, error: float | None, scale: float = 1.0, unit: str = "") -> str:
    """Return ``value ± error``, both to two significant digits of the error.

    Parameters
    ----------
    scale
        Factor for both, 100 for a percentage.
    """
    suffix = f"{NARROW}{unit}" if unit else ""
    if value is None:
        return NOTHING
    if error is None or error <= 0:
        return f"{scale * value:.4g}{suffix}"
    places = max(0, 1 - math.floor(math.log10(scale * error)))
    text = f"{scale * value:.{places}f} ± {scale * error:.{places}f}"
    return f"({text}){suffix}" if unit else text


def share(value: float | None) -> str:
    """Return a share in per cent; the ends are named only if they are exact."""
    if value is None:
        return NOTHING
    if value in {0.0, 1.0}:
        return f"{100 * value:.0f}{NARROW}%"
    text = f"{100 * value:.3f}"
    return {"0.000": f"< 0.001{NARROW}%", "100.000": f"> 99.999{NARROW}%"}.get(text, f"{text}{NARROW}%")


def duration(seconds: float | None) -> str:
    """Return a time as text, e.g. ``0.82 s``, ``12 min 5 s``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.2g}{NARROW}s" if seconds < 1 else f"{seconds:.1f}{NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h {minutes}{NARROW}min" if hours else f"{minutes}{NARROW}min {rest}{NARROW}s"
