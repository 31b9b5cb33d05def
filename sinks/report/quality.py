"""Quality of each channel, from the signals themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.signals import Signals
from neuroloop.sinks.report.text import as_number, escape, number_text
from neuroloop.stream.contracts.chunks import FloatArray

_LINE_HZ = (50.0, 60.0)
_MOST_CHANNELS = 512
_MOST_COLUMNS = 12
_LONG_FLAT_S = 1.0
_PIECE_S = 2.0
_MOST_ROWS = 2_000_000


def measure_quality(signals: Signals) -> list[dict[str, Any]]:
    """Measure each channel.

    Returns
    -------
    list of dict
        ``channel``; ``std`` and ``range`` in the channel's unit; ``lost``: share of samples that are no number or
        flagged; ``flat s``: longest stretch without any change; ``at rails``: share of samples that equal the smallest
        or largest value, the two of them left out; ``line dB``: how far 50 or 60 Hz stand out of their surroundings;
        ``verdict``.
    """
    valid = signals.valid if signals.valid is not None else np.ones(len(signals.data), np.bool_)
    rows = [_measure(signals, channel, valid) for channel in range(min(len(signals.names), _MOST_CHANNELS))]
    for unit in set(signals.units):
        mine = [row for row, name in zip(rows, signals.units, strict=False) if name == unit]
        spread = [row["std"] for row in mine if row["std"]]
        middle = float(np.median(spread)) if spread else 0.0
        for row in mine:
            row["verdict"] = _verdict(row, middle if len(spread) >= 4 else 0.0)
    return rows


def _measure(signals: Signals, channel: int, valid: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    values = signals.data[:_MOST_ROWS, channel]
    known = np.isfinite(values) & valid[:_MOST_ROWS]
    row: dict[str, Any] = {"channel": signals.names[channel], "unit": signals.units[channel]}
    good = values[known]
    if not len(good):
        return row | {"std": None, "range": None, "lost": 1.0, "flat s": None, "at rails": None, "line dB": None}
    low, high = float(good.min()), float(good.max())
    at_rails = max(0, int(np.count_nonzero((good == low) | (good == high))) - 2) / len(good) if high > low else 1.0
    return row | {
        "std": float(good.std()),
        "range": high - low,
        "lost": 1 - len(good) / len(values),
        "flat s": _longest_flat(good) / signals.sfreq if signals.sfreq > 0 else None,
        "at rails": at_rails,
        "line dB": _line_db(good, signals.sfreq),
    }


def _longest_flat(values: FloatArray) -> int:
    """Return how many samples the longest stretch of equal values has."""
    change = np.flatnonzero(np.diff(values) != 0)
    edges = np.concatenate([[-1], change, [len(values) - 1]])
    return int(np.diff(edges).max())


def _line_db(values: FloatArray, sfreq: float) -> float | None:
    """Return how far the mains frequency stands out, in dB: mean density within 1 Hz over that 2 to 5 Hz away."""
    n = round(_PIECE_S * sfreq)
    if n < 32 or len(values) < n or sfreq < 2.2 * _LINE_HZ[0]:
        return None
    n_pieces = min(len(values) // n, 60)
    starts = np.linspace(0, len(values) - n, n_pieces).astype(int)
    pieces = np.stack([values[start : start + n] for start in starts])
    pieces = (pieces - pieces.mean(axis=1, keepdims=True)) * np.hanning(n)
    density = (np.abs(np.fft.rfft(pieces, axis=1)) ** 2).mean(axis=0)
    hz = np.fft.rfftfreq(n, 1 / sfreq)
    best = None
    for line_hz in _LINE_HZ:
        if sfreq > 2.2 * line_hz:
            near = density[np.abs(hz - line_hz) <= 1].mean()
            around = density[(np.abs(hz - line_hz) > 2) & (np.abs(hz - line_hz) < 5)].mean()
            if near > 0 and around > 0:
                best = max(best if best is not None else -np.inf, 10 * float(np.log10(near / around)))
    return best


def _verdict(row: Mapping[str, Any], middle: float) -> str:
    """Say in a word what is odd about a channel."""
    if row["std"] is None:
        return "nothing usable"
    said = []
    if row["std"] == 0:
        return "flat"
    if row["flat s"] is not None and row["flat s"] > _LONG_FLAT_S:
        said.append("flat in part")
    if row["at rails"] > 0.01:
        said.append("clipped")
    if row["lost"] > 0.05:
        said.append("losses")
    if row["line dB"] is not None and row["line dB"] > 20:
        said.append("mains hum")
    if middle and row["std"] > 5 * middle:
        said.append("much larger than the others")
    if middle and row["std"] < middle / 5:
        said.append("much smaller than the others")
    return ", ".join(said)


def quality_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of what is known of each channel; odd ones stand out."""
    keys = list(dict.fromkeys(key for row in rows for key in row))[:_MOST_COLUMNS]
    lines = []
    for row in rows[:_MOST_CHANNELS]:
        css = ' class="odd"' if row.get("verdict") else ""
        lines.append(f"<tr{css}>{''.join(f'<td>{_cell(key, row.get(key))}</td>' for key in keys)}</tr>")
    head = "".join(f"<th>{escape(key, 40)}</th>" for key in keys)
    more = f"<p>{len(rows) - _MOST_CHANNELS} more channels are not shown.</p>" if len(rows) > _MOST_CHANNELS else ""
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>{more}'


def _cell(key: str, value: Any) -> str:
    if key in ("lost", "at rails") and (share := as_number(value)) is not None:
        return f"{share:.2%}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(as_number(value), 3)
    return "-" if value is None else escape(value if isinstance(value, str) else clean(value, 60), 60)


def channels_of(summary: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return ``quality.channels`` of a summary as rows: it may be a list of objects or an object by channel."""
    quality = summary.get("quality") if summary else None
    given = quality.get("channels") if isinstance(quality, dict) else None
    if isinstance(given, dict):
        return [
            {"channel": name, **(values if isinstance(values, dict) else {"value": values})}
            for name, values in given.items()
        ]
    return [row for row in given if isinstance(row, dict)] if isinstance(given, list) else []
