"""When which sample is sent, with what stamp and values: closed forms of the true sample number.

The *true* number of a sample is its place in the undisturbed stream. The schedule maps the rows that are sent to true
numbers (runs of consecutive samples, each forwards or backwards), and knows by how much the stamp of each is off.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.playback.faults.mix import random_mix
from neuroloop.stream.playback.faults.spec import ALTERING, SENDING, SILENT, STAMPING, Fault

IntArray = NDArray[np.int64]

PACKET_STEP_S = 20e-6
"""Between the stamps of one packet's samples, which a receiver takes out of it one after the other."""
ENDLESS_MIX_S = 60.0
_FOREVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault in samples: it concerns the true samples ``start`` to ``stop``."""

    fault: Fault
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows from ``row`` on are the true samples from ``start`` to ``stop``, backwards or not."""

    row: int
    start: int
    stop: int
    backwards: bool
    packet: int
    newest: int
    """The highest true number sent before this run, plus one."""


class Schedule:
    """Lay out faults over a stream.

    Parameters
    ----------
    faults : sequence of Fault
    info : StreamInfo
    n_samples : int, optional
        Length of the undisturbed stream; None where it has no end.

    Raises
    ------
    ConfigError
        If the stream has no rate, a fault begins after its end or names a channel that it has not, or two faults that
        change what is sent overlap.
    """

    def __init__(self, faults: Sequence[Fault], info: StreamInfo, n_samples: int | None) -> None:
        if not info.sfreq > 0:
            raise ConfigError(f"fault must be left out for a stream without a rate, got {info.name!r}")
        self.info = info
        self._sfreq = info.sfreq
        self._n_true = _FOREVER if n_samples is None else n_samples
        length_s = ENDLESS_MIX_S if n_samples is None else n_samples / info.sfreq
        spelled: list[Fault] = []
        for fault in faults:
            spelled.extend(random_mix(fault, info, length_s) if fault.kind == "random" else [fault])
        self.planned = tuple(sorted(map(self._plan, spelled), key=lambda one: (one.start, one.stop)))
        self._check_overlaps()
        self._columns = {id(one): self._channel_columns(one.fault) for one in self.planned}
        self._runs = self._lay_out()
        self._run_rows = [run.row for run in self._runs]
        last = self._runs[-1]
        self.n_rows = None if n_samples is None else last.row + last.stop - last.start
        self.last_true = -1 if self.n_rows == 0 else last.stop - 1

    @property
    def changes_stamps(self) -> bool:
        """Whether stamps are not those of the undisturbed stream."""
        return any(one.fault.kind in STAMPING for one in self.planned)

    def true_samples(self, row: int, n: int) -> IntArray:
        """Return the true numbers of rows ``row`` to ``row + n``, fewer only at the end."""
        parts = [np.empty(0, np.int64)]
        while n > 0:
            run = self._run_at(row)
            n_here = min(n, run.row + run.stop - run.start - row)
            if n_here <= 0:
                break
            first = row - run.row
            if run.backwards:
                parts.append(np.arange(run.stop - 1 - first, run.stop - 1 - first - n_here, -1))
            else:
                parts.append(np.arange(run.start + first, run.start + first + n_here))
            row += n_here
            n -= n_here
        return np.concatenate(parts)

    def reached(self, row: int) -> int:
        """Return how far the undisturbed stream has come when ``row`` rows are sent (at the end: its length)."""
        if row <= 0:
            return 0
        if self.n_rows is not None and row >= self.n_rows:
            return self._n_true
        run = self._run_at(row - 1)
        here = run.stop if run.backwards else run.start + (row - run.row)
        return max(run.newest, here)

    def row_at(self, true: int) -> int:
        """Return the first row that is sent when the undisturbed stream has come to sample ``true``; else the last."""
        for run in self._runs:
            if true < run.stop:
                return run.row if run.backwards or true < run.start else run.row + true - run.start
        return max(0, (self.n_rows or 1) - 1)

    def batch(self, row: int, n: int) -> int:
        """Return how many of ``n`` rows are sent at once from ``row`` on: to the end of a packet or of a run."""
        run = self._run_at(row)
        left = run.row + run.stop - run.start - row
        if run.packet:
            return max(1, min(left, run.packet - (row - run.row) % run.packet))
        return max(1, min(n, left))

    def due_s(self, row: int) -> float:
        """Return when a row is sent, in seconds of stream: when its sample, or a later one sent before it, is due."""
        run = self._run_at(row)
        newest = max(run.newest, run.stop if run.backwards else run.start + row - run.row + 1) - 1
        slow_s = 0.0
        for one in self.planned:
            if one.fault.kind == "rate":
                slow_s += float(self._rate_shift_s(one, np.array([newest]))[0])
        return newest / self._sfreq + slow_s

    def outage_before(self, row: int) -> Planned | None:
        """Return the ``reconnect`` whose outlet comes back right before this row."""
        run = self._run_at(row)
        if run.row != row or (row == 0 and run.start == 0):
            return None
        ends = [one for one in self.planned if one.fault.kind == "reconnect" and one.stop == run.start]
        return ends[0] if ends else None

    def shift_s(self, true: IntArray) -> FloatArray:
        """Return by how much the stamps of samples are off, in seconds."""
        shift = np.zeros(len(true))
        for one in self.planned:
            fault = one.fault
            if fault.kind == "clock_step":
                shift[true >= one.start] += fault.value
            elif fault.kind == "drift_ppm":
                shift += fault.value * 1e-6 * (np.clip(true, one.start, one.stop) - one.start) / self._sfreq
            elif fault.kind == "rate":
                shift += self._rate_shift_s(one, true)
            elif fault.kind == "burst":
                inside = (true >= one.start) & (true < one.stop)
                place = (true[inside] - one.start) % fault.count
                size = np.minimum(fault.count, one.stop - (true[inside] - place))
                shift[inside] += (size - 1 - place) / self._sfreq + place * PACKET_STEP_S
        return shift

    def alter(self, data: FloatArray, true: IntArray, first_rows: dict[int, FloatArray]) -> FloatArray:
        """Return the values as they are sent, a new array where a fault changes them.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels)
        true : array of int64, shape (n_samples,)
        first_rows : dict
            The undisturbed row at the start of every ``flat`` fault, by true number.
        """
        altered = data
        for one in self.planned:
            fault = one.fault
            if fault.kind not in ALTERING:
                continue
            inside = np.flatnonzero((true >= one.start) & (true < one.stop))
            if not len(inside):
                continue
            if altered is data:
                altered = data.copy()
            columns = self._columns[id(one)]
            if fault.kind == "nan":
                values: FloatArray | float = np.nan
            elif fault.kind == "flat":
                values = first_rows[one.start][columns]
            else:
                values = np.array(fault.levels)
            altered[inside[:, None], np.array(columns)] = values
        return altered

    def channels_of(self, planned: Planned) -> tuple[str, ...]:
        """Return the names of the channels whose values the fault changes."""
        return tuple(self.info.ch_names[column] for column in self._columns[id(planned)])

    def _rate_shift_s(self, one: Planned, true: IntArray) -> FloatArray:
        n_inside = np.clip(true, one.start, one.stop) - one.start
        shift: FloatArray = n_inside.astype(np.float64) * (1.0 / one.fault.value - 1.0 / self._sfreq)
        return shift

    def _plan(self, fault: Fault) -> Planned:
        start = round(fault.start_s * self._sfreq)
        if start >= self._n_true:
            length_s = self._n_true / self._sfreq
            raise ConfigError(f"fault must begin before the stream's end at {length_s:g} s, got {fault.text!r}")
        if fault.kind in ("gap", "duplicate", "reorder"):
            n = fault.count
        elif fault.kind == "clock_step":
            n = 0
        elif fault.duration_s is None:
            n = _FOREVER - start
        else:
            n = max(1, round(fault.duration_s * self._sfreq))
        return Planned(fault, start, min(start + n, self._n_true))

    def _check_overlaps(self) -> None:
        end, before = 0, None
        for one in self.planned:
            if one.fault.kind not in SENDING:
                continue
            if before is not None and one.start < end:
                raise ConfigError(f"fault must not overlap with {before.fault.text!r}, got {one.fault.text!r}")
            end, before = one.stop, one

    def _channel_columns(self, fault: Fault) -> list[int]:
        if fault.kind not in ALTERING:
            return []
        if not fault.channels:
            return list(range(self.info.n_channels))
        unknown = [name for name in fault.channels if name not in self.info.ch_names]
        if unknown:
            names = ", ".join(self.info.ch_names)
            raise ConfigError(f"fault must name channels of the stream ({names}), got {unknown[0]!r}")
        return [self.info.ch_names.index(name) for name in fault.channels]

    def _lay_out(self) -> list[_Run]:
        runs: list[_Run] = []
        row = true = newest = 0

        def send(start: int, stop: int, *, backwards: bool = False, packet: int = 0) -> None:
            nonlocal row, newest
            if stop > start:
                runs.append(_Run(row, start, stop, backwards, packet, newest))
                row += stop - start
                newest = max(newest, stop)

        for one in self.planned:
            kind = one.fault.kind
            if kind not in SENDING:
                continue
            send(true, one.start)
            true = one.stop
            if kind == "duplicate":
                send(one.start, one.stop)
                send(one.start, one.stop)
            elif kind == "reorder":
                send(one.start, one.stop, backwards=True)
            elif kind == "burst":
                send(one.start, one.stop, packet=one.fault.count)
            elif kind in SILENT:
                newest = max(newest, true)
        send(true, self._n_true)
        return runs or [_Run(0, self._n_true, self._n_true, False, 0, self._n_true)]

    def _run_at(self, row: int) -> _Run:
        return self._runs[max(0, bisect_right(self._run_rows, row) - 1)]
