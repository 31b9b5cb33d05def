"""Markers of real LSL streams of every kind, that come and go."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pylsl
import pytest

from neuroloop.stream.contracts.chunks import MONITORING_ID
from neuroloop.stream.contracts.events import MOST_LABEL, Marker
from neuroloop.stream.contracts.protocols import MarkerSource
from neuroloop.stream.sources.lsl.markers import LslMarkers, MarkerSender
from neuroloop.stream.sources.lsl.network import FoundStream, StreamQuery
from tests.integration.lsl import DEADLINE_S, make_outlet, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")


def make_markers(name: str, value_format: str = "string", n_channels: int = 1, source_id: str | None = None) -> Any:
    return make_outlet(
        name, n_channels=n_channels, sfreq=0.0, value_format=value_format, stream_type="Markers", source_id=source_id
    )


@contextmanager
def listening(*names: str, **options: Any) -> Iterator[LslMarkers]:
    """Read the markers of streams by name and wait until all of them are connected."""
    markers = LslMarkers([StreamQuery(name=name) for name in names], look_every_s=0.02, **options)
    try:
        wait_until(lambda: len(markers.senders) == len(names), f"connected to {names}")
        yield markers
    finally:
        markers.close()


def read_markers(source: LslMarkers, n_markers: int) -> list[Marker]:
    """Read until so many markers are there."""
    got: list[Marker] = []

    def enough() -> bool:
        got.extend(source.read())
        return len(got) >= n_markers

    wait_until(enough, f"{n_markers} markers")
    return got


def say(outlet: Any, values: list[Any], stamp: float) -> None:
    """Send a marker once a consumer is there: what is sent before goes nowhere."""
    assert outlet.wait_for_consumers(DEADLINE_S)
    outlet.push_sample(values, stamp)


def test_text_markers_arrive_with_their_own_stamps() -> None:
    outlet = make_markers("text-markers")
    with listening("text-markers") as source:
        assert isinstance(source, MarkerSource)
        say(outlet, ["left hand"], 12.25)
        say(outlet, ["ümläut µ"], 13.5)
        assert read_markers(source, 2) == [
            Marker(12.25, "left hand", "text-markers"),
            Marker(13.5, "ümläut µ", "text-markers"),
        ]
        assert source.read() == []


@pytest.mark.parametrize(
    ("value_format", "values", "labels"),
    [("int32", [7, -3], ["7", "-3"]), ("float32", [2.0, 0.5], ["2", "0.5"]), ("int16", [1, 32000], ["1", "32000"])],
)
def test_numbers_are_written_as_an_xdf_file_would_have_them(
    value_format: str, values: list[float], labels: list[str]
) -> None:
    outlet = make_markers(f"numbers-{value_format}", value_format)
    with listening(f"numbers-{value_format}") as source:
        for stamp, value in enumerate(values, start=1):
            say(outlet, [value], float(stamp))
        assert [marker.label for marker in read_markers(source, 2)] == labels


def test_several_channels_are_joined_by_a_space() -> None:
    outlet = make_markers("two-channel", n_channels=2)
    with listening("two-channel") as source:
        say(outlet, ["stimulus", "S 1"], 5.0)
        assert read_markers(source, 1) == [Marker(5.0, "stimulus S 1", "two-channel")]


def test_markers_of_several_senders_come_in_order_of_time() -> None:
    first, second = make_markers("first-sender"), make_markers("second-sender")
    with listening("first-sender", "second-sender") as source:
        for stamp in (1.0, 3.0):
            say(first, [f"a{stamp:g}"], stamp)
        for stamp in (2.0, 4.0):
            say(second, [f"b{stamp:g}"], stamp)
        wait_until(
            lambda: all(sender._inlet.samples_available() == 2 for sender in source._senders), "all four received"
        )
        assert [marker.label for marker in source.read()] == ["a1", "b2", "a3", "b4"]


def test_stamps_of_another_computer_are_shifted_and_of_the_same_one_are_not() -> None:
    outlet = make_markers("shifted")
    host = outlet.get_info().hostname()
    with listening("shifted", data_host="another computer", shift_s=lambda found: 0.125) as source:
        say(outlet, ["x"], 5.0)
        assert read_markers(source, 1)[0].time == 5.125
    with listening("shifted", data_host=host, shift_s=lambda found: 0.125) as source:
        say(outlet, ["x"], 5.0)
        assert read_markers(source, 1)[0].time == 5.0


def test_a_stream_that_comes_later_goes_and_comes_back_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="neuroloop.lsl"), listening() as source:
        source._queries = (StreamQuery(name="coming-and-going"),)
        assert source.read() == []
        for turn in ("one", "two"):
            outlet = make_markers("coming-and-going")
            wait_until(lambda: source.senders, "connected")
            say(outlet, [turn], 1.0)
            assert [marker.label for marker in read_markers(source, 1)] == [turn]
            del outlet
            wait_until(lambda: source.read() == [] and not source.senders, "noticed that it is gone")
    assert caplog.text.count("connected") == 2
    assert caplog.text.count("gone") == 2


def test_without_a_query_markers_are_read_but_no_samples_and_no_monitoring() -> None:
    wanted = make_markers("any-markers")
    others = [
        make_outlet("no-markers", value_format="float32"),
        make_markers("own-states", source_id=f"{MONITORING_ID}abc"),
    ]
    source = LslMarkers(look_every_s=0.02)
    try:
        wait_until(lambda: source.senders, "connected")
        names = {found.name for found in source.senders}
        assert "any-markers" in names
        assert not names & {"no-markers", "own-states"}
    finally:
        source.close()
    del wanted, others


def test_reading_never_waits() -> None:
    outlet = make_markers("prompt")
    with listening("prompt") as source:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(1000):
            assert source.read() == []
        assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 200  # who waits gives the core away
    source.close()
    assert source.read() == []
    del outlet


def test_markers_without_a_finite_stamp_are_left_out() -> None:
    outlet = make_markers("odd-stamps")
    with listening("odd-stamps") as source:
        say(outlet, ["bad"], float("nan"))
        say(outlet, ["good"], 2.0)
        assert read_markers(source, 1) == [Marker(2.0, "good", "odd-stamps")]


def test_a_search_that_fails_is_counted_and_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = pylsl.ContinuousResolver, []

    def fail_once(**options: Any) -> Any:
        calls.append(options)
        if len(calls) == 1:
            raise OSError("no resolver")
        return real(**options)

    monkeypatch.setattr(pylsl, "ContinuousResolver", fail_once)
    outlet = make_markers("after-all")
    with listening("after-all") as source:
        say(outlet, ["here"], 2.0)
        assert read_markers(source, 1) == [Marker(2.0, "here", "after-all")]
        assert source.n_errors == 1
    assert caplog.text.count("the search for marker streams failed") == 1


def test_hostile_senders_leave_the_markers_of_others_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    nested = pylsl.StreamInfo("nested", "Markers", 1, 0.0, "string", "nested")
    nested.desc().append_child("neuroloop").append_child_value("info", "[" * 50_000)
    outlets = [pylsl.StreamOutlet(nested), make_markers("[/]"), make_markers("good")]
    with listening("nested", "[/]", "good") as source:
        for outlet, label in zip(outlets, ["deep", "x" * 3_000_000, "left"], strict=True):
            say(outlet, [label], 5.0)
        got = {marker.stream: marker.label for marker in read_markers(source, 3)}
    assert got["nested"] == "deep"
    assert got["good"] == "left"
    assert len(got["[/]"]) == 4 * MOST_LABEL, "no more of it is read than a label can keep"
    assert source.n_errors == 0


def test_a_sender_that_cannot_be_connected_is_said_once_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: MarkerSender, found: FoundStream) -> None:
        if found.name == "bad":
            raise RecursionError("too deep")
        connect(self, found)

    connect = MarkerSender.__init__
    monkeypatch.setattr(MarkerSender, "__init__", refuse)
    bad, good = make_markers("bad"), make_markers("fine")
    source = LslMarkers([StreamQuery(name="bad"), StreamQuery(name="fine")], look_every_s=0.02)
    try:
        wait_until(lambda: len(source.senders) == 1 and source.n_errors, "one connected, one refused")
        say(good, ["on"], 3.0)
        assert read_markers(source, 1) == [Marker(3.0, "on", "fine")]
    finally:
        source.close()
    assert caplog.text.count("left out for now") == 1
    del bad
