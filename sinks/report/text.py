"""Text for the page: whatever comes from a file is cleaned, shortened and escaped here."""

from __future__ import annotations

import html
import math
from typing import Any

from neuroloop.config.plain_text import clean


def escape(value: Any, most: int = 160, *, keep_lines: bool = False) -> str:
    """Return a value as HTML text, good for attributes in double quotes too; as `clean` otherwise."""
    return html.escape(clean(value, most, keep_lines=keep_lines), quote=True)


def as_number(value: Any) -> float | None:
    """Return a finite number, or None for anything else that a file may hold in its place."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number_text(value: float | None, digits: int = 4) -> str:
    """Return a number for a reader: so many significant digits, thousands apart, a dash for None."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value):,}".replace(",", "\u202f")
    if abs(value) >= 1e5 or abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def duration_text(seconds: float | None) -> str:
    """Return a duration: seconds, from two minutes on also as h:mm:ss."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if abs(seconds) < 120:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    return f"{clock_text(seconds)} ({seconds:.1f} s)"


def clock_text(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return sign + (f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}")


def si_text(microseconds: float) -> str:
    """Return a latency in the unit that suits it."""
    for limit, factor, unit in ((1e3, 1.0, "µs"), (1e6, 1e-3, "ms")):
        if abs(microseconds) < limit:
            return f"{microseconds * factor:.3g} {unit}"
    return f"{microseconds * 1e-6:.4g} s"
