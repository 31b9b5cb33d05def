"""The streams of one partition: which message goes where, which offset may be committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from neuroloop.stream.contracts.events import Event, Marker
from neuroloop.stream.wire.frames import Frame
from neuroloop.stream.wire.messages import StreamDescription
from neuroloop.stream.worker.counts import SessionCounts
from neuroloop.stream.worker.errors import StreamRefused
from neuroloop.stream.worker.snapshot import Snapshot, without_arrays
from neuroloop.stream.worker.stream_session import Factory, StreamSession
from neuroloop.stream.worker.undescribed import Undescribed

_log = logging.getLogger("neuroloop.worker")


@dataclass
class Place:
    """What is known of one stream of the partition.

    Parameters
    ----------
    stream_session : StreamSession, optional
        None for one that has ended.
    session : int
    stored : Snapshot, optional
        The newest one that the brokers have acknowledged; its arrays may be left out.
    stored_at : int
        Its offset in the changelog.
    first_offset : int
        Of the stream's first message, as long as there is no snapshot.
    written_s, ended_s : float
        When it was written last, and when the stream ended, by the worker's clock.
    refused : str
        Why the frames of the session are not processed, where they are not.
    is_refusing : bool
        Whether frames of a refused session have come since the last checkpoint: as long as they do, it is remembered.
    """

    stream_session: StreamSession | None
    session: int
    stored: Snapshot | None = None
    stored_at: int = -1
    first_offset: int = 0
    written_s: float = 0.0
    ended_s: float | None = None
    refused: str = ""
    is_refusing: bool = False

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is expected."""
        return self.stream_session is None or self.stream_session.is_ended

    @property
    def floor(self) -> int | None:
        """Offset from which messages are needed to restore the stream; None where none is."""
        if self.stored is None:
            return self.first_offset
        if self.refused and self.stream_session is None:
            return None
        if self.stream_session is not None and (self.stream_session.is_dirty or self.stream_session.is_refilling):
            return self.stored.resume_offset
        return None if self.stored.resume_offset >= self.stored.covered_offset else self.stored.resume_offset


@dataclass(frozen=True)
class StreamEvents:
    """What one message led to: the events of one stream."""

    description: StreamDescription
    session: int
    events: list[Event] = field(default_factory=list)


class Route(Enum):
    """What is to be done with a frame."""

    LEFT_OUT = auto()
    """Nothing: its session is over, or a snapshot holds what it says."""
    BEGINS = auto()
    """It begins a stream or a session: make one of its description, read the markers, begin, process."""
    NEEDS_MARKERS = auto()
    """It ends its session, or one before it is still missing: read all markers that there are, process."""
    GOES_ON = auto()
    """Process."""


