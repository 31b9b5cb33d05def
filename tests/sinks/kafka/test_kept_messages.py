"""Messages in records of the spool: their bytes, which another version of this program must read."""

from __future__ import annotations

import pytest

from neuroloop.sinks.kafka.kept_messages import MESSAGES
from neuroloop.stream.wire.messages import Message


@pytest.mark.parametrize(
    ("message", "record"),
    [
        (
            Message("p.samples", b"amp", b"\x00\x01", (("ce_id", b"x"), ("e", b"")), 1500),
            "39000000a4d8a4abdc0500000000000009000000702e73616d706c657303000000616d70"
            "0200000000010500000063655f69640100000078010000006500000000",
        ),
        (
            Message("p.dead", b"", b"", ()),
            "1a0000008e2bdf30ffffffffffffffff06000000702e646561640000000000000000",
        ),
    ],
    ids=["with all fields", "without a stamp"],
)
def test_a_record_has_the_bytes_that_spools_on_disks_have(message: Message, record: str) -> None:
    assert MESSAGES.as_record(message).hex() == record
    assert MESSAGES.thing_of(bytes.fromhex(record)) == message
