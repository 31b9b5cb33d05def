"""Counts of what was decided: events by type, predictions by label, time by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import StateDict
from neuroloop.stream.contracts.events import Event


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

    def get_state(self) -> StateDict:
        """Return everything as arrays."""
        state: StateDict = {"state": np.array([] if self._state is None else [self._state], np.str_)}
        for name, counter in self._counters().items():
            state[f"{name}_names"] = np.array(list(counter), np.str_)
            state[name] = np.array(list(counter.values()), np.int64)
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        self._state = str(state["state"][0]) if len(state["state"]) else None
        for name, counter in self._counters().items():
            counter.clear()
            for key, count in zip(state[f"{name}_names"], state[name], strict=True):
                counter[str(key)] = int(count)

    def _counters(self) -> dict[str, Counter[str]]:
        return {"events": self.events, "predictions": self.predictions, "state_rows": self._state_rows}
