"""Where a marker belongs: the first sample whose stamp reaches its time."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StateDict, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, Position


class MarkerTrack:
    """Turn markers of any time into events at their samples.

    A marker of the future waits for its sample. One that comes late, as markers of another sender do, still gets the
    sample it belongs to as long as that is not longer ago than ``history_s``; an older one gets the oldest sample
    known. What the event says is therefore the same live, where markers come late, and in replay, where they wait.

    Parameters
    ----------
    info : StreamInfo
        The stream that the markers are about.
    history_s : float
        How long stamps are remembered, in seconds of signal.
    """

    def __init__(self, info: StreamInfo, history_s: float = 10.0) -> None:
        self._stream = info.name
        self._history_samples = max(1, round(history_s * info.sfreq))
        self._history: deque[tuple[int, FloatArray]] = deque()
        self._kept = 0
        self._waiting: list[tuple[float, int, str, str]] = []
        self._n_taken = 0
        self._highest = -np.inf
        self._used: dict[int, int] = {}

    @property
    def history_samples(self) -> int:
        """How many stamps are remembered, at least."""
        return self._history_samples

    def add(self, markers: Sequence[Marker]) -> None:
        """Take new markers; `place` gives their events."""
        for marker in markers:
            insort(self._waiting, (marker.time, self._n_taken, marker.label, marker.stream))
            self._n_taken += 1

    def place(self, chunk: Chunk) -> list[Event]:
        """Take the stamps of a chunk and return the events of all markers whose time is reached."""
        stamps = chunk.timestamps
        self._history.append((chunk.first_sample, stamps))
        self._kept += len(stamps)
        while self._kept - len(self._history[0][1]) >= self._history_samples:
            self._kept -= len(self._history.popleft()[1])
        last = stamps.item(0) if len(stamps) == 1 else float(stamps.max())
        if last > self._highest:
            self._highest = last
        if not self._waiting or self._waiting[0][0] > self._highest:
            return []
        events = []
        while self._waiting and self._waiting[0][0] <= self._highest:
            item = self._waiting.pop(0)
            sample, time = self._find(item[0])
            events.append(self._event(sample, time, item))
        return events

    def _find(self, time: float) -> tuple[int, float]:
        """Return the first remembered sample whose stamp reaches the time, and that stamp."""
        for first_sample, stamps in self._history:
            reached = stamps >= time
            row = int(reached.argmax())
            if reached[row]:
                return first_sample + row, float(stamps[row])
        first_sample, stamps = self._history[-1]
        return first_sample + len(stamps) - 1, float(stamps[-1])

    def _event(self, sample: int, time: float, item: tuple[float, int, str, str]) -> Event:
        """Make the event; markers of one sample are numbered in the order of their times."""
        k = self._used.get(sample, 0)
        self._used[sample] = k + 1
        if len(self._used) > 1024:
            del self._used[next(iter(self._used))]
        values = {"label": item[2], "marker_stream": item[3], "marker_time": item[0]}
        position = Position.MARKER if item[0] <= self._highest else Position.LATE_MARKER
        return Event("marker", self._stream, sample, k, time, 0.0, values, position)

    def finish(self) -> list[Event]:
        """Return the events of markers later than the last sample; they stand at that sample."""
        if not self._history:
            self._waiting.clear()
            return []
        events = [self._event(*self._find(item[0]), item) for item in self._waiting]
        self._waiting.clear()
        return events

    def get_state(self) -> StateDict:
        """Return everything as arrays."""
        stamps = [part for _, part in self._history]
        runs: list[list[int]] = []
        end: int | None = None
        for first, part in self._history:
            if first != end:
                runs.append([first, 0])
            runs[-1][1] += len(part)
            end = first + len(part)
        return {
            "stamps": np.concatenate(stamps) if stamps else np.empty(0),
            "runs": np.array(runs, np.int64).reshape(-1, 2),
            "highest": np.array([self._highest]),
            "n_taken": np.array([self._n_taken]),
            "used": np.array(list(self._used.items()), dtype=np.int64).reshape(-1, 2),
            "times": np.array([item[0] for item in self._waiting]),
            "numbers": np.array([item[1] for item in self._waiting], dtype=np.int64),
            "labels": np.array([item[2] for item in self._waiting], dtype=np.str_),
            "streams": np.array([item[3] for item in self._waiting], dtype=np.str_),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        self._history.clear()
        stamps, begin = state["stamps"], 0
        self._kept = len(stamps)
        for first, length in state["runs"].tolist():
            self._history.append((first, stamps[begin : begin + length].copy()))
            begin += length
        self._highest = float(state["highest"][0])
        self._n_taken = int(state["n_taken"][0])
        self._used = {int(sample): int(k) for sample, k in state["used"]}
        self._waiting = [
            (float(time), int(number), str(label), str(stream))
            for time, number, label, stream in zip(
                state["times"], state["numbers"], state["labels"], state["streams"], strict=True
            )
        ]
