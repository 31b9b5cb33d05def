"""Samples on their way: what a stream is, chunks of numbered rows, raw blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import InputError

FloatArray = NDArray[np.float64]


BoolArray = NDArray[np.bool_]


StateDict = dict[str, NDArray[Any]]


MONITORING_ID = "neuroloop-monitoring-"
"""How the ``source_id`` of every stream begins that only tells what a pipeline does; none is taken for an input."""


LEAST_SFREQ, MOST_SFREQ = 1e-7, 1e6
"""Rates that a stream may have, in Hz: from one sample in some months to a million a second."""
MOST_CHANNELS, MOST_TEXT = 65_536, 4096
"""Channels of a stream, and characters of each name in its description."""


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
        One entry per channel. Units are symbols such as ``uV``; an empty string where unknown. Types that are left out
        are the stream's own (``misc`` where it has none), units that are left out are unknown.
    """

    name: str = "stream"
    type: str = ""
    source_id: str = ""
    sfreq: float = 0.0
    ch_names: tuple[str, ...] = ()
    ch_types: tuple[str, ...] = ()
    ch_units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ch_names and not self.ch_types:
            object.__setattr__(self, "ch_types", (self.type or "misc",) * len(self.ch_names))
        if self.ch_names and not self.ch_units:
            object.__setattr__(self, "ch_units", ("",) * len(self.ch_names))
        if not (math.isfinite(self.sfreq) and self.sfreq >= 0):
            raise InputError(f"sfreq must be a finite number >= 0, got {self.sfreq!r}")
        if self.sfreq and not LEAST_SFREQ <= self.sfreq <= MOST_SFREQ:
            raise InputError(f"sfreq must be 0 or in [{LEAST_SFREQ:g}, {MOST_SFREQ:g}] Hz, got {self.sfreq!r}")
        if len(self.ch_names) > MOST_CHANNELS:
            raise InputError(f"ch_names must be at most {MOST_CHANNELS}, got {len(self.ch_names)}")
        longest = max(map(len, (self.name, self.type, self.source_id, *self.ch_names, *self.ch_units)))
        if longest > MOST_TEXT:
            raise InputError(f"names must have at most {MOST_TEXT} characters, got one of {longest}")
        for label, values in (("ch_types", self.ch_types), ("ch_units", self.ch_units)):
            if len(values) != len(self.ch_names):
                raise InputError(f"{label} must have one entry per channel ({len(self.ch_names)}), got {len(values)}")

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

    def rows(self, start: int, stop: int | None = None) -> RawBlock:
        """Return rows ``start:stop`` (local indices, to the end without ``stop``) as views."""
        part = slice(start, stop)
        return RawBlock(
            self.data[part],
            self.timestamps[part],
            None if self.sample_numbers is None else self.sample_numbers[part],
            None if self.valid is None else self.valid[part],
        )
