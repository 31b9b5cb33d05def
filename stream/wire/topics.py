"""The topics of one installation, by their common prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from neuroloop.stream.contracts.events import EventType

TopicKind = Literal["samples", "streams", "markers", "predictions", "states", "commands", "alerts", "dead"]
TOPIC_KINDS: tuple[TopicKind, ...] = get_args(TopicKind)
COMPACTED: frozenset[TopicKind] = frozenset({"streams"})
"""Topics that keep the newest message of every key for ever."""
_KIND_OF_EVENT: dict[EventType, TopicKind] = {
    "prediction": "predictions",
    "state": "states",
    "command": "commands",
    "refusal": "commands",
    "drift": "alerts",
    "gap": "alerts",
    "artifact": "alerts",
    "stream": "alerts",
    "skip": "alerts",
    "marker": "alerts",
}
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def kind_of_event(event_type: EventType) -> TopicKind:
    """Return the kind of topic that carries events of a type.

    Raises
    ------
    ValueError
        If there is no such type.
    """
    kind = _KIND_OF_EVENT.get(event_type)
    if kind is None:
        raise ValueError(f"event type must be one of {', '.join(_KIND_OF_EVENT)}, got {event_type!r}")
    return kind


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics: the prefix, a point, the kind.

    Parameters
    ----------
    prefix : str
        Letters, digits, points, underscores and dashes.
    """

    prefix: str = "neuroloop"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                f"prefix must be at most 200 letters, digits, points, underscores or dashes, got {self.prefix!r}"
            )

    def __iter__(self) -> Iterator[str]:
        return (self.name(kind) for kind in TOPIC_KINDS)

    def name(self, kind: TopicKind) -> str:
        """Return the name of one topic."""
        return f"{self.prefix}.{kind}"

    def of_event(self, event_type: EventType) -> str:
        """Return the topic that carries events of a type."""
        return self.name(kind_of_event(event_type))

    @property
    def samples(self) -> str:
        """Sample frames."""
        return self.name("samples")

    @property
    def streams(self) -> str:
        """Descriptions of the streams; compacted."""
        return self.name("streams")

    @property
    def markers(self) -> str:
        """Markers on the clock of their stream."""
        return self.name("markers")

    @property
    def predictions(self) -> str:
        """Events of type ``prediction``."""
        return self.name("predictions")

    @property
    def states(self) -> str:
        """Events of type ``state``."""
        return self.name("states")

    @property
    def commands(self) -> str:
        """Events of type ``command`` and ``refusal``."""
        return self.name("commands")

    @property
    def alerts(self) -> str:
        """All other events."""
        return self.name("alerts")

    @property
    def dead(self) -> str:
        """Messages that could not be read, as they were."""
        return self.name("dead")
