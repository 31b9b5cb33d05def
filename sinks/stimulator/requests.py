"""What the table recommends for the states of a run, whether or not anything left: requests, and ``requests.jsonl``.

The file is made from the events that were written, so that a live run and a replay of its signals have the same file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.recommendations import request_values, rows_of
from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings
from neuroloop.sinks.run_folder.folder import EVENTS_FILE, RunFolderError
from neuroloop.stream.contracts.events import Event, encode

REQUESTS_FILE = "requests.jsonl"
_STATE = '"type":"state"'
_IDENTITY = frozenset({"id", "type", "stream", "sample", "time", "delay_s"})
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


def write_requests(run: Path, settings: StimulationSettings) -> int:
    """Write the requests of a run whose events are all written; return how many.

    Parameters
    ----------
    run : Path
        Its folder.
    settings : StimulationSettings

    Raises
    ------
    RunFolderError
        If the file cannot be written.
    ConfigError
        If the table cannot be read.
    """
    recommender = Recommender.from_settings(settings)
    partial = run / (REQUESTS_FILE + ".partial")
    n = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for request in recommender.requests(_states(run / EVENTS_FILE)):
                file.write(request.line() + "\n")
                n += 1
        partial.replace(run / REQUESTS_FILE)
    except OSError as error:
        raise RunFolderError(f"out must be a writable folder, got {str(run)!r}: {error.strerror}") from error
    return n


def _states(path: Path) -> Iterator[Event]:
    """Read the changes of state from a file of events."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if _STATE not in line:
                continue
            record = json.loads(line)
            if record["type"] != "state":
                continue
            time = math.nan if record["time"] is None else record["time"]
            k = int(record["id"].rpartition("/")[2])
            values = {key: value for key, value in record.items() if key not in _IDENTITY}
            yield Event("state", record["stream"], record["sample"], k, time, record["delay_s"], values)
