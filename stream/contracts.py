"""What every part of the program agrees on: chunks, events, the seams and the errors.

This module imports nothing of ours. The seams are Protocols with one working method each:

===============  =============================================  ==========================================
seam             contract                                       who implements it
===============  =============================================  ==========================================
`Source`         ``read(timeout_s) -> RawBlock | None``         ``stream/sources``
`MarkerSource`   ``read() -> list[Marker]``                     ``stream/sources``
`Processor`      ``process(chunk) -> Chunk``                    ``processors``, the classifier in ``models``
`Monitor`        ``observe(chunk) -> Sequence[Finding]``        ``processors/drift``
`Reporter`       ``take_findings() -> Sequence[Finding]``       processors that have something to say
`Policy`         ``decide(probabilities) -> list[Event]``       ``models``
`Sink`           ``write(events)``, ``write_chunk(tap, chunk)`` ``sinks``
===============  =============================================  ==========================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
StateDict = dict[str, NDArray[Any]]


class NeuroloopError(Exception):
    """Root of every error that a user can cause; its text is one clear line.

    ::

        NeuroloopError
        |-- ConfigError         a setting is wrong, unknown or contradicts another
        |-- RecordingError      a file cannot be read as what it claims to be
        |-- StreamMismatch      a stream disagrees with what the pipeline was made for
        |-- BundleError         a model bundle is missing, altered or of another kind
        |-- StreamEnded         a source has no further sample (a recording is over)
        `-- StreamLost          a live source stopped delivering
    """


class ConfigError(NeuroloopError):
    """A setting is wrong, unknown or contradicts another; lists every fault, one per line."""


class RecordingError(NeuroloopError):
    """A recording cannot be read as what it claims to be."""


class StreamMismatch(NeuroloopError):
    """A stream's rate, channels or units disagree with what the pipeline was made for."""


class BundleError(NeuroloopError):
    """A model bundle is missing, altered or made for something else."""


class StreamEnded(NeuroloopError):
    """A source has no further sample; not a failure."""


class StreamLost(NeuroloopError):
    """A live source stopped delivering."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Describe one stream of one rate.

    Parameters
    ----------
    name, type, source_id : str
        As the sender or the file says; ``type`` is LSL's content type (``EEG``, ``EMG``, ...).
    sfreq : float
        Nominal sampling rate in Hz; 0 for an irregular stream.
    ch_names, ch_types, ch_units : tuple of str
        One entry per channel. Units are symbols such as ``uV``; an empty string where unknown.
    """

    name: str
    type: str
    source_id: str
    sfreq: float
    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    ch_units: tuple[str, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sfreq) and self.sfreq >= 0):
            raise ValueError(f"sfreq must be a finite number >= 0, got {self.sfreq!r}")
        for label, values in (("ch_types", self.ch_types), ("ch_units", self.ch_units)):
            if len(values) != len(self.ch_names):
                raise ValueError(f"{label} must have one entry per channel ({len(self.ch_names)}), got {len(values)}")

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.ch_names)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of consecutive samples of one stream; any length, 0 included.

    Nobody writes into a chunk he was handed: whoever makes one sets its arrays read-only (`make_chunk` does).
    Whether the arrays are views or new is said by the one who hands them out.

    Parameters
    ----------
    data : array, shape (n_samples, n_channels), float64, C order
    timestamps : array, shape (n_samples,), float64
        The sender's raw stamps in seconds.
    first_sample : int
        Global index of the first row; missing samples are counted in.
    valid : array, shape (n_samples,), bool
        Whether the row was received, is finite in all used channels and touches no warm-up.
    info : StreamInfo
    """

    data: FloatArray
    timestamps: FloatArray
    first_sample: int
    valid: BoolArray
    info: StreamInfo

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def next_sample(self) -> int:
        """Global index of the row after the last one."""
        return self.first_sample + len(self.timestamps)

    def slice(self, start: int, stop: int) -> Chunk:
        """Return rows ``start:stop`` (local indices) as views."""
        return Chunk(
            self.data[start:stop],
            self.timestamps[start:stop],
            self.first_sample + start,
            self.valid[start:stop],
            self.info,
        )


_new_chunk = object.__new__
_put_data, _put_timestamps, _put_first_sample, _put_valid, _put_info = (
    getattr(Chunk, field).__set__ for field in ("data", "timestamps", "first_sample", "valid", "info")
)


def make_chunk(
    data: FloatArray, timestamps: FloatArray, first_sample: int, valid: BoolArray, info: StreamInfo
) -> Chunk:
    """Mark the arrays read-only and wrap them; no copy, no check (the hot loop uses it)."""
    # by position 0.05 us, by keyword 0.1, flags.writeable = False takes 0.2
    data.setflags(False)  # type: ignore[call-arg]
    timestamps.setflags(False)  # type: ignore[call-arg]
    valid.setflags(False)  # type: ignore[call-arg]
    chunk = _new_chunk(Chunk)
    _put_data(chunk, data)  # into the slots: 0.2 us, the constructor of a frozen class takes 0.45
    _put_timestamps(chunk, timestamps)
    _put_first_sample(chunk, first_sample)
    _put_valid(chunk, valid)
    _put_info(chunk, info)
    return chunk


def empty_chunk(info: StreamInfo, first_sample: int = 0) -> Chunk:
    """Make a chunk without rows."""
    return make_chunk(np.empty((0, info.n_channels)), np.empty(0), first_sample, np.empty(0, np.bool_), info)


class RawBlock(NamedTuple):
    """Samples as a source hands them over, before they are numbered; the sequencer makes chunks of them.

    Numbering samples by their stamps needs memory of the stream's past and must be the same live, in replay and on a
    worker. It is therefore a computation of its own, and sources know nothing of it.

    Parameters
    ----------
    data : array, shape (n_samples, n_channels), float64, C order
    timestamps : array, shape (n_samples,), float64
        The sender's raw stamps in seconds.
    sample_numbers : array, shape (n_samples,), int64, optional
        The sender's own count of samples, where it has one.
    valid : array, shape (n_samples,), bool, optional
    """

    data: FloatArray
    timestamps: FloatArray
    sample_numbers: NDArray[np.int64] | None = None
    valid: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """A label, trigger or operator mark at a moment of stream time (seconds, the data stream's clock)."""

    time: float
    label: str
    stream: str = ""


EventType = Literal[
    "prediction",
    "state",
    "command",
    "refusal",
    "drift",
    "gap",
    "artifact",
    "marker",
    "stream",
    "skip",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with its identity.

    Parameters
    ----------
    type : str
        One of `EventType`.
    stream : str
        Name of the stream it is about.
    sample : int
        Index of the newest raw sample that was used.
    k : int
        Distinguishes events of one type at one sample; for predictions and states the row number.
    time : float
        That sample's own stamp in seconds; not compensated for any delay.
    delay_s : float
        The pipeline's algorithmic delay in seconds.
    values : mapping
        The type's own numbers; JSON values only.
    position : int
        Position in the pipeline of what emitted it; orders events of one sample, is not written.
    """

    type: EventType
    stream: str
    sample: int
    k: int
    time: float
    delay_s: float
    values: Mapping[str, Any] = field(default_factory=dict)
    position: int = 0

    @property
    def id(self) -> str:
        """``stream/type/sample/k``."""
        return f"{self.stream}/{self.type}/{self.sample}/{self.k}"

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key: newest raw sample, stage position, k."""
        return (self.sample, self.position, self.k)

    def identity(self) -> dict[str, Any]:
        """Return the fields that are equal live, in replay and on a cluster."""
        return {
            "id": self.id,
            "type": self.type,
            "stream": self.stream,
            "sample": self.sample,
            "time": self.time,
            "delay_s": self.delay_s,
            **self.values,
        }


DELIVERY_FIELDS = ("age_s", "latency_s", "host", "wall_time")
"""How an event reached its reader: null in replay and on workers, never part of its identity."""


def _json_value(value: Any) -> Any:
    """Replace what JSON lacks (NaN, infinities, numpy scalars) by what it has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _json_value(value.item())
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value


def encode(record: Mapping[str, Any]) -> str:
    """Write a record as one JSON line: shortest round-trip floats, NaN as null."""
    return json.dumps(_json_value(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def canonical(event: Event | Mapping[str, Any]) -> str:
    """Return the line that says *the same event*: identity without delivery.

    Parameters
    ----------
    event : Event or mapping
        An event, or a line of ``events.jsonl`` already parsed.
    """
    if isinstance(event, Event):
        return encode(event.identity())
    return encode({key: value for key, value in event.items() if key not in DELIVERY_FIELDS})


@runtime_checkable
class Source(Protocol):
    """Where samples come from."""

    @property
    def info(self) -> StreamInfo:
        """The stream as the sender or the file describes it."""
        ...

    def read(self, timeout_s: float) -> RawBlock | None:
        """Wait at most ``timeout_s`` for the first new sample and take all there is.

        Returns ``None`` when nothing came. The arrays are the source's own and valid until the next call.

        Raises
        ------
        StreamEnded
            No further sample will come.
        StreamLost
            The sender is gone.
        """
        ...

    def close(self) -> None:
        """Release what the source holds; may be called twice."""
        ...


@runtime_checkable
class MarkerSource(Protocol):
    """Where labels, triggers and operator marks come from."""

    def read(self) -> list[Marker]:
        """Return what came since the last call, in order of time; never waits."""
        ...


@runtime_checkable
class Processor(Protocol):
    """A numeric stage: pure computation with explicit state.

    ``process`` never mutates its input, allocates its output and nothing else, and gives the same rows however the
    stream was cut. Row ``k`` of the output carries ``first_sample + i``: a closed form of the global input index, so
    that a chunk that begins after a gap continues the numbering. After ``reset()`` the next chunk may begin anywhere.
    """

    @property
    def name(self) -> str:
        """The stage's name in the configuration, also the name of its tap."""
        ...

    @property
    def info_in(self) -> StreamInfo:
        """What ``process`` accepts."""
        ...

    @property
    def info_out(self) -> StreamInfo:
        """What ``process`` returns."""
        ...

    @property
    def delay_s(self) -> float:
        """Algorithmic delay in seconds that this stage adds."""
        ...

    @property
    def warmup_samples(self) -> int:
        """Input rows after a start or a flagged row before an output row may be valid again."""
        ...

    def newest_input(self, k: int) -> int:
        """Return the index of the newest input row that output row ``k`` used."""
        ...

    def process(self, chunk: Chunk) -> Chunk:
        """Return the output rows that the chunk completes, as a new chunk owned by the caller."""
        ...

    def reset(self) -> None:
        """Forget all samples seen."""
        ...

    def get_state(self) -> StateDict:
        """Return the whole state as a flat dict of new arrays."""
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        ...

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays (coefficients, windows, weights) that the plan's hash covers."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a stage or monitor found in its rows, to become an ``artifact`` or ``drift`` event.

    Parameters
    ----------
    row : int
        Output row at which it became knowable.
    time : float
        That row's stamp in seconds.
    k : int
        Below `FINDINGS_PER_ROW`; distinguishes what one stage finds at one row.
    first_row, last_row : int
        Output rows between which it holds.
    values : mapping
        Its own numbers; JSON values only.
    """

    row: int
    time: float
    k: int
    first_row: int
    last_row: int
    values: Mapping[str, Any]


FINDINGS_PER_ROW = 16


@runtime_checkable
class Reporter(Protocol):
    """What a `Processor` has besides when it has something to say; the pipeline makes events of it."""

    def take_findings(self) -> Sequence[Finding]:
        """Return what the last `Processor.process` found, in order of row and ``k``; the same for any chunking."""
        ...

    def open_findings(self) -> Sequence[Finding]:
        """Return what would still be going on if the stream ended after the last row."""
        ...


@runtime_checkable
class Monitor(Protocol):
    """Watches the rows of one tap and changes none; what it finds becomes ``drift`` events.

    Deterministic as a `Processor` is: the same findings however the rows were cut.
    """

    @property
    def name(self) -> str:
        """The monitor's name in the configuration."""
        ...

    @property
    def tap(self) -> str:
        """``input`` or the stage whose output it watches."""
        ...

    @property
    def score(self) -> float:
        """How far the newest check was from the baseline, 1 at the threshold; NaN before there is one."""
        ...

    def observe(self, chunk: Chunk) -> Sequence[Finding]:
        """Take the rows and return what became known at them, in order of row and ``k``."""
        ...

    def open_findings(self) -> Sequence[Finding]:
        """Return what would still be going on if the stream ended after the last row."""
        ...

    def reset(self) -> None:
        """Forget the rows seen, as after a gap; a baseline and an alarm stay."""
        ...

    def get_state(self) -> StateDict:
        """Return the whole state as a flat dict of new arrays."""
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        ...

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays that the plan's hash covers."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Turns class probabilities into states; knows no clock and does no I/O."""

    def decide(self, probabilities: Chunk) -> list[Event]:
        """Return the events that these rows cause, in order."""
        ...

    def reset(self) -> None:
        """Forget all rows seen."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where events and tapped chunks go; bounded time, never raises into the loop."""

    def write(self, events: Sequence[Event]) -> None:
        """Take the events; overflow is a named policy and counted."""
        ...

    def write_chunk(self, tap: str, chunk: Chunk) -> None:
        """Take the rows of one tap."""
        ...

    def close(self) -> None:
        """Finish what is open."""
        ...


def in_order(events: Iterable[Event]) -> list[Event]:
    """Sort events by (newest raw sample, stage position, k)."""
    return sorted(events, key=lambda event: event.order)


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Consecutive rows that a reader took out of a sample ring.

    Parameters
    ----------
    chunk : Chunk
        New arrays, owned by the caller; may be empty. Where the sample number jumped the rows end, and the next ones
        begin behind the jump.
    arrival_ns : array, shape (n_samples,), int64
        ``time.perf_counter_ns()`` at which each row reached the writer (0 where it did not say).
    n_lost : int
        Rows that were overwritten before this reader came, right before the first row.
    """

    chunk: Chunk
    arrival_ns: NDArray[np.int64]
    n_lost: int


@dataclass(frozen=True, slots=True)
class EventRecords:
    """Consecutive records that a reader took out of an event ring.

    Parameters
    ----------
    records : list of bytes
    first_sequence : int
        Sequence number of the first record (of the next one where there is none).
    n_lost : int
        Records that were overwritten before this reader came, right before the first one.
    """

    records: list[bytes]
    first_sequence: int
    n_lost: int


@runtime_checkable
class SampleReader(Protocol):
    """One reader's end of a sample ring."""

    @property
    def info(self) -> StreamInfo:
        """The stream whose rows the ring holds."""
        ...

    @property
    def n_lost(self) -> int:
        """Rows lost so far, by this reader and those of its name before a restart."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether everything was read and the writer is gone, closed or dead."""
        ...

    def read(self, max_samples: int) -> SampleRows:
        """Take at most ``max_samples`` rows, without waiting."""
        ...

    def commit(self) -> None:
        """Say that all rows read so far are dealt with; after a restart, reading goes on from here."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there are rows, the writer is gone or the time is over; say whether there are rows.

        May return early, with False, when the writer has rung for another of its rings.
        """
        ...


@runtime_checkable
class EventReader(Protocol):
    """One reader's end of an event ring."""

    @property
    def n_lost(self) -> int:
        """Records lost so far, by this reader and those of its name before a restart."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether everything was read and the writer is gone, closed or dead."""
        ...

    def read(self, max_records: int) -> EventRecords:
        """Take at most ``max_records`` records, without waiting."""
        ...

    def commit(self) -> None:
        """Say that all records read so far are dealt with; after a restart, reading goes on from here."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there are records, the writer is gone or the time is over; say whether there are records.

        May return early, with False, when the writer has rung for another of its rings.
        """
        ...


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """One named array of a counter block.

    Parameters
    ----------
    name : str
    kind : str
        ``count`` (int64), ``value`` (float64) or ``histogram`` (int64 per bucket and a float64 sum).
    size : int
        Number of slots of a count or a value, for instance one per class.
    bounds : tuple of float
        Upper bounds of a histogram's buckets, ascending; one more bucket takes what lies above.
    """

    name: str
    kind: Literal["count", "value", "histogram"]
    size: int = 1
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """A histogram at one moment.

    Parameters
    ----------
    bounds : tuple of float
    buckets : array, shape (len(bounds) + 1,), int64
        Observations per bucket, not cumulated.
    total : float
        Sum of the observations; may be one observation ahead of the buckets or behind them.
    """

    bounds: tuple[float, ...]
    buckets: NDArray[np.int64]
    total: float


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """All counters at about one moment; new arrays.

    Parameters
    ----------
    numbers : dict of str to array, shape (size,)
        Counts (int64) and values (float64) by name.
    histograms : dict of str to HistogramSnapshot
    """

    numbers: dict[str, NDArray[Any]]
    histograms: dict[str, HistogramSnapshot]


@runtime_checkable
class Counters(Protocol):
    """What the hot loop counts, as others may read it at any time."""

    @property
    def specs(self) -> tuple[CounterSpec, ...]:
        """The named arrays, in order."""
        ...

    def snapshot(self) -> CounterSnapshot:
        """Return a copy; every number is whole, numbers may be one update apart."""
        ...
