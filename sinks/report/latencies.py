"""How long everything took: percentiles by part of the loop, and how the latency of decisions is spread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.columns import min_max
from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.svg import Drawing
from neuroloop.sinks.report.text import as_number, escape, number_text, si_text
from neuroloop.sinks.report.timelines import LEFT, RIGHT, WIDTH, Axis

_ROW = 24.0
_MOST_ROWS = 40
_KEYS = ("p50_us", "p95_us", "p99_us", "p99.9_us", "max_us")
_N_BINS = 48
_NAMES_LEFT = 190.0


def latency_rows(latency: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """Return the rows of ``latency.json`` that hold numbers."""
    rows = latency.get("rows") if latency else None
    found: dict[str, dict[str, float]] = {}
    for name, values in list(rows.items())[:_MOST_ROWS] if isinstance(rows, dict) else ():
        numbers = {
            key: number
            for key in ("n", *_KEYS)
            if isinstance(values, dict) and (number := as_number(values.get(key))) is not None and number >= 0
        }
        if any(key in numbers for key in _KEYS):
            found[str(name)] = numbers
    return found


def percentile_figure(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Draw p50 to p99 as a bar on a logarithmic axis, p95, p99.9 and the largest as ticks."""
    values = [row[key] for row in rows.values() for key in _KEYS if row.get(key, 0.0) > 0]
    low = math.floor(math.log10(max(min(values, default=1.0), 1e-3)))
    high = max(math.ceil(math.log10(max(values, default=10.0))), low + 1)
    drawing = Drawing("Latency by part", WIDTH, _ROW * len(rows) + 30, _NAMES_LEFT, RIGHT, (low, high))
    bottom = _ROW * len(rows) + 4
    for power in range(low, high + 1):
        x = drawing.x(power)
        drawing.line(x, 0, x, bottom, "grid")
        drawing.text(x, bottom + 16, si_text(10.0**power), css="tick", anchor="middle")
    for index, (name, row) in enumerate(rows.items()):
        y = _ROW * index + _ROW / 2
        drawing.text(_NAMES_LEFT - 8, y + 4, clean(name, 28), css="label", anchor="end")
        at = {key: drawing.x(math.log10(max(row[key], 10.0**low))) for key in _KEYS if key in row}
        said = ", ".join(f"{key.removesuffix('_us')} {si_text(row[key])}" for key in _KEYS if key in row)
        if "max_us" in at and "p50_us" in at:
            drawing.line(at["p50_us"], y, at["max_us"], y, "whisker")
        if "p50_us" in at and "p99_us" in at:
            drawing.rect(at["p50_us"], y - 5, max(at["p99_us"] - at["p50_us"], 1.5), 10, "f0", f"{name}: {said}")
        for key, x in at.items():
            drawing.line(x, y - (8 if key == "p50_us" else 6), x, y + (8 if key == "p50_us" else 6), "tickmark")
    return drawing.render()


def percentile_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return the same as numbers."""
    head = "<th>part</th><th>n</th>" + "".join(f"<th>{key.removesuffix('_us')}</th>" for key in _KEYS)
    lines = []
    for name, row in rows.items():
        cells = "".join(f"<td>{si_text(row[key]) if key in row else '-'}</td>" for key in _KEYS)
        lines.append(f"<tr><td>{escape(name, 60)}</td><td>{number_text(row.get('n'))}</td>{cells}</tr>")
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def spread_figure(values_s: np.ndarray[Any, np.dtype[np.float64]], title: str) -> str:
    """Draw a histogram of times on a logarithmic axis; empty text where there is no positive number.

    Parameters
    ----------
    values_s : array
        In seconds; what is not positive or no number is left out.
    title : str
    """
    values = values_s[np.isfinite(values_s) & (values_s > 0)] * 1e6
    if len(values) < 2:
        return ""
    low, high = np.log10(values.min()), np.log10(values.max())
    low, high = low - 0.02, max(high + 0.02, low + 0.2)
    edges = np.linspace(low, high, _N_BINS + 1)
    counts, _ = np.histogram(np.log10(values), edges)
    drawing = Drawing(title, 472.0, 160.0, 40.0, 446.0, (float(low), float(high)))
    drawing.text(40, 13, title, css="head")
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            height = 110.0 * count / counts.max()
            x = drawing.x(float(left))
            said = f"{si_text(10.0**left)} to {si_text(10.0**right)}: {count}"
            drawing.rect(x, 134 - height, max(drawing.x(float(right)) - x - 0.5, 1), height, "f0", said)
    drawing.line(40, 134, 446, 134, "axis")
    for value in np.linspace(low, high, 5):
        drawing.text(drawing.x(float(value)), 150, si_text(10.0 ** float(value)), css="tick", anchor="middle")
    drawing.text(34, 30, number_text(float(counts.max())), css="tick", anchor="end")
    return drawing.render()


def course_figure(digest: EventDigest, axis: Axis) -> str:
    """Draw the latency of decisions over time; empty text where no event says it."""
    latency = np.asarray(digest.latencies) * 1e6
    if np.count_nonzero(np.isfinite(latency) & (latency > 0)) < 2:
        return ""
    value = np.log10(np.where(latency > 0, latency, np.nan))
    low, high = math.floor(np.nanmin(value)), max(math.ceil(np.nanmax(value)), math.floor(np.nanmin(value)) + 1)
    height = 110.0
    drawing = Drawing("Latency of decisions over time", WIDTH, height + 34, LEFT, RIGHT, axis.range, is_time_line=True)
    slope = -height / (high - low)
    for power in range(low, high + 1):
        y = 6 + height + slope * (power - low)
        drawing.line(LEFT, y, RIGHT, y, "grid")
        drawing.text(LEFT - 8, y + 4, si_text(10.0**power), css="tick", anchor="end")
    rows = axis.all_at(np.asarray(digest.rows, float))
    band = min_max(rows, value, *axis.range, drawing.n_columns)
    drawing.band(band, (6 + height - slope * low, slope), "trace l0", "sample in to decision out")
    drawing.time_axis(height + 10, is_seconds=axis.sfreq is not None)
    return drawing.render()
