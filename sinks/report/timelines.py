"""What happened when: losses, marks, states and probabilities over the time of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuroloop.sinks.report.columns import Numbers, covered, dominant, min_max
from neuroloop.sinks.report.digest import EventDigest, Spans
from neuroloop.sinks.report.svg import N_COLOURS, Drawing
from neuroloop.sinks.report.text import duration_text, escape, number_text

WIDTH, LEFT, RIGHT = 960.0, 96.0, 936.0
_LANE = 20.0
_CSS = {
    "filled": "warn",
    "jumped": "bad",
    "flagged": "warn",
    "artifact": "warn",
    "skip": "bad",
    "stream": "bad",
    "refusal": "warn",
    "drift": "warn",
}


@dataclass(frozen=True)
class Axis:
    """The time of a run.

    Parameters
    ----------
    first : int
        Number of the first sample.
    last : int
        Number of the last sample.
    sfreq : float, optional
        In Hz; where it is unknown the axis counts samples.
    """

    first: int
    last: int
    sfreq: float | None

    @property
    def scale(self) -> float:
        """Samples in one unit of the axis."""
        return self.sfreq or 1.0

    @property
    def range(self) -> tuple[float, float]:
        """The axis from its beginning to its end."""
        return 0.0, max((self.last + 1 - self.first) / self.scale, 1e-6)

    def at(self, sample: float) -> float:
        """Return where a sample stands on the axis."""
        return (sample - self.first) / self.scale

    def all_at(self, samples: Numbers) -> Numbers:
        """Return where each sample of an array stands on the axis."""
        placed: Numbers = (samples - self.first) / self.scale
        return placed

    def text(self, sample: float) -> str:
        """Say where a sample stands."""
        return duration_text(self.at(sample)) if self.sfreq else f"sample {round(sample)}"


def _drawing(title: str, height: float, axis: Axis) -> Drawing:
    return Drawing(title, WIDTH, height, LEFT, RIGHT, axis.range, is_time_line=True)


def flagged_spans(digest: EventDigest) -> Spans:
    """Return the stretches whose decisions were flagged: from after the decision before to the last flagged one."""
    spans = Spans()
    valid = np.asarray(digest.row_valid, np.int8)
    if not len(valid):
        return spans
    edges = np.diff((valid == 0).astype(np.int8), prepend=0, append=0)
    rows = np.asarray(digest.rows)
    for begin, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        start = rows[begin - 1] + 1 if begin else rows[begin]
        spans.add(int(start), int(rows[end - 1]) + 1, "flagged")
    return spans


def loss_figure(digest: EventDigest, axis: Axis) -> str:
    """Draw what was lost, flagged and marked, one lane for each that there is."""
    lanes: list[tuple[str, Spans]] = [("samples", digest.gaps)]
    flagged = flagged_spans(digest)
    if len(flagged.start):
        lanes.append(("flagged", flagged))
    order = ("stream", "skip", "artifact", "drift", "command", "refusal", "marker")
    lanes += [(kind, digest.lanes[kind]) for kind in order if kind in digest.lanes]
    lanes += [(kind, spans) for kind, spans in sorted(digest.lanes.items()) if kind not in order]
    lanes = lanes[:12]
    drawing = _drawing("Losses and marks over time", _LANE * len(lanes) + 28, axis)
    for index, (name, spans) in enumerate(lanes):
        y = _LANE * index
        drawing.text(LEFT - 8, y + 14, name, css="label", anchor="end")
        drawing.rect(LEFT, y + 4, RIGHT - LEFT, _LANE - 8, "received" if name == "samples" else "lane")
        _marks(drawing, spans, y + 2, name, axis)
    drawing.time_axis(_LANE * len(lanes) + 4, is_seconds=axis.sfreq is not None)
    return drawing.render()


def _marks(drawing: Drawing, spans: Spans, y: float, lane: str, axis: Axis) -> None:
    """Draw the stretches of one lane, kinds apart in their colour, columns that touch as one."""
    starts, stops = np.asarray(spans.start, float), np.asarray(spans.stop, float)
    kinds = np.asarray(spans.kind)
    low, high = axis.range
    for number, kind in enumerate(spans.kinds.names):
        mine = kinds == number
        css = _CSS.get(kind) or _CSS.get(lane) or f"f{number % N_COLOURS}"
        if lane == "stream" and kind == "found":
            css = "good"
        runs = covered(axis.all_at(starts[mine]), axis.all_at(stops[mine]), low, high, drawing.n_columns)
        edges = axis.first + (high - low) / drawing.n_columns * axis.scale * np.arange(drawing.n_columns + 2)
        ordered = np.sort(starts[mine])
        for first, last in runs:
            n = int(np.searchsorted(ordered, edges[last + 1]) - np.searchsorted(ordered, edges[first]))
            what = f"{lane if kind == lane else f'{lane} {kind}'} at {axis.text(edges[first])}"
            drawing.rect(
                LEFT + first, y, max(last - first + 1, 1.6), _LANE - 4, css, what + (f" ({n} here)" if n > 1 else "")
            )


def state_figure(digest: EventDigest, axis: Axis, classes: Sequence[str]) -> str:
    """Draw the states as a band, below it the probability of each class."""
    top, height = 34.0, 150.0
    has_rows = len(digest.rows) > 0
    drawing = _drawing("States and probabilities over time", top + (height + 34 if has_rows else 26), axis)
    drawing.text(LEFT - 8, 18, "state", css="label", anchor="end")
    drawing.rect(LEFT, 4, RIGHT - LEFT, 22, "lane")
    low, high = axis.range
    starts = axis.all_at(np.asarray(digest.states.start, float))
    order = np.argsort(starts, kind="stable")
    kinds = np.asarray(digest.states.kind, np.int64)[order]
    runs = dominant(starts[order], kinds, high, low, high, drawing.n_columns)
    ends = [column for column, _ in runs[1:]] + [drawing.n_columns]
    for (column, kind), end in zip(runs, ends, strict=True):
        if kind >= 0:
            name = digest.states.kinds.names[kind]
            begin_s = low + (high - low) * column / drawing.n_columns
            unit = " s" if axis.sfreq else ""
            drawing.rect(
                LEFT + column, 4, end - column, 22, colour_of(name, classes), f"{name} from {begin_s:.3f}{unit}"
            )
    if not has_rows:
        drawing.time_axis(top, is_seconds=axis.sfreq is not None)
        return drawing.render()
    drawing.text(LEFT - 8, top + height / 2 + 4, "probability", css="label", anchor="end")
    for value in (0.0, 0.5, 1.0):
        y = top + height * (1 - value) + 4
        drawing.line(LEFT, y, RIGHT, y, "grid")
        drawing.text(RIGHT + 2, y + 3, f"{value:g}", css="tick")
    rows = axis.all_at(np.asarray(digest.rows, float))
    for name, values in zip(classes, digest.probabilities, strict=True):
        band = min_max(rows, np.clip(np.asarray(values), 0.0, 1.0), low, high, drawing.n_columns)
        css = "l" + colour_of(name, classes).removeprefix("f")
        if band.is_crowded:
            drawing.band(band, (top + height + 4, -height), f"trace faint {css}", f"{name}: range")
            band = band.means()
        drawing.band(band, (top + height + 4, -height), f"trace {css}", name)
    drawing.time_axis(top + height + 4, is_seconds=axis.sfreq is not None)
    return drawing.render()


def colour_of(name: str, classes: Sequence[str]) -> str:
    """Return the style of a state: that of its class, grey for ``unknown`` and what is no class."""
    return f"f{list(classes).index(name) % N_COLOURS}" if name in classes else "fnone"


def state_table(digest: EventDigest, classes: Sequence[str], seconds: dict[str, float | None]) -> str:
    """Return the legend with what each state amounts to.

    Parameters
    ----------
    digest : EventDigest
    classes : sequence of str
    seconds : dict
        Time in each state in seconds.
    """
    counts = {
        name: int(np.count_nonzero(np.asarray(digest.row_label) == n)) for n, name in enumerate(digest.labels.names)
    }
    entered = {
        name: int(np.count_nonzero(np.asarray(digest.states.kind) == n))
        for n, name in enumerate(digest.states.kinds.names)
    }
    whole = sum(value for value in seconds.values() if value is not None)
    lines = []
    for name in list(dict.fromkeys([*classes, *entered, *counts, *seconds]))[:40]:
        held = seconds.get(name)
        share = f"{held / whole:.1%}" if held is not None and whole > 0 else "-"
        lines.append(
            f'<tr><td><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" class="'
            f'{colour_of(name, classes)}"/></svg> {escape(name)}</td><td>{duration_text(held)}</td><td>{share}</td>'
            f"<td>{number_text(entered.get(name, 0))}</td><td>{number_text(counts.get(name, 0))}</td></tr>"
        )
    head = "<tr><th>state</th><th>time</th><th>share</th><th>entered</th><th>decisions for it</th></tr>"
    return f'<table class="numbers"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'
