"""The hot process: source, pipeline, monitoring outlets; one thread, nothing that waits for anybody."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from neuroloop.config.errors import NeuroloopError, StreamEnded, StreamLost, StreamMismatch
from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle
from neuroloop.sinks.lsl import LslOutlets
from neuroloop.stream.assembly.build import Built, build
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, Position
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.staleness import Staleness
from neuroloop.stream.live.child_process import begin, starting, tell
from neuroloop.stream.live.latency_table import DurationLog
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.placement import Placement, quiet_memory
from neuroloop.stream.live.recorder_rings import RecorderFeed
from neuroloop.stream.live.shared_state import IN_TO_OUT, LOOP, Shared, is_stopping, pack_event, request_stop
from neuroloop.stream.live.warm_up import warm_up
from neuroloop.stream.sources.session import LiveMarkers, SourceSession, settle_markers

_READ_S = 0.2
_NOTIFY_NS = 20_000_000
_WHOLE_LOOP = -1
"""Row of the whole loop, counted from that of the first stage."""
_MARKERS_NS = 5_000_000
_BACKLOG_S = 1.0
"""Rows that come at once and are longer than this were waiting somewhere; their markers may be later than they."""
_log = logging.getLogger("neuroloop.hot")


@dataclass(frozen=True)
class HotPlan:
    """What the hot process is told at its start."""

    config: Config
    source: SourcePlan
    placement: Placement
    seconds: float | None


def run_hot(plan: HotPlan, shared: Shared, ready: Connection) -> None:
    """Be the hot process: settle, build, warm up, open the source, loop until told to stop."""
    is_running = False

    def end(*_: object) -> None:
        """Finish the run as for a stop; before it has begun there is nothing to finish."""
        if not is_running:
            sys.exit(143)
        request_stop(shared)

    config = plan.config
    settings = begin(
        log=config.process.log,
        on_sigterm=end,
        cores=plan.placement.hot,
        is_realtime=config.process.priority == "auto",
    )
    with starting(ready):
        markers = plan.source.opener.open_markers(config.markers)
        bundle = load_classifier(config)
        warm_up(config, plan.source.info, bundle)
        hot = HotLoop(plan, shared, bundle)
        settle_markers(markers)
        session = SourceSession(
            plan.source.opener.open(),
            markers,
            reconnect_s=plan.source.reconnect_s,
            is_stopped=lambda: is_stopping(shared.numbers("stop")),
        )
    is_running = True
    tell(ready, "ready", settings)
    quiet_memory()
    try:
        hot.run(session)
    except NeuroloopError as error:
        _log.error("%s", error)
        sys.exit(1)
    finally:
        hot.close()
        session.close()


class HotLoop:
    """The loop; all it needs is made before the first sample.

    Parameters
    ----------
    plan : HotPlan
    shared : Shared
    bundle : Bundle, optional
    """

    def __init__(self, plan: HotPlan, shared: Shared, bundle: Bundle | None) -> None:
        self._plan = plan
        self._shared = shared
        info = plan.source.info
        offered = _offered_taps(plan.config, bundle)
        self._latency = shared.latency()
        self._row_in_to_out = shared.rows.index(IN_TO_OUT)
        self._stage_log = DurationLog(self._latency, first_row=shared.rows.index(LOOP) - _WHOLE_LOOP)
        self._outlets: LslOutlets | None = None
        self._markers: LiveMarkers | None = None
        self._recorder = RecorderFeed(shared.recorder) if shared.recorder is not None else None
        built = build(plan.config, info, bundle=bundle, taps=self._receivers(offered), timer=self._stage_log)
        self._outlets = _make_outlets(plan.config, info, built, offered)
        self._engine = Engine(
            plan.config.source, built.pipeline, self._take_numbered, first_sample=plan.source.first_sample
        )
        self._samples = shared.samples.writer()
        self._events = shared.events.writer()
        link, stimulation = shared.stimulation, plan.config.stimulation
        self._requests = link.requests.writer() if link is not None else None
        # the stimulator's watchdog looks at the progress counter: it must move in a silent stream too
        self._read_s = _READ_S if stimulation is None else min(_READ_S, stimulation.gate.watchdog_s / 4)
        self._labels = {label: index for index, label in enumerate(shared.classes)}
        self._predictions = shared.numbers("predictions")
        self._decision_seconds = shared.counters.histogram("prediction_latency")
        self._loop_seconds = shared.counters.histogram("loop_seconds")
        self._newest_stamp = shared.numbers("newest_stamp")
        self._arrival_ns = 0
        self._numbered: list[Chunk] = []
        self._last_notice = (-1, 0)
        self._staleness = Staleness(plan.config.source, info.sfreq)
        shared.numbers("drift_score")[0] = built.pipeline.drift_score
        shared.numbers("decision_rate")[0] = built.pipeline.stages[-1].info_out.sfreq if built.classes else 0.0

    def _receivers(self, offered: Sequence[str]) -> dict[str, Callable[[Chunk], None]]:
        """Return who receives the rows of each tap: the network, the recorder, or both."""
        receivers: dict[str, Callable[[Chunk], None]] = {name: self._offer(name) for name in offered}
        for name in self._shared.recorder.taps if self._shared.recorder is not None else ():
            if self._recorder is not None:
                record = self._recorder.tap(name)
                receivers[name] = _both(receivers[name], record) if name in receivers else record
        return receivers

    def _offer(self, name: str) -> Callable[[Chunk], None]:
        """Return what offers the rows of one tap on the network."""

        def receive(chunk: Chunk) -> None:
            if self._outlets is not None:
                self._outlets.write_chunk(name, chunk)

        return receive

    def _take_numbered(self, chunk: Chunk) -> None:
        """Note a numbered chunk; it goes into the ring when its events are out, for nobody waits for it there."""
        self._numbered.append(chunk)

    def run(self, session: SourceSession) -> None:
        """Read, compute, emit, until told to stop or the stream is over."""
        source, markers = session.source, session.markers
        self._markers = markers
        shared, engine, plan = self._shared, self._engine, self._plan
        stop, progress = shared.numbers("stop"), shared.numbers("progress")
        started, up, received = shared.numbers("started_ns"), shared.numbers("stream_up"), shared.numbers("received")
        n_expected = plan.source.n_samples
        stage_log, loop_seconds = self._stage_log, self._loop_seconds
        is_started = bool(started[0])
        recorder, staleness = self._recorder, self._staleness
        backlog_rows = max(2, round(_BACKLOG_S * plan.source.info.sfreq))
        newest_stamp, now = self._newest_stamp, time.perf_counter_ns
        heartbeat = shared.numbers("heartbeat_ns")
        numbered, append = self._numbered, self._samples.append
        last_notify = last_markers = end_ns = n_received = 0
        up[0] = 1
        while not is_stopping(stop):
            progress[0] += 1
            heartbeat[0] = now()
            try:
                block = source.read(self._read_s)
            except StreamEnded:
                break
            except StreamMismatch as other:
                _log.error("%s", other)
                break
            except StreamLost as lost:
                up[0] = 0
                if n_expected is not None and n_received >= n_expected:
                    break
                _log.warning("%s", lost)
                if not self._recover(session):
                    break
                up[0] = 1
                self._take_markers(session.settle())
                continue
            begin = now()
            if end_ns and begin >= end_ns:
                break
            if block is None:
                if markers is not None:
                    self._take_markers(markers.read())
                continue
            if not is_started:
                is_started = True
                started[0] = begin
                end_ns = begin + round(plan.seconds * 1e9) if plan.seconds is not None else 0
                shared.numbers("first_offset")[0] = begin * 1e-9 - float(block.timestamps[-1])
            self._arrival_ns = begin
            if recorder is not None:
                recorder.rows(block, begin)
            n_rows = len(block.timestamps)
            if n_rows > backlog_rows:
                self._take_markers(session.settle())
            skip = staleness.decide(n_received, n_rows) if n_rows > 1 else None
            n_received += n_rows
            events = engine.push_block(block) if skip is None else engine.push_late(block, skip)
            if events:
                self._emit(events)
            for chunk in numbered:
                append(chunk, begin)
            numbered.clear()
            if markers is not None and begin - last_markers >= _MARKERS_NS:
                last_markers = begin
                self._take_markers(markers.read())
            newest_stamp[0] = block.timestamps[-1]
            done = now()
            stage_log.add(_WHOLE_LOOP, done - begin)
            stage_log.flush()
            loop_seconds.observe((done - begin) * 1e-9)
            if events or done - last_notify >= _NOTIFY_NS:
                last_notify = done
                received[0] = n_received
                self._count()
                self._samples.notify()
            if n_expected is not None and n_received >= n_expected:
                break
        received[0] = n_received
        self._finish(session)

    def _take_markers(self, markers: Sequence[Marker]) -> None:
        """Hand markers to the engine, and to the recorder with their place among the samples."""
        if not markers:
            return
        taken = self._engine.add_markers(markers)
        if self._recorder is not None:
            self._recorder.markers(taken)

    def _emit(self, events: Sequence[Event]) -> None:
        """Hand events to the outlets first, then to the ring."""
        arrival, outlets, requests = self._arrival_ns, self._outlets, self._requests
        for event in events:
            emitted = time.perf_counter_ns()
            record, line = pack_event(event, arrival, emitted)
            if requests is not None:
                requests.append(record)
                requests.notify()
            if outlets is not None:
                outlets.write_line(event, line)
            self._events.append(record)
            if event.type == "prediction":
                slot = self._labels[event.values["label"]] if event.values["valid"] else -1
                self._predictions[slot] += 1
                self._latency.add(self._row_in_to_out, emitted - arrival)
                self._decision_seconds.observe((emitted - arrival) * 1e-9)

    def _count(self) -> None:
        """Put the counts into shared memory, where they outlive this process."""
        balance, numbers = self._engine.books(), self._shared.numbers
        numbers("processed")[0] = balance.processed
        numbers("newest_arrival_ns")[0] = self._arrival_ns
        for reason, count in (*balance.missing.items(), *balance.counted.items(), *balance.quality.items()):
            numbers(reason)[0] = count
        numbers("effective_sfreq")[0] = self._engine.sequencer.effective_sfreq
        numbers("drift_score")[0] = self._engine.pipeline.drift_score
        numbers("markers_cut")[0] = self._engine.n_markers_cut
        if self._markers is not None:
            numbers("marker_errors")[0] = self._markers.n_errors
        if self._outlets is not None:
            numbers("outlet_errors")[0] = self._outlets.n_errors.total()

    def _recover(self, session: SourceSession) -> bool:
        """Say that the stream is lost, wait for it, say that it is back; False when the run shall end."""
        self._emit_stream_event("lost")
        started_ns, seconds = int(self._shared.numbers("started_ns")[0]), self._plan.seconds
        until = started_ns * 1e-9 + seconds if seconds is not None and started_ns else None
        is_back = session.recover(until=until, meanwhile=self._show_life)
        if is_back:
            self._emit_stream_event("found")
        return is_back

    def _show_life(self) -> None:
        """Let others see that this process moves."""
        self._shared.numbers("progress")[0] += 1
        self._shared.numbers("heartbeat_ns")[0] = time.perf_counter_ns()

    def _emit_stream_event(self, what: str) -> None:
        """Say ``lost`` or ``found`` at the last sample that came."""
        sample = max(0, self._engine.sequencer.next_sample - 1)
        time_s = float(self._newest_stamp[0])
        k = self._last_notice[1] + 1 if self._last_notice[0] == sample else 1  # 0 is the start of the stream
        self._last_notice = (sample, k)
        name = self._plan.source.info.name
        self._emit([Event("stream", name, sample, k, time_s, 0.0, {"what": what}, Position.TOLD)])
        self._samples.notify()

    def _finish(self, session: SourceSession) -> None:
        """Take the last markers, say what is still open."""
        for markers in session.last_markers():
            self._take_markers(markers)
        self._emit(self._engine.finish())
        self._count()
        self._shared.numbers("finished")[0] = 1
        self._shared.numbers("stream_up")[0] = 0

    def close(self) -> None:
        """Take the outlets off the network, write the last counts and end the rings."""
        try:
            self._count()
            if self._outlets is not None:
                self._outlets.close()
        finally:
            self._samples.close()
            self._events.close()
            if self._requests is not None:
                self._requests.close()
            if self._recorder is not None:
                self._recorder.close()
            self._shared.bell.notify()


def _both(one: Callable[[Chunk], None], other: Callable[[Chunk], None]) -> Callable[[Chunk], None]:
    """Return what hands a chunk to two receivers."""

    def receive(chunk: Chunk) -> None:
        one(chunk)
        other(chunk)

    return receive


def _offered_taps(config: Config, bundle: Bundle | None) -> tuple[str, ...]:
    """Return the stages whose output goes out as a stream."""
    taps = list(config.outlets.taps)
    if bundle is not None and config.classifier is not None and config.outlets.probabilities:
        taps.append(config.classifier.name)
    return tuple(dict.fromkeys(taps))


def _make_outlets(config: Config, info: StreamInfo, built: Built, offered: Sequence[str]) -> LslOutlets | None:
    """Offer what the configuration names."""
    if not offered and not config.outlets.states:
        return None
    infos = {stage.name: stage.info_out for stage in built.pipeline.stages} | {"input": info}
    classifier = config.classifier.name if config.classifier is not None else None
    options = {} if config.outlets.states else {"events": None}
    return LslOutlets(
        config.name,
        stream=info.name,
        taps={name: infos[name] for name in offered},
        classifier=classifier if classifier in offered else None,
        plan_hash=built.plan.hash,
        **options,  # type: ignore[arg-type]
    )
