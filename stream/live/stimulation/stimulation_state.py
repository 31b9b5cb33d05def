"""What the stimulator process shares with the others: the events it acts on, what it says, signs of life, stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from neuroloop.sinks.stimulator.counting import stimulation_counters
from neuroloop.stream.contracts.shared_memory import CounterSpec
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.counters import CounterBlock
from neuroloop.stream.ring.events import EventRing

STIMULATOR = "stimulator"
_RING_BYTES = 4 << 20
_SPECS = (
    CounterSpec("supervisor_ns", "count"),
    CounterSpec("cold_ns", "count"),
    CounterSpec("stimulator_ns", "count"),
    CounterSpec("keys_ns", "count"),
    CounterSpec("stops_by_key", "count"),
    CounterSpec("stops_by_signal", "count"),
    CounterSpec("is_on", "count"),
    CounterSpec("log_failed", "count"),
)


@dataclass(frozen=True)
class StimulationLink:
    """Shared memory around the stimulator process; handed to each process when it is spawned.

    Parameters
    ----------
    requests : EventRing
        From the hot process: its events, as `neuroloop.stream.live.shared_state.pack_event` packs them. It has a bell
        of its own, which wakes the stimulator process alone.
    said : EventRing
        From the stimulator process: its commands and refusals, for the cold process and the recorder.
    stop : Bell
        Rung by the supervisor for a stop; which channel asked is in the counters.
    counters : CounterBlock
        Each word has one writer. ``*_ns``: when a process last turned its loop, monotonic; 0 before. With those of
        `neuroloop.sinks.stimulator.counting.stimulation_counters`.
    """

    requests: EventRing
    said: EventRing
    stop: Bell
    counters: CounterBlock

    @classmethod
    def make(cls, bell: Bell, readers: Sequence[str]) -> StimulationLink:
        """Make it.

        Parameters
        ----------
        bell : Bell
            Wakes who reads what the stimulator process says.
        readers : sequence of str
            Their names: the cold process and, where there is one, the recorder.

        Raises
        ------
        SharedMemoryError
            If there is not enough shared memory.
        """
        return cls(
            requests=EventRing.shared(_RING_BYTES, bell=Bell(), readers=(STIMULATOR,), name="requests"),
            said=EventRing.shared(_RING_BYTES, bell=bell, readers=tuple(readers), name="said"),
            stop=Bell(),
            counters=CounterBlock.shared([*_SPECS, *stimulation_counters()], name="stimulation"),
        )

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a shared counter by name."""
        return self.counters.numbers(name)

    def close(self) -> None:
        """Give everything back."""
        self.requests.close()
        if self.requests.bell is not None:
            self.requests.bell.close()
        self.said.close()
        self.stop.close()
        self.counters.close()
