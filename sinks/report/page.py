"""The whole page.

Plots are drawn as SVG by this package's own few hundred lines. A plotting library was weighed: matplotlib's SVG of the
same eight channels takes 336 kB in place of 86, keeps its colours where the page is dark and has no titles that a
screen reader finds, and it would become a dependency of every machine that runs a pipeline; interactive libraries put
megabytes of script into each page. The page loads nothing: its policy forbids it, and lets no script run but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.sinks.report.drift import drift_section
from neuroloop.sinks.report.latencies import (
    course_figure,
    latency_rows,
    percentile_figure,
    percentile_table,
    spread_figure,
)
from neuroloop.sinks.report.quality import channels_of, measure_quality, quality_table
from neuroloop.sinks.report.reading import ReportError, RunFiles
from neuroloop.sinks.report.sections import (
    books_table,
    events_section,
    inner,
    missing,
    notes_section,
    recorded_section,
    section,
    settings_section,
)
from neuroloop.sinks.report.signals import (
    MOST_OVERVIEW,
    MOST_PANEL,
    Signals,
    choose_events,
    event_figure,
    overview_figure,
    scale_text,
)
from neuroloop.sinks.report.style import CSS, SCRIPT, content_policy
from neuroloop.sinks.report.text import as_number, duration_text, escape, number_text
from neuroloop.sinks.report.timelines import Axis, loss_figure, state_figure, state_table


def axis_of(run: RunFiles, signals: Signals | None) -> Axis | None:
    """Return the time of the run: from its first to its last known sample; None where nothing says it."""
    digest = run.events
    first = digest.first_sample if digest else None
    last = digest.last_sample if digest else None
    rates = (inner(run.summary, "stream", "sfreq"), inner(run.provenance, "plan", "stream", "sfreq"),
             (digest.start or {}).get("sfreq") if digest else None, signals.sfreq if signals else None)  # fmt: skip
    sfreq = next((rate for value in rates if (rate := as_number(value)) is not None and rate > 0), None)
    if first is not None and last is not None:
        counted = [inner(run.summary, "samples", "processed")]
        counted += [inner(run.summary, "samples", "missing", key) for key in ("filled", "jumped")]
        total = sum(number for value in counted if (number := as_number(value)) is not None and number > 0)
        last = max(last, first + int(min(total, 2**53)) - 1)
    if signals is not None and len(signals.samples):
        first = int(signals.samples[0]) if first is None else min(first, int(signals.samples[0]))
        last = int(signals.samples[-1]) if last is None else max(last, int(signals.samples[-1]))
    return Axis(first, last, sfreq) if first is not None and last is not None else None


def make_page(
    run: RunFiles,
    signals: Signals | None = None,
    *,
    wanted: Sequence[str] = (),
    channels: Sequence[int] | None = None,
    around_s: float = 2.0,
    faults: Sequence[str] = (),
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    run : RunFiles
    signals : Signals, optional
    wanted : sequence of str
        Ids or types of events to show signals around; without it some of each type are chosen.
    channels : sequence of int, optional
        Which channels of the signals to draw, all otherwise as far as there is room.
    around_s : float
        Seconds of signal before and after an event.
    faults : sequence of str
        What else went wrong, for the notes.
    """
    axis = axis_of(run, signals)
    sections = [
        recorded_section(run, axis, signals),
        _losses(run, axis),
        _states(run, axis),
        _signals(run, axis, signals, wanted, channels, around_s),
        _quality(run, signals),
        drift_section(run, axis),
        _latency(run, axis),
        events_section(run.events, axis),
        settings_section(run),
        notes_section(run, faults),
    ]
    unit = "s" if axis is None or axis.sfreq else "sample"
    title = f"{_name(run)}: run {run.path.resolve().name}"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{content_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{CSS}</style></head><body>{_head(run, axis, faults)}{''.join(sections)}"
        f'<div id="at" data-unit="{unit}" aria-hidden="true"></div><script>{SCRIPT}</script></body></html>\n'
    )


def write_page(page: str, target: Path) -> None:
    """Write the page so that a failure leaves an older one as it was.

    Raises
    ------
    ReportError
        If it cannot be written.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")
        partial.replace(target)
    except OSError as error:
        raise ReportError(f"out must be a file that can be written, got {str(target)!r}: {error.strerror}") from error


def _name(run: RunFiles) -> str:
    """Return the pipeline's name from its settings."""
    for line in (run.config or "").splitlines():
        if line.startswith("name:"):
            return line.removeprefix("name:").strip().strip("'\"") or "run"
    return "run"


