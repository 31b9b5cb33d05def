"""What became of everything that a bridge took: said in one line, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.stream.wire.delivery_reports import Balance

POLICY = frozenset({"buffer full", "spool full", "damaged"})
"""Losses that ``overflow`` allows, and what the crash of an earlier process tore."""


@dataclass
class BridgeAccount:
    """The books of one bridge.

    Parameters
    ----------
    stream : str
        Id of the stream on Kafka.
    direction : str
        ``to-kafka`` or ``to-lsl``.
    """

    stream: str
    direction: str
    samples: Balance = field(default_factory=Balance)
    markers: Balance = field(default_factory=Balance)
    n_messages: int = 0
    n_reconnections: int = 0
    n_unread: int = 0
    """Samples that LSL had received but would not hand out when the sender was gone: never taken, so not ``in``."""
    n_flagged: int = 0
    """Rows whose flag (``valid``) LSL cannot carry."""
    n_lost: int = 0
    """Rows of Kafka's stream that never came, by their index: never taken, so not ``in``."""
    n_restarts: int = 0
    """How often the producer on Kafka began anew."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Messages that could not be read, by reason."""
    dead_letters: dict[str, int] = field(default_factory=dict)
    """What became of those on their way to the topic for them."""
    messages_dropped: dict[str, int] = field(default_factory=dict)
    """Messages to Kafka that are lost, by reason."""
    spool_dir: str | None = None
    problem: str = ""
    """Why nothing got through at the end."""
    epoch_offset_s: float | None = None
    time_correction_s: float | None = None
    session: int = 0
    ended: str = "stopped"
    """``finished`` where the sender said that this was all."""

    @property
    def is_balanced(self) -> bool:
        """Whether both balances are."""
        return self.samples.is_balanced and self.markers.is_balanced

    @property
    def failure(self) -> str:
        """What must not pass for success, in one line: something is lost that no setting gave up, or all of it is."""
        beyond = {reason: n for reason, n in self.messages_dropped.items() if reason not in POLICY}
        has_something = self.n_messages or self.samples.n_out or self.samples.waiting or self.markers.waiting
        if not beyond and (has_something or not self.messages_dropped):
            return ""
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.messages_dropped.items()))
        cause = self.problem or f"every message must arrive, got some that did not ({reasons})"
        samples, markers = self.samples, self.markers
        return (
            f"{cause}; dropped {samples.dropped.total()} of {samples.n_in} samples and "
            f"{markers.dropped.total()} of {markers.n_in} markers"
        )

    @property
    def waiting_line(self) -> str:
        """What the spool keeps for the next bridge, in words; empty where it keeps nothing."""
        if self.spool_dir is None or not (self.samples.waiting or self.markers.waiting):
            return ""
        cause = f": {self.problem}" if self.problem else ""
        return (
            f"{self.samples.waiting} samples and {self.markers.waiting} markers wait in {self.spool_dir} for the next "
            f"bridge that uses it{cause}"
        )

    def line(self) -> str:
        """Return all that matters in one line."""
        out = "sent" if self.direction == "to-kafka" else "pushed"
        parts = [
            f"{self.direction} {self.stream!r}: {self.samples.line('samples', out)}",
            self.markers.line("markers", out),
            f"reconnections {self.n_reconnections}",
        ]
        if self.n_unread:
            parts.append(f"not handed out by LSL {self.n_unread}")
        if self.n_flagged:
            parts.append(f"flags not carried {self.n_flagged}")
        if self.n_lost:
            parts.append(f"samples lost on the way {self.n_lost}")
        if self.n_restarts:
            parts.append(f"restarts of the producer {self.n_restarts}")
        if self.unreadable:
            parts.append(f"unreadable messages {sum(self.unreadable.values())}")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "samples": self.samples.as_dict(), "markers": self.markers.as_dict()}

    def write(self, path: Path) -> None:
        """Write the JSON file.

        Raises
        ------
        ConfigError
            If the disk does not take it.
        """
        try:
            path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"summary must be a file that can be written, got {str(path)!r}: {error.strerror}"
            ) from error
