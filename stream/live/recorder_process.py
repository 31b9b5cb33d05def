"""The recorder process: takes what the hot process keeps for it and writes the run's XDF files.

It may be killed and started again at any time: the rings keep what it has not written, as far as they reach.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pylsl

from neuroloop.config.live import RecorderSettings
from neuroloop.sinks.xdf.recorder import ReceivedMarker, RecordedRun, Recorder
from neuroloop.sinks.xdf.stimulation_markers import marker_of
from neuroloop.stream.live.child_process import begin, starting, tell
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.process_logs import LogKind
from neuroloop.stream.live.recorder_rings import RECORDER, unpack_marker
from neuroloop.stream.live.shared_state import Shared, unpack_event
from neuroloop.stream.ring.event_reader import EventRingReader
from neuroloop.stream.ring.header import HEAD
from neuroloop.stream.ring.sample_reader import SampleRingReader
from neuroloop.stream.sources.clock_watch import ClockWatch

_PAUSE_S = 0.2
_AT_ONCE_VALUES = 1 << 19
_AT_ONCE_RECORDS = 4096
_LOSSES = ("samples", "tap_rows", "markers", "events")
_log = logging.getLogger("neuroloop.recorder")


@dataclass(frozen=True)
class RecorderPlan:
    """What the recorder process is told at its start."""

    settings: RecorderSettings
    run: RecordedRun
    source: SourcePlan
    out: Path
    cores: frozenset[int]
    log: LogKind = "human"
    electrode: str = ""
    """Of a run that stimulates."""


def run_recorder(plan: RecorderPlan, shared: Shared, ready: Connection) -> None:
    """Be the recorder process until the hot one has closed its rings and everything is written."""
    begin(log=plan.log, cores=plan.cores)
    with ExitStack() as stack:
        with starting(ready):
            loop = RecorderLoop(plan, shared, stack)
        tell(ready, "ready", {})
        loop.run()


class RecorderLoop:
    """Rings in, files out.

    Parameters
    ----------
    plan : RecorderPlan
    shared : Shared
    stack : ExitStack
        Closes what this opens.
    """

    def __init__(self, plan: RecorderPlan, shared: Shared, stack: ExitStack) -> None:
        if shared.recorder is None:
            raise ValueError("recorder must be given for a recorder, got None")
        rings = shared.recorder
        self._raw = rings.raw.reader(RECORDER)
        self._markers = rings.markers.reader(RECORDER)
        self._taps = {name: ring.reader(RECORDER) for name, ring in rings.taps.items()}
        self._events = shared.events.reader(RECORDER)
        self._readers: list[SampleRingReader | EventRingReader] = [
            self._raw, self._markers, self._events, *self._taps.values(),
        ]  # fmt: skip
        link = shared.stimulation
        self._electrode = plan.electrode
        self._stimulator = link.said.reader(RECORDER) if link is not None else None
        if self._stimulator is not None:
            self._readers.append(self._stimulator)
        next_row = self._raw.n_delivered + self._raw.n_lost
        self._recorder = Recorder(plan.out, plan.run, plan.settings, next_row=next_row)
        stack.callback(self._recorder.close)
        self._lost = {name: shared.numbers(f"unrecorded_{name}") for name in _LOSSES}
        self._lost_before = {name: int(number[0]) for name, number in self._lost.items()}
        self._error = shared.numbers("recorder_error")
        self._at_once = max(1, _AT_ONCE_VALUES // rings.raw.info.n_channels)
        self._clock = ClockWatch(plan.source.open_clock)
        stack.callback(self._clock.close)
        self._clock.start()
        self._offset_s: float | None = None

    def run(self) -> None:
        """Write until the rings are closed."""
        while True:
            is_over = all(reader.is_ended for reader in self._readers)
            self._drain()
            if is_over:
                break
            time.sleep(_PAUSE_S)
        self._recorder.close()
        self._count()

    def _drain(self) -> None:
        """Take what the rings hold, hand it to the disk, then say that it is dealt with."""
        recorder = self._recorder
        if self._clock.offset_s is not self._offset_s and self._clock.offset_s is not None:
            self._offset_s = self._clock.offset_s
            recorder.add_clock_offset(pylsl.local_clock(), self._offset_s)
        while True:
            rows = self._raw.read(self._at_once)
            if not len(rows.chunk):
                break
            recorder.add_rows(rows.chunk.data, rows.chunk.timestamps, rows.chunk.first_sample)
            self._raw.commit()
        for name, reader in self._taps.items():
            self._drain_tap(name, reader)
        self._drain_markers()
        self._drain_events()
        if self._stimulator is not None:
            self._drain_stimulator(self._stimulator)
        recorder.tick()
        self._count()

    def _drain_tap(self, name: str, reader: SampleRingReader) -> None:
        while True:
            rows = reader.read(self._at_once)
            self._recorder.n_lost["tap_rows"] += rows.n_lost
            if not len(rows.chunk):
                return
            self._recorder.add_tap_rows(name, rows.chunk)
            reader.commit()

    def _drain_markers(self) -> None:
        while True:
            batch = self._markers.read(_AT_ONCE_RECORDS)
            self._recorder.n_lost["markers"] += batch.n_lost
            if not batch.records:
                return
            self._recorder.add_markers(_received(batch.records, batch.first_sequence))
            self._markers.commit()

    def _drain_events(self) -> None:
        while True:
            batch = self._events.read(_AT_ONCE_RECORDS)
            self._recorder.n_lost["events"] += batch.n_lost
            if not batch.records:
                return
            records = [unpack_event(record) for record in batch.records]
            self._recorder.add_events([one.line for one in records], [one.stamp for one in records])
            self._events.commit()

    def _drain_stimulator(self, reader: EventRingReader) -> None:
        """Take what the stimulator process has said."""
        while True:
            batch = reader.read(_AT_ONCE_RECORDS)
            self._recorder.n_lost["events"] += batch.n_lost
            if not batch.records:
                return
            markers, stamps = [], []
            for record in map(unpack_event, batch.records):
                marker = marker_of(json.loads(record.line), self._electrode)
                if marker is not None:
                    markers.append(marker)
                    stamps.append(record.stamp)
            self._recorder.add_stimulation(markers, stamps)
            reader.commit()

    def _count(self) -> None:
        """Put the losses where they outlive this process."""
        for name, number in self._lost.items():
            number[0] = self._lost_before[name] + self._recorder.n_lost[name]
        error = self._recorder.error
        if error is not None:
            self._error[0] = error.errno or -1


def _received(records: Sequence[bytes], first_sequence: int) -> list[ReceivedMarker]:
    received = []
    for sequence, record in enumerate(records, start=first_sequence):
        n_before, marker = unpack_marker(record)
        received.append(ReceivedMarker(sequence, n_before, marker.time, marker.label, marker.stream))
    return received


def recorder_summary(shared: Shared) -> dict[str, Any]:
    """Return what became of the run's rows, for ``summary.json``: in the files, or lost, and why.

    Call it when the recorder process is over: what it has not taken by then is lost.
    """
    if shared.recorder is None:
        raise ValueError("recorder must be given where something was recorded, got None")
    n_rows = shared.recorder.raw.header.words[HEAD]
    behind = shared.recorder.raw.status()[RECORDER].n_behind
    lost = {name: int(shared.numbers(f"unrecorded_{name}")[0]) for name in _LOSSES}
    n_lost = lost.pop("samples") + behind
    code = int(shared.numbers("recorder_error")[0])
    reason = None
    if code:
        reason = os.strerror(code) if code > 0 else "the disk took nothing"
    elif behind:
        reason = "the recorder did not finish"
    elif n_lost or any(lost.values()):
        reason = "the recorder was further behind than process.ring_s"
    return {"written": n_rows - n_lost, "lost": n_lost, "lost_beside": lost, "reason": reason}
