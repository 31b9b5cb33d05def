"""The cold process: writes the events, shows the run, serves metrics, writes the summary.

It may be killed and started again at any time. What it has not written comes again from the rings, as far as they
reach; what they no longer hold is counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import OnlineAccuracy
from neuroloop.sinks.guarded import OwnSinks, SinkRun
from neuroloop.sinks.metrics.run import Families, RunCollector
from neuroloop.sinks.metrics.server import serve
from neuroloop.sinks.run_folder.drift_log import DRIFT_FILE, DriftLog
from neuroloop.sinks.run_folder.folder import EVENTS_FILE, LATENCY_FILE, SUMMARY_FILE, RunFolderError, put_json
from neuroloop.sinks.stimulator.requests import write_requests
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.contracts.protocols import EventSink
from neuroloop.stream.engine.tally import Tally
from neuroloop.stream.live.child_process import begin, starting, tell
from neuroloop.stream.live.cold_consumers import (
    AccuracySink,
    AlarmSink,
    ClockConsumer,
    CommitAtOnce,
    Consumer,
    DriftConsumer,
    JournalConsumer,
    OwnSinksConsumer,
    QualityTap,
    SinkConsumer,
    TallySink,
    ViewConsumer,
)
from neuroloop.stream.live.cold_input import ColdInput, Turn
from neuroloop.stream.live.event_journal import EventJournal
from neuroloop.stream.live.health import RunHealth
from neuroloop.stream.live.live_kafka import source_families
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.placement import is_orphan
from neuroloop.stream.live.process_usage import use_of_run
from neuroloop.stream.live.publisher_counts import kafka_families
from neuroloop.stream.live.run_summary import summarise_live, tally_of
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.live.stimulation.view import metrics_of, panel_of
from neuroloop.stream.quality.quality import QualityMeter
from neuroloop.stream.sources.clock_watch import ClockWatch

_WAIT_S = 0.1
_HOLD_S = 1.0
_log = logging.getLogger("neuroloop.cold")


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
    begin(log=plan.config.process.log, cores=plan.cores)
    with ExitStack() as stack:
        with starting(ready):
            loop = ColdLoop(plan, shared, stack, ready)
        tell(ready, "ready", {"metrics_port": loop.port})
        loop.run()


class ColdLoop:
    """Everything that may be late: reads the rings and hands each turn to the consumers, in their order.

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
        self._quality = QualityMeter(plan.source.info)
        self._input = ColdInput(shared, QualityTap(self._quality))
        link, stimulation = shared.stimulation, plan.config.stimulation
        self._alive_ns = link.numbers("cold_ns") if link is not None else None
        self._wait_s = _WAIT_S if stimulation is None else min(_WAIT_S, stimulation.gate.watchdog_s / 4)
        self._clock = ClockWatch(plan.source.open_clock)
        stack.callback(self._clock.close)
        self._clock.start()
        self._journal: EventJournal | None = None
        if plan.out is not None:
            self._journal = _open_journal(plan.out, 2 * shared.events.capacity_bytes)
            stack.callback(self._journal.close)
        collector = self._make_collector()
        health = RunHealth(
            shared, n_warmup=round(plan.warmup_s * plan.source.info.sfreq), ready_s=plan.config.metrics.ready_s
        )
        self.port = serve(collector, plan.config.metrics, healthy=health.healthy, ready=health.ready)
        self._view = self._make_view()
        if self._view is not None:
            stack.enter_context(self._view)
        self._tally = Tally()
        accuracy = plan.config.accuracy
        self._accuracy = OnlineAccuracy(accuracy, shared.classes) if accuracy is not None else None
        self._journal_writer: JournalConsumer | None = None
        self._sinks: list[EventSink] = [TallySink(self._tally), AlarmSink(collector)]
        if self._accuracy is not None:
            self._sinks.append(AccuracySink(self._accuracy, collector))
        self._own_sinks = self._make_own_sinks()
        stack.callback(self._own_sinks.close)
        self._consumers = self._make_consumers(collector)

    def _make_consumers(self, collector: RunCollector) -> list[Consumer]:
        """Return who takes each turn: first who writes, last who shows."""
        plan, shared, commit = self._plan, self._shared, self._input.commit
        consumers: list[Consumer] = [ClockConsumer(collector, lambda: self._clock.offset_s)]
        if self._journal is None:
            consumers.append(CommitAtOnce(commit))
        else:
            self._journal_writer = JournalConsumer(self._journal, shared, commit=commit, host=plan.host)
            consumers.append(self._journal_writer)
        consumers += [SinkConsumer(sink) for sink in self._sinks]
        if plan.config.sinks:
            consumers.append(OwnSinksConsumer(self._own_sinks))
        if plan.config.drift:
            log = DriftLog(plan.out / DRIFT_FILE) if plan.out is not None else None
            consumers.append(DriftConsumer(shared, collector, log))
        if self._view is not None:
            consumers.append(ViewConsumer(self._view, shared))
        return consumers

    def _make_own_sinks(self) -> OwnSinks:
        """Start the sinks that the configuration names; none waits for them."""
        plan = self._plan
        run = SinkRun(plan.config.name, plan.source.info, self._shared.classes, plan.plan_sha256)
        return OwnSinks(plan.config.sinks or (), run, hold_ns=round(_HOLD_S * 1e9))

    def _make_collector(self) -> RunCollector:
        plan, shared = self._plan, self._shared
        return RunCollector(
            shared.counters,
            pipeline=plan.config.name,
            stream=plan.source.info.name,
            classes=shared.classes,
            stage_figures=lambda: shared.latency().summary(),
            ring_status=shared.samples.status,
            process_use=lambda: use_of_run(plan.supervisor_pid),
            reference_accuracy=plan.reference_accuracy,
            has_drift=bool(plan.config.drift),
            beside=self._families_beside(),
        )

    def _families_beside(self) -> tuple[Families, ...]:
        """Return the metrics of the processes that this run has besides."""
        plan, link, info = self._plan, self._shared.stimulation, self._plan.source.info
        families: list[Families] = []
        if link is not None:
            families.append(metrics_of(link, plan.config.name, info.name))
        if plan.config.kafka is not None and plan.config.kafka.publish:
            families.append(kafka_families(self._shared, plan.config.kafka, plan.config.name, info.name))
        source = source_families(plan.source, plan.config.name)
        if source is not None:
            families.append(source)
        return tuple(families)

    def _make_view(self) -> TerminalView | None:
        plan = self._plan
        if not plan.show:
            return None
        view = TerminalView.if_interactive(plan.source.info, title=plan.title)
        if view is None and plan.picture is not None:
            view = TerminalView(plan.source.info, title=plan.title)
        if view is not None:
            view.set_classes(self._shared.classes)
            if plan.config.stimulation is not None:
                view.set_stimulation(panel_of(plan.config.stimulation))
        return view

    def run(self) -> None:
        """Serve until the rings are closed, then write what the whole run comes to."""
        while not self._input.is_over:
            if self._alive_ns is not None:
                self._alive_ns[0] = time.monotonic_ns()
            self._input.wait(self._wait_s)
            self._turn()
            if self._input.newest < 0 and is_orphan():  # a hot process that had not begun leaves the rings open
                break
        self._turn()
        self._finish()

    def _turn(self) -> None:
        """Take what the rings hold and hand it round."""
        begun_ns = time.perf_counter_ns()
        self._input.read_samples()
        offset_s = self._offset_s()
        records, events = self._input.read()
        turn = Turn(begun_ns, records, events, self._input.places, self._input.newest, offset_s)
        for consumer in self._consumers:
            consumer.take(turn)

    def _offset_s(self) -> float | None:
        """Return what turns stamps into this machine's clock: measured, or for a played recording, its start."""
        if self._plan.source.is_played:
            return float(self._shared.numbers("first_offset")[0]) if self._input.newest >= 0 else None
        return self._clock.offset_s

    def _finish(self) -> None:
        """Write what is held, the latencies and the summary."""
        plan = self._plan
        if self._view is not None and plan.picture is not None:
            self._view.save_picture(plan.picture)
        if self._journal is None or self._journal_writer is None or plan.out is None:
            return
        self._journal_writer.finish(self._input.places)
        self._own_sinks.close()
        for sink in self._sinks:
            sink.close()
        if plan.config.stimulation is not None:
            try:
                write_requests(plan.out, plan.config.stimulation)
            except (RunFolderError, ConfigError) as error:
                self._report_unwritten(error)
        tally = tally_of(plan.out / EVENTS_FILE) if self._journal.is_resumed else self._tally
        summary = summarise_live(
            self._shared,
            plan.source.info,
            tally,
            quality=self._quality.report(),
            rings=self._input.n_lost,
            accuracy=self._accuracy.report() if self._accuracy is not None else None,
            left_out=plan.left_out,
            plan_sha256=plan.plan_sha256,
        )
        if plan.config.sinks:
            summary["sinks"] = self._own_sinks.books()
        figures = {"machine": plan.machine, "hot": self._reached(), "rows": self._shared.latency().summary()}
        for name, record in ((LATENCY_FILE, figures), (SUMMARY_FILE, summary)):
            try:
                put_json(plan.out / name, record)
            except RunFolderError as error:
                self._report_unwritten(error)

    def _report_unwritten(self, error: Exception) -> None:
        """Say that a file is missing, and count it where the supervisor sees it."""
        _log.error("%s", error)
        self._shared.numbers("files_unwritten")[0] += 1

    def _reached(self) -> Any:
        """Return what the supervisor said of the hot process; nothing if it is gone."""
        try:
            return self._supervisor.recv() if self._supervisor.poll() else {}
        except (EOFError, OSError):
            return {}


def _open_journal(out: Path, tail_bytes: int) -> EventJournal:
    """Open ``events.jsonl``; what the ring still holds must be found again in the tail of an existing one."""
    try:
        return EventJournal(out / EVENTS_FILE, hold_s=_HOLD_S, tail_bytes=tail_bytes + (1 << 20))
    except OSError as error:
        raise RunFolderError(f"out must be a writable folder, got {str(out)!r}: {error.strerror}") from error
