"""Fixtures of the integration tests; importing `tests.integration.lsl` puts LSL out of sight of the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.live import Start, starting
from tests.integration.lsl import SESSION_ID, make_outlet


@pytest.fixture(scope="session")
def lsl_session() -> str:
    """The id that all LSL streams of this test run share; fails if liblsl was in use before it was set."""
    session_id = str(make_outlet("session-check").get_info().session_id())
    assert session_id == SESSION_ID
    return session_id


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands of the program; they are ended with the test."""
    with starting(tmp_path) as run:
        yield run
