"""Who takes what a cold process has read: the journal, counts, metrics, the view, the drift log.

Each takes a turn of the loop, in bounded time, and raises nothing into it. What needs nothing but the events is an
`neuroloop.stream.contracts.protocols.EventSink`; `SinkConsumer` hands a turn's events to such a one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from neuroloop.models.accuracy import OnlineAccuracy
from neuroloop.sinks.guarded import OwnSinks
from neuroloop.sinks.metrics.run import RunCollector
from neuroloop.sinks.run_folder.drift_log import DriftLog
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.contracts.chunks import Chunk
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.contracts.protocols import EventSink
from neuroloop.stream.engine.tally import Tally
from neuroloop.stream.live.cold_input import Places, Turn
from neuroloop.stream.live.event_journal import EventJournal
from neuroloop.stream.live.shared_state import IN_TO_OUT, LOOP, EventRecord, Shared
from neuroloop.stream.live.stimulation.view import status_of
from neuroloop.stream.quality.quality import QualityMeter

_log = logging.getLogger("neuroloop.cold")


class Consumer(Protocol):
    """Takes what the cold process has read."""

    def take(self, turn: Turn) -> None:
        """Take one turn; there may be nothing new in it."""
        ...


class QualityTap:
    """Measures the numbered samples; implements `neuroloop.stream.contracts.protocols.Tap`."""

    def __init__(self, meter: QualityMeter) -> None:
        self._meter = meter

    def write_chunk(self, stage: str, chunk: Chunk) -> None:
        """Measure rows."""
        self._meter.add(chunk)


class SinkConsumer:
    """Hands the events of a turn to a sink."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    def take(self, turn: Turn) -> None:
        """Hand them on."""
        self._sink.write(turn.events)


class OwnSinksConsumer:
    """Hands the events of a turn to the sinks that are not built in, in the order of ``events.jsonl``."""

    def __init__(self, sinks: OwnSinks) -> None:
        self._sinks = sinks

    def take(self, turn: Turn) -> None:
        """Hand on those that nothing can precede any more."""
        self._sinks.hold(turn.events, [record.emitted_ns for record in turn.records], turn.begun_ns)


class CommitAtOnce:
    """Says that events are dealt with, in a run that keeps none."""

    def __init__(self, commit: Callable[[Places], None]) -> None:
        self._commit = commit

    def take(self, turn: Turn) -> None:
        """Say so."""
        if turn.records:
            self._commit(turn.places)


class JournalConsumer:
    """Writes ``events.jsonl``, and says what is dealt with when it is on the disk.

    Parameters
    ----------
    journal : EventJournal
    shared : Shared
        Keeps the count of what could not be written where it outlives this process.
    commit : callable
        Takes the places up to which everything is written.
    host : str, optional
        Name of the machine, where events say it.
    """

    def __init__(
        self, journal: EventJournal, shared: Shared, *, commit: Callable[[Places], None], host: str | None
    ) -> None:
        self._journal = journal
        self._commit = commit
        self._host = host
        self._unwritten = shared.numbers("events_unwritten")
        self._unwritten_before = int(self._unwritten[0])

    def take(self, turn: Turn) -> None:
        """Write what no later event can precede any more."""
        if turn.records:
            deliveries = [self._delivery(record, turn.offset_s) for record in turn.records]
            self._journal.add(turn.records, deliveries, turn.places)
        written = self._journal.write_due(turn.begun_ns)
        self._count()
        if written is not None:
            self._commit(written)

    def finish(self, places: Places) -> None:
        """Write all that is held, and say so."""
        self._journal.close()
        self._commit(places)
        self._count()

    def _count(self) -> None:
        self._unwritten[0] = self._unwritten_before + self._journal.n_unwritten

    def _delivery(self, record: EventRecord, offset_s: float | None) -> dict[str, Any]:
        """Return how an event reached its reader."""
        age_s = None if offset_s is None else record.emitted_ns * 1e-9 - (record.stamp + offset_s)
        wall_s = time.time() - (time.perf_counter_ns() - record.emitted_ns) * 1e-9
        return {
            "age_s": age_s,
            "latency_s": (record.emitted_ns - record.arrival_ns) * 1e-9,
            "host": self._host,
            "wall_time": datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="microseconds"),
        }


