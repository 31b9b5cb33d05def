"""Two thousand lines from outside, half to the operator's socket and half from a device: each is read or refused."""

from __future__ import annotations

import json
import random

from neuroloop.sinks.stimulator.control import OperatorRequest, read_request
from neuroloop.sinks.stimulator.devices.messages import decode_line, read_answer
from neuroloop.sinks.stimulator.log.chain import Chain, read_chain
from neuroloop.sinks.stimulator.token import hash_token

N = 1000
ODD: list[object] = [
    None,
    True,
    0,
    -1,
    10**400,
    1e999,
    float("nan"),
    "",
    "\ud800",
    "\x1b[2J",
    "x" * 5000,
    [],
    {},
    [[]],
    "stop",
    "arm",
]
REQUEST: dict[str, object] = {"verb": "stop", "token": "t", "reason": "r", "override": "alpha", "area_cm2": 0.06}
ANSWER: dict[str, object] = {"answer": "ack", "command": "start", "seq": 1, "lease": 1, "is_on": True,
                             "delivered_uc": 0.5, "t_ns": 12, "reason": "why"}  # fmt: skip


def lines(like: dict[str, object], seed: int) -> list[bytes]:
    """Return lines like a good one: with odd values, keys left out, bytes changed, cut short or nested deeply."""
    chance = random.Random(seed)
    found = []
    for _ in range(N):
        values = dict(like)
        for key in chance.sample(sorted(values), chance.randint(0, 3)):
            if chance.random() < 0.2:
                del values[key]
            else:
                values[key] = chance.choice(ODD)
        line = bytearray(json.dumps(values).encode())
        if chance.random() < 0.3:
            line[chance.randrange(len(line))] = chance.randrange(256)
        if chance.random() < 0.1:
            line = line[: chance.randrange(len(line))]
        if chance.random() < 0.05:
            line = bytearray(b"[" * 5000)
        found.append(bytes(line))
    return found


def test_no_line_to_the_operators_socket_is_more_than_refused() -> None:
    n_read = 0
    for line in lines(REQUEST, 1):
        try:
            request = read_request(line)
        except ValueError as error:
            str(error).encode()
            continue
        n_read += 1
        assert isinstance(request, OperatorRequest)
        assert request.area_cm2 is None or 0 < request.area_cm2 < float("inf")
        for text in (request.reason, request.override, request.token):
            assert len(text) <= 200
            text.encode()
        hash_token(request.token)
    assert 200 < n_read < N


def test_no_line_of_a_device_is_more_than_refused() -> None:
    n_read = 0
    for line in lines(ANSWER, 2):
        try:
            answer = read_answer(decode_line(line))
        except ValueError as error:
            repr(str(error))
            continue
        n_read += 1
        assert len(answer.reason) <= 200
        (answer.reason + answer.command).encode()
        assert 0 <= answer.lease < 2**53
    assert 200 < n_read < N


def test_a_chain_takes_any_text_and_reads_it_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    chain, path = Chain(), tmp_path / "chain.jsonl"
    texts = ["plain", "\ud800", "a\udcfcb", "\x00\x1b", "\u2028"]
    path.write_bytes(b"".join(chain.add({"text": text}) for text in texts))
    found = read_chain(path)
    assert found.fault is None
    assert [link.record["text"] for link in found.links] == texts
    assert found.head == chain.head
