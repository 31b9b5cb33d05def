from __future__ import annotations

from dataclasses import replace

import pytest

from neuroloop.stream.contracts.chunks import MONITORING_ID
from neuroloop.stream.sources.lsl.network import FoundStream, StreamQuery

CAP = FoundStream("cap", "EEG", "serial-7", "uid-1", "lab-pc", 8, 250.0, "float32", 1.0, None)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (StreamQuery(), True),
        (StreamQuery(name="cap"), True),
        (StreamQuery(name="cap", type="EEG", source_id="serial-7"), True),
        (StreamQuery(name="Cap"), False),
        (StreamQuery(name="cap", type="EMG"), False),
        (StreamQuery(source_id="serial-8"), False),
    ],
)
def test_all_that_is_given_must_match(query: StreamQuery, matches: bool) -> None:
    assert query.matches(CAP) is matches


def test_a_monitoring_outlet_is_found_only_by_name_or_id() -> None:
    outlet = replace(CAP, source_id=f"{MONITORING_ID}1", type="EEG")
    assert not StreamQuery().matches(outlet)
    assert not StreamQuery(type="EEG").matches(outlet)
    assert StreamQuery(name="cap").matches(outlet)
    assert StreamQuery(source_id=f"{MONITORING_ID}1").matches(outlet)


@pytest.mark.parametrize(
    ("stream_type", "sfreq", "value_format", "is_markers"),
    [
        ("Markers", 0.0, "string", True),
        ("Whatever", 0.0, "string", True),
        ("Triggers", 0.0, "int32", True),
        ("Markers", 0.0, "float32", True),
        ("EEG", 250.0, "float32", False),
        ("Gaze", 0.0, "float32", False),
        ("Trigger", 1000.0, "int32", False),
    ],
)
def test_text_and_irregular_streams_of_a_marking_type_are_markers(
    stream_type: str, sfreq: float, value_format: str, is_markers: bool
) -> None:
    found = replace(CAP, type=stream_type, sfreq=sfreq, format=value_format)
    assert found.is_markers is is_markers


def test_a_stream_says_in_one_line_what_it_is() -> None:
    assert str(CAP) == "'cap' (type EEG, source_id serial-7, host lab-pc, 8 channels, 250 Hz, float32)"