class Partition:
    """Process the messages of one partition in the order of their offsets.

    Parameters
    ----------
    number : int
    next_offset : int
        Where to begin.
    make_session : callable
        Makes a stream session of a description, a session and, to go on, a snapshot.
    hold_frames : int
        How many messages of the partition may pass while a frame waits for another of its stream.

    Attributes
    ----------
    markers_offset : int
        All markers before it are in snapshots that the brokers have.
    undescribed : Undescribed
        Frames that wait for the description of their stream; nothing is decided for such a stream meanwhile.
    is_in_trouble : bool
        Whether there is something to be said of the last frame that was taken.
    """

    def __init__(self, number: int, next_offset: int, make_session: Factory, *, hold_frames: int) -> None:
        self.number = number
        self.next_offset = next_offset
        self.places: dict[str, Place] = {}
        self.committed: int | None = None
        self.markers_offset = 0
        self.undescribed = Undescribed()
        self.is_in_trouble = False
        self._make_session = make_session
        self._hold_frames = hold_frames
        self._waiting: set[str] = set()
        self._refused: dict[str, tuple[StreamDescription, int, str]] = {}
        self._ended = SessionCounts()

    @property
    def sessions(self) -> Iterator[StreamSession]:
        """The streams that go on."""
        return (
            place.stream_session
            for place in list(self.places.values())
            if place.stream_session is not None and not place.stream_session.is_ended
        )

    def restore(self, snapshot: Snapshot, stored_at: int, description: StreamDescription | None, now_s: float) -> None:
        """Put a stream back where its snapshot ends.

        Parameters
        ----------
        snapshot : Snapshot
        stored_at : int
            Its offset in the changelog.
        description : StreamDescription, optional
            Not needed for a stream that has ended.
        now_s : float
        """
        stream_session, refused = None, snapshot.refused
        if not snapshot.is_ended and description is not None:
            try:
                stream_session = self._make_session(description, snapshot.session, snapshot)
            except StreamRefused as error:  # described anew since: its snapshot stays, for the next owner
                refused = str(error)
                _log.warning("%s cannot be restored: %s", snapshot.stream, refused)
        place = Place(stream_session, snapshot.session, without_arrays(snapshot), stored_at, written_s=now_s)
        place.refused = refused
        if snapshot.is_ended:
            place.ended_s = now_s
        self.places[snapshot.stream] = place

    def route(self, offset: int, frame: Frame) -> Route:
        """Say what is to be done with a frame; one that is left out is counted.

        Parameters
        ----------
        offset : int
            Of its message.
        frame : Frame

        Raises
        ------
        StreamRefused
            If the rest of its session is not processed.
        """
        place = self.places.get(frame.stream)
        if place is None or frame.session > place.session:
            return Route.BEGINS
        if place.refused and frame.session == place.session:
            if place.stored is not None and offset < place.stored.resume_offset:
                return Route.LEFT_OUT  # it was processed, or put aside, before that was known
            place.is_refusing = True
            raise StreamRefused(place.refused)
        if frame.session < place.session or place.is_ended:
            self._ended.duplicates += len(frame)
            return Route.LEFT_OUT
        if place.stored is not None and offset < place.stored.resume_offset:
            return Route.LEFT_OUT
        return Route.NEEDS_MARKERS if frame.last or frame.stream in self._waiting else Route.GOES_ON

    def new_session(self, description: StreamDescription, frame: Frame) -> StreamSession:
        """Make the session that a frame begins; `begin` puts it in place.

        What was refused once is refused at once, until it is described anew.

        Parameters
        ----------
        description : StreamDescription
            Of the frame's stream.
        frame : Frame

        Raises
        ------
        StreamRefused
            If the stream cannot be processed, or the frame is not of what was described.
        """
        session = frame.session
        refused = self._refused.get(description.stream)
        if refused is not None and refused[:2] == (description, session):
            raise StreamRefused(refused[2])
        try:
            stream_session = self._make_session(description, session, None)
            stream_session.check(frame)
            return stream_session
        except StreamRefused as error:
            self._refused[description.stream] = (description, session, str(error))
            raise

    def begin(self, offset: int, stream_session: StreamSession, now_s: float) -> list[StreamEvents]:
        """Begin a session; return what is left to say of the one before.

        Parameters
        ----------
        offset : int
            Of the message with its first frame.
        stream_session : StreamSession
        now_s : float
            The worker's clock.
        """
        outcome: list[StreamEvents] = []
        stream = stream_session.description.stream
        place = self.places.get(stream)
        if place is not None and place.stream_session is not None and not place.stream_session.is_ended:
            _log.info("%s: session %d ends without its last frame", stream, place.session)
            outcome.append(StreamEvents(place.stream_session.description, place.session, place.stream_session.close()))
            self._ended.add(place.stream_session.take_counts())
        self.places[stream] = Place(stream_session, stream_session.session, first_offset=offset, written_s=now_s)
        return outcome

    def take(self, offset: int, frame: Frame, now_s: float) -> list[StreamEvents]:
        """Process a frame that is not left out and whose session has begun.

        Raises
        ------
        StreamRefused
            If it is not what was described.
        """
        place = self.places[frame.stream]
        stream_session = place.stream_session
        if stream_session is None:
            return []
        events = stream_session.take(offset, frame)
        self.is_in_trouble = stream_session.uses_indices_again or stream_session.refused != ""
        self._note_end(place, now_s)
        if stream_session.is_waiting:
            self._waiting.add(frame.stream)
        elif self._waiting:
            self._waiting.discard(frame.stream)
        return [StreamEvents(stream_session.description, frame.session, events)] if events else []

    def why_over(self, offset: int, frame: Frame) -> str:
        """Return why a frame comes too late that was not there before; empty where it does not, or is read again.

        Parameters
        ----------
        offset : int
            Of its message.
        frame : Frame
        """
        place = self.places.get(frame.stream)
        if place is None or not len(frame) or not (frame.session < place.session or place.is_ended):
            return ""
        if offset < (place.first_offset if place.stored is None else place.stored.covered_offset):
            return ""
        over = "behind its end" if frame.session == place.session else f"behind session {place.session}"
        if frame.session > place.session:
            return ""
        return f"rows of session {frame.session} come {over}: a producer that begins anew must take a higher session"

    def refusal_of(self, stream: str) -> str:
        """Return why the session of a stream is processed no further; empty where it is."""
        place = self.places.get(stream)
        return place.refused if place is not None else ""

    def gives_up(self, offset: int) -> bool:
        """Whether something has waited for too many messages once this one is counted."""
        return bool(self._waiting) and any(
            self._has_waited(self.places[one].stream_session, offset)
            for one in self._waiting
            if one not in self.undescribed
        )

    def next_give_up(self, stream: str, at: int, until: int) -> int | None:
        """Return at which message something of a stream has waited for too many of them.

        Parameters
        ----------
        stream : str
        at, until : int
            The offsets among which it is looked for; the second is not one of them.

        Returns
        -------
        int or None
            None where there is none.
        """
        place = self.places.get(stream)
        held = place.stream_session.oldest_held if place is not None and place.stream_session is not None else None
        if stream not in self._waiting or held is None:
            return None
        offset = max(at, held + self._hold_frames)
        return offset if offset < until else None

    def give_up(self, stream: str, now_s: float) -> list[StreamEvents]:
        """Wait no longer for the frame that a stream misses first; return what it says."""
        place = self.places[stream]
        stream_session = place.stream_session
        if stream_session is None or not stream_session.is_waiting:
            self._waiting.discard(stream)
            return []
        outcome = [StreamEvents(stream_session.description, stream_session.session, stream_session.give_up())]
        self._note_end(place, now_s)
        return outcome

    def _has_waited(self, stream_session: StreamSession | None, offset: int) -> bool:
        held = stream_session.oldest_held if stream_session is not None else None
        return held is not None and held + self._hold_frames <= offset

    def pass_by(self, offset: int, now_s: float) -> list[StreamEvents]:
        """Count a message of the partition; return what waited for too many of them."""
        self.next_offset = offset + 1
        outcome: list[StreamEvents] = []
        for stream in sorted(self._waiting) if self._waiting else ():
            if stream in self.undescribed:
                continue
            stream_session = self.places[stream].stream_session
            if stream_session is None or not stream_session.is_waiting or self._has_waited(stream_session, offset):
                outcome += self.give_up(stream, now_s)
        return outcome

    def add_marker(self, stream: str, session: int, marker: Marker, k: int) -> bool:
        """Hand a marker to its stream; False where the stream has not begun."""
        place = self.places.get(stream)
        if place is None or session > place.session:
            return False
        if session == place.session and place.stream_session is not None:
            place.stream_session.add_marker(marker, k)
        return True

    def covered(self, stream: str | None = None) -> int:
        """Return before which offset every message is dealt with, of one stream or of all."""
        waiting = self.undescribed.oldest_offset if stream is None else self.undescribed.first_offset(stream)
        return self.next_offset if waiting is None else waiting

    def safe_offset(self, covered: int) -> int:
        """Return the offset that may be committed: no snapshot of any stream needs a message below it.

        Parameters
        ----------
        covered : int
            Where the snapshots were begun.
        """
        floors = [place.floor for place in self.places.values()]
        return min([covered, *(floor for floor in floors if floor is not None)])

    def take_counts(self) -> SessionCounts:
        """Return what all streams counted since the last call."""
        total, self._ended = self._ended, SessionCounts()
        for place in self.places.values():
            if place.stream_session is not None:
                total.add(place.stream_session.take_counts())
        return total

    @staticmethod
    def _note_end(place: Place, now_s: float) -> None:
        if place.stream_session is not None and place.stream_session.is_ended and place.ended_s is None:
            place.ended_s = now_s
            place.refused = place.stream_session.refused
