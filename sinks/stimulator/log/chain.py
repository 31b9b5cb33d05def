"""Lines that hold each other: JSON objects, each with its number and the SHA-256 of the line before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.log.plain_file import read_plain
from neuroloop.stream.contracts.events import encode

GENESIS = "0" * 64
"""What stands for the line before the first one."""


class Chain:
    """The writer's end of a chain: numbers and links records, keeps no file.

    Parameters
    ----------
    seq : int
        Number that the next record gets.
    head : str
        Hash of the last line.
    """

    def __init__(self, seq: int = 0, head: str = GENESIS) -> None:
        self.seq = seq
        self.head = head

    def add(self, record: Mapping[str, Any]) -> bytes:
        """Return the line of the next record, with its newline.

        Parameters
        ----------
        record : mapping
            JSON values; NaN becomes null. ``seq`` and ``prev`` are added.

        Notes
        -----
        Half a surrogate pair has no UTF-8: it is written as JSON's own escape, which reads as the same text again.
        """
        line = encode({"seq": self.seq, **record, "prev": self.head}).encode("utf-8", "backslashreplace")
        self.seq += 1
        self.head = hashlib.sha256(line).hexdigest()
        return line + b"\n"


@dataclass(frozen=True, slots=True)
class Link:
    """One line of a chain as it was read.

    Parameters
    ----------
    record : dict
        Without ``seq`` and ``prev``.
    seq : int
    hash : str
        Of this line.
    end : int
        Bytes of the file up to the end of this line.
    """

    record: dict[str, Any]
    seq: int
    hash: str
    end: int


@dataclass(frozen=True)
class ChainFile:
    """What a file of chained lines holds.

    Parameters
    ----------
    links : list of Link
        The whole lines from the first one on, as far as the chain holds.
    fault : str or None
        Why it holds no further; ``None`` where it does to the end.
    torn_bytes : int
        Length of a last line without its end, as a killed writer leaves it.
    """

    links: list[Link] = field(default_factory=list)
    fault: str | None = None
    torn_bytes: int = 0

    @property
    def head(self) -> str:
        """Hash of the last line that holds."""
        return self.links[-1].hash if self.links else GENESIS

    @property
    def n_bytes(self) -> int:
        """Bytes up to the end of the last line that holds."""
        return self.links[-1].end if self.links else 0


def read_chain(path: Path) -> ChainFile:
    """Read a file as far as its chain holds.

    Raises
    ------
    OSError
        If it cannot be read, or is no plain file.
    """
    data = read_plain(path)
    found = ChainFile()
    head, end, torn = GENESIS, 0, 0
    fault: str | None = None
    for number, line in enumerate(_lines(data)):
        if not line.endswith(b"\n"):
            torn = len(line)
            break
        body = line[:-1]
        where = f"line {number + 1}"
        try:
            record = json.loads(body)
        except (ValueError, RecursionError):
            fault = f"{where} must be one JSON object, got {_short(body)}"
            break
        if not isinstance(record, dict) or "seq" not in record or "prev" not in record:
            fault = f"{where} must have seq and prev, got {_short(body)}"
            break
        seq, prev = record.pop("seq"), record.pop("prev")
        if seq != number:
            fault = f"{where} must have seq {number}, got {seq!r}: records are missing, doubled or out of order"
            break
        if prev != head:
            fault = f"{where} (seq {seq}) must name the hash of the line before, {head[:16]}, got {str(prev)[:16]!r}"
            break
        end += len(line)
        head = hashlib.sha256(body).hexdigest()
        found.links.append(Link(record, seq, head, end))
    return ChainFile(found.links, fault, torn)


def _lines(data: bytes) -> Iterator[bytes]:
    """Cut at newlines alone: a stray carriage return is a changed byte, not the end of a line."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1
        yield data[start : end or len(data)]
        start = end or len(data)


def _short(body: bytes) -> str:
    text = body[:40].decode("utf-8", "replace")
    return repr(text) if len(body) <= 40 else f"{text!r}..."
