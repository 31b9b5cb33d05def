"""Messages that nobody could read: kept as they were, said why, cut where they must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.stream.wire.dead_letters import DeadLetter, dead_letter_message, pack_dead_letter, unpack_dead_letter
from neuroloop.stream.wire.topics import Topics

TOPICS = Topics("lab.one")
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=4).map(tuple)


def test_a_dead_letter_is_what_came_and_why() -> None:
    letter = DeadLetter("t.samples", 2, 77, b"k", b"x" * 5000, (("a", b"b"),), "frame must be whole, got 3 bytes")
    whole = dead_letter_message(TOPICS, letter, 100_000)
    assert (whole.topic, whole.key, whole.value) == ("lab.one.dead", b"k", b"x" * 5000)
    headers = dict(whole.headers)
    assert headers["a"] == b"b"
    assert headers["neuroloop_error"] == b"frame must be whole, got 3 bytes"
    assert (headers["neuroloop_topic"], headers["neuroloop_partition"]) == (b"t.samples", b"2")
    assert headers["neuroloop_offset"] == b"77"
    cut = dead_letter_message(TOPICS, letter, 3000)
    assert len(cut.value) < 3000
    assert dict(cut.headers)["neuroloop_cut_from_bytes"] == b"5000"


def test_a_dead_letter_with_a_header_without_a_value_is_passed_on_with_an_empty_one() -> None:
    letter = DeadLetter("t.samples", 2, 77, b"k", b"x", (("a", None), ("b", b"c")), "frame must be whole")
    message = dead_letter_message(TOPICS, letter, 100_000)
    assert message.headers[:2] == (("a", b""), ("b", b"c"))
    assert message.value == b"x"


@pytest.mark.parametrize("n_key", [10, 5000])
def test_a_dead_letter_fits_whatever_its_key_and_headers_are(n_key: int) -> None:
    headers = tuple((f"h{k}", b"x" * 400) for k in range(9))
    letter = DeadLetter("t.samples", 2, 77, b"k" * n_key, b"v" * 9000, headers, "e" * 900)
    message = dead_letter_message(TOPICS, letter, 4000)
    said = dict(message.headers)
    size = len(message.key) + len(message.value) + sum(len(name) + len(value) for name, value in message.headers)
    assert size <= 4000
    assert said["neuroloop_without_headers"] == b"9"
    assert said["neuroloop_cut_from_bytes"] == b"9000"
    assert message.key == letter.key[:2464]


def test_a_dead_letter_that_was_cut_before_says_how_long_it_was() -> None:
    letter = DeadLetter("t.samples", 2, 77, b"k", b"x" * 100, (), "frame must be whole", n_bytes=9000)
    assert dict(dead_letter_message(TOPICS, letter, 100_000).headers)["neuroloop_cut_from_bytes"] == b"9000"


@given(st.binary(max_size=50), st.binary(max_size=50), HEADERS, st.text(max_size=20))
def test_a_letter_comes_back_as_it_was_but_for_headers_without_a_value(
    key: bytes, value: bytes, headers: tuple[tuple[str, bytes | None], ...], why: str
) -> None:
    letter = DeadLetter("t", 1, 2**40, key, value, headers, why)
    expected = letter._replace(headers=tuple((name, one or b"") for name, one in headers), n_bytes=len(value))
    assert unpack_dead_letter(pack_dead_letter(letter)) == expected


def test_a_long_value_is_cut_and_says_so() -> None:
    again = unpack_dead_letter(pack_dead_letter(DeadLetter("t", 1, 5, b"k", bytes(3 << 20), (), "why")))
    assert (len(again.value), again.n_bytes) == (1 << 20, 3 << 20)
