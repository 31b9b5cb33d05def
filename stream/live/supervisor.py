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
from neuroloop.stream.live.child_process import Child, RunFailed
from neuroloop.stream.live.cold_process import ColdPlan, run_cold
from neuroloop.stream.live.hot_process import HotPlan, run_hot
from neuroloop.stream.live.live_source import FINDERS, SourcePlan, find_source
from neuroloop.stream.live.placement import plan_placement, settle
from neuroloop.stream.live.publish_plan import publish_plan
from neuroloop.stream.live.publisher_guard import PublisherGuard, is_publishing
from neuroloop.stream.live.recorder_process import RecorderPlan, recorder_summary, run_recorder
from neuroloop.stream.live.recorder_rings import RecorderRings
from neuroloop.stream.live.shared_state import Shared, request_stop
from neuroloop.stream.live.stimulation.guard import GuardOptions, StimulatorGuard, check_stimulation
from neuroloop.stream.sources.recordings.run_parts import SIGNALS_FILE

_log = logging.getLogger("neuroloop.run")
_POLL_S = 0.2
_HANGS_S = 5.0
_LAST_STEPS_S = 5.0
_DRAIN_S = 10.0
_QUICK_S = 60.0
_MAX_QUICK_DEATHS = 20


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


class Supervisor:
    """One live run.

    Parameters
    ----------
    config : Config
        With a live source, of kind ``lsl`` or ``kafka``.
    options : RunOptions
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        if config.source.kind not in FINDERS:
            raise ConfigError(f"source.kind must be one of {', '.join(FINDERS)} here, got {config.source.kind!r}")
        if config.recorder.enabled and options.out is None:
            raise ConfigError("out must be given for a run that is recorded, got nothing")
        check_stimulation(config, options.out)
        self._config = config
        self._options = options
        self._guard: StimulatorGuard | None = None
        self._stop_requested = False
        self._shared: Shared | None = None
        self._cold: Child
        self._publisher: PublisherGuard | None = None
        self._recorder: Child | None = None
        self._recorder_arguments: tuple[Any, ...] = ()
        self._n_recorder_deaths = 0
        self._reached: dict[str, Any] = {}
        self.metrics_port: int | None = None
        self._placement = plan_placement(config.process)

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
            check_port(self._config.metrics)
            bundle = load_classifier(self._config)
            source = find_source(self._config)
            _log.info("source: %s, %d channels at %g Hz", source.info.name, source.info.n_channels, source.info.sfreq)
            recorded = self._config.recorder.taps if self._config.recorder.enabled else ()
            built = build(self._config, source.info, bundle=bundle, taps=dict.fromkeys(recorded, _ignore))
            infos = {stage.name: stage.info_out for stage in built.pipeline.stages} | {INPUT_TAP: source.info}
            if self._config.kafka is not None:
                publish_plan(self._config.kafka, source.info, stream=source.stream_id)  # refuses what cannot work
            shared = Shared.make(
                source.info,
                stages=[stage.name for stage in built.pipeline.stages],
                classes=built.classes,
                ring_s=self._config.process.ring_s,
                recorder=self._make_recorder_rings(source, {name: infos[name] for name in recorded}),
                stimulates=self._config.stimulation is not None,
                published=self._config.kafka.publish if self._config.kafka is not None else (),
            )
            stack.callback(shared.close)
            self._shared = shared
            if self._options.out is not None:
                config = self._options.recorded or self._config
                record = provenance(config, built.plan, with_host=self._options.with_host)
                RunFolder(self._options.out, config_yaml=dump_config(config), provenance=record).close()
            machine = machine_settings()
            stack.enter_context(_on_cores(self._placement.others))
            self._guard = self._start_guard(source, built.plan, shared, stack)
            plan = HotPlan(self._config, source, self._placement, self._options.seconds)
            hot = Child(run_hot, (plan, shared), "hot")
            stack.callback(hot.end, 0.0)
            cold_plan = ColdPlan(
                config=self._config,
                source=source,
                out=self._options.out,
                cores=self._placement.others,
                machine=machine,
                plan_sha256=built.plan.hash,
                left_out=built.plan.left_out,
                title=self._options.title,
                show=self._options.show,
                host=platform.node() if self._options.with_host else None,
                picture=self._options.picture,
                supervisor_pid=os.getpid(),
                warmup_s=built.plan.warmup_s,
                reference_accuracy=_reference_accuracy(self._config),
            )
            self._cold = Child(run_cold, (cold_plan, shared), "cold")
            stack.callback(self._end_cold, hot)
            stack.callback(self._end_recorder)
            self._start_recorder(source, {name: infos[name] for name in recorded}, shared)
            if is_publishing(self._config):
                self._publisher = PublisherGuard(self._config, source, shared, self._placement.others)
                stack.callback(self._end_publisher)
                self._publisher.wait_until_ready(lambda: self._stop_requested)
            if self._guard is not None:
                self._guard.wait_until_ready(self._is_stopped)
            self.metrics_port = self._cold.wait_until_ready(self._is_stopped).get("metrics_port")
            self._reached = hot.wait_until_ready(self._is_stopped)
            self._cold.send(self._reached)
            if self.metrics_port is not None:
                _log.info("metrics: http://%s:%d/metrics", self._config.metrics.host, self.metrics_port)
                settings = self._config.metrics.model_copy(update={"port": self.metrics_port})
                config = self._config.model_copy(update={"metrics": settings})
                cold_plan = replace(cold_plan, config=config)  # a cold process that is started again keeps the port
            if on_ready is not None:
                on_ready()
            self._watch(hot, cold_plan, shared)
            if self._guard is not None:
                self._guard.end()
                self._guard.add_books()
            self._end_publisher()
            if self._publisher is not None and self._options.out is not None:
                self._publisher.add_summary(self._options.out)
            self._end_recorder()
            if shared.recorder is not None and self._options.out is not None:
                add_to_summary(self._options.out, "recorder", recorder_summary(shared))
            self._check_outcome(hot, shared)

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

    def _watch(self, hot: Child, cold_plan: ColdPlan, shared: Shared) -> None:
        """Wait for the end; start the cold process again if it dies, end a hot one that does not stop."""
        watchdog = _Watchdog(shared)
        n_quick_deaths, started = 0, time.perf_counter()
        poll_s = _POLL_S if self._guard is None else min(_POLL_S, self._guard.poll_s)
        while True:
            sentinels = [child.process.sentinel for child in (hot, self._cold) if child.is_alive]
            wait(sentinels, timeout=poll_s)
            if self._guard is not None:
                self._guard.watch()
            self._watch_recorder(shared)
            if self._publisher is not None:
                self._publisher.watch()
            if hot.is_alive and watchdog.is_overdue(is_stopping=self._stop_requested):
                hot.process.kill()
            if self._cold.is_alive:
                continue
            if self._cold.process.exitcode == 0:  # the rings are closed: the hot process is on its last steps
                hot.end(_LAST_STEPS_S)
                return
            now = time.perf_counter()
            n_quick_deaths = n_quick_deaths + 1 if now - started < _QUICK_S else 1
            if n_quick_deaths > _MAX_QUICK_DEATHS:
                raise RunFailed(f"the cold process must stay alive, got {n_quick_deaths} deaths in a row")
            _log.warning(
                "the cold process died (exit code %s), starting it again; the rings keep what it has to write",
                self._cold.process.exitcode,
            )
            started, dead = now, self._cold
            self._cold = Child(run_cold, (cold_plan, shared), "cold")
            dead.release()
            self._cold.wait_until_ready()
            self._cold.send(self._reached)

    def _check_outcome(self, hot: Child, shared: Shared) -> None:
        """Say what must not pass for success."""
        if not int(shared.numbers("finished")[0]):
            code = hot.process.exitcode
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

    def _start_guard(self, source: SourcePlan, plan: Plan, shared: Shared, stack: ExitStack) -> StimulatorGuard | None:
        """Start the stimulator process, if there shall be one."""
        if self._config.stimulation is None or self._options.out is None:
            return None
        options = GuardOptions(self._options.out, self._placement.others, has_keys=self._options.show)
        guard = StimulatorGuard(self._config, source, plan, shared, options)
        stack.callback(guard.close)
        return guard

    def _make_recorder_rings(self, source: SourcePlan, taps: Mapping[str, StreamInfo]) -> RecorderRings | None:
        """Make the rings for the recorder, if there shall be one."""
        config = self._config
        if not config.recorder.enabled:
            return None
        return RecorderRings.make(source.info, taps, has_numbers=source.has_numbers, ring_s=config.process.ring_s)

    def _start_recorder(self, source: SourcePlan, taps: Mapping[str, StreamInfo], shared: Shared) -> None:
        """Start the recorder process, if there shall be one."""
        if shared.recorder is None or self._options.out is None:
            return
        run = RecordedRun(
            pipeline=self._config.name,
            info=source.info,
            has_numbers=source.has_numbers,
            taps=taps,
            host=source.host,
            is_played=source.is_played,
            first_sample=source.first_sample,
            stimulates=self._config.stimulation is not None,
        )
        out, cores = self._options.out, self._placement.others
        electrode = self._config.stimulation.electrode if self._config.stimulation is not None else ""
        plan = RecorderPlan(self._config.recorder, run, source, out, cores, self._config.process.log, electrode)
        self._recorder_arguments = (plan, shared)
        self._recorder = Child(run_recorder, self._recorder_arguments, "recorder")
        self._recorder.wait_until_ready(lambda: self._stop_requested)
        _log.info("recording: %s", out / SIGNALS_FILE)

    def _watch_recorder(self, shared: Shared) -> None:
        """Start the recorder again if it died; the run does not wait for it."""
        recorder = self._recorder
        if recorder is None or recorder.is_alive or recorder.process.exitcode == 0 or not self._reached:
            return
        self._n_recorder_deaths += 1
        if self._n_recorder_deaths > _MAX_QUICK_DEATHS:
            return
        _log.warning(
            "the recorder process died (exit code %s), starting it again; the rings keep what it has to write",
            recorder.process.exitcode,
        )
        self._recorder = Child(run_recorder, self._recorder_arguments, "recorder")
        recorder.release()

    def _end_recorder(self) -> None:
        """Let the recorder write what the hot process left, but not for ever; may be called twice."""
        if self._shared is not None and self._recorder is not None:
            if not self._reached:  # there is nothing to record
                self._recorder.process.kill()
            self._watch_recorder(self._shared)
            self._recorder.end(_DRAIN_S)

    def _end_publisher(self) -> None:
        """Let the publisher send what the hot process left, but not for ever; may be called twice."""
        if self._publisher is not None:
            self._publisher.end(has_begun=bool(self._reached))

    def _end_cold(self, hot: Child) -> None:
        """Let the cold process write what the hot one left, but not for ever."""
        hot.end(0.0)
        if not self._reached:  # it has never run
            self._cold.process.kill()
        self._cold.end(_DRAIN_S)


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
