"""Counts of what was decided: events by type, predictions by label, time by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stream.contracts.events import Event


class Tally:
    """Count events in their order; a row of probabilities belongs to the state that held after it."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.predictions: Counter[str] = Counter()
        self._state: str | None = None
        self._state_rows: Counter[str] = Counter()

    def add(self, events: Sequence[Event]) -> None:
        """Count events."""
        for event in events:
            self.events[event.type] += 1
            if event.type == "prediction":
                self.predictions[event.values["label"]] += 1
                if self._state is not None:
                    self._state_rows[self._state] += 1
            elif event.type == "state":
                if self._state is not None:
                    self._state_rows[self._state] -= 1
                self._state = event.values["state"]
                self._state_rows[event.values["state"]] += 1

    def state_seconds(self, row_s: float) -> dict[str, float]:
        """Return the time spent in each state in seconds of stream time.

        Parameters
        ----------
        row_s : float
            Seconds between two rows of probabilities.
        """
        return {state: round(rows * row_s, 6) for state, rows in sorted(self._state_rows.items()) if rows}
