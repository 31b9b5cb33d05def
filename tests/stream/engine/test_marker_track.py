"""Markers get the sample they belong to, early or late."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.stream.contracts.chunks import Chunk, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Marker, canonical
from neuroloop.stream.engine.marker_track import MarkerTrack

INFO = StreamInfo("s", "EEG", "", 10.0, ("C3",), ("EEG",), ("uV",))


def chunk(times: list[float], first: int) -> Chunk:
    return make_chunk(np.zeros((len(times), 1)), np.array(times), first, np.ones(len(times), bool), INFO)


def placed(events: list) -> list[tuple[int, int, str]]:  # type: ignore[type-arg]
    return [(event.sample, event.k, event.values["label"]) for event in events]


def test_a_marker_stands_at_the_first_sample_whose_stamp_reaches_it() -> None:
    track = MarkerTrack(INFO)
    track.add([Marker(0.15, "b"), Marker(0.1, "a"), Marker(0.2, "c"), Marker(9.0, "never")])
    assert placed(track.place(chunk([0.0, 0.1, 0.2, 0.3], 0))) == [(1, 0, "a"), (2, 0, "b"), (2, 1, "c")]


def test_a_late_marker_still_gets_its_sample() -> None:
    track = MarkerTrack(INFO)
    track.place(chunk([0.0, 0.1, 0.2], 0))
    track.place(chunk([0.3, 0.4], 3))
    track.add([Marker(0.15, "late")])
    assert placed(track.place(chunk([0.5], 5))) == [(2, 0, "late")]


def test_a_marker_older_than_the_history_gets_the_oldest_sample_known() -> None:
    track = MarkerTrack(INFO, history_s=0.2)
    for sample in range(6):
        track.place(chunk([sample / 10], sample))
    track.add([Marker(0.0, "old")])
    ((sample, _, _),) = placed(track.place(chunk([0.6], 6)))
    assert sample >= 4


def test_markers_after_the_last_sample_stand_at_it() -> None:
    track = MarkerTrack(INFO)
    track.add([Marker(5.0, "x"), Marker(6.0, "y")])
    track.place(chunk([0.0, 0.1], 0))
    events = track.finish()
    assert placed(events) == [(1, 0, "x"), (1, 1, "y")]
    assert all(event.position > 100 for event in events)
    assert track.finish() == []


def test_no_sample_means_no_event() -> None:
    track = MarkerTrack(INFO)
    track.add([Marker(5.0, "x")])
    assert track.finish() == []


@given(
    steps=st.lists(st.sampled_from([0.1, 0.1, 0.05, -0.02]), min_size=2, max_size=40),
    marks=st.lists(st.floats(-0.1, 4.0), max_size=6),
    cut=st.integers(0, 40),
)
def test_events_do_not_depend_on_chunking_or_on_a_resume(steps: list[float], marks: list[float], cut: int) -> None:
    times = np.cumsum(steps).tolist()
    markers = [Marker(time, str(number)) for number, time in enumerate(marks)]
    whole = MarkerTrack(INFO)
    whole.add(markers)
    expected = [*whole.place(chunk(times, 0)), *whole.finish()]
    cut = min(cut, len(times) - 1)
    first = MarkerTrack(INFO)
    first.add(markers)
    events = []
    for row in range(cut):
        events += first.place(chunk(times[row : row + 1], row))
    second = MarkerTrack(INFO)
    second.set_state(first.get_state())
    events += second.place(chunk(times[cut:], cut))
    events += second.finish()
    order = [canonical(event) for event in sorted(events, key=lambda event: event.order)]
    assert order == [canonical(event) for event in sorted(expected, key=lambda event: event.order)]
