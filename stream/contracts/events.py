"""What happened: markers, findings of stages, events with their identity, and their one canonical line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True, slots=True)
class Marker:
    """A label, trigger or operator mark at a moment of stream time (seconds, the data stream's clock)."""

    time: float
    label: str
    stream: str = ""


MOST_LABEL, MOST_STREAM = 16_384, 256
"""Characters of a marker's label and of its stream's name that are kept: anybody may send markers."""


def bounded(marker: Marker) -> Marker:
    """Return a marker whose texts are of bounded length: itself where they are, else cut, with a sign that they were.

    What was cut once stays as it is: a run's recording holds what its events hold.
    """
    label, stream = marker.label, marker.stream
    if len(label) <= MOST_LABEL and len(stream) <= MOST_STREAM:
        return marker
    if len(label) > MOST_LABEL:
        label = label[: MOST_LABEL - 1] + "…"
    if len(stream) > MOST_STREAM:
        stream = stream[: MOST_STREAM - 1] + "…"
    return Marker(marker.time, label, stream)


EventType = Literal[
    "prediction",
    "state",
    "command",
    "refusal",
    "drift",
    "gap",
    "artifact",
    "marker",
    "stream",
    "skip",
]


class Position(IntEnum):
    """Where an event stands among those of one sample; the one place that says it.

    Events are ordered by (newest raw sample, position, k), live, in replay and on a worker. Each name below is the
    first of a range (see `position_ranges`); no two ranges meet, so that what two parts of the program say of one
    sample has one order however they run beside each other. A number here is never changed: it is what the order of
    every ``events.jsonl`` so far rests on.
    """

    STREAM = 0
    """The stream itself: its start, a gap, a jump. All else that is said of the sample presumes it."""
    MARKER = 1
    """Markers: what is known of the sample from outside, before anything is computed from it."""
    SKIP = 2
    """Rows before this one that waited too long: behind gaps and markers, before what the stages say."""
    INPUT_MONITOR = 9
    """Monitors of the raw input, right before the first stage."""
    STAGE = 10
    """Stages in their order, two places each: its findings, then the monitors of its output; the policy last."""
    TOLD = 99
    """What the source alone knew of the sample, lost or found again, behind all that was computed from it."""
    LATE_MARKER = 1_000
    """Markers later than the last sample: nobody knew of them when the rest was decided."""
    GATE = 500_000
    """Commands and refusals: behind all that they may rest on."""
    END = 1_000_000
    """What was still open after the last sample, added to the place of the stage or monitor that found it."""


MAX_STAGES = (Position.TOLD - Position.STAGE - 1) // 2
"""Stages that a pipeline may have: with the policy behind them all stay before `Position.TOLD`."""


def stage_position(index: int) -> int:
    """Return the position of the stage with this index; that of the policy is one index behind the last stage."""
    return Position.STAGE + 2 * index


def monitor_position(n_stages: int) -> int:
    """Return the position of the monitors behind so many stages; 0 of them is the raw input."""
    return stage_position(n_stages - 1) + 1


def end_position(position: int) -> int:
    """Return where the stage or monitor of this position says after the last sample what is still open."""
    return Position.END + position


def position_ranges() -> dict[Position, range]:
    """Return the positions that belong to each name, in order."""
    within = range(Position.INPUT_MONITOR, stage_position(MAX_STAGES) + 1)
    ranges = {one: range(one, one + 1) for one in Position}
    ranges[Position.STAGE] = range(Position.STAGE, within.stop)
    ranges[Position.END] = range(end_position(within.start), end_position(within.stop))
    return ranges


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with its identity.

    Parameters
    ----------
    type : str
        One of `EventType`.
    stream : str
        Name of the stream it is about.
    sample : int
        Index of the newest raw sample that was used.
    k : int
        Distinguishes events of one type at one sample; for predictions and states the row number.
    time : float
        That sample's own stamp in seconds; not compensated for any delay.
    delay_s : float
        The pipeline's algorithmic delay in seconds.
    values : mapping
        The type's own numbers; JSON values only.
    position : int
        Place among the events of one sample (`Position`); is not written.
    """

    type: EventType
    stream: str
    sample: int
    k: int
    time: float
    delay_s: float
    values: Mapping[str, Any] = field(default_factory=dict)
    position: int = Position.STREAM

    @property
    def id(self) -> str:
        """``stream/type/sample/k``."""
        return f"{self.stream}/{self.type}/{self.sample}/{self.k}"

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key: newest raw sample, stage position, k."""
        return (self.sample, self.position, self.k)

    def identity(self) -> dict[str, Any]:
        """Return the fields that are equal live, in replay and on a cluster."""
        return {
            "id": self.id,
            "type": self.type,
            "stream": self.stream,
            "sample": self.sample,
            "time": self.time,
            "delay_s": self.delay_s,
            **self.values,
        }


DELIVERY_FIELDS = ("age_s", "latency_s", "host", "wall_time")
KAFKA_FIELDS = ("stream_id", "session")


"""How an event reached its reader: null in replay and on workers, never part of its identity."""
_BESIDE = frozenset((*DELIVERY_FIELDS, *KAFKA_FIELDS))
"""What may stand behind an event; `KAFKA_FIELDS` on Kafka only, where several streams share a topic."""


def _json_value(value: Any) -> Any:
    """Replace what JSON lacks (NaN, infinities, numpy scalars) by what it has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _json_value(value.item())
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(record: Mapping[str, Any]) -> str:
    """Write a record as one JSON line: shortest round-trip floats, NaN as null."""
    try:
        return _encode(record)  # 18 us for a command of 25 values; to look at each of them first takes as long again
    except (TypeError, ValueError):
        return _encode(_json_value(record))


def canonical(event: Event | Mapping[str, Any]) -> str:
    """Return the line that says *the same event*: identity without delivery.

    Parameters
    ----------
    event : Event or mapping
        An event, or a line of ``events.jsonl`` already parsed.
    """
    if isinstance(event, Event):
        return encode(event.identity())
    return encode({key: value for key, value in event.items() if key not in _BESIDE})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a stage or monitor found in its rows, to become an ``artifact`` or ``drift`` event.

    Parameters
    ----------
    row : int
        Output row at which it became knowable.
    time : float
        That row's stamp in seconds.
    k : int
        Below `FINDINGS_PER_ROW`; distinguishes what one stage finds at one row.
    first_row, last_row : int
        Output rows between which it holds.
    values : mapping
        Its own numbers; JSON values only.
    """

    row: int
    time: float
    k: int
    first_row: int
    last_row: int
    values: Mapping[str, Any]


FINDINGS_PER_ROW = 16


def in_order(events: Iterable[Event]) -> list[Event]:
    """Sort events by (newest raw sample, stage position, k)."""
    return sorted(events, key=lambda event: event.order)
