"""Text from outside steers no terminal and forges no line."""

from __future__ import annotations

import pytest

from neuroloop.config.errors import ConfigError, RecordingError
from neuroloop.config.plain_text import clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C3", "C3"),
        ("\x1b[2Jgone", "\ufffd[2Jgone"),
        ("a\x9b31mb", "a\ufffd31mb"),
        ("one\nneuroloop run: FAKE", "one\ufffdneuroloop run: FAKE"),
        ("u\u2028v\x85w", "u\ufffdv\ufffdw"),
        ("abc\u202edef", "abc\ufffddef"),
        ("\ud800", "\ufffd"),
        ("ümläut µ [/]", "ümläut µ [/]"),
    ],
)
def test_what_steers_a_terminal_or_forges_a_line_is_replaced(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_long_text_is_cut_with_a_sign_that_it_was() -> None:
    assert clean("x" * 161) == "x" * 160 + " …"
    assert clean("x" * 160) == "x" * 160


def test_a_fault_is_one_line_whatever_the_names_in_it() -> None:
    assert RecordingError("channel must be known, got C3\nneuroloop run: FAKE").lines() == (
        "channel must be known, got C3\ufffdneuroloop run: FAKE",
    )
    assert ConfigError("a must be b", "c must be d\x0bx").lines() == ("a must be b", "c must be d\ufffdx")
    assert RecordingError().lines() == ("RecordingError",)
