"""What became of everything that a bridge took: said in one line, kept as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stream.contracts.errors import ConfigError


@dataclass
class Ledger:
    """One kind of thing: ``n_in = n_out + waiting + dropped``, by reason."""

    n_in: int = 0
    n_out: int = 0
    waiting: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is missing and nothing made up."""
        return self.n_in == self.n_out + self.waiting + self.dropped.total()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "in": self.n_in,
            "out": self.n_out,
            "waiting": self.waiting,
            "dropped": dict(sorted(self.dropped.items())),
            "balanced": self.is_balanced,
        }

    def line(self, what: str, out: str) -> str:
        """Return the balance in words."""
        text = f"{what} in {self.n_in} = {out} {self.n_out} + dropped {self.dropped.total()}"
        if self.waiting:
            text += f" + waiting {self.waiting}"
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items()))
        return f"{text} ({reasons})" if reasons else text


@dataclass
class BridgeBooks:
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
    samples: Ledger = field(default_factory=Ledger)
    markers: Ledger = field(default_factory=Ledger)
    n_messages: int = 0
    n_reconnections: int = 0
    n_unread: int = 0
    """Samples that LSL had received but would not hand out when the sender was gone: never taken, so not ``in``."""
    n_flagged: int = 0
    """Rows whose flag (``valid``) LSL cannot carry."""
    epoch_offset_s: float | None = None
    time_correction_s: float | None = None
    session: int = 0
    ended: str = "stopped"
    """``finished`` where the sender said that this was all."""

    @property
    def is_balanced(self) -> bool:
        """Whether both ledgers are."""
        return self.samples.is_balanced and self.markers.is_balanced

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
