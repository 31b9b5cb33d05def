"""Messages that nobody could read: as they were, with headers that say why and where they come from.

Whoever reads makes a `DeadLetter`; what sends it turns it into a message for ``<prefix>.dead``. Between two processes
of a run it goes through a ring as bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from neuroloop.stream.wire.messages import Message, utf8
from neuroloop.stream.wire.topics import Topics

_WHY_BYTES = 1536
"""What a dead letter says of itself, at most: 512 for the error, 249 for the topic's name, names and numbers."""
_HEAD = struct.Struct("<i")
_VALUE_BYTES = 1 << 20
"""A longer value is cut before it goes into the ring, which `DeadLetter.n_bytes` says."""


class DeadLetter(NamedTuple):
    """A message that could not be read, and where it stood.

    Parameters
    ----------
    topic : str
    partition, offset : int
    key, value : bytes
    headers : tuple of (str, bytes or None)
        As the client hands them over: a header of Kafka may have no value.
    why : str
    n_bytes : int, optional
        Length of the value where it has been cut already.
    """

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    why: str
    n_bytes: int | None = None


def dead_letter_of(record: Any, why: str, *, topic: str | None = None) -> DeadLetter:
    """Return a message that cannot be read, as the client handed it over.

    Parameters
    ----------
    record
        With ``partition``, ``offset``, ``key``, ``value`` and ``headers``, of any client.
    why : str
    topic : str, optional
        Where the client does not say it.
    """
    return DeadLetter(
        record.topic if topic is None else topic,
        record.partition,
        record.offset,
        record.key or b"",
        record.value or b"",
        tuple(record.headers or ()),
        why,
    )


def dead_letter_message(topics: Topics, letter: DeadLetter, max_bytes: int) -> Message:
    """Return the message that keeps one that could not be read: its key, value and headers, and why and from where.

    Parameters
    ----------
    topics : Topics
    letter : DeadLetter
    max_bytes : int
        The largest message; a longer value is cut, which a header says. Where key and headers alone are longer, the
        headers are left out and the key is cut.
    """
    taken, room = _with_values(letter.headers), max(0, max_bytes - _WHY_BYTES)
    key = letter.key[:room]
    is_bare = len(key) + _size_of(taken) > room
    kept = () if is_bare else taken
    value = letter.value[: room - len(key) - _size_of(kept)]
    n_bytes = len(letter.value) if letter.n_bytes is None else letter.n_bytes
    why = [
        ("neuroloop_error", utf8(letter.why)[:512]),
        ("neuroloop_topic", utf8(letter.topic)),
        ("neuroloop_partition", str(letter.partition).encode()),
        ("neuroloop_offset", str(letter.offset).encode()),
    ]
    if len(value) < n_bytes:
        why.append(("neuroloop_cut_from_bytes", str(n_bytes).encode()))
    if is_bare:
        why.append(("neuroloop_without_headers", str(len(taken)).encode()))
    return Message(topics.dead, key, value, (*kept, *why))


def pack_dead_letter(letter: DeadLetter) -> bytes:
    """Return the record of a letter for the ring; a long value is cut."""
    value = letter.value[:_VALUE_BYTES]
    headers = _with_values(letter.headers)
    sizes = [[name, len(one)] for name, one in headers]
    n_bytes = len(letter.value) if letter.n_bytes is None else letter.n_bytes
    head = json.dumps(
        [letter.topic, letter.partition, letter.offset, letter.why, n_bytes, len(letter.key), len(value), sizes]
    ).encode()
    return b"".join((_HEAD.pack(len(head)), head, letter.key, value, *(one for _, one in headers)))


def unpack_dead_letter(record: bytes) -> DeadLetter:
    """Return what `pack_dead_letter` packed."""
    at = _HEAD.size
    (n_head,) = _HEAD.unpack_from(record)
    topic, partition, offset, why, n_bytes, n_key, n_value, sizes = json.loads(record[at : at + n_head])
    at += n_head
    key, value = record[at : at + n_key], record[at + n_key : at + n_key + n_value]
    at += n_key + n_value
    headers: list[tuple[str, bytes | None]] = []
    for name, size in sizes:
        headers.append((name, record[at : at + size]))
        at += size
    return DeadLetter(topic, partition, offset, key, value, tuple(headers), why, n_bytes)


def _with_values(taken: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a received message; one without a value, as Kafka allows, gets an empty one."""
    return tuple((name, b"" if value is None else value) for name, value in taken)


def _size_of(taken: Iterable[tuple[str, bytes]]) -> int:
    return sum(len(utf8(name)) + len(value) + 16 for name, value in taken)
