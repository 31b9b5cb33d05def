"""What a cold process reads: events of the hot process and of the stimulator's, and the numbered samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuroloop.stream.contracts.events import Event
from neuroloop.stream.contracts.protocols import Tap
from neuroloop.stream.engine.pipeline import INPUT_TAP
from neuroloop.stream.live.shared_state import READER, EventRecord, Shared, as_event, unpack_event
from neuroloop.stream.ring.header import Place

_BATCH = 4096
_log = logging.getLogger("neuroloop.cold")


class Places(NamedTuple):
    """Where reading stands in the two rings of events."""

    events: Place
    stimulator: Place | None


@dataclass(frozen=True)
class Turn:
    """What one turn of the cold loop has found.

    Parameters
    ----------
    begun_ns : int
        When it began: all events that arose before are in this turn or an earlier one.
    records, events : sequence
        The same events, as they crossed and as they are.
    places : Places
        Where reading stands behind them; to be committed when they are dealt with.
    newest : int
        Number of the newest sample; -1 before there is one.
    offset_s : float or None
        What turns stamps into this machine's clock, where it is known.
    """

    begun_ns: int
    records: Sequence[EventRecord]
    events: Sequence[Event]
    places: Places
    newest: int
    offset_s: float | None


class ColdInput:
    """The cold process's ends of the rings.

    Parameters
    ----------
    shared : Shared
    tap : Tap
        Gets the numbered samples.
    """

    def __init__(self, shared: Shared, tap: Tap) -> None:
        self._events = shared.events.reader(READER)
        link = shared.stimulation
        self._stimulator = link.said.reader(READER) if link is not None else None
        self._samples = shared.samples.reader(READER)
        self._tap = tap
        self.newest = -1
        """Number of the newest sample; -1 before there is one."""

    @property
    def is_over(self) -> bool:
        """Whether everybody who writes into the rings is gone and all is read."""
        is_stimulator_over = self._stimulator is None or self._stimulator.is_ended
        return self._events.is_ended and self._samples.is_ended and is_stimulator_over

    @property
    def places(self) -> Places:
        """Where reading stands now."""
        return Places(self._events.place, self._stimulator.place if self._stimulator is not None else None)

    @property
    def n_lost(self) -> dict[str, int]:
        """What was overwritten before it was read, as in ``summary.json``."""
        of_stimulator = self._stimulator.n_lost if self._stimulator is not None else 0
        return {"samples_lost": self._samples.n_lost, "events_lost": self._events.n_lost + of_stimulator}

    def wait(self, timeout_s: float) -> None:
        """Wait for whoever still writes, at most so long."""
        is_stimulator_left = self._stimulator is not None and self._events.is_ended
        (self._stimulator if self._stimulator is not None and is_stimulator_left else self._events).wait(timeout_s)

    def read(self) -> tuple[list[EventRecord], list[Event]]:
        """Take all events that there are."""
        records: list[EventRecord] = []
        while batch := self._read_events():
            records += [unpack_event(record) for record in batch]
        return records, [as_event(record) for record in records]

    def _read_events(self) -> list[bytes]:
        """Take some records of the hot process and of the stimulator's."""
        batch = self._events.read(_BATCH)
        n_lost, records = batch.n_lost, list(batch.records)
        if self._stimulator is not None:
            other = self._stimulator.read(_BATCH)
            n_lost, records = n_lost + other.n_lost, records + list(other.records)
        if n_lost:
            _log.warning("%d events were overwritten before they were written", n_lost)
        return records

    def read_samples(self) -> None:
        """Hand all samples that there are to the tap."""
        n_lost = 0
        while True:
            rows = self._samples.read(_BATCH)
            n_lost += rows.n_lost
            if not len(rows.chunk):
                break
            self.newest = rows.chunk.next_sample - 1
            self._tap.write_chunk(INPUT_TAP, rows.chunk)
            self._samples.commit()
        if n_lost:
            _log.warning("%d samples were overwritten before they were looked at", n_lost)

    def commit(self, places: Places) -> None:
        """Say that everything before is dealt with."""
        self._events.commit(places.events)
        if self._stimulator is not None:
            self._stimulator.commit(places.stimulator)
