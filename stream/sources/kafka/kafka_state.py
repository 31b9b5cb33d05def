"""What the process that reads from Kafka leaves for others: counts, and the messages that it could not read.

The hot process writes both and never waits: a message goes into a ring that overwrites the oldest, and what was
overwritten is counted. Who sends it on, and how long that takes, is another process's matter.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.shared_memory import CounterSpec
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.event_reader import EventRingReader
from neuroloop.stream.ring.events import EventRing, EventWriter
from neuroloop.stream.ring.header import header_size
from neuroloop.stream.ring.segment import Segment
from neuroloop.stream.sources.kafka.ordering import COUNTS
from neuroloop.stream.sources.kafka.source import UNREADABLE, KafkaSource
from neuroloop.stream.wire.dead_letters import DeadLetter, pack_dead_letter

CARRIER = "carrier"
"""Name of the one reader of the ring."""
NO_MARKER = "no marker"
REASONS = (*UNREADABLE, NO_MARKER)
"""Why a message could not be read, in the order of the slots of ``unreadable``."""
_RING_BYTES = 4 << 20
_LARGEST = np.iinfo(np.int64).max
_SPECS = (
    CounterSpec("lag", "count"),
    CounterSpec("rows", "count", size=len(COUNTS)),
    CounterSpec("unreadable", "count", size=len(REASONS)),
    CounterSpec("too_large", "count"),
    CounterSpec("overwritten", "count"),
    CounterSpec("sent", "count"),
    CounterSpec("dropped", "count"),
)


class SourceLink:
    """Counts and a ring of dead letters; handed to each process when it is spawned.

    Parameters
    ----------
    ring : EventRing
        Of records as `pack_dead_letter` makes them.
    counters : CounterBlock
        From the process that reads: ``lag`` in messages, ``rows`` that did not get through by `ordering.COUNTS`,
        ``unreadable`` messages by `REASONS`, and those of them that are ``too_large`` for the ring. From the one that
        sends them on: letters ``overwritten`` in the ring, ``sent`` and ``dropped``.
    """

    def __init__(self, ring: EventRing, counters: CounterBlock) -> None:
        self._ring = ring
        self._counters = counters
        self._writer: EventWriter | None = None

    @classmethod
    def make(cls) -> SourceLink:
        """Make it; the memory goes with the object.

        Raises
        ------
        SharedMemoryError
            If there is not enough shared memory.
        """
        readers = (CARRIER,)
        segment = Segment.shared(header_size(len(readers)) + _RING_BYTES, "letters")
        made = cls(EventRing(segment, _RING_BYTES, readers, None), CounterBlock.shared(_SPECS, name="source"))
        weakref.finalize(made, _close, made._ring, made._counters)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceLink, (self._ring, self._counters)

    @property
    def counters(self) -> CounterBlock:
        """All counts, for whoever makes metrics of them."""
        return self._counters

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a shared counter by name."""
        return self._counters.numbers(name)

    def begin(self) -> EventWriter:
        """Become the process that reads from Kafka; may be called again."""
        if self._writer is None:
            self._writer = self._ring.writer()
        return self._writer

    def bury(self, letter: DeadLetter) -> None:
        """Leave a message that could not be read (6 us, 60 us for one of 900 kB)."""
        try:
            self.begin().append(pack_dead_letter(letter))
        except ValueError:  # headers or a key longer than the ring
            self.numbers("too_large")[0] += 1

    def bury_marker(self, letter: DeadLetter) -> None:
        """Leave a message of the markers' topic, and count it."""
        self.numbers("unreadable")[REASONS.index(NO_MARKER)] += 1
        self.bury(letter)

    def tell(self, source: KafkaSource) -> None:
        """Leave the counts of a source (3 us, and what its lag takes)."""
        self.numbers("lag")[0] = source.lag
        _put(self.numbers("rows"), COUNTS, source.counts)
        _put(self.numbers("unreadable"), UNREADABLE, source.unreadable)

    def end(self) -> None:
        """Say that no message follows; may be called twice."""
        self.begin().close()

    def reader(self) -> EventRingReader:
        """Become the one that takes the messages; it begins at what the last one has committed.

        Raises
        ------
        RuntimeError
            If a living process takes them already.
        """
        return self._ring.reader(CARRIER)

    def books(self) -> dict[str, Any]:
        """Return what became of everything that did not get through, for ``summary.json``."""
        unreadable = dict(zip(REASONS, self.numbers("unreadable").tolist(), strict=True))
        rows = dict(zip(COUNTS, self.numbers("rows").tolist(), strict=True))
        names = ("sent", "dropped", "overwritten", "too_large")
        outcomes = {name: int(self.numbers(name)[0]) for name in names}
        unsent = sum(unreadable.values()) - sum(outcomes.values())
        return {
            "rows": {reason: n for reason, n in rows.items() if n},
            "unreadable": {reason: n for reason, n in unreadable.items() if n},
            "dead_letters": {**outcomes, "unsent": max(0, unsent)},
        }


def _put(numbers: NDArray[Any], names: tuple[str, ...], counts: Mapping[str, int]) -> None:
    """Write counts into their slots; an index can jump by more than a word holds."""
    for slot, name in enumerate(names):
        numbers[slot] = min(counts.get(name, 0), _LARGEST)


def _close(ring: EventRing, counters: CounterBlock) -> None:
    ring.close()
    counters.close()
