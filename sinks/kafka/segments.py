"""Segment files of the spool: records, one behind the other, each with its length and checksum."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream.contracts.messages import Message

MAX_RECORD_BYTES = 1 << 28
_HEADER = struct.Struct("<II")


@dataclass
class Segment:
    """One file: how long it is, and how many records it holds."""

    number: int
    path: Path
    size: int
    n_records: int
    descriptor: int


def as_record(message: Message) -> bytes:
    """Return the bytes of a record: length, CRC-32, body."""
    body = pack(message)
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def append(segment: Segment, record: bytes) -> None:
    """Write a record as a whole, or take back what part of it the disk took."""
    written = 0
    try:
        while written < len(record):
            written += os.pwrite(segment.descriptor, record[written:], segment.size + written)
    except OSError:
        with suppress(OSError):
            os.ftruncate(segment.descriptor, segment.size)
        raise
    segment.size += len(record)


def record_at(descriptor: int, begin: int, size: int) -> tuple[bytes | None, int]:
    """Return the body of the record at a place and where it ends; None where it is torn or damaged."""
    header = os.pread(descriptor, _HEADER.size, begin)
    if len(header) < _HEADER.size:
        return None, size
    length, checksum = _HEADER.unpack(header)
    end = begin + _HEADER.size + length
    if length > MAX_RECORD_BYTES or end > size:
        return None, size
    body = os.pread(descriptor, length, begin + _HEADER.size)
    if len(body) != length or zlib.crc32(body) != checksum:
        return None, size
    return body, end


def pack(message: Message) -> bytes:
    """Return the body of a record."""
    fields = [message.topic.encode(), message.key, message.value]
    for name, value in message.headers:
        fields += [name.encode(), value]
    stamp = -1 if message.timestamp_ms is None else message.timestamp_ms
    return struct.pack("<q", stamp) + b"".join(struct.pack("<I", len(field)) + field for field in fields)


def unpack(body: bytes) -> Message:
    """Return the message of a body."""
    (stamp,) = struct.unpack_from("<q", body)
    fields, at = [], 8
    while at < len(body):
        (length,) = struct.unpack_from("<I", body, at)
        fields.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    names, values = fields[3::2], fields[4::2]
    return Message(
        fields[0].decode(),
        fields[1],
        fields[2],
        tuple((name.decode(), value) for name, value in zip(names, values, strict=True)),
        None if stamp < 0 else stamp,
    )
