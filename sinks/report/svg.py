"""Drawing by hand: the few shapes that the page's plots are made of, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from neuroloop.sinks.report.columns import Band
from neuroloop.sinks.report.text import clock_text, escape

N_COLOURS = 8
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass
class Drawing:
    """One SVG picture.

    Parameters
    ----------
    title : str
        Read out by screen readers.
    width, height : float
        In units of the picture; the page scales it.
    left, right : float
        Where the plotting area begins and ends.
    x_range : tuple of float
        What is shown there.
    """

    title: str
    width: float
    height: float
    left: float
    right: float
    x_range: tuple[float, float]
    is_time_line: bool = False
    parts: list[str] = field(default_factory=list)

    @property
    def n_columns(self) -> int:
        """Number of columns of the plotting area, one per unit."""
        return round(self.right - self.left)

    def x(self, value: float) -> float:
        """Return where a value stands."""
        low, high = self.x_range
        return self.left + (value - low) / max(high - low, 1e-12) * (self.right - self.left)

    def text(self, x: float, y: float, text: str, *, css: str = "", anchor: str = "start") -> None:
        """Write escaped text."""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, css: str, title: str = "") -> None:
        """Draw a bar, with a hint where one is given."""
        hint = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{css}">{hint}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Draw a straight line."""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>')

    def path(self, runs: Iterable[Sequence[tuple[float, float]]], css: str, title: str = "") -> None:
        """Draw lines through points, in relative steps of a tenth of a unit, which keeps the text short."""
        text = "".join(_steps(run) for run in runs)
        if text:
            hint = f"<title>{escape(title)}</title>" if title else ""
            self.parts.append(f'<path d="{text}" class="{css}">{hint}</path>')

    def band(self, band: Band, y_of: tuple[float, float], css: str, title: str = "") -> None:
        """Draw a band of columns as one line that visits the lowest and the highest point of each.

        Parameters
        ----------
        band : Band
        y_of : tuple of float
            ``y = y_of[0] + y_of[1] * value``.
        css, title : str
        """
        xs = self.left + band.column + 0.5
        lows, highs = y_of[0] + y_of[1] * band.low, y_of[0] + y_of[1] * band.high
        steps = np.diff(band.column)
        usual = float(np.median(steps)) if len(steps) else 1.0
        breaks = np.flatnonzero(steps > max(2.0, 4 * usual)) + 1
        runs = []
        for part in np.split(np.arange(len(xs)), breaks) if len(xs) else ():
            points = [(float(xs[i]), float(y)) for i in part for y in dict.fromkeys((lows[i], highs[i]))]
            runs.append(points if len(points) > 1 else [points[0], (points[0][0] + 0.6, points[0][1])])
        self.path(runs, css, title)

    def time_axis(self, y: float, *, is_seconds: bool = True) -> None:
        """Draw ticks and their labels below ``y``."""
        low, high = self.x_range
        step = tick_step(high - low, is_clock=is_seconds)
        self.line(self.left, y, self.right, y, "axis")
        k = math.ceil(low / step - 1e-9)
        while k * step <= high + 1e-9 * step:
            x = self.x(k * step)
            self.line(x, y, x, y + 4, "axis")
            label = clock_text(k * step) if is_seconds and high - low > 600 else f"{k * step:g}"
            self.text(x, y + 16, label, css="tick", anchor="middle")
            k += 1
        unit = ("h:mm:ss" if high - low > 600 else "s") if is_seconds else "sample"
        self.text(self.left - 20, y + 16, unit, css="tick", anchor="end")

    def render(self) -> str:
        """Return the picture; its title is read out and shown as a hint of the background."""
        low, high = self.x_range
        data = f' data-x0="{low:.9g}" data-x1="{high:.9g}" data-l="{self.left:g}" data-r="{self.right:g}"'
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(self.title)}"'
            f"{data if self.is_time_line else ''}><title>{escape(self.title)}</title>{''.join(self.parts)}</svg>"
        )


def _steps(points: Sequence[tuple[float, float]]) -> str:
    """Return path text for one run of points."""
    text: list[str] = []
    x0 = y0 = 0
    for index, (x, y) in enumerate(points):
        x1, y1 = round(x * 10), round(y * 10)
        text.append(f"{'l' if index else 'M'}{_tenth(x1 - x0)} {_tenth(y1 - y0)}")
        x0, y0 = x1, y1
    return "".join(text)


def _tenth(tenths: int) -> str:
    """Return a number of tenths in as few characters as possible."""
    whole, rest = divmod(abs(tenths), 10)
    sign = "-" if tenths < 0 else ""
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"


def tick_step(span: float, *, is_clock: bool = False, most: int = 10) -> float:
    """Return a round distance of ticks: 1, 2 or 5 times a power of ten, or round minutes and hours of a clock."""
    raw = max(span, 1e-9) / most
    if is_clock and raw > 30:
        return next((float(step) for step in _STEPS_S if step >= raw), 86400.0 * math.ceil(raw / 86400))
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
