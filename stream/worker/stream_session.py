"""One stream on a worker: order, engine, markers, snapshots."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle
from neuroloop.stream.assembly.build import Built, build
from neuroloop.stream.contracts.chunks import RawBlock, StateDict
from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.units import assume_unit
from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.messages import StreamDescription
from neuroloop.stream.wire.row_order import HoldByFrames, Piece, RowOrder
from neuroloop.stream.worker.counts import SessionCounts
from neuroloop.stream.worker.errors import BUILD_FAULTS, FAULTS, PlanMismatch, StreamRefused, WorkerError, one_line
from neuroloop.stream.worker.snapshot import Snapshot
from neuroloop.stream.worker.snapshot_state import LARGE_BYTES, Resume, SnapshotState

_log = logging.getLogger("neuroloop.worker")
_LOST_ROWS_K = 15
_STATE_LOST_K = 14
"""Both apart from what the sequencer says of the same sample."""
_MAX_ROW = 1 << 53
_MANY_AGAIN = 50
"""So many frames in a row that say nothing new are no copies."""
_N_EARLY = 4
"""How many earlier moments are kept while the first of them is not old enough."""


@dataclass(frozen=True, slots=True)
class _Early:
    """The earlier moment of a snapshot to come."""

    row: int
    resume_offset: int
    state: StateDict


class SeenMarkers:
    """Which markers of a session were taken, by their number."""

    def __init__(self, seen: Sequence[int] = (0,)) -> None:
        self._next = seen[0]
        self._beyond = set(seen[1:])

    def take(self, k: int) -> bool:
        """Say whether the marker is new, and remember it."""
        if k < self._next or k in self._beyond:
            return False
        self._beyond.add(k)
        while self._next in self._beyond:
            self._beyond.discard(self._next)
            self._next += 1
        return True

    def as_tuple(self) -> tuple[int, ...]:
        """Return what the constructor takes."""
        return (self._next, *sorted(self._beyond))


class StreamSession:
    """Process one session of one stream.

    Parameters
    ----------
    description : StreamDescription
    session : int
    config : Config
    bundle : Bundle, optional
    reorder_frames : int
        How many frames may wait for one that is late.
    snapshot_bytes : int
        The largest snapshot that can be kept.
    snapshot : Snapshot, optional
        Where to go on; one without arrays says only how to go on counting, and an event states that.
    large_bytes : int
        As `SnapshotState` takes it.

    Raises
    ------
    StreamRefused
        If the pipeline cannot process this stream, or its state does not fit.
    PlanMismatch
        If the snapshot was made by another pipeline.
    """

    def __init__(
        self,
        description: StreamDescription,
        session: int,
        config: Config,
        bundle: Bundle | None,
        *,
        reorder_frames: int,
        snapshot_bytes: int,
        snapshot: Snapshot | None = None,
        large_bytes: int = LARGE_BYTES,
    ) -> None:
        self.description = description
        self.session = session
        self._config = config
        self._hold = HoldByFrames(reorder_frames)
        try:
            info = assume_unit(description.info, config.source.units)
            wanted = config.source.channels
            if wanted is not None and wanted != info.n_channels:
                raise StreamRefused(f"source.channels must be {info.n_channels}, got {wanted}")
            self.built: Built = build(config, info, bundle=bundle, for_worker=True)
            self._state = SnapshotState(self.built.pipeline, large_bytes)
            self._engine = Engine(config.source, self.built.pipeline, first_sample=description.first_sample)
            needed = self._state.fixed_bytes(self._engine)
        except BUILD_FAULTS as error:
            raise StreamRefused(one_line(error)) from error
        if needed > snapshot_bytes:
            raise StreamRefused(f"state of {info.name!r} must fit into {snapshot_bytes} bytes, got {needed}")
        self.first_sample = description.first_sample
        self._order: RowOrder | None = None
        self._resume: Resume | None = None
        self._live_row = 0
        self._has_lost_state = False
        self._early: deque[_Early] = deque()
        self._markers: list[Marker] = []
        self.seen_markers = SeenMarkers()
        self.serial = 0
        self.is_ended = False
        self.refused = ""
        """Why the rest of the session is not processed; then it has ended, on every worker at the same row."""
        self.is_dirty = True
        self.uses_indices_again = False
        """Whether the last frame held new rows under indices that were used before, which leaves them out."""
        self._newest_stamp = math.nan
        self._n_again = 0
        self.counts = SessionCounts()
        if snapshot is not None:
            self._restore(snapshot)

    @property
    def next_sample(self) -> int:
        """Number of the sample that comes next."""
        return self._engine.sequencer.next_sample

    @property
    def next_row(self) -> int:
        """Index of the row that comes next."""
        return 0 if self._order is None or self._order.next_row is None else self._order.next_row

    @property
    def drift_score(self) -> float:
        """The largest score of the monitors, NaN where none has one."""
        return self.built.pipeline.drift_score

    @property
    def oldest_held(self) -> int | None:
        """Offset of the oldest message that waits for another."""
        return self._order.oldest_held if self._order is not None else None

    @property
    def is_waiting(self) -> bool:
        """Whether a message waits for another."""
        return self._order is not None and self._order.n_held > 0

    @property
    def is_refilling(self) -> bool:
        """Whether the rows that come are only read to fill windows."""
        return self._resume is not None

    @property
    def needs_refill(self) -> bool:
        """Whether a snapshot of this stream must be resumed some messages before its end."""
        return self._state.refill_rows > 0

    def _restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot ends."""
        if snapshot.plan_hash != self.built.plan.hash:
            rule = f"that of its snapshot ({snapshot.plan_hash[:16]})"
            cure = "end it with the old configuration, or give the new one another worker.group"
            name = self.description.stream
            raise PlanMismatch(f"plan of stream {name!r} must be {rule}, got {self.built.plan.hash[:16]}: {cure}")
        self.first_sample = snapshot.first_sample
        self._engine = Engine(self._config.source, self.built.pipeline, first_sample=snapshot.first_sample)
        self._order = RowOrder(self._hold, snapshot.row)
        self.seen_markers = SeenMarkers(snapshot.seen_markers)
        self.serial = snapshot.serial
        self.is_dirty = False
        if not snapshot.arrays:
            self._has_lost_state = True
            return
        self._resume = Resume(self._engine, self._state, snapshot.arrays, snapshot.upstream_checksum)
        self._live_row = snapshot.live_row
        if snapshot.live_row == snapshot.row:
            self._resume.finish()
            self._resume = None

    def add_marker(self, marker: Marker, k: int) -> None:
        """Take a marker, once."""
        if self.is_ended or not self.seen_markers.take(k):
            return
        self.is_dirty = True
        if self._resume is not None:
            self._markers.append(marker)
        else:
            try:
                self._engine.add_markers([marker])
            except FAULTS as error:
                self._refuse(error)

    def take(self, offset: int, frame: Frame) -> list[Event]:
        """Process a frame; return the events that became known. `refused` says where the pipeline could not.

        Parameters
        ----------
        offset : int
            Of its message.
        frame : Frame
            Of this session.

        Raises
        ------
        StreamRefused
            If it is not of the stream that was described.
        """
        if self.is_ended:
            self.counts.duplicates += len(frame)
            return []
        self.check(frame)
        if self._order is None:
            self._order = RowOrder(self._hold, self._first_row(frame))
        order, self.is_dirty = self._order, True
        next_row = order.next_row
        if next_row is not None and frame.first_sample < next_row:
            self.uses_indices_again = self._are_new_under_old_indices(frame, next_row)
        elif self._n_again:
            self.uses_indices_again, self._n_again = False, 0
        return self._process(order.add(frame, offset))

    def give_up(self) -> list[Event]:
        """Wait no longer for a frame that is late; return the events of those that waited for it."""
        if self._order is None:
            return []
        self.is_dirty = True
        return self._process(self._order.give_up())

    def check(self, frame: Frame) -> None:
        """Refuse a frame that is not of the stream that was described.

        Raises
        ------
        StreamRefused
        """
        info = self.description.info
        if frame.data.shape[1] != info.n_channels or frame.sfreq != info.sfreq:
            rule = f"what was described ({info.n_channels} channels at {info.sfreq:g} Hz)"
            raise StreamRefused(f"frame must be {rule}, got {frame.data.shape[1]} at {frame.sfreq:g} Hz")
        if not 0 <= frame.first_sample <= frame.next_sample <= _MAX_ROW:
            raise StreamRefused(f"first_sample of a frame must be in [0, 2**53], got {frame.first_sample}")
        has_numbers = frame.counts == "samples" or frame.sample_numbers is not None
        if self._config.source.timing == "counter" and not has_numbers:
            raise StreamRefused("source.timing must not be 'counter' for a stream without sample numbers")

    def _are_new_under_old_indices(self, frame: Frame, next_row: int) -> bool:
        """Whether rows will be left out for their index that are no copies.

        Their stamps are later than all before or, where the clock began anew, too, they do not end.
        """
        self._n_again += 1
        if not len(frame):
            return False
        last = min(next_row, frame.next_sample) - frame.first_sample - 1
        return float(frame.timestamps[last]) > self._newest_stamp or self._n_again == _MANY_AGAIN

    def _first_row(self, frame: Frame) -> int | None:
        """Return the index that the session begins with; None where only its first frame can say."""
        if frame.counts == "received":
            return 0
        return self.description.first_sample if self.description.session == self.session else None

    def _process(self, pieces: list[Piece]) -> list[Event]:
        events: list[Event] = []
        begin = perf_counter_ns()
        try:
            for piece in pieces:
                events += self._push(piece)
                if piece.frame.last:
                    events += self.finish()
        except WorkerError:  # about the worker, not the rows
            raise
        except FAULTS as error:
            self._refuse(error)
        self.counts.process_ns += perf_counter_ns() - begin
        return events

    def _refuse(self, error: Exception) -> None:
        """End a session whose rows the pipeline cannot process: what it would say from here on is of no known state."""
        self.refused = f"the pipeline must be able to process the stream, got {one_line(error)}"
        self.is_ended = self.is_dirty = True
        self._early.clear()
        _log.warning("%s: session %d ends: %s", self.description.stream, self.session, self.refused)

    def _push(self, piece: Piece) -> list[Event]:
        """Run the new rows of a frame through the pipeline, those before the live row through its first part."""
        frame, start = piece.frame, piece.start
        events: list[Event] = []
        index = frame.first_sample + start
        if self._resume is not None:
            stop = min(max(self._live_row, index), frame.next_sample)
            if stop > index:
                self._resume.refill(_rows(frame, start, stop - frame.first_sample))
                self.counts.refilled += stop - index
                start, index = stop - frame.first_sample, stop
            if index < self._live_row:
                return events
            self._resume.finish()
            self._resume = None
            self._engine.add_markers(self._markers)
            self._markers = []
        if index == frame.next_sample:
            return events
        if self._has_lost_state:
            self._has_lost_state = False
            events.append(self._stream_event(_STATE_LOST_K, frame, start, {"what": "state_lost"}))
        if piece.n_lost and frame.counts == "received":
            missing = {"missing": piece.n_lost, "first_missing": frame.first_sample - piece.n_lost}
            events.append(self._stream_event(_LOST_ROWS_K, frame, piece.start, {"what": "rows_lost", **missing}))
        self.counts.samples += frame.next_sample - index
        self._newest_stamp = frame.timestamps.item(-1)
        return events + self._engine.push_block(_rows(frame, start, len(frame)))

    def _stream_event(self, k: int, frame: Frame, row: int, values: dict[str, object]) -> Event:
        """Say something of the stream, at the sample that comes next."""
        name = self.built.pipeline.info.name
        return Event("stream", name, self.next_sample, k, float(frame.timestamps[row]), 0.0, values)

    def take_counts(self) -> SessionCounts:
        """Return what was counted since the last call."""
        taken, self.counts = self.counts, SessionCounts()
        order = self._order
        if order is not None:
            rows = order.counts
            taken.duplicates += rows["duplicates"] + rows["late"]
            taken.lost += rows["lost"] + rows["jumped"]
            taken.reordered += rows["reordered"]
            rows.clear()
        return taken

    def close(self) -> list[Event]:
        """End a stream whose last frame never came, with the rows that wait for others; return what is left to say."""
        if self.is_refilling:  # everything up to here was said by whoever made the snapshot
            self.is_ended = self.is_dirty = True
            return []
        events: list[Event] = []
        while self.is_waiting and not self.is_ended:
            events += self.give_up()
        return events + self.finish()

    def finish(self) -> list[Event]:
        """End the stream; return what is left to say."""
        if self.is_ended:
            return []
        self.is_ended = self.is_dirty = True
        self._early.clear()
        try:
            return self._engine.finish()
        except FAULTS as error:
            self._refuse(error)
            return []

    def snapshot(self, covered_offset: int, markers_offset: int = 0) -> Snapshot | None:
        """Say where the stream stands; None while its windows are not yet filled far enough.

        Parameters
        ----------
        covered_offset : int
            Offset of the next message of the partition.
        markers_offset : int
            From where markers must be read again.
        """

        def make(row: int, resume_offset: int, crc: int, arrays: StateDict) -> Snapshot:
            self.serial += 1
            return Snapshot(
                self.description.stream, self.session, self.built.plan.hash, resume_offset, covered_offset, row,
                self.next_row, self.serial, self.first_sample, self.is_ended, self.seen_markers.as_tuple(),
                markers_offset, crc, self.refused, arrays,
            )  # fmt: skip

        if self.is_ended:
            return make(self.next_row, covered_offset, 0, {})
        if self._resume is not None or self._order is None:
            return None
        state = self._state.of(self._engine)
        held = self.oldest_held
        resume_offset = covered_offset if held is None else held
        if not self.needs_refill:
            return make(self.next_row, resume_offset, 0, self._state.joined({}, self._state.late(state)))
        early = None
        while self._early and self._early[0].row + self._state.refill_rows <= self.next_row:
            early = self._early.popleft()
        apart = self._state.refill_rows // _N_EARLY
        if not self._early or self.next_row >= self._early[-1].row + apart:
            self._early.append(_Early(self.next_row, resume_offset, self._state.early(state)))
        if early is None:
            return None
        self._early.appendleft(early)
        arrays = self._state.joined(early.state, self._state.late(state))
        return make(early.row, early.resume_offset, self._state.checksum(state), arrays)


def _rows(frame: Frame, start: int, stop: int) -> RawBlock:
    """Return some rows of a frame; float64 data are a view, which the sequencer copies anyway."""
    numbers = frame.sample_numbers
    if frame.counts == "samples":
        numbers = np.arange(frame.first_sample, frame.next_sample, dtype=np.int64)
    block = RawBlock(frame.data, frame.timestamps, numbers, frame.valid)
    if start > 0 or stop < len(frame.timestamps):
        block = block.rows(start, stop)
    data = block.data
    if data.dtype != np.float64 or not (data.flags.c_contiguous and data.flags.aligned):
        block = block._replace(data=np.require(data, np.float64, ["C", "A"]))
    return block


Factory = Callable[[StreamDescription, int, Snapshot | None], StreamSession]
"""Makes the session of a stream, new or from a snapshot."""