class TallySink:
    """Counts the events; an `EventSink`."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def write(self, events: Sequence[Event]) -> None:
        """Count them."""
        self._tally.add(events)

    def close(self) -> None:
        """Nothing is held open."""


class AccuracySink:
    """Judges decisions by labels that come as markers, and gives the collector the result; an `EventSink`."""

    def __init__(self, accuracy: OnlineAccuracy, collector: RunCollector) -> None:
        self._accuracy = accuracy
        self._collector = collector

    def write(self, events: Sequence[Event]) -> None:
        """Take decisions and labels."""
        self._accuracy.add(events)
        self._collector.accuracy = self._accuracy.value
        self._collector.n_judged = self._accuracy.n_judged

    def close(self) -> None:
        """Judge what no later label can change."""
        self._accuracy.finish()


class AlarmSink:
    """Gives the collector the drift alarms that hold; an `EventSink`."""

    def __init__(self, collector: RunCollector) -> None:
        self._collector = collector
        self._alarms: set[tuple[str, str]] = set()

    def write(self, events: Sequence[Event]) -> None:
        """Look for alarms that began or ended."""
        for event in events:
            if event.type == "drift" and event.values["what"] in ("onset", "end"):
                alarm = (event.values["monitor"], event.values["arm"])
                if event.values["what"] == "onset":
                    self._alarms.add(alarm)
                    self._collector.n_drift_alarms += 1
                else:
                    self._alarms.discard(alarm)
        self._collector.is_drift_alarm = bool(self._alarms)

    def close(self) -> None:
        """Nothing is held open."""


class DriftConsumer:
    """Gives the collector the newest drift score, and a log of its course where there is a run folder."""

    def __init__(self, shared: Shared, collector: RunCollector, log: DriftLog | None) -> None:
        self._processed = shared.numbers("processed")
        self._score = shared.numbers("drift_score")
        self._collector = collector
        self._log = log

    def take(self, turn: Turn) -> None:
        """Look at the score; before the first sample there is none."""
        if not int(self._processed[0]):
            return
        score = float(self._score[0])
        self._collector.drift_score = None if math.isnan(score) else score
        if self._log is not None and turn.newest >= 0:
            self._log.add(turn.newest, score)


class ClockConsumer:
    """Gives the collector the offset of the sender's clock, as it was measured."""

    def __init__(self, collector: RunCollector, measured_s: Callable[[], float | None]) -> None:
        self._collector = collector
        self._measured_s = measured_s

    def take(self, turn: Turn) -> None:
        """Hand it on."""
        self._collector.clock_offset_s = self._measured_s()


class ViewConsumer:
    """Draws the run in the terminal.

    What is drawn comes from whoever is on the network, and a terminal may go away: a failure ends the drawing alone.
    """

    def __init__(self, view: TerminalView, shared: Shared) -> None:
        self._view = view
        self._shared = shared
        self._is_drawing = True

    def take(self, turn: Turn) -> None:
        """Show what happened."""
        if not self._is_drawing:
            return
        try:
            self._draw(turn)
        except Exception:  # noqa: BLE001 - a side channel: the run goes on unseen
            self._is_drawing = False
            _log.exception("the view failed; nothing more is drawn in this run")
            self._view.give_up()

    def _draw(self, turn: Turn) -> None:
        link = self._shared.stimulation
        self._view.update(
            turn.events,
            int(self._shared.numbers("received")[0]),
            self._shared.elapsed_s(),
            self._figures(turn),
            None if link is None else status_of(link),
        )

    def _figures(self, turn: Turn) -> dict[str, str]:
        """Return the lines of the view that only a live run has."""
        summary = self._shared.latency().summary()
        lines = {}
        is_going = turn.newest >= 0 and not int(self._shared.numbers("finished")[0])
        if is_going:
            stamp, offset_s = float(self._shared.numbers("newest_stamp")[0]), turn.offset_s
            age_ms = None if offset_s is None else (time.perf_counter() - stamp - offset_s) * 1e3
            lines["newest sample"] = "age unknown (no clock offset yet)" if age_ms is None else f"{age_ms:.1f} ms old"
            lines["effective rate"] = f"{float(self._shared.numbers('effective_sfreq')[0]):.2f} Hz"
        for row, label in ((LOOP, "loop"), (IN_TO_OUT, "in to decision")):
            if row in summary:
                one = summary[row]
                lines[label] = f"p50 {one['p50_us']:.0f} us, p99 {one['p99_us']:.0f} us, max {one['max_us']:.0f} us"
        if is_going and not int(self._shared.numbers("stream_up")[0]):
            lines["stream"] = "LOST, waiting for it"
        return lines
