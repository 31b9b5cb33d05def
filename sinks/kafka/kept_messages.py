"""Messages for brokers, as the queues keep them: how much memory one takes, and its bytes in a record of the spool."""

from __future__ import annotations

import re
import struct

from neuroloop.sinks.spool.segments import RecordFormat
from neuroloop.stream.wire.messages import Message

_OVERHEAD_BYTES = 500
"""About what the objects of one message take besides its bytes."""
_STAMP_BYTES = 8


def size_of(message: Message) -> int:
    """Return about how much memory a message takes, in bytes."""
    return len(message.key) + len(message.value) + sum(len(value) for _, value in message.headers) + _OVERHEAD_BYTES


def _pack(message: Message) -> bytes:
    """Return the stamp, then topic, key, value, names and values of headers, each behind its length."""
    stamp = -1 if message.timestamp_ms is None else message.timestamp_ms
    fields = [message.topic.encode(), message.key, message.value]
    for name, value in message.headers:
        fields += [name.encode(), value]
    return struct.pack("<q", stamp) + b"".join(struct.pack("<I", len(field)) + field for field in fields)


def _unpack(record: bytes, begin: int) -> Message:
    (stamp,) = struct.unpack_from("<q", record, begin)
    fields, at = [], begin + _STAMP_BYTES
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


MESSAGES = RecordFormat(
    _pack,
    _unpack,
    min_bytes=_STAMP_BYTES + 3 * 4,
    landmark=re.compile(rb"[\x01-\xf9]\0\0\0(?=[A-Za-z0-9._-])"),
    landmark_at=_STAMP_BYTES,
)
"""Every body has, behind its stamp, the length and the first letter of a topic's name."""
