"""What the processes of a live run share: rings of samples and events, counters, latency histograms, one stop flag."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroloop.sinks.kafka.counters import COUNTER_SPECS
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event, encode
from neuroloop.stream.contracts.shared_memory import LATENCY_BOUNDS_S, CounterSpec
from neuroloop.stream.live.latency_table import N_BUCKETS, LatencyTable
from neuroloop.stream.live.recorder_rings import RECORDER, RecorderRings
from neuroloop.stream.live.stimulation.stimulation_state import StimulationLink
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.samples import SampleRing

READER = "cold"
PUBLISHER = "publisher"
_EVENT_BYTES_PER_S = 64 * 1024
_HEADER = struct.Struct("<qiiqqd")
_IDENTITY = frozenset({"id", "type", "stream", "sample", "time", "delay_s"})
LOOP, IN_TO_OUT = "loop", "sample_in_to_event_out"


class EventRecord(NamedTuple):
    """One event as it crosses to the cold process: where it belongs, when it arose, and its canonical line."""

    sample: int
    position: int
    k: int
    arrival_ns: int
    emitted_ns: int
    stamp: float
    line: str

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key, as `neuroloop.stream.contracts.events.Event.order`."""
        return (self.sample, self.position, self.k)


def pack_event(event: Event, arrival_ns: int, emitted_ns: int) -> tuple[bytes, str]:
    """Return the record of an event for the ring, and its line."""
    line = encode(event.identity())
    head = _HEADER.pack(event.sample, event.position, event.k, arrival_ns, emitted_ns, event.time)
    return head + line.encode(), line


def unpack_event(record: bytes) -> EventRecord:
    """Return what `pack_event` packed."""
    sample, position, k, arrival_ns, emitted_ns, stamp = _HEADER.unpack_from(record)
    return EventRecord(sample, position, k, arrival_ns, emitted_ns, stamp, record[_HEADER.size :].decode())


def as_event(record: EventRecord) -> Event:
    """Return the event of a record."""
    identity = json.loads(record.line)
    values = {key: value for key, value in identity.items() if key not in _IDENTITY}
    return Event(
        identity["type"], identity["stream"], record.sample, record.k, record.stamp, identity["delay_s"], values,
        record.position,
    )  # fmt: skip


@dataclass(frozen=True)
class Shared:
    """Everything in shared memory; handed to each process when it is spawned."""

    bell: Bell
    samples: SampleRing
    events: EventRing
    counters: CounterBlock
    rows: tuple[str, ...]
    classes: tuple[str, ...]
    recorder: RecorderRings | None = None
    """What is left for a recorder, if there is one."""
    stimulation: StimulationLink | None = None
    """The stimulator process's ends, if there is one."""

    @classmethod
    def make(
        cls,
        info: StreamInfo,
        *,
        stages: Sequence[str],
        classes: Sequence[str],
        ring_s: float,
        recorder: RecorderRings | None = None,
        stimulates: bool = False,
        published: Sequence[str] = (),
    ) -> Shared:
        """Make the rings for one stream; ``published`` is what a publisher process will read, if there is one.

        Raises
        ------
        SharedMemoryError
            If there is not enough shared memory.
        """
        rows = (LOOP, *stages, IN_TO_OUT)
        bell = Bell()
        capacity = max(1024, round(ring_s * info.sfreq))
        readers = (READER,) if recorder is None else (READER, RECORDER)
        readers = (*readers, PUBLISHER) if published else readers
        row_readers = (READER, PUBLISHER) if "samples" in published else (READER,)
        return cls(
            bell=bell,
            samples=SampleRing.shared(info, capacity, bell=bell, readers=row_readers),
            events=EventRing.shared(max(1 << 20, round(ring_s * _EVENT_BYTES_PER_S)), bell=bell, readers=readers),
            counters=CounterBlock.shared(_specs(rows, classes)),
            rows=rows,
            classes=tuple(classes),
            recorder=recorder,
            stimulation=StimulationLink.make(bell, readers) if stimulates else None,
        )

    def latency(self) -> LatencyTable:
        """Return the latency table over the shared counts, for its one writer or for readers."""
        n_rows = len(self.rows)
        counts = self.counters.numbers("latency").reshape(n_rows, N_BUCKETS)
        return LatencyTable(self.rows, counts, self.counters.numbers("latency_max"))

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a shared counter by name."""
        return self.counters.numbers(name)

    def elapsed_s(self) -> float:
        """Return the seconds since the first sample; 0 before it."""
        started_ns = int(self.numbers("started_ns")[0])
        return (time.perf_counter_ns() - started_ns) * 1e-9 if started_ns else 0.0

    def close(self) -> None:
        """Give everything back."""
        self.samples.close()
        self.events.close()
        self.counters.close()
        self.bell.close()
        if self.recorder is not None:
            self.recorder.close()
        if self.stimulation is not None:
            self.stimulation.close()


COUNTED = ("duplicates", "skipped")
"""Why samples that were received were not processed."""
QUALITY = ("gaps", "clock_steps", "counter_resets", "nonfinite", "backward", "bad_stamps")
COUNTS = ("received", "processed", "filled", "jumped", *COUNTED, *QUALITY)
"""Sample counts that the hot process keeps, each in a word of its own."""


def _specs(rows: Sequence[str], classes: Sequence[str]) -> list[CounterSpec]:
    counts = [CounterSpec(name, "count") for name in COUNTS]
    return [
        *counts,
        *COUNTER_SPECS,
        CounterSpec("stop", "count"),
        CounterSpec("finished", "count"),
        CounterSpec("progress", "count"),
        CounterSpec("heartbeat_ns", "count"),
        CounterSpec("newest_arrival_ns", "count"),
        CounterSpec("stream_up", "count"),
        CounterSpec("outlet_errors", "count"),
        CounterSpec("markers_cut", "count"),
        CounterSpec("marker_errors", "count"),
        CounterSpec("events_unwritten", "count"),
        CounterSpec("files_unwritten", "count"),
        CounterSpec("unrecorded_samples", "count"),
        CounterSpec("unrecorded_tap_rows", "count"),
        CounterSpec("unrecorded_markers", "count"),
        CounterSpec("unrecorded_events", "count"),
        CounterSpec("recorder_error", "count"),
        CounterSpec("newest_stamp", "value"),
        CounterSpec("first_offset", "value"),
        CounterSpec("decision_rate", "value"),
        CounterSpec("started_ns", "count"),
        CounterSpec("effective_sfreq", "value"),
        CounterSpec("drift_score", "value"),
        CounterSpec("predictions", "count", size=len(classes) + 1),
        CounterSpec("prediction_latency", "histogram", bounds=LATENCY_BOUNDS_S),
        CounterSpec("loop_seconds", "histogram", bounds=LATENCY_BOUNDS_S),
        CounterSpec("latency", "count", size=len(rows) * N_BUCKETS),
        CounterSpec("latency_max", "count", size=len(rows)),
    ]


def request_stop(shared: Shared) -> None:
    """Ask every process to finish."""
    shared.numbers("stop")[0] = 1
    shared.bell.notify()


def is_stopping(stop: NDArray[np.int64]) -> bool:
    """Whether the run was asked to finish."""
    return bool(stop[0])
