"""Signals of a run, as an overview and around single events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.columns import min_max
from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.svg import Drawing
from neuroloop.sinks.report.text import number_text
from neuroloop.sinks.report.timelines import LEFT, RIGHT, WIDTH, Axis
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray

MOST_OVERVIEW, MOST_PANEL = 32, 12
_FILL, _CUT = 0.4, 1.5
"""Part of a lane that the usual amplitude takes to either side; what is cut, in usual amplitudes."""
_PANEL_WIDTH, _PANEL_LEFT, _PANEL_RIGHT = 472.0, 60.0, 466.0


@dataclass(frozen=True)
class Signals:
    """What was recorded of one stream.

    Parameters
    ----------
    origin : str
        Where it comes from, for the reader.
    data : array, shape (n_samples, n_channels)
    samples : array, shape (n_samples,), int64
        Ascending numbers of the samples, as the events count them.
    valid : array, shape (n_samples,), bool, optional
    names, units : tuple of str
    sfreq : float
        In Hz.
    """

    origin: str
    data: FloatArray
    samples: NDArray[np.int64]
    valid: BoolArray | None
    names: tuple[str, ...]
    units: tuple[str, ...]
    sfreq: float


def choose_events(digest: EventDigest, wanted: Sequence[str], most: int = 6) -> list[dict[str, Any]]:
    """Choose events to look at: those asked for by id or type, otherwise some of each type that tells something."""
    if wanted:
        chosen = [record for record in digest.wanted if record.get("id") in wanted]
        for kind in wanted:
            chosen += [record for record in digest.examples(kind) if record not in chosen]
        return sorted(chosen, key=lambda record: int(record["sample"]))[: 2 * most]
    kinds = ("gap", "artifact", "command", "refusal", "drift", "skip", "stream", "state", "marker")
    queues = [[r for r in digest.first.get(kind, ()) if r.get("what") != "start"] for kind in kinds]
    queues[kinds.index("state")] = sorted(digest.turns.values(), key=_tells_little)
    chosen = []
    for turn in range(most):
        for queue in queues:
            if turn < len(queue) and len(chosen) < most:
                chosen.append(queue[turn])
    return sorted(chosen, key=lambda record: int(record["sample"]))


def _tells_little(record: dict[str, Any]) -> bool:
    """Whether an event only says that a run began, or that nothing is known."""
    return (
        record.get("type") == "state" and ({record.get("previous"), record.get("state")} & {None, "unknown"}) != set()
    )


def _amplitudes(signals: Signals, channels: Sequence[int], span: slice) -> tuple[FloatArray, FloatArray]:
    """Return centre and robust amplitude of some rows; the amplitude is shared by channels of one unit."""
    whole = signals.data[span]
    rows = whole[:: max(1, len(whole) // 20000)][:, channels]
    rows = np.where(np.isfinite(rows), rows, np.nan)
    centre, amplitude = np.zeros(len(channels)), np.ones(len(channels))
    for i in range(len(channels)):
        known = rows[:, i][np.isfinite(rows[:, i])]
        if len(known):
            centre[i] = np.median(known)
            amplitude[i] = np.percentile(np.abs(known - centre[i]), 99)
    for unit in {signals.units[c] for c in channels}:
        mine = [i for i, c in enumerate(channels) if signals.units[c] == unit]
        seen = amplitude[mine][amplitude[mine] > 0]
        amplitude[mine] = float(np.median(seen)) if len(seen) else 1.0
    return centre, amplitude


def _traces(
    drawing: Drawing, signals: Signals, channels: Sequence[int], lane: float, x: FloatArray, rows: slice, top: float
) -> None:
    """Draw channels below one another; what leaves its lane by far is cut."""
    centre, amplitude = _amplitudes(signals, channels, rows)
    low, high = drawing.x_range
    for index, channel in enumerate(channels):
        y = top + lane * (index + 0.5)
        name = clean(signals.names[channel], 9)
        drawing.text(drawing.left - 6, y + 3.5, name, css="label" if lane >= 14 else "tick", anchor="end")
        value = np.clip(signals.data[rows, channel] - centre[index], -_CUT * amplitude[index], _CUT * amplitude[index])
        scale = _FILL * lane / amplitude[index]
        if signals.valid is not None:
            value = np.where(signals.valid[rows], value, np.nan)
        band = min_max(x, value, low, high, drawing.n_columns)
        drawing.band(band, (y, -scale), "trace signal", clean(signals.names[channel], 60))


def scale_text(signals: Signals, channels: Sequence[int], span: slice = slice(None)) -> str:
    """Say how much one lane is, by unit."""
    _, amplitude = _amplitudes(signals, channels, span)
    units = {signals.units[channel]: amplitude[index] / _FILL for index, channel in enumerate(channels)}
    shown = list(units.items())[:4]
    return "one lane is " + ", ".join(
        f"{number_text(height, 3)} {clean(unit, 20) or '(no unit)'}" for unit, height in shown
    )


def overview_figure(signals: Signals, axis: Axis, channels: Sequence[int]) -> str:
    """Draw the whole recording, smallest and largest value of each column."""
    channels = list(channels)[:MOST_OVERVIEW]
    lane = 24.0 if len(channels) <= 16 else 15.0
    drawing = Drawing(
        "Signals, whole recording", WIDTH, lane * len(channels) + 32, LEFT, RIGHT, axis.range, is_time_line=True
    )
    x = (signals.samples - axis.first) / axis.scale
    _traces(drawing, signals, channels, lane, x, slice(None), 2.0)
    drawing.time_axis(lane * len(channels) + 6, is_seconds=axis.sfreq is not None)
    return drawing.render()


def event_figure(signals: Signals, axis: Axis, record: dict[str, Any], around_s: float, channels: Sequence[int]) -> str:
    """Draw some seconds around one event; a line at its sample, a dashed one the pipeline's delay before."""
    channels = list(channels)[:MOST_PANEL]
    lane = 22.0 if len(channels) <= 8 else 17.0
    sample = int(record["sample"])
    reach = max(2, round(around_s * signals.sfreq))
    title = f"{describe(record)} at {axis.text(sample)}"
    x_range = ((sample - reach - axis.first) / axis.scale, (sample + reach - axis.first) / axis.scale)
    height = lane * len(channels) + 52
    drawing = Drawing(title, _PANEL_WIDTH, height, _PANEL_LEFT, _PANEL_RIGHT, x_range)
    drawing.text(_PANEL_LEFT, 13, clean(title, 52), css="head")
    first, last = np.searchsorted(signals.samples, [sample - reach, sample + reach + 1])
    bottom = 20 + lane * len(channels)
    if last > first:
        x = (signals.samples[first:last] - axis.first) / axis.scale
        span = slice(int(first), int(last))
        _traces(drawing, signals, channels, lane, x, span, 20.0)
        scale = scale_text(signals, channels, span).removeprefix("one lane is ")
        drawing.text(_PANEL_RIGHT, 13, f"lane {clean(scale, 24)}", css="tick", anchor="end")
    else:
        drawing.text(_PANEL_LEFT + 8, 60, "not in the recording", css="label")
    delay = record.get("delay_s")
    at = drawing.x(axis.at(sample))
    drawing.line(at, 20, at, bottom, "event")
    if isinstance(delay, float) and 0 < delay < around_s and axis.sfreq:
        seen = drawing.x(axis.at(sample) - delay)
        drawing.line(seen, 20, seen, bottom, "event seen")
    drawing.time_axis(bottom + 4, is_seconds=axis.sfreq is not None)
    return drawing.render()


def describe(record: dict[str, Any]) -> str:
    """Say an event in a few words."""
    kind = str(record.get("type"))
    if kind == "state":
        return f"state {record.get('previous') or 'start'} → {record.get('state')}"
    if kind == "gap":
        return f"gap of {record.get('missing')} samples"
    said = record.get("label") or record.get("what") or record.get("reason")
    return f"{kind} {said}" if said else kind
