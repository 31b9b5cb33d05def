"""Signals in data records (EDF, BDF, GDF): scaling, and one stream for each distinct rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type
from neuroloop.stream.sources.recordings.clock import ImpliedClock
from neuroloop.stream.sources.recordings.faults import Notes
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.stream_description import unique_names
from neuroloop.stream.sources.units import normal_unit

INT24, UINT24 = "i3", "u3"
_MOST_SAMPLES_PER_RECORD = 1 << 31


@dataclass(frozen=True)
class RecordSignal:
    """One signal as the header describes it.

    Parameters
    ----------
    label, unit : str
        As in the file.
    physical_min, physical_max, digital_min, digital_max : float
        The two points that the linear scale goes through.
    n_per_record : int
        Samples in one data record.
    code : str
        A little-endian numpy type, `INT24` or `UINT24`.
    """

    label: str
    unit: str
    physical_min: float
    physical_max: float
    digital_min: float
    digital_max: float
    n_per_record: int
    code: str = "<i2"

    @property
    def width(self) -> int:
        """Bytes per sample."""
        return 3 if self.code in (INT24, UINT24) else np.dtype(self.code).itemsize

    @property
    def n_bytes(self) -> int:
        """Bytes in one data record."""
        return self.width * self.n_per_record


@dataclass(frozen=True)
class RecordLayout:
    """Where the data records stand in a file.

    Parameters
    ----------
    signals : tuple of RecordSignal
        All signals, annotations included, in the order of the record.
    begin : int
        Byte of the first record.
    n_records : int
        Complete records.
    record_s : float
        Duration of a record in seconds.
    """

    signals: tuple[RecordSignal, ...]
    begin: int
    n_records: int
    record_s: float

    @property
    def n_bytes(self) -> int:
        """Bytes of one record."""
        return sum(signal.n_bytes for signal in self.signals)

    def raw(self, buffer: bytes, index: int) -> NDArray[np.uint8]:
        """Return the bytes of one signal, shape (n_records, bytes per record), a view."""
        skip = sum(signal.n_bytes for signal in self.signals[:index])
        size = self.n_bytes
        records = np.frombuffer(buffer, np.uint8, self.n_records * size, self.begin).reshape(self.n_records, size)
        return records[:, skip : skip + self.signals[index].n_bytes]

    def digital(self, buffer: bytes, index: int) -> NDArray[Any]:
        """Return the stored numbers of one signal, shape (n_records * n_per_record,)."""
        raw, code = np.ascontiguousarray(self.raw(buffer, index)), self.signals[index].code
        if code not in (INT24, UINT24):
            return raw.reshape(-1).view(code)
        triples = raw.reshape(-1, 3).astype(np.int32)
        numbers = triples[:, 0] | (triples[:, 1] << 8) | (triples[:, 2] << 16)
        return numbers if code == UINT24 else (numbers << 8) >> 8


def physical(digital: NDArray[Any], signal: RecordSignal, notes: Notes) -> FloatArray:
    """Scale stored numbers: ``(digital - digital_min) * gain + physical_min``, gain = physical over digital range.

    A signal without a usable range keeps its stored numbers, and that is noted.
    """
    if not has_range(signal):
        notes.add(f"channel {signal.label!r} declares no usable range: its stored numbers are given, without a unit")
        return digital.astype(np.float64)
    gain = (signal.physical_max - signal.physical_min) / (signal.digital_max - signal.digital_min)
    with np.errstate(all="ignore"):
        return (digital.astype(np.float64) - signal.digital_min) * gain + signal.physical_min


def has_range(signal: RecordSignal) -> bool:
    """Say whether a signal's scale can be used."""
    span, reach = signal.physical_max - signal.physical_min, signal.digital_max - signal.digital_min
    return math.isfinite(span) and math.isfinite(reach) and span != 0 and reach != 0


def streams_by_rate(
    buffer: bytes,
    layout: RecordLayout,
    picked: Sequence[int],
    path: Path,
    notes: Notes,
    record_starts_s: Sequence[float] | None = None,
) -> list[RecordedStream]:
    """Make one stream for each distinct rate among the picked signals, in the order of their first signal.

    Parameters
    ----------
    buffer : bytes
        The whole file.
    layout : RecordLayout
    picked : sequence of int
        Indices of the ordinary signals.
    path : Path
        Names the streams: the stem, with ``@100Hz`` behind it where there are several rates.
    notes : Notes
    record_starts_s : sequence of float, optional
        Where the recording is discontinuous: start of each record in seconds.
    """
    rates = list(dict.fromkeys(layout.signals[index].n_per_record for index in picked))
    streams = []
    for n_per_record in rates:
        indices = [index for index in picked if layout.signals[index].n_per_record == n_per_record]
        sfreq = n_per_record / layout.record_s
        clock = ImpliedClock(
            layout.n_records * n_per_record, sfreq, record_jumps(record_starts_s, n_per_record, sfreq, notes)
        )
        data = np.empty((clock.n_samples, len(indices)))
        for column, index in enumerate(indices):
            data[:, column] = physical(layout.digital(buffer, index), layout.signals[index], notes)
        labels, doubled = unique_names([layout.signals[index].label or f"ch{index + 1}" for index in indices])
        notes.extend(doubled)
        types = tuple(guess_channel_type(label) for label in labels)
        units = tuple(
            normal_unit(layout.signals[index].unit) if has_range(layout.signals[index]) else "" for index in indices
        )
        name = path.stem if len(rates) == 1 else f"{path.stem}@{sfreq:g}Hz"
        info = StreamInfo(name, most_common_type(types), "", sfreq, labels, types, units)
        streams.append(RecordedStream(info, data, clock.timestamps, clock.sample_numbers))
    return streams


def record_jumps(
    starts_s: Sequence[float] | None, n_per_record: int, sfreq: float, notes: Notes
) -> list[tuple[int, int]]:
    """Turn start times of records into (row, sample number) where a record does not continue the one before."""
    if not starts_s:
        return []
    jumps: list[tuple[int, int]] = []
    expected = 0
    for record, start_s in enumerate(starts_s):
        number = round((start_s - starts_s[0]) * sfreq)
        if number < expected:
            notes.add(f"record {record} begins before the one before it ends: numbered as its continuation")
            number = expected
        elif number > expected:
            jumps.append((record * n_per_record, number))
        expected = number + n_per_record
    return jumps


def plausible_rate(n_per_record: int, record_s: float) -> bool:
    """Say whether a record's size and duration give a finite rate above 0."""
    return 0 < n_per_record < _MOST_SAMPLES_PER_RECORD and 1e-9 <= record_s <= 1e9
