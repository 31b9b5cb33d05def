"""Drift: the score over the run with its threshold, and every alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.columns import Numbers, covered, min_max
from neuroloop.sinks.report.reading import RunFiles
from neuroloop.sinks.report.sections import missing, section
from neuroloop.sinks.report.svg import Drawing
from neuroloop.sinks.report.text import as_number, duration_text, escape, number_text
from neuroloop.sinks.report.timelines import LEFT, RIGHT, WIDTH, Axis

_HEIGHT = 130.0
_MOST_SHOWN = 4.0
"""Scores above it are drawn at the upper edge; their numbers stand in the table."""
_MOST_ROWS = 100


def drift_section(run: RunFiles, axis: Axis | None) -> str:
    """Return the score and the alarms; nothing for a run without monitors."""
    digest, scores = run.events, run.drift
    is_watched = scores is not None or (digest is not None and digest.counts["drift"])
    if not is_watched or axis is None:
        return ""
    alarms = pair_alarms(digest.alarms if digest is not None else ())
    parts = []
    if scores is not None and len(scores):
        parts.append(score_figure(scores, alarms, axis))
        parts.append(
            '<p class="why">The largest score of all monitors; dashed: the threshold, 1. Shaded: an alarm, from the'
            " first window above the threshold to the first quiet one.</p>"
        )
    else:
        parts.append(missing("The course of the score is not known: drift.csv is missing or empty."))
    parts.append(alarm_table(alarms, axis) if alarms else "<p>No alarm.</p>")
    return section("drift", "Drift", *parts)


def pair_alarms(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the begin of each alarm with its end.

    Parameters
    ----------
    records : sequence of mapping
        ``drift`` events that say ``onset`` or ``end``, in order.

    Returns
    -------
    list of dict
        ``monitor``, ``arm``, ``start`` and ``stop`` (samples; ``stop`` None where no end was written), and the onset's
        and the end's own values.
    """
    alarms: list[dict[str, Any]] = []
    running: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        key = (str(record.get("monitor"))[:64], str(record.get("arm"))[:20])
        first = record.get("first_sample")
        start = first if isinstance(first, int) and not isinstance(first, bool) else record["sample"]
        if record.get("what") == "onset":
            running[key] = {"monitor": key[0], "arm": key[1], "start": start, "stop": None, "onset": record, "end": {}}
            alarms.append(running[key])
        else:
            alarm = running.pop(key, None)
            if alarm is None:
                alarm = {"monitor": key[0], "arm": key[1], "start": start, "onset": {}}
                alarms.append(alarm)
            alarm.update(stop=record["sample"], end=record)
    return alarms


def score_figure(scores: Numbers, alarms: Sequence[Mapping[str, Any]], axis: Axis) -> str:
    """Draw the score, its threshold and the alarms.

    Parameters
    ----------
    scores : array, shape (n, 2)
        Sample number and score.
    alarms : sequence of mapping
        As `pair_alarms` returns them.
    axis : Axis
    """
    drawing = Drawing("Drift score over time", WIDTH, _HEIGHT + 34, LEFT, RIGHT, axis.range, is_time_line=True)
    low, high = axis.range
    top = min(_MOST_SHOWN, max(1.5, float(np.max(scores[:, 1])) * 1.1))
    height = _HEIGHT - 8

    def y_of(score: float) -> float:
        return 4 + height * (1 - score / top)

    starts = axis.all_at(np.array([alarm["start"] for alarm in alarms], float))
    stops = axis.all_at(np.array([axis.last + 1 if one["stop"] is None else one["stop"] for one in alarms], float))
    for first, last in covered(starts, stops, low, high, drawing.n_columns):
        hint = f"alarm from {duration_text(low + (high - low) * first / drawing.n_columns)}"
        drawing.rect(LEFT + first, 4, max(last - first + 1, 1.6), height, "warn faint", hint)
    drawing.text(LEFT - 8, _HEIGHT / 2 + 4, "score", css="label", anchor="end")
    for value in (0.0, 1.0, *((top,) if top > 1.5 else ())):
        drawing.line(LEFT, y_of(value), RIGHT, y_of(value), "event seen" if value == 1.0 else "grid")
        drawing.text(RIGHT + 2, y_of(value) + 3, f"{value:.2g}", css="tick")
    band = min_max(axis.all_at(scores[:, 0]), np.clip(scores[:, 1], 0.0, top), low, high, drawing.n_columns)
    drawing.band(band, (y_of(0.0), -height / top), "trace signal", "score")
    drawing.time_axis(_HEIGHT + 4, is_seconds=axis.sfreq is not None)
    return drawing.render()


def alarm_table(alarms: Sequence[Mapping[str, Any]], axis: Axis) -> str:
    """Return one line for each alarm."""
    lines = []
    for alarm in alarms[:_MOST_ROWS]:
        onset, end = alarm["onset"], alarm["end"]
        peak = as_number(end.get("score")) or as_number(onset.get("score"))
        names = onset.get("channels")
        where = ", ".join(clean(name, 40) for name in names[:6]) if isinstance(names, list) else ""
        length = as_number(end.get("duration_s"))
        cells = (
            axis.text(alarm["start"]),
            "to the end" if alarm["stop"] is None else duration_text(length),
            f"{escape(alarm['monitor'], 40)}, {escape(alarm['arm'], 20)}",
            escape(onset.get("statistic", "-"), 20),
            number_text(peak),
            escape(where, 200),
            escape(onset.get("effect", end.get("effect", "-")), 20),
        )
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    if len(alarms) > _MOST_ROWS:
        lines.append(f'<tr><td colspan="7" class="sub">{number_text(len(alarms) - _MOST_ROWS)} more</td></tr>')
    names = ("begin", "length", "monitor", "statistic", "largest score", "channels", "effect")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(lines)
    return f'<div class="wide"><table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
