"""The cold process: writes the events, shows the run, serves metrics, closes the books.

It may be killed and started again at any time. What it has not written comes again from the rings, as far as they
reach; what they no longer hold is counted.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import OnlineAccuracy
from neuroloop.sinks.metrics.run import Families, RunCollector
from neuroloop.sinks.metrics.server import serve
from neuroloop.sinks.run_folder.drift_log import DRIFT_FILE, DriftLog
from neuroloop.sinks.run_folder.folder import EVENTS_FILE, LATENCY_FILE, SUMMARY_FILE, RunFolderError, put_json
from neuroloop.sinks.stimulator.requests import write_requests
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine.tally import Tally
from neuroloop.stream.live.child_process import tell
from neuroloop.stream.live.clock_watch import ClockWatch
from neuroloop.stream.live.event_journal import EventJournal
from neuroloop.stream.live.health import RunHealth
from neuroloop.stream.live.live_kafka import source_families
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.placement import follow_parent, is_orphan, settle
from neuroloop.stream.live.process_logs import set_up_logs
from neuroloop.stream.live.process_usage import use_of_run
from neuroloop.stream.live.publisher_counts import kafka_families
from neuroloop.stream.live.shared_state import (
    COUNTED,
    COUNTS,
    IN_TO_OUT,
    LOOP,
    QUALITY,
    READER,
    EventRecord,
    Shared,
    as_event,
    unpack_event,
)
from neuroloop.stream.live.stimulation.view import metrics_of, panel_of, status_of
from neuroloop.stream.quality.quality import QualityMeter
from neuroloop.stream.ring.header import Place
from neuroloop.stream.sources.lsl.library import quiet_library

_WAIT_S = 0.1
_BATCH = 4096
_HOLD_S = 1.0
_log = logging.getLogger("neuroloop.cold")


class _Places(NamedTuple):
    """Where reading stands in the two rings of events."""

    events: Place
    stimulator: Place | None


@dataclass(frozen=True)
class ColdPlan:
    """What a cold process is told at its start."""

    config: Config
    source: SourcePlan
    out: Path | None
    cores: frozenset[int]
    machine: Mapping[str, Any]
    plan_sha256: str
    left_out: Mapping[str, list[str]]
    title: str
    show: bool
    host: str | None = None
    picture: Path | None = None
    supervisor_pid: int = 0
    warmup_s: float = 0.0
    reference_accuracy: float | None = None


def run_cold(plan: ColdPlan, shared: Shared, ready: Connection) -> None:
    """Be the cold process until the hot one has closed its rings and everything is written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the rings ends it
    follow_parent()
    quiet_library()
    set_up_logs(plan.config.process.log)
    settle(plan.cores, realtime=False)
    with ExitStack() as stack:
        try:
            cold = Cold(plan, shared, stack, ready)
        except NeuroloopError as error:
            tell(ready, "error", str(error))
            raise SystemExit(1) from None
        tell(ready, "ready", {"metrics_port": cold.port})
        cold.run()


