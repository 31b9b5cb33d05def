"""From class probabilities to a state: threshold, N-of-M confirmation, minimum dwell, and ``unknown`` on doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.decision import DecisionSettings
from neuroloop.stream.contracts.chunks import Chunk, StateDict
from neuroloop.stream.contracts.events import Event

UNKNOWN = "unknown"
_UNSET = -2
_UNKNOWN = -1


class ThresholdPolicy:
    """Decide the state row by row; every row gives a `prediction`, every change of state a `state` event.

    Each row casts one vote: its most probable class where that probability reaches ``threshold`` and the row is
    valid, otherwise ``unknown``. What got ``confirm_n`` of the last ``confirm_m`` votes becomes the state; while the
    votes are divided the state stays. A flagged row makes the state ``unknown`` at once and empties the votes, so that
    a class must be confirmed anew. A class is kept for ``min_dwell_s``, counted in rows, unless a flagged row or
    confirmed doubt ends it.

    Parameters
    ----------
    settings : DecisionSettings
    classes : tuple of str
    stream : str
        Name of the stream that the events are about.
    sfreq : float
        Rows per second.
    delay_s : float
        The pipeline's algorithmic delay up to the probabilities, in seconds.
    newest_sample : callable
        From the row number to the index of the newest raw sample it used.
    position : int
        The policy's place in the pipeline.
    """

    def __init__(
        self,
        settings: DecisionSettings,
        *,
        classes: tuple[str, ...],
        stream: str,
        sfreq: float,
        delay_s: float,
        newest_sample: Callable[[int], int],
        position: int,
    ) -> None:
        self._settings = settings
        self._classes = classes
        self._stream = stream
        self._delay_s = delay_s
        self._newest_sample = newest_sample
        self._position = position
        self._dwell_rows = round(settings.min_dwell_s * sfreq)
        self.reset()

    def reset(self) -> None:
        """Forget all rows seen; the next row announces its state again."""
        self._votes: list[int] = []
        self._state = _UNSET
        self._since = 0

    @property
    def state(self) -> str:
        """The present state."""
        return self._label(self._state)

    def decide(self, probabilities: Chunk) -> list[Event]:
        """Return the predictions and changes of state of these rows, in order of the rows."""
        events: list[Event] = []
        rows = probabilities.data.tolist()
        times = probabilities.timestamps.tolist()
        flags = probabilities.valid.tolist()
        for offset, (row, time, valid) in enumerate(zip(rows, times, flags, strict=True)):
            k = probabilities.first_sample + offset
            best = max(range(len(row)), key=row.__getitem__)
            vote = best if valid and row[best] >= self._settings.threshold else _UNKNOWN
            values = {"label": self._classes[best], "confidence": row[best], "probabilities": row, "valid": valid}
            sample = self._newest_sample(k)
            events.append(Event("prediction", self._stream, sample, k, time, self._delay_s, values, self._position))
            new = self._next_state(vote, valid, k)
            if new != self._state:
                change = {
                    "state": self._label(new),
                    "previous": None if self._state == _UNSET else self._label(self._state),
                    "confidence": row[best],
                }
                self._state, self._since = new, k
                event = Event("state", self._stream, sample, k, time, self._delay_s, change, self._position + 1)
                events.append(event)
        return events

    def _next_state(self, vote: int, valid: bool, k: int) -> int:
        """Return the state after one more vote."""
        if not valid:
            self._votes.clear()
            return _UNKNOWN
        self._votes.append(vote)
        if len(self._votes) > self._settings.confirm_m:
            del self._votes[0]
        confirmed = self._votes.count(vote) >= self._settings.confirm_n
        if not confirmed:
            return _UNKNOWN if self._state == _UNSET else self._state
        dwells = self._state >= 0 and k - self._since < self._dwell_rows
        changes_class = vote not in (_UNKNOWN, self._state)
        return self._state if dwells and changes_class else vote

    def _label(self, state: int) -> str:
        return self._classes[state] if state >= 0 else UNKNOWN

    def get_state(self) -> StateDict:
        """Return the votes and the state as arrays."""
        return {
            "votes": np.array(self._votes, dtype=np.int64),
            "state": np.array([self._state, self._since], dtype=np.int64),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        self._votes = [int(vote) for vote in state["votes"]]
        self._state, self._since = (int(value) for value in state["state"])
