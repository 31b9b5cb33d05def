"""Segment files of the spool: records, one behind the other, and how many of them are whole where bytes are not.

A record is the length and the CRC-32 of its body, then the body. Behind damaged bytes the next whole record is found by
what every record begins with: a length that fits, and the length and first letter of a topic's name.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neuroloop.stream.wire.messages import Message

MAX_RECORD_BYTES = 1 << 28
HEADER_BYTES = 8
_HEADER = struct.Struct("<II")
_MIN_BODY_BYTES = 8 + 3 * 4
"""Stamp and lengths of topic, key and value: zeros, as a power cut leaves them, are no empty records."""
_TOPIC = re.compile(rb"[\x01-\xf9]\0\0\0(?=[A-Za-z0-9._-])")
_TOPIC_AT = HEADER_BYTES + 8
"""Where in a record the length of the topic's name stands."""


@dataclass(frozen=True)
class Survey:
    """What is in the bytes of a segment.

    Parameters
    ----------
    n_whole : int
        Records as they were written.
    n_damaged : int
        Others, as far as their lengths tell: one at least wherever bytes are in no whole record.
    end : int
        Where a torn last record begins, which is not counted; the end of all bytes if there is none.
    """

    n_whole: int
    n_damaged: int
    end: int


def as_record(message: Message) -> bytes:
    """Return the bytes of a record."""
    stamp = -1 if message.timestamp_ms is None else message.timestamp_ms
    fields = [message.topic.encode(), message.key, message.value]
    for name, value in message.headers:
        fields += [name.encode(), value]
    body = struct.pack("<q", stamp) + b"".join(struct.pack("<I", len(field)) + field for field in fields)
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def message_of(record: bytes) -> Message:
    """Return the message of a whole record."""
    (stamp,) = struct.unpack_from("<q", record, HEADER_BYTES)
    fields, at = [], _TOPIC_AT
    while at < len(record):
        (length,) = struct.unpack_from("<I", record, at)
        fields.append(record[at + 4 : at + 4 + length])
        at += 4 + length
    names, values = fields[3::2], fields[4::2]
    return Message(
        fields[0].decode(),
        fields[1],
        fields[2],
        tuple((name.decode(), value) for name, value in zip(names, values, strict=True)),
        None if stamp < 0 else stamp,
    )


def end_of(raw: bytes, begin: int, size: int) -> int | None:
    """Return where the record at a place ends by its length; None where it would not end within ``size``."""
    if len(raw) < begin + HEADER_BYTES:
        return None
    end = begin + HEADER_BYTES + _length_at(raw, begin)
    return end if _is_length(_length_at(raw, begin)) and end <= size else None


def is_whole(raw: bytes, begin: int, end: int) -> bool:
    """Say whether the bytes of a record are those that were written."""
    _, checksum = _HEADER.unpack_from(raw, begin)
    return end <= len(raw) and zlib.crc32(memoryview(raw)[begin + HEADER_BYTES : end]) == checksum


def whole_records(raw: bytes, begin: int = 0) -> Iterator[tuple[int, int]]:
    """Yield begin and end of every whole record from a place on, of those behind damaged bytes too."""
    at = begin
    while at < len(raw):
        end = end_of(raw, at, len(raw))
        if end is not None and is_whole(raw, at, end):
            yield at, end
            at = end
        else:
            at = _next_whole(raw, at + 1)


def survey(raw: bytes, begin: int = 0) -> Survey:
    """Look through the bytes of a segment from a place on."""
    n_whole = n_damaged = 0
    at = begin
    for first, end in whole_records(raw, begin):
        if first > at:
            n_damaged += max(1, _step(raw, at, first)[0])
        n_whole += 1
        at = end
    n_steps, behind = _step(raw, at, len(raw))
    if behind < len(raw) and _is_torn(raw, behind):
        return Survey(n_whole, n_damaged + n_steps, behind)
    return Survey(n_whole, n_damaged + max(n_steps, int(at < len(raw))), len(raw))


def _next_whole(raw: bytes, begin: int) -> int:
    """Return the first place where a whole record begins; the end of all bytes if there is none."""
    for topic in _TOPIC.finditer(raw, begin + _TOPIC_AT):
        at = topic.start() - _TOPIC_AT
        end = end_of(raw, at, len(raw))
        if end is not None and is_whole(raw, at, end):
            return at
    return len(raw)


def _step(raw: bytes, begin: int, end: int) -> tuple[int, int]:
    """Step over damaged records as far as their lengths lead; return how many they are, and where that ends."""
    n_steps, at = 0, begin
    while (beyond := end_of(raw, at, end)) is not None:
        n_steps, at = n_steps + 1, beyond
    return n_steps, at


def _is_torn(raw: bytes, begin: int) -> bool:
    """Say whether what no record ends in is the begin of one, or room in which nothing was written."""
    is_begin = len(raw) < begin + HEADER_BYTES or _is_length(_length_at(raw, begin))
    return is_begin or not raw[begin:].strip(b"\0")


def _length_at(raw: bytes, begin: int) -> int:
    return int(_HEADER.unpack_from(raw, begin)[0])


def _is_length(length: int) -> bool:
    return _MIN_BODY_BYTES <= length <= MAX_RECORD_BYTES


@dataclass
class Segment:
    """One file, open only while somebody writes or reads it.

    Parameters
    ----------
    number : int
    path : Path
    size : int
        Bytes of its records; behind them may be what is left of one that found no room.
    n_unread : int
        Records behind the place up to which it was read.
    is_damaged : bool
        Whether it holds bytes that are in no whole record.
    """

    number: int
    path: Path
    size: int = 0
    n_unread: int = 0
    is_damaged: bool = False
    _descriptor: int = -1

    @property
    def descriptor(self) -> int:
        """The open file."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR)
        return self._descriptor

    def append(self, record: bytes) -> None:
        """Write a record as a whole, or take back what part of it the disk took."""
        written = 0
        try:
            while written < len(record):
                written += os.pwrite(self.descriptor, record[written:], self.size + written)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(record)
        self.n_unread += 1

    def record_at(self, begin: int) -> bytes | None:
        """Return the record at a place; None where it is damaged, or the file is gone."""
        try:
            header = os.pread(self.descriptor, HEADER_BYTES, begin)
            n_bytes = end_of(header, 0, self.size - begin)
            record = b"" if n_bytes is None else os.pread(self.descriptor, n_bytes, begin)
        except FileNotFoundError:
            return None
        return record if n_bytes is not None and is_whole(record, 0, n_bytes) else None

    def raw(self) -> bytes:
        """Return all bytes; none where the file is gone."""
        try:
            return os.pread(self.descriptor, self.size, 0)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """Close the file until it is used again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def force(path: Path) -> None:
    """Force what was written to a file to the disk; nothing where it is gone.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
