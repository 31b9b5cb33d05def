"""Replay: the same pipeline over a recording, as fast as the machine can or at a chosen speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError, NeuroloopError, StreamEnded, StreamMismatch
from neuroloop.config.loading import dump_config
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import OnlineAccuracy
from neuroloop.sinks.guarded import OwnSinks, SinkRun, check_sinks
from neuroloop.sinks.run_folder.drift_log import DRIFT_FILE, DriftLog
from neuroloop.sinks.run_folder.folder import (
    CONFIG_FILE,
    EVENTS_FILE,
    LATENCY_FILE,
    PROVENANCE_FILE,
    SUMMARY_FILE,
    RunFolder,
)
from neuroloop.sinks.run_folder.stage_dump import StageDumps
from neuroloop.sinks.stimulator.requests import REQUESTS_FILE, write_requests
from neuroloop.stream.assembly.build import Built, build
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.assembly.machine import machine_settings
from neuroloop.stream.assembly.provenance import provenance
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.contracts.protocols import Source, taps_of
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import INPUT_TAP
from neuroloop.stream.live.latency_table import LatencyTable
from neuroloop.stream.quality.quality import QualityMeter
from neuroloop.stream.replay.gate_replay import EventMerge
from neuroloop.stream.replay.scripted_engine import ScriptedEngine
from neuroloop.stream.replay.summary import summarise_run
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.recordings.replay_source import RecordingSource
from neuroloop.stream.sources.recordings.run_script import RunScript


@dataclass(frozen=True)
class Progress:
    """How far a replay is; handed to the listeners after every block."""

    n_samples: int
    n_total: int
    elapsed_s: float
    sfreq: float


Listener = Callable[[Sequence[Event], Progress], None]


@dataclass
class Replay:
    """One replay of one recorded stream; everything is checked at construction, nothing written before `run`.

    Parameters
    ----------
    config : Config
    stream : RecordedStream
    markers : sequence of Marker
        On the stream's own clock.
    out : Path
        New or empty folder for the run.
    chunking : str, optional
        ``N`` or ``random:SEED``.
    speed : float, optional
        Multiple of real time; as fast as possible otherwise.
    dumps : mapping
        Files by stage name (``input`` for the numbered samples).
    notes : sequence of str
        What the reader of the file found odd.
    listeners : sequence of callable
        Called with the events and the progress of each block.
    script : RunScript, optional
        Of a recorded run: which markers came when, which rows were skipped; ``markers`` are not used then.
    commands : sequence of Event
        Of a recorded run that stimulated: what its gate decides again, in order.
    tells_sinks : bool
        Whether the sinks of the configuration get the events; it is taken for one without sinks otherwise.
    """

    config: Config
    stream: RecordedStream
    markers: Sequence[Marker]
    out: Path
    chunking: str | None = None
    speed: float | None = None
    dumps: Mapping[str, Path] = field(default_factory=dict)
    notes: Sequence[str] = ()
    listeners: Sequence[Listener] = ()
    script: RunScript | None = None
    commands: Sequence[Event] = ()
    tells_sinks: bool = False

    def __post_init__(self) -> None:
        if self.config.sinks and not self.tells_sinks:
            self.config = self.config.model_copy(update={"sinks": None})
        check_sinks(self.config.sinks or ())
        if self.config.source.timing == "counter" and self.stream.sample_numbers is None:
            name = self.stream.info.name
            raise ConfigError(f"source.timing must not be 'counter' for {name!r}, which has no sample numbers")
        wanted, n_channels = self.config.source.channels, self.stream.info.n_channels
        if wanted is not None and wanted != n_channels:
            raise StreamMismatch(
                f"source.channels must be the stream's number of channels ({n_channels}), got {wanted}"
            )
        self._dumps = StageDumps(self.dumps, run_folder=self.out)
        taps = taps_of(self._dumps, self.dumps)
        timer = _StageRows()
        bundle = load_classifier(self.config)
        self.built: Built = build(self.config, self.stream.info, bundle=bundle, taps=taps, timer=timer)
        self._latency = LatencyTable(["loop", *(stage.name for stage in self.built.pipeline.stages)])
        timer.table = self._latency
        accuracy = self.config.accuracy
        self._accuracy = OnlineAccuracy(accuracy, self.built.classes) if accuracy is not None else None
        self._source: Source = RecordingSource(self.stream, chunking=self.chunking)

    def run(self) -> dict[str, Any]:
        """Replay the whole stream, write the run folder and return the summary."""
        meter = QualityMeter(self.stream.info)
        engine = Engine(self.config.source, self.built.pipeline, meter.add, first_sample=self.stream.first_sample)
        folder = RunFolder(
            self.out, config_yaml=dump_config(self.config), provenance=provenance(self.config, self.built.plan)
        )
        run = SinkRun(self.config.name, self.stream.info, self.built.classes, self.built.plan.hash, is_replay=True)
        self._own_sinks = OwnSinks(self.config.sinks or (), run, waits=True)
        try:
            if self.script is None:
                engine.add_markers(self.markers)
            begin = time.perf_counter()
            self._loop(engine, folder, begin)
            if self.config.stimulation is not None:
                write_requests(self.out, self.config.stimulation)
            elapsed_s = time.perf_counter() - begin
            infos = {stage.name: stage.info_out for stage in self.built.pipeline.stages}
            infos[INPUT_TAP] = self.stream.info
            self._dumps.save(infos)
            summary = summarise_run(
                engine,
                self.built,
                n_received=len(self.stream.timestamps),
                elapsed_s=elapsed_s,
                notes=self.notes,
                quality=meter.report(),
            )
            folder.write_json(LATENCY_FILE, {"machine": machine_settings(), "rows": self._latency.summary()})
            if self._accuracy is not None:
                self._accuracy.finish()
                summary["accuracy"] = self._accuracy.report()
            if self.config.sinks:
                self._own_sinks.close()
                summary["sinks"] = self._own_sinks.books()
            folder.write_json(SUMMARY_FILE, summary)
        except NeuroloopError:
            folder.close()
            self._clear()
            raise
        finally:
            self._own_sinks.close()
            folder.close()
        return summary

    def _clear(self) -> None:
        """Take away what a replay that failed has written: it would stand in the way of the next try."""
        names = (CONFIG_FILE, PROVENANCE_FILE, EVENTS_FILE, DRIFT_FILE, REQUESTS_FILE, LATENCY_FILE, SUMMARY_FILE)
        dumps = (path for path in self.dumps.values() if path.parent == self.out)
        for path in (*(self.out / name for name in names), *dumps):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):  # it may hold what others have put there
            self.out.rmdir()

    def _loop(self, engine: Engine, folder: RunFolder, begin: float) -> None:
        """Push block after block until the recording is over."""
        n_total, n_done = len(self.stream.timestamps), 0
        sfreq = self.stream.info.sfreq
        scripted = None if self.script is None else ScriptedEngine(engine, self.script)
        push = engine.push_block if scripted is None else scripted.push
        finish = engine.finish if scripted is None else scripted.finish
        merge = EventMerge(self.commands)
        engine.tally.add(self.commands)
        drift_log = DriftLog(self.out / DRIFT_FILE) if self.config.drift else None
        while True:
            try:
                block = self._source.read(0.0)
            except StreamEnded:
                break
            if block is None:
                continue
            n_done += len(block.timestamps)
            if self.speed is not None:
                wait_s = n_done / sfreq / self.speed - (time.perf_counter() - begin)
                if wait_s > 0:
                    time.sleep(wait_s)
            start = time.perf_counter_ns()
            events = push(block)
            self._latency.add(0, time.perf_counter_ns() - start)
            events = merge.with_earlier(events)
            folder.write(events)
            folder.check()  # nobody waits for a replay: it ends with the first event that it cannot write
            if drift_log is not None:
                drift_log.add(engine.sequencer.next_sample - 1, engine.pipeline.drift_score)
            self._tell(events, Progress(n_done, n_total, time.perf_counter() - begin, sfreq))
        events = [*merge.with_earlier(finish()), *merge.rest()]
        folder.write(events)
        folder.check()
        self._tell(events, Progress(n_done, n_total, time.perf_counter() - begin, sfreq))

    def _tell(self, events: Sequence[Event], progress: Progress) -> None:
        if self._accuracy is not None:
            self._accuracy.add(events)
        self._own_sinks.write(events)
        for listener in self.listeners:
            listener(events, progress)


class _StageRows:
    """Puts the stages of a pipeline behind the loop's own row of a latency table."""

    table: LatencyTable

    def add(self, stage: int, nanoseconds: int) -> None:
        """Count one call of a stage."""
        self.table.add(stage + 1, nanoseconds)