def _head(run: RunFiles, axis: Axis | None, faults: Sequence[str]) -> str:
    """Return the title and the verdicts of a glance."""
    pills: list[tuple[str, str]] = []
    if axis is not None and axis.sfreq:
        pills.append(("", duration_text(axis.range[1])))
    missing_samples = sum(as_number(inner(run.summary, "samples", "missing", key)) or 0 for key in ("filled", "jumped"))
    if run.summary is not None:
        balanced = inner(run.summary, "samples", "balanced")
        pills.append(("good", "books balance") if balanced is True else ("bad", "books do not balance"))
        lost = f"{number_text(missing_samples)} samples missing"
        pills.append(("good", "nothing lost") if not missing_samples else ("warn", lost))
        ended = run.summary.get("ended")
        if isinstance(ended, str) and ended != "finished":
            pills.append(("bad", ended))
        overwritten = sum(as_number(inner(run.summary, "rings", key)) or 0 for key in ("samples_lost", "events_lost"))
        if overwritten:
            pills.append(("bad", f"{number_text(overwritten)} records overwritten before they were written"))
    if run.events is not None:
        pills.append(("", f"{number_text(run.events.counts['prediction'])} decisions"))
    n_faults = len(run.faults) + len(faults)
    if n_faults:
        pills.append(("bad", f"{n_faults} warning{'s' if n_faults > 1 else ''}"))
    shown = "".join(f'<span class="pill {css}">{escape(text)}</span>' for css, text in pills)
    folder = escape(run.path.resolve().name)
    title = f'<h1>{escape(_name(run))}</h1><p class="sub">run <code>{folder}</code></p>'
    return f'<header>{title}<div class="pills">{shown}</div></header>'


def _losses(run: RunFiles, axis: Axis | None) -> str:
    if run.events is None or axis is None:
        return section("losses", "Losses and marks", missing("No events to draw."), books_table(run.summary))
    why = (
        "Gaps: orange were filled and flagged, red were jumped over. Flagged: decisions whose window touched lost,"
        " non-finite or warm-up samples. Lanes without anything are left out."
    )
    drawn = loss_figure(run.events, axis)
    return section("losses", "Losses and marks", drawn, f'<p class="why">{why}</p>', books_table(run.summary))


def _states(run: RunFiles, axis: Axis | None) -> str:
    digest = run.events
    if digest is None or axis is None or not (len(digest.rows) or len(digest.states.start)):
        return section("states", "States and probabilities", missing("This run made no decisions."))
    known = inner(run.provenance, "plan", "classes")
    classes = digest.class_names(known if isinstance(known, list) else ())
    held = inner(run.summary, "states")
    seconds: dict[str, float | None] = (
        {str(name): as_number(value) for name, value in held.items()} if isinstance(held, Mapping) else {}
    )
    streams = len(digest.streams.names)
    more = missing(f"The events are of {streams} streams; they are drawn as one.") if streams > 1 else ""
    return section("states", "States and probabilities", state_figure(digest, axis, classes),
                   state_table(digest, classes, seconds), more)  # fmt: skip


def _signals(
    run: RunFiles,
    axis: Axis | None,
    signals: Signals | None,
    wanted: Sequence[str],
    channels: Sequence[int] | None,
    around_s: float,
) -> str:
    if signals is None or axis is None or not len(signals.samples):
        hint = "The run has no signals.xdf. Give the samples with --signals FILE, such as what --dump input=FILE wrote."
        return section("signals", "Signals", missing(hint))
    chosen = list(channels) if channels is not None else list(range(len(signals.names)))
    parts = [overview_figure(signals, axis, chosen)]
    why = scale_text(signals, chosen[:MOST_OVERVIEW])
    if len(chosen) > MOST_OVERVIEW:
        why += f"; {MOST_OVERVIEW} of {len(chosen)} channels, the others with --channels"
    parts.append(f'<p class="why">{escape(why[0].upper() + why[1:], 400)}.</p>')
    records = choose_events(run.events, wanted) if run.events else []
    if records:
        figures = "".join(event_figure(signals, axis, record, around_s, chosen) for record in records)
        why = "Solid line: the newest sample that the event used. Dashed: that minus the pipeline's delay."
        if len(chosen) > MOST_PANEL:
            why += f" The first {MOST_PANEL} of {len(chosen)} channels."
        parts += [f'<div class="pair">{figures}</div>', f'<p class="why">{why}</p>']
    elif wanted:
        parts.append(missing(f"No event is of the type or id that was asked for: {', '.join(wanted)}"))
    return section("signals", "Signals", *parts)


def _quality(run: RunFiles, signals: Signals | None) -> str:
    parts: list[str] = []
    counted: list[dict[str, Any]] = channels_of(run.summary)
    table = f'<div class="wide">{quality_table(counted)}</div>' if counted else ""
    if signals is not None and len(signals.samples):
        measured = measure_quality(signals)
        title = f"<p>Measured from the signals ({escape(signals.origin)}):</p>"
        parts += [title, f'<div class="wide">{quality_table(measured)}</div>']
        if counted:
            parts.append(f"<details><summary>As counted during the run</summary>{table}</details>")
    elif counted:
        parts += ["<p>As counted during the run:</p>", table]
    if not parts:
        parts = [missing("Not known: summary.json has no quality by channel, and there are no signals to measure.")]
    return section("quality", "Quality by channel", *parts)


def _latency(run: RunFiles, axis: Axis | None) -> str:
    rows = latency_rows(run.latency)
    parts = []
    if rows:
        parts += [percentile_figure(rows), f'<div class="wide">{percentile_table(rows)}</div>']
        parts.append('<p class="why">Bar: p50 to p99; ticks: p50, p95, p99, p99.9, largest.</p>')
    else:
        parts.append(missing("latency.json is missing, broken or without figures."))
    if run.events is not None and axis is not None:
        ages = spread_figure(np.asarray(run.events.ages), "Age of the sample when its decision left")
        spread = spread_figure(np.asarray(run.events.latencies), "Sample in to decision out")
        if spread or ages:
            parts += [course_figure(run.events, axis), f'<div class="pair">{spread}{ages}</div>']
    return section("latency", "Latency", *parts)
