"""Monitors at their taps: what they find becomes ``drift`` events at the raw sample that made it known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import Chunk, StateDict
from neuroloop.stream.contracts.events import FINDINGS_PER_ROW, Event, Finding, end_position
from neuroloop.stream.contracts.protocols import Monitor


class Watcher:
    """One monitor behind one tap.

    Parameters
    ----------
    monitor : Monitor
    ordinal : int
        Its number among the monitors; keeps the events of one sample apart.
    stream : str
    newest_sample : callable
        From a row of the tap to the newest raw sample it used.
    delay_s : float
        Algorithmic delay up to the tap.
    position : int
        Place in the order of events of one sample.
    """

    def __init__(
        self,
        monitor: Monitor,
        ordinal: int,
        *,
        stream: str,
        newest_sample: Callable[[int], int],
        delay_s: float,
        position: int,
    ) -> None:
        self.monitor = monitor
        self._first_k = ordinal * FINDINGS_PER_ROW
        self._stream = stream
        self._newest_sample = newest_sample
        self._delay_s = delay_s
        self._position = position

    def observe(self, chunk: Chunk, events: list[Event]) -> None:
        """Show the monitor the rows of its tap; add what it found."""
        findings = self.monitor.observe(chunk)
        if findings:
            events.extend(self._event(one, self._position) for one in findings)

    def finish(self) -> list[Event]:
        """Return the ends of what is still going on after the last sample."""
        return [self._event(one, end_position(self._position)) for one in self.monitor.open_findings()]

    def _event(self, finding: Finding, position: int) -> Event:
        values = {
            "first_sample": self._newest_sample(finding.first_row),
            "last_sample": self._newest_sample(finding.last_row),
            **finding.values,
        }
        sample, k = self._newest_sample(finding.row), self._first_k + finding.k
        return Event("drift", self._stream, sample, k, finding.time, self._delay_s, values, position)


def drift_score(monitors: Iterable[Monitor]) -> float:
    """Return the largest score of several monitors; NaN where none has one."""
    scores = [one.score for one in monitors if not math.isnan(one.score)]
    return max(scores, default=math.nan)


def states_of(watchers: Sequence[Watcher]) -> StateDict:
    """Return the state of all monitors as one flat dict."""
    return {
        f"monitor/{one.monitor.name}/{key}": value for one in watchers for key, value in one.monitor.get_state().items()
    }


def restore(watchers: Sequence[Watcher], state: Mapping[str, NDArray[Any]]) -> None:
    """Give every monitor its part of what `states_of` returned."""
    for one in watchers:
        prefix = f"monitor/{one.monitor.name}/"
        one.monitor.set_state({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})
