"""A feed with faults: the rows that a faulty sender sends, for the player."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.playback.faults.schedule import IntArray, Planned, Schedule
from neuroloop.stream.playback.faults.spec import ALTERING, STAMPING, Fault
from neuroloop.stream.playback.faults.truth import InjectedFault
from neuroloop.stream.playback.feed import DueMarker, Feed, Numbering, Rows


class FaultyFeed:
    """A feed as a faulty sender sends it: some rows never, some twice, some wrong; a `ScheduledFeed`.

    Rows are numbered as they are sent; whatever is asked for comes out the same in any cutting. Sample numbers, where
    the feed has them, are those of the true samples. Markers come with the first row sent at or after theirs, and share
    the data's clock with its steps and its drift.

    Parameters
    ----------
    feed : Feed
        Of a stream with a rate.
    faults : sequence of Fault
    on_injected : callable, optional
        Gets the record of every fault once the rows that show it were sent (see `sent`).

    Raises
    ------
    ConfigError
        If the faults do not fit the stream or each other.
    """

    def __init__(
        self, feed: Feed, faults: Sequence[Fault], on_injected: Callable[[InjectedFault], None] | None = None
    ) -> None:
        self.info: StreamInfo = feed.info
        self.first_sample = feed.first_sample
        self.marker_streams = feed.marker_streams
        self._feed = feed
        self._schedule = Schedule(faults, feed.info, feed.n_samples)
        self.numbering: Numbering = feed.numbering
        if feed.numbering == "implied" and self._schedule.changes_stamps:
            self.numbering = "own"
        self._on_injected = on_injected
        self._first_rows = {
            one.start: feed.rows(one.start, 1).data[0] for one in self._schedule.planned if one.fault.kind == "flat"
        }
        # the row whose sending makes a fault's record complete
        ends = [(self._shown_by(one), index) for index, one in enumerate(self._schedule.planned)]
        self._untold = sorted(ends)
        self._clock_start: float | None = None

    @property
    def n_samples(self) -> int | None:
        """Number of rows that are sent; None where there is no end."""
        return self._schedule.n_rows

    @property
    def injected(self) -> tuple[InjectedFault, ...]:
        """The truth of all faults, those of an endless stream that are still to come included."""
        return tuple(map(self._record, self._schedule.planned))

    def true_samples(self, start: int, n: int) -> IntArray:
        """Return the true numbers of rows: their places in the undisturbed stream."""
        return self._schedule.true_samples(start, n)

    def rows(self, start: int, n: int) -> Rows:
        """Return rows as they are sent."""
        true = self._schedule.true_samples(start, n)
        base = self._true_rows(true)
        data = self._schedule.alter(base.data, true, self._first_rows)
        stamps = base.timestamps + self._schedule.shift_s(true) if self._schedule.changes_stamps else base.timestamps
        return Rows(data, stamps, base.sample_numbers)

    def markers(self, start: int, n: int) -> list[DueMarker]:
        """Return the markers that come with these rows."""
        begin, end = self._schedule.reached(start), self._schedule.reached(start + n)
        if end <= begin:
            return []
        due = []
        for row, marker in self._feed.markers(begin, end - begin):
            shift_s = float(self._schedule.shift_s(np.array([row]))[0])
            time = marker.time + shift_s if shift_s else marker.time
            due.append(DueMarker(self._schedule.row_at(row), Marker(time, marker.label, marker.stream)))
        return due

    def clock_stamps(self, start: int, n: int) -> FloatArray:
        """Return the stamps of rows by the sender's own clock, in seconds since the stream's start."""
        true = self._schedule.true_samples(start, n)
        stamps: FloatArray = true / self.info.sfreq + self._schedule.shift_s(true)
        return stamps

    def batch(self, row: int, n: int) -> int:
        """Return how many of at most ``n`` rows are sent at once from ``row`` on; packets are sent whole."""
        return self._schedule.batch(row, n)

    def due_s(self, row: int) -> float:
        """Return when a row is sent, in seconds of stream since the start."""
        return self._schedule.due_s(row)

    def outage_s(self, row: int) -> float:
        """Return for how long the outlet is gone right before this row; 0 where it stays."""
        outage = self._schedule.outage_before(row)
        return 0.0 if outage is None else (outage.stop - outage.start) / self.info.sfreq

    def sent(self, n_rows: int, clock_start: float | None = None) -> None:
        """Take notice that so many rows are on their way; the records of the faults they show are handed on.

        Parameters
        ----------
        n_rows : int
        clock_start : float, optional
            What was added to `clock_stamps`; None if the feed's own stamps were sent.
        """
        self._clock_start = clock_start
        while self._untold and self._untold[0][0] < n_rows:
            _, index = self._untold.pop(0)
            if self._on_injected is not None:
                self._on_injected(self._record(self._schedule.planned[index]))

    def _true_rows(self, true: IntArray) -> Rows:
        """Return the undisturbed rows with these numbers, run by run."""
        if not len(true):
            return self._feed.rows(0, 0)
        steps = np.diff(true)
        if (steps == 1).all():
            return self._feed.rows(int(true[0]), len(true))
        low = int(true.min())
        if int(true.max()) - low < 4 * len(true):
            span = self._feed.rows(low, int(true.max()) - low + 1)
            return _taken(span, true - low)
        cuts = np.flatnonzero(steps != 1) + 1
        parts = [self._feed.rows(int(part[0]), len(part)) for part in np.split(true, cuts)]
        numbers = [part.sample_numbers for part in parts if part.sample_numbers is not None]
        return Rows(
            np.concatenate([part.data for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate(numbers) if numbers else None,
        )

    def _shown_by(self, one: Planned) -> int:
        """Return the row with which a fault's record is complete."""
        true = one.start if one.fault.kind in STAMPING and one.fault.kind != "burst" else one.stop
        return self._schedule.row_at(true)

    def _record(self, one: Planned) -> InjectedFault:
        fault, sfreq = one.fault, self.info.sfreq
        to_the_end = fault.kind in ("drift_ppm", "rate") and fault.duration_s is None
        n = None if to_the_end else one.stop - one.start
        after = one.start if fault.kind in STAMPING and fault.kind != "burst" else one.stop
        has_after = after <= self._schedule.last_true
        return InjectedFault(
            kind=fault.kind,
            spec=fault.text,
            first_sample=one.start,
            n_samples=n,
            duration_s=None if n is None else n / sfreq,
            stamp_before=self._stamp(self._schedule.row_at(one.start) - 1),
            stamp_after=self._stamp(self._schedule.row_at(after)) if has_after else None,
            channels=self._schedule.channels_of(one) if fault.kind in ALTERING else (),
            value=float(fault.count) if fault.kind == "burst" else fault.value if fault.kind in STAMPING else None,
        )

    def _stamp(self, row: int) -> float | None:
        if row < 0:
            return None
        if self._clock_start is not None:
            return self._clock_start + float(self.clock_stamps(row, 1)[0])
        return float(self.rows(row, 1).timestamps[0])


def _taken(rows: Rows, places: IntArray) -> Rows:
    numbers = None if rows.sample_numbers is None else rows.sample_numbers[places]
    return Rows(rows.data[places], rows.timestamps[places], numbers)
