"""From a state to what is recommended while it lasts: a table, and the requests that follow from state events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from neuroloop.config.recommendations import request_values, rows_of
from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings
from neuroloop.stream.contracts.events import Event, encode

Recommendation = RecommendationSettings
"""One row of the table: frequency, amplitude, pulse width, duration, waveform, and what must hold before it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the table recommends from a change of state on; the gate decides whether it leaves.

    Parameters
    ----------
    stream, sample, k, time, delay_s
        Those of the ``state`` event.
    state : str
    confidence : float
        Of the decision that changed the state.
    recommendation : Recommendation or None
        None asks for nothing: stop.
    """

    stream: str
    sample: int
    k: int
    time: float
    delay_s: float
    state: str
    confidence: float
    recommendation: Recommendation | None

    @property
    def id(self) -> str:
        """``stream/request/sample/k``."""
        return f"{self.stream}/request/{self.sample}/{self.k}"

    def values(self) -> dict[str, Any]:
        """Return what is asked for as JSON values."""
        return request_values(self.recommendation, self.state, self.confidence)

    def line(self) -> str:
        """Return the request as one JSON line."""
        identity = {
            "id": self.id,
            "type": "request",
            "stream": self.stream,
            "sample": self.sample,
            "time": self.time,
            "delay_s": self.delay_s,
        }
        return encode({**identity, **self.values()})


class Recommender:
    """Look up states in a table.

    Parameters
    ----------
    rows : sequence of Recommendation
        At most one per state.
    """

    def __init__(self, rows: Sequence[Recommendation]) -> None:
        self.rows = tuple(rows)
        self._rows = {row.state: row for row in rows}

    @classmethod
    def from_settings(cls, settings: StimulationSettings) -> Recommender:
        """Make one from a configuration, reading its table file where it names one.

        Raises
        ------
        ConfigError
            If the table file has faults.
        """
        return cls(rows_of(settings))

    def requests(self, events: Iterable[Event]) -> Iterator[Request]:
        """Turn ``state`` events into requests, one for one and in their order; other events say nothing here.

        A request does not depend on the confidence at the moment of the change: the gate judges every decision while
        the state lasts. ``is_confident`` says whether this one alone would do.
        """
        for event in events:
            if event.type != "state":
                continue
            state = str(event.values["state"])
            yield Request(
                stream=event.stream,
                sample=event.sample,
                k=event.k,
                time=event.time,
                delay_s=event.delay_s,
                state=state,
                confidence=float(event.values["confidence"]),
                recommendation=self._rows.get(state),
            )