class Cold:
    """Everything that may be late.

    Parameters
    ----------
    plan : ColdPlan
    shared : Shared
    stack : ExitStack
        Closes what this opens.
    supervisor : Connection
        Says what the hot process has reached.
    """

    def __init__(self, plan: ColdPlan, shared: Shared, stack: ExitStack, supervisor: Connection) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._shared = shared
        self._info = plan.source.info
        self._events = shared.events.reader(READER)
        link, stimulation = shared.stimulation, plan.config.stimulation
        self._stimulator = link.said.reader(READER) if link is not None else None
        self._alive_ns = link.numbers("cold_ns") if link is not None else None
        self._wait_s = _WAIT_S if stimulation is None else min(_WAIT_S, stimulation.gate.watchdog_s / 4)
        self._samples = shared.samples.reader(READER)
        self._journal: EventJournal | None = None
        if plan.out is not None:
            self._journal = _open_journal(plan.out, 2 * shared.events.capacity_bytes)
            stack.callback(self._journal.close)
        self._tally = Tally()
        self._accuracy = (
            OnlineAccuracy(plan.config.accuracy, shared.classes) if plan.config.accuracy is not None else None
        )
        self._collector = RunCollector(
            shared.counters,
            pipeline=plan.config.name,
            stream=self._info.name,
            classes=shared.classes,
            stage_figures=lambda: shared.latency().summary(),
            ring_status=shared.samples.status,
            process_use=lambda: use_of_run(plan.supervisor_pid),
            reference_accuracy=plan.reference_accuracy,
            has_drift=bool(plan.config.drift),
            beside=self._families_beside(),
        )
        health = RunHealth(
            shared, n_warmup=round(plan.warmup_s * self._info.sfreq), ready_s=plan.config.metrics.ready_s
        )
        self.port = serve(self._collector, plan.config.metrics, healthy=health.healthy, ready=health.ready)
        self._alarms: set[tuple[str, str]] = set()
        self._drift_log = DriftLog(plan.out / DRIFT_FILE) if plan.out is not None and plan.config.drift else None
        self._clock = ClockWatch(plan.source)
        stack.callback(self._clock.close)
        self._clock.start()
        self._view = self._make_view()
        if self._view is not None:
            stack.enter_context(self._view)
        self._newest = -1
        self._quality = QualityMeter(self._info)
        self._unwritten_before = int(shared.numbers("events_unwritten")[0])

    def _families_beside(self) -> tuple[Families, ...]:
        """Return the metrics of the processes that this run has besides."""
        plan, link = self._plan, self._shared.stimulation
        families: list[Families] = []
        if link is not None:
            families.append(metrics_of(link, plan.config.name, self._info.name))
        if plan.config.kafka is not None and plan.config.kafka.publish:
            families.append(kafka_families(self._shared, plan.config.kafka, plan.config.name, self._info.name))
        source = source_families(plan.source, plan.config.name)
        if source is not None:
            families.append(source)
        return tuple(families)

    def _make_view(self) -> TerminalView | None:
        plan = self._plan
        if not plan.show:
            return None
        view = TerminalView.if_interactive(self._info, title=plan.title)
        if view is None and plan.picture is not None:
            view = TerminalView(self._info, title=plan.title)
        if view is not None:
            view.set_classes(self._shared.classes)
            if plan.config.stimulation is not None:
                view.set_stimulation(panel_of(plan.config.stimulation))
        return view

    def run(self) -> None:
        """Serve until the rings are closed, then close the books."""
        while not self._is_over():
            if self._alive_ns is not None:
                self._alive_ns[0] = time.monotonic_ns()
            (self._stimulator if self._stimulator is not None and self._events.is_ended else self._events).wait(
                self._wait_s
            )
            self._drain()
            if self._newest < 0 and is_orphan():  # a hot process that had not begun leaves the rings open
                break
        self._drain()
        self._close_books()

    def _is_over(self) -> bool:
        """Whether everybody who writes into the rings is gone and all is read."""
        is_stimulator_over = self._stimulator is None or self._stimulator.is_ended
        return self._events.is_ended and self._samples.is_ended and is_stimulator_over

    def _read_events(self) -> tuple[list[bytes], _Places]:
        """Take records of the hot process and of the stimulator's, and say up to where."""
        batch = self._events.read(_BATCH)
        n_lost, records = batch.n_lost, list(batch.records)
        if self._stimulator is not None:
            batch_of_stimulator = self._stimulator.read(_BATCH)
            n_lost, records = n_lost + batch_of_stimulator.n_lost, records + list(batch_of_stimulator.records)
        if n_lost:
            _log.warning("%d events were overwritten before they were written", n_lost)
        return records, _Places(self._events.place, self._stimulator.place if self._stimulator is not None else None)

    def _commit(self, places: _Places) -> None:
        """Say that everything before is dealt with."""
        self._events.commit(places.events)
        if self._stimulator is not None:
            self._stimulator.commit(places.stimulator)

    def _drain(self) -> None:
        """Take what the rings hold, write what is due, show it."""
        now_ns = time.perf_counter_ns()
        self._drain_samples()
        offset = self._offset_s()
        self._collector.clock_offset_s = self._clock.offset_s
        fresh: list[EventRecord] = []
        while True:
            taken, places = self._read_events()
            if not taken:
                break
            records = [unpack_event(record) for record in taken]
            fresh += records
            if self._journal is None:
                self._commit(places)
            else:
                self._journal.add(records, [self._delivery(one, offset) for one in records], places)
        if self._journal is not None:
            written = self._journal.write_due(now_ns)
            self._count_unwritten(self._journal)
            if written is not None:
                self._commit(written)
        events = [as_event(record) for record in fresh]
        self._tally.add(events)
        self._publish(events)
        if self._view is not None:
            n_received = int(self._shared.numbers("received")[0])
            link = self._shared.stimulation
            status = None if link is None else status_of(link)
            self._view.update(events, n_received, self._elapsed_s(), self._figures(offset), status)

    def _publish(self, events: Sequence[Event]) -> None:
        """Give the collector what is no plain counter: accuracy and drift score, once they have a value."""
        if self._accuracy is not None:
            self._accuracy.add(events)
            self._collector.accuracy = self._accuracy.value
            self._collector.n_judged = self._accuracy.n_judged
        if self._plan.config.drift and int(self._shared.numbers("processed")[0]):
            score = float(self._shared.numbers("drift_score")[0])
            self._collector.drift_score = None if math.isnan(score) else score
            if self._drift_log is not None and self._newest >= 0:
                self._drift_log.add(self._newest, score)

        for event in events:
            if event.type == "drift" and event.values["what"] in ("onset", "end"):
                alarm = (event.values["monitor"], event.values["arm"])
                if event.values["what"] == "onset":
                    self._alarms.add(alarm)
                    self._collector.n_drift_alarms += 1
                else:
                    self._alarms.discard(alarm)
        self._collector.is_drift_alarm = bool(self._alarms)

    def _count_unwritten(self, journal: EventJournal) -> None:
        """Keep the count where it outlives this process."""
        self._shared.numbers("events_unwritten")[0] = self._unwritten_before + journal.n_unwritten

    def _drain_samples(self) -> None:
        """Measure the samples; nobody keeps them yet."""
        n_lost = 0
        while True:
            rows = self._samples.read(_BATCH)
            n_lost += rows.n_lost
            if not len(rows.chunk):
                break
            self._newest = rows.chunk.next_sample - 1
            self._quality.add(rows.chunk)
            self._samples.commit()
        if n_lost:
            _log.warning("%d samples were overwritten before they were looked at", n_lost)

    def _offset_s(self) -> float | None:
        """Return what turns stamps into this machine's clock: measured, or for a played recording, its start."""
        if self._plan.source.is_played:
            return float(self._shared.numbers("first_offset")[0]) if self._newest >= 0 else None
        return self._clock.offset_s

    def _delivery(self, record: EventRecord, offset: float | None) -> dict[str, Any]:
        """Return how an event reached its reader."""
        age_s = None if offset is None else record.emitted_ns * 1e-9 - (record.stamp + offset)
        wall_s = time.time() - (time.perf_counter_ns() - record.emitted_ns) * 1e-9
        return {
            "age_s": age_s,
            "latency_s": (record.emitted_ns - record.arrival_ns) * 1e-9,
            "host": self._plan.host,
            "wall_time": datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="microseconds"),
        }

    def _elapsed_s(self) -> float:
        started = int(self._shared.numbers("started_ns")[0])
        return (time.perf_counter_ns() - started) * 1e-9 if started else 0.0

    def _figures(self, offset: float | None) -> dict[str, str]:
        """Return the lines of the view that only a live run has."""
        summary = self._shared.latency().summary()
        lines = {}
        is_over = bool(int(self._shared.numbers("finished")[0]))
        if self._newest >= 0 and not is_over:
            stamp = float(self._shared.numbers("newest_stamp")[0])
            age_ms = None if offset is None else (time.perf_counter() - stamp - offset) * 1e3
            lines["newest sample"] = "age unknown (no clock offset yet)" if age_ms is None else f"{age_ms:.1f} ms old"
            lines["effective rate"] = f"{float(self._shared.numbers('effective_sfreq')[0]):.2f} Hz"
        for row, label in ((LOOP, "loop"), (IN_TO_OUT, "in to decision")):
            if row in summary:
                one = summary[row]
                lines[label] = f"p50 {one['p50_us']:.0f} us, p99 {one['p99_us']:.0f} us, max {one['max_us']:.0f} us"
        if self._newest >= 0 and not is_over and not int(self._shared.numbers("stream_up")[0]):
            lines["stream"] = "LOST, waiting for it"
        return lines

    def _close_books(self) -> None:
        """Write what is held, the latencies and the summary."""
        plan = self._plan
        if self._view is not None and plan.picture is not None:
            self._view.save_picture(plan.picture)
        if self._journal is None or plan.out is None:
            return
        self._journal.close()
        self._commit(_Places(self._events.place, self._stimulator.place if self._stimulator is not None else None))
        self._count_unwritten(self._journal)
        if self._accuracy is not None:
            self._accuracy.finish()
        if plan.config.stimulation is not None:
            try:
                write_requests(plan.out, plan.config.stimulation)
            except (RunFolderError, ConfigError) as error:
                _log.error("%s", error)
                self._shared.numbers("files_unwritten")[0] += 1
        if self._journal.is_resumed:
            self._tally = _tally_of(plan.out / EVENTS_FILE)
        figures = {"machine": plan.machine, "hot": self._heard(), "rows": self._shared.latency().summary()}
        for name, record in ((LATENCY_FILE, figures), (SUMMARY_FILE, self.summary())):
            try:
                put_json(plan.out / name, record)
            except RunFolderError as error:
                _log.error("%s", error)
                self._shared.numbers("files_unwritten")[0] += 1

    def _heard(self) -> Any:
        """Return what the supervisor said of the hot process; nothing if it is gone."""
        try:
            return self._supervisor.recv() if self._supervisor.poll() else {}
        except (EOFError, OSError):
            return {}

    def summary(self) -> dict[str, Any]:
        """Return the books of the run."""
        numbers = {name: int(self._shared.numbers(name)[0]) for name in COUNTS}
        rate = float(self._shared.numbers("decision_rate")[0])
        counted = {name: numbers[name] for name in COUNTED}
        return {
            "stream": {
                "name": self._info.name,
                "type": self._info.type,
                "sfreq": self._info.sfreq,
                "effective_sfreq": float(self._shared.numbers("effective_sfreq")[0]),
                "n_channels": self._info.n_channels,
            },
            "samples": {
                "in": numbers["received"],
                "processed": numbers["processed"],
                "counted": counted,
                "balanced": numbers["received"] == numbers["processed"] + sum(counted.values()),
                "missing": {"filled": numbers["filled"], "jumped": numbers["jumped"]},
            },
            "quality": {**{name: numbers[name] for name in QUALITY}, **self._quality.report()},
            "rings": {
                "samples_lost": self._samples.n_lost,
                "events_lost": self._events.n_lost + (self._stimulator.n_lost if self._stimulator is not None else 0),
            },
            "events_unwritten": int(self._shared.numbers("events_unwritten")[0]),
            "outlet_errors": int(self._shared.numbers("outlet_errors")[0]),
            "events": dict(sorted(self._tally.events.items())),
            "predictions": dict(sorted(self._tally.predictions.items())),
            "states": self._tally.state_seconds(1.0 / rate if rate else 0.0),
            **({"accuracy": self._accuracy.report()} if self._accuracy is not None else {}),
            "left_out": self._plan.left_out,
            "plan_sha256": self._plan.plan_sha256,
            "ended": "finished" if int(self._shared.numbers("finished")[0]) else "the hot process died",
            "elapsed_s": self._elapsed_s(),
        }


def _open_journal(out: Path, tail_bytes: int) -> EventJournal:
    """Open ``events.jsonl``; what the ring still holds must be found again in the tail of an existing one."""
    try:
        return EventJournal(out / EVENTS_FILE, hold_s=_HOLD_S, tail_bytes=tail_bytes + (1 << 20))
    except OSError as error:
        raise RunFolderError(f"out must be a writable folder, got {str(out)!r}: {error.strerror}") from error


def _tally_of(events_file: Path) -> Tally:
    """Count the events of a whole file, where an earlier process has written some of them."""
    tally = Tally()
    with events_file.open("rb") as file:
        for line in file:
            values = json.loads(line)
            one = Event(values["type"], values["stream"], values["sample"], 0, 0.0, 0.0, values)
            tally.add([one])
    return tally
