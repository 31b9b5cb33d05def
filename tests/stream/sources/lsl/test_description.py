from __future__ import annotations

import pylsl
import pytest

from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.lsl.description import describe, make_lsl_info, make_marker_info, marker_stream_name


def lsl_info(n_channels: int = 2, sfreq: float = 250.0, stream_type: str = "EEG") -> pylsl.StreamInfo:
    return pylsl.StreamInfo("cap", stream_type, n_channels, sfreq, "float32", "serial-7")


def test_labels_units_and_types_of_the_channels_are_read() -> None:
    lsl = lsl_info()
    lsl.set_channel_labels(["C3", "C4"])
    lsl.set_channel_units(["microvolts", "microvolts"])
    lsl.set_channel_types(["eeg", "EOG"])
    description = describe(lsl)
    assert description.info == StreamInfo("cap", "EEG", "serial-7", 250.0, ("C3", "C4"), ("EEG", "EOG"), ("uV", "uV"))
    assert description.notes == ()
    assert description.stamps == "clock"


@pytest.mark.parametrize(
    ("spelling", "symbol"),
    [("microvolts", "uV"), ("µV", "uV"), ("μV", "uV"), ("Volts", "V"), ("millivolt", "mV"), ("", ""), ("-6", "uV")],
)
def test_units_get_one_symbol_whatever_their_spelling(spelling: str, symbol: str) -> None:
    lsl = lsl_info(n_channels=1)
    channel = lsl.desc().append_child("channels").append_child("channel")
    channel.append_child_value("label", "Cz")
    channel.append_child_value("unit", spelling)
    assert describe(lsl).info.ch_units == (symbol,)


def test_channels_called_by_name_in_place_of_label_are_read() -> None:
    lsl = lsl_info()
    channels = lsl.desc().append_child("channels")
    for name in ("left", "right"):
        channels.append_child("channel").append_child_value("name", name)
    assert describe(lsl).info.ch_names == ("left", "right")


def test_a_bare_stream_gets_fallbacks_and_says_so() -> None:
    description = describe(lsl_info(stream_type="ppg"))
    assert description.info.ch_names == ("ch1", "ch2")
    assert description.info.ch_types == ("PPG", "PPG")
    assert description.info.ch_units == ("", "")
    assert description.notes == (
        "no channel labels: the 2 channels are called ch1 to ch2",
        "no channel units: values are taken as they come",
    )


def test_a_wrong_number_of_labels_is_not_used_and_noted() -> None:
    lsl = lsl_info(n_channels=3)
    channels = lsl.desc().append_child("channels")
    for name in ("C3", "C4"):
        channels.append_child("channel").append_child_value("label", name)
    description = describe(lsl)
    assert description.info.ch_names == ("ch1", "ch2", "ch3")
    assert "describes 2 channels but has 3" in description.notes[0]


def test_the_stream_name_that_a_sender_declares_is_the_streams_name() -> None:
    lsl = lsl_info()
    own = lsl.desc().append_child("neuroloop")
    own.append_child_value("stream_name", "original")
    own.append_child_value("sfreq", "186.3")
    info = describe(lsl).info
    assert (info.name, info.sfreq) == ("original", 186.3)


@pytest.mark.parametrize("sfreq", [0.0, 1 / 3, 250.0, 999.4121, 1e-3])
@pytest.mark.parametrize("counter", ["none", "stamps", "channel"])
def test_a_played_streams_description_comes_back_exactly(sfreq: float, counter: str) -> None:
    info = StreamInfo(
        name=" a <odd> & \"quoted\" 'name'\t",
        type="my type ",
        source_id="",
        sfreq=sfreq,
        ch_names=("T8-P8", "T8-P8#2", " padded ", "mikro µ"),
        ch_types=("EEG", "weird", "", "eeg"),
        ch_units=("microvolts", "uV", "", "counts per \x01"),
    )
    lsl = make_lsl_info(
        info,
        name="other",
        source_id="x",
        value_format="double64",
        stamps="recording",
        counter=counter,  # type: ignore[arg-type]
    )
    description = describe(lsl)
    assert description.info == info
    assert (description.stamps, description.counter) == ("recording", counter)
    assert lsl.name() == "other"
    assert lsl.channel_count() == 4 + (counter == "channel")


def test_a_forged_description_of_another_channel_count_is_not_believed() -> None:
    lsl = lsl_info(n_channels=2)
    own = lsl.desc().append_child("neuroloop")
    own.append_child_value("info", '{"name":"x","type":"","source_id":"","sfreq":1,"ch_names":["a"],"ch_types":[""],')
    assert describe(lsl).info.ch_names == ("ch1", "ch2")
    lsl = lsl_info(n_channels=2)
    own = lsl.desc().append_child("neuroloop")
    own.append_child_value(
        "info",
        '{"name":"x","type":"","source_id":"","sfreq":1,"ch_names":["a"],"ch_types":[""],"ch_units":[""]}',
    )
    assert describe(lsl).info.ch_names == ("ch1", "ch2")


@pytest.mark.parametrize("stream_name", ["", "Stimulus", " spaced "])
def test_a_played_marker_stream_keeps_its_recorded_name(stream_name: str) -> None:
    lsl = make_marker_info(name="rec-markers", source_id="m", stream_name=stream_name, stamps="recording")
    assert marker_stream_name(lsl) == (stream_name, "recording")


def test_a_foreign_marker_stream_goes_by_its_own_name() -> None:
    assert marker_stream_name(pylsl.StreamInfo("triggers", "Markers", 1, 0, "int32", "m")) == ("triggers", "clock")
