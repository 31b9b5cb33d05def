"""The supervisor: finds the stream, makes the shared memory, starts the processes, watches and stops them."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import dump_config
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import reference_accuracy
from neuroloop.sinks.guarded import check_sinks
from neuroloop.sinks.metrics.server import check_port
from neuroloop.sinks.run_folder.folder import RunFolder, add_to_summary
from neuroloop.sinks.xdf.recorder import RecordedRun
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.bundles import find_bundle, load_classifier
from neuroloop.stream.assembly.machine import machine_settings
from neuroloop.stream.assembly.plan import Plan
from neuroloop.stream.assembly.provenance import provenance
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.engine.pipeline import INPUT_TAP
from neuroloop.stream.live.child_process import RunFailed
from neuroloop.stream.live.cold_process import ColdPlan, run_cold
from neuroloop.stream.live.hot_process import HotPlan, run_hot
from neuroloop.stream.live.live_source import FINDERS, SourcePlan, find_source, is_live
from neuroloop.stream.live.placement import ensure_open_files, plan_placement, settle
from neuroloop.stream.live.publish_plan import publish_plan
from neuroloop.stream.live.publisher_guard import PublisherGuard, is_publishing
from neuroloop.stream.live.recorder_process import RecorderPlan, recorder_summary, run_recorder
from neuroloop.stream.live.recorder_rings import RecorderRings
from neuroloop.stream.live.shared_state import Shared, request_stop
from neuroloop.stream.live.stimulation.guard import GuardOptions, StimulatorGuard, check_stimulation
from neuroloop.stream.live.watched_child import NEVER, WHILE_THE_RUN_GOES_ON, WatchedChild
from neuroloop.stream.sources.recordings.run_parts import SIGNALS_FILE

_log = logging.getLogger("neuroloop.run")
_POLL_S = 0.2
_HANGS_S = 5.0
_LAST_STEPS_S = 5.0
_DRAIN_S = 10.0


@dataclass(frozen=True)
class RunOptions:
    """How to run, beside the configuration.

    Parameters
    ----------
    out : Path, optional
        New or empty folder for the run.
    seconds : float, optional
        Stop after so many seconds of stream.
    show : bool
        Whether to draw the view where there is a terminal.
    title : str
    with_host : bool
        Whether events and provenance name the machine.
    picture : Path, optional
        Where to keep the last view.
    recorded : Config, optional
        What ``config.yaml`` and the provenance hold, where that is not the configuration that runs: one whose source
        is an amplifier of our own.
    """

    out: Path | None = None
    seconds: float | None = None
    show: bool = True
    title: str = "neuroloop run"
    with_host: bool = False
    picture: Path | None = None
    recorded: Config | None = None


@dataclass(frozen=True)
class _Prepared:
    """What a run is made of, before its processes start."""

    source: SourcePlan
    plan: Plan
    shared: Shared
    taps: Mapping[str, StreamInfo]
    """What the recorded stages give out."""
    machine: Mapping[str, Any]


class Supervisor:
    """One live run: prepares it, starts its processes, watches them, stops them.

    The hot process is never started again, without it there is no run; those that read its rings are, see
    `neuroloop.stream.live.watched_child`. The stimulator has a guard of its own, and is never started again either.

    Parameters
    ----------
    config : Config
        With a live source, of kind ``lsl`` or ``kafka``.
    options : RunOptions
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        if not is_live(config.source):
            raise ConfigError(f"source.kind must be one of {', '.join(FINDERS)} here, got {config.source.kind!r}")
        if config.recorder.enabled and options.out is None:
            raise ConfigError("out must be given for a run that is recorded, got nothing")
        check_stimulation(config, options.out)
        ensure_open_files()
        self._config = config
        self._options = options
        self._placement = plan_placement(config.process)
        self._stop_requested = False
        self._shared: Shared | None = None
        self._guard: StimulatorGuard | None = None
        self._hot: WatchedChild | None = None
        self._cold: WatchedChild | None = None
        self._recorder: WatchedChild | None = None
        self._publisher: PublisherGuard | None = None
        self._reached: dict[str, Any] = {}
        """What the hot process has reached; empty before it is ready."""
        self.metrics_port: int | None = None

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Run until the stream is over, the time is up or somebody stops it.

        Parameters
        ----------
        on_ready : callable, optional
            Called when the hot process is subscribed.

        Raises
        ------
        NeuroloopError
            If the run cannot start, or the hot process died.
        """
        with ExitStack() as stack:
            self._catch_signals(stack)
            prepared = self._prepare(stack)
            hot, cold = self._start(prepared, stack)
            self._wait_until_ready(hot, cold)
            if on_ready is not None:
                on_ready()
            self._watch(hot, cold, prepared.shared)
            self._finish(prepared.shared)
            self._check_outcome(hot, prepared.shared)

    def stop(self) -> None:
        """Ask the run to finish; from any thread or signal handler."""
        self._stop_requested = True
        if self._shared is not None:
            request_stop(self._shared)
        if self._guard is not None:
            self._guard.wake()

    def _is_stopped(self) -> bool:
        """Whether somebody asked for the end, while this waits for something; the stimulator sees that it lives."""
        if self._guard is not None:
            self._guard.beat()
        return self._stop_requested

    def _catch_signals(self, stack: ExitStack) -> None:
        """Finish on Ctrl-C and SIGTERM; a second one ends at once."""

        def handle(number: int, _frame: FrameType | None) -> None:
            if self._shared is None or self._stop_requested:
                raise KeyboardInterrupt
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, handle)
            stack.callback(signal.signal, number, before)

    def _prepare(self, stack: ExitStack) -> _Prepared:
        """Refuse what cannot work, find the stream, make the shared memory and the run folder."""
        config = self._config
        check_port(config.metrics)
        check_sinks(config.sinks or ())
        bundle = load_classifier(config)
        source = find_source(config)
        _log.info("source: %s, %d channels at %g Hz", source.info.name, source.info.n_channels, source.info.sfreq)
        recorded = config.recorder.taps if config.recorder.enabled else ()
        # the hot process builds its own: a pipeline's arrays and kernels belong to one process
        built = build(config, source.info, bundle=bundle, taps=dict.fromkeys(recorded, _ignore))
        infos = {stage.name: stage.info_out for stage in built.pipeline.stages} | {INPUT_TAP: source.info}
        taps = {name: infos[name] for name in recorded}
        if config.kafka is not None:
            publish_plan(config.kafka, source.info, stream=source.stream_id)  # refuses what cannot work
        ring_s = config.process.ring_s
        rings = None
        if config.recorder.enabled:
            rings = RecorderRings.make(source.info, taps, has_numbers=source.has_numbers, ring_s=ring_s)
        shared = Shared.make(
            source.info,
            stages=[stage.name for stage in built.pipeline.stages],
            classes=built.classes,
            ring_s=ring_s,
            recorder=rings,
            stimulates=config.stimulation is not None,
            published=config.kafka.publish if config.kafka is not None else (),
        )
        stack.callback(shared.close)
        self._shared = shared
        if self._options.out is not None:
            kept = self._options.recorded or config
            record = provenance(kept, built.plan, with_host=self._options.with_host)
            RunFolder(self._options.out, config_yaml=dump_config(kept), provenance=record).close()
        return _Prepared(source, built.plan, shared, taps, machine_settings())

    def _start(self, prepared: _Prepared, stack: ExitStack) -> tuple[WatchedChild, WatchedChild]:
        """Start all processes; the first ones begin while the others are made."""
        source, shared, cores = prepared.source, prepared.shared, self._placement.others
        stack.enter_context(_on_cores(cores))
        self._guard = self._start_guard(prepared, stack)
        stack.callback(self._end_processes)
        hot_plan = HotPlan(self._config, source, self._placement, self._options.seconds)
        hot = self._hot = WatchedChild(run_hot, (hot_plan, shared), "hot", NEVER)
        cold_arguments = (self._cold_plan(prepared), shared)
        cold = self._cold = WatchedChild(run_cold, cold_arguments, "cold", WHILE_THE_RUN_GOES_ON)
        if shared.recorder is not None and self._options.out is not None:
            self._recorder = WatchedChild(
                run_recorder,
                (self._recorder_plan(prepared, self._options.out), shared),
                "recorder",
                WHILE_THE_RUN_GOES_ON,
                consequence="nothing more is recorded",
            )
        if is_publishing(self._config):
            self._publisher = PublisherGuard(self._config, source, shared, cores)
        return hot, cold

    def _start_guard(self, prepared: _Prepared, stack: ExitStack) -> StimulatorGuard | None:
        """Start the stimulator process, if there shall be one."""
        if self._config.stimulation is None or self._options.out is None:
            return None
        options = GuardOptions(self._options.out, self._placement.others, has_keys=self._options.show)
        guard = StimulatorGuard(self._config, prepared.source, prepared.plan, prepared.shared, options)
        stack.callback(guard.close)
        return guard

    def _cold_plan(self, prepared: _Prepared) -> ColdPlan:
        return ColdPlan(
            config=self._config,
            source=prepared.source,
            out=self._options.out,
            cores=self._placement.others,
            machine=prepared.machine,
            plan_sha256=prepared.plan.hash,
            left_out=prepared.plan.left_out,
            title=self._options.title,
            show=self._options.show,
            host=platform.node() if self._options.with_host else None,
            picture=self._options.picture,
            supervisor_pid=os.getpid(),
            warmup_s=prepared.plan.warmup_s,
            reference_accuracy=_reference_accuracy(self._config),
        )

    def _recorder_plan(self, prepared: _Prepared, out: Path) -> RecorderPlan:
        config, source = self._config, prepared.source
        run = RecordedRun(
            pipeline=config.name,
            info=source.info,
            has_numbers=source.has_numbers,
            taps=prepared.taps,
            host=source.host,
            is_played=source.is_played,
            first_sample=source.first_sample,
            stimulates=config.stimulation is not None,
        )
        electrode = config.stimulation.electrode if config.stimulation is not None else ""
        return RecorderPlan(config.recorder, run, source, out, self._placement.others, config.process.log, electrode)

    def _wait_until_ready(self, hot: WatchedChild, cold: WatchedChild) -> None:
        """Wait for each process, the hot one last: nothing is missed that it will say."""
        if self._recorder is not None and self._options.out is not None:
            self._recorder.wait_until_ready(self._is_stopped)
            _log.info("recording: %s", self._options.out / SIGNALS_FILE)
        if self._publisher is not None:
            self._publisher.wait_until_ready(self._is_stopped)
        if self._guard is not None:
            self._guard.wait_until_ready(self._is_stopped)
        self.metrics_port = cold.wait_until_ready(self._is_stopped).get("metrics_port")
        self._reached = hot.wait_until_ready(self._is_stopped)
        cold.send(self._reached)
        if self.metrics_port is not None:
            _log.info("metrics: http://%s:%d/metrics", self._config.metrics.host, self.metrics_port)
            plan, shared = cold.arguments
            settings = self._config.metrics.model_copy(update={"port": self.metrics_port})
            config = self._config.model_copy(update={"metrics": settings})
            cold.arguments = (replace(plan, config=config), shared)  # one that is started again keeps the port

    def _watch(self, hot: WatchedChild, cold: WatchedChild, shared: Shared) -> None:
        """Wait until the cold process has done its work; end a hot one that does not stop."""
        watchdog = _Watchdog(shared)
        poll_s = _POLL_S if self._guard is None else min(_POLL_S, self._guard.poll_s)
        while True:
            wait([child.sentinel for child in (hot, cold) if child.is_alive], timeout=poll_s)
            if self._guard is not None:
                self._guard.watch()
            for child in (self._recorder, self._publisher, cold):
                if child is not None:
                    child.watch()
            if hot.is_alive and watchdog.is_overdue(is_stopping=self._stop_requested):
                hot.kill()
            if cold.given_up is not None:
                raise RunFailed(f"the cold process must stay alive, got {cold.n_deaths_in_row} deaths in a row")
            if cold.exitcode == 0:  # the rings are closed: the hot process is on its last steps
                hot.end(_LAST_STEPS_S)
                return

    def _finish(self, shared: Shared) -> None:
        """Let everybody write what the hot process left, and put what came of it into the summary."""
        out = self._options.out
        if self._guard is not None:
            self._guard.end()
            self._guard.add_books()
        self._end_processes()
        if self._publisher is not None and out is not None:
            self._publisher.add_summary(out)
        if shared.recorder is not None and out is not None:
            add_to_summary(out, "recorder", recorder_summary(shared))

    def _end_processes(self) -> None:
        """End the hot process, then its readers, which write what it left, but not for ever; may be called twice."""
        has_begun = bool(self._reached)
        if self._hot is not None:
            self._hot.end(0.0)
        if self._publisher is not None:
            self._publisher.end(has_begun=has_begun)
        for reader in (self._recorder, self._cold):
            if reader is not None:
                reader.end(_DRAIN_S, has_begun=has_begun)

    def _check_outcome(self, hot: WatchedChild, shared: Shared) -> None:
        """Say what must not pass for success."""
        if not int(shared.numbers("finished")[0]):
            code = hot.exitcode
            raise RunFailed(f"the hot process must stay alive, got its death with exit code {code}; the run is cut off")
        if self._guard is not None:
            self._guard.check_outcome()
        n_events, n_files = (int(shared.numbers(name)[0]) for name in ("events_unwritten", "files_unwritten"))
        if n_events or n_files:
            raise RunFailed(f"out must be writable to the end, got {n_events} events and {n_files} files not written")
        if shared.recorder is not None:
            recorded = recorder_summary(shared)
            if recorded["reason"] is not None:
                n_lost, n_written = recorded["lost"], recorded["written"]
                raise RunFailed(
                    f"the recording must be whole, got {n_lost} samples of {n_lost + n_written} not recorded "
                    f"({recorded['reason']})"
                )


def _reference_accuracy(config: Config) -> float | None:
    """Return what the bundle reached in its own evaluation."""
    if config.classifier is None or config.classifier.bundle is None:
        return None
    return reference_accuracy(find_bundle(config.classifier.bundle))


def _ignore(chunk: Chunk) -> None:
    """Receive the rows of a tap that only shapes the plan."""


class _Watchdog:
    """Tells a hot process that hangs: says it once, and after a request to stop finds it overdue."""

    def __init__(self, shared: Shared) -> None:
        self._progress = shared.numbers("progress")
        self._last = -1
        self._moved = time.perf_counter()
        self._stop_seen: float | None = None
        self._has_told = False

    def is_overdue(self, *, is_stopping: bool) -> bool:
        """Look; say whether it had to stop long ago."""
        now, progress = time.perf_counter(), int(self._progress[0])
        if progress != self._last:
            self._last, self._moved, self._has_told = progress, now, False
        elif now - self._moved > _HANGS_S and not self._has_told:
            self._has_told = True
            _log.warning("the hot process has not moved for %g s", _HANGS_S)
        if is_stopping and self._stop_seen is None:
            self._stop_seen = now
        return self._stop_seen is not None and now - self._stop_seen > _HANGS_S


@contextmanager
def _on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Leave the hot process its core, as long as it needs it."""
    before = frozenset(os.sched_getaffinity(0)) if cores else frozenset()
    settle(cores, realtime=False)
    try:
        yield
    finally:
        settle(before, realtime=False)
