"""A stop by marker, from real streams: whatever else they carry, and whatever type they are of."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pylsl
import pytest
from pylsl.lib import lib

from neuroloop.stream.live.stimulation.stops import StopMarkers
from tests.integration.lsl import DEADLINE_S, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")


@contextmanager
def heard(label: str, kind: str, name: str) -> Iterator[tuple[Any, threading.Event]]:
    """Offer a marker stream that is listened to; give its outlet and what is set by a stop."""
    outlet: Any = pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, kind, name))
    stopped = threading.Event()
    markers = StopMarkers(label, lambda stream: stopped.set() if stream == name else None)
    markers.start()
    try:
        assert markers.try_out() == ""
        wait_until(outlet.have_consumers, "the stream is listened to")
        yield outlet, stopped
    finally:
        markers.close()
    assert markers.try_out() == "marker streams are not looked for"


def push_bytes(outlet: Any, label: bytes) -> None:
    """Send a label as it is, in whatever encoding."""
    values = (ctypes.c_char_p * 1)(label)
    lib.lsl_push_sample_strtp(outlet.obj, values, ctypes.c_double(0.0), ctypes.c_int(1))


def test_a_label_in_another_encoding_does_not_hide_the_stop_behind_it() -> None:
    with heard("stim_stop", "string", "latin") as (outlet, stopped):
        push_bytes(outlet, "Reiz f\xfcr".encode("latin-1"))
        push_bytes(outlet, b"stim_stop")
        assert stopped.wait(DEADLINE_S)


@pytest.mark.parametrize("kind", ["float32", "double64", "int32"])
def test_a_number_stops_however_its_stream_writes_it(kind: str) -> None:
    with heard("7", kind, f"numbers-{kind}") as (outlet, stopped):
        for value in (1, 70, 7):
            assert not stopped.is_set()
            outlet.push_sample([value])
        assert stopped.wait(DEADLINE_S)


def test_a_named_stream_stops_whatever_type_it_is_of_and_is_named_among_those_that_are_heard() -> None:
    outlet: Any = pylsl.StreamOutlet(pylsl.StreamInfo("panel", "Buttons", 1, pylsl.IRREGULAR_RATE, "string", "panel"))
    stopped = threading.Event()
    markers = StopMarkers("stim_stop", lambda _: stopped.set(), ["panel"])
    markers.start()
    try:
        wait_until(lambda: markers.try_out() == "", "the stream is there")
        assert "panel" in markers.streams
        outlet.push_sample(["stim_stop"])
        assert stopped.wait(DEADLINE_S)
    finally:
        markers.close()
