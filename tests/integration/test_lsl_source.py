"""Samples of real LSL streams: found, read exactly, lost, found again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pylsl
import pytest

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.stream.contracts.protocols import Source
from neuroloop.stream.sources.lsl.clock_offset import ClockOffset
from neuroloop.stream.sources.lsl.network import Network, StreamQuery, find_stream, list_streams
from neuroloop.stream.sources.lsl.source import LslSource
from tests.integration.lsl import DEADLINE_S, SESSION_ID, find, make_outlet, read_samples, reading, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")

SENDER = """
import sys, pylsl
name, n_channels = sys.argv[1], int(sys.argv[2])
outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "EEG", n_channels, 100, "float32", "device-1"))
print("ready", flush=True)
value = 0
while True:
    outlet.push_sample([value] * n_channels, 1000 + value / 100)
    value += 1
    outlet.wait_for_consumers(90) if value == 1 else __import__("time").sleep(0.002)
"""


def start_sender(name: str, n_channels: int = 2) -> subprocess.Popen[str]:
    """Start a sender in a process of its own, so that it can be killed as a crash would."""
    process = subprocess.Popen([sys.executable, "-c", SENDER, name, str(n_channels)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end_sender(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def push(outlet: pylsl.StreamOutlet, values: np.ndarray, first_stamp: float = 100.0) -> np.ndarray:
    """Push rows with stamps of their own once the reader is there."""
    assert outlet.wait_for_consumers(DEADLINE_S)
    stamps = first_stamp + np.arange(len(values)) / 1000.0
    outlet.push_chunk(values, stamps.tolist())
    return stamps


@pytest.mark.parametrize("value_format", ["float32", "double64", "int8", "int16", "int32", "int64"])
def test_every_number_format_arrives_exactly(value_format: str) -> None:
    rng = np.random.default_rng(7)
    dtype = np.dtype({"float32": "f4", "double64": "f8"}.get(value_format, value_format))
    if dtype.kind == "f":
        values = rng.standard_normal((40, 3)).astype(dtype)
        values[5, 1], values[6, 2] = np.nan, np.inf
    else:
        bound = min(np.iinfo(dtype).max, 2**53)
        values = rng.integers(-bound, bound, (40, 3)).astype(dtype)
    outlet = make_outlet(f"format-{value_format}", n_channels=3, value_format=value_format)
    with reading(f"format-{value_format}") as source:
        stamps = push(outlet, values)
        block = read_samples(source, 40)
    np.testing.assert_array_equal(block.data, values.astype(np.float64))
    np.testing.assert_array_equal(block.timestamps, stamps)
    assert block.data.dtype == np.float64
    assert block.data.flags.c_contiguous
    assert block.sample_numbers is None


def test_a_source_fulfils_the_contract_and_says_nothing_where_nothing_came() -> None:
    outlet = make_outlet("quiet")
    with reading("quiet") as source:
        assert isinstance(source, Source)
        assert outlet.wait_for_consumers(DEADLINE_S)
        begin = time.perf_counter()
        assert source.read(0.05) is None
        assert time.perf_counter() - begin > 0.04
        assert source.read(0.0) is None


def test_one_read_takes_all_there_is() -> None:
    outlet = make_outlet("backlog")
    with reading("backlog") as source:
        push(outlet, np.arange(600.0).reshape(300, 2))
        wait_until(lambda: source.n_waiting == 300, "300 samples received")
        block = source.read(1.0)
        assert block is not None
        np.testing.assert_array_equal(block.data[:, 0], np.arange(0.0, 600.0, 2.0))
        assert source.n_waiting == 0


def test_a_backlog_longer_than_the_buffer_comes_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuroloop.stream.sources.lsl.source._MAX_VALUES", 2 * 64)
    outlet = make_outlet("long-backlog")
    with reading("long-backlog") as source:
        push(outlet, np.arange(600.0).reshape(300, 2))
        wait_until(lambda: source.n_waiting == 300, "300 samples received")
        lengths: list[int] = []
        firsts: list[float] = []
        while sum(lengths) < 300:
            block = source.read(1.0)
            assert block is not None
            lengths.append(len(block.timestamps))
            firsts.append(block.data[0, 0])
    assert lengths == [64, 64, 64, 64, 44]
    assert firsts == [0.0, 128.0, 256.0, 384.0, 512.0]


def test_description_comes_from_the_sender_and_gaps_in_it_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    outlet = make_outlet("described", labels=("C3", "C4"))
    with caplog.at_level(logging.WARNING, logger="neuroloop.lsl"), reading("described") as source:
        assert source.info.ch_names == ("C3", "C4")
        assert (source.info.name, source.info.type, source.info.sfreq) == ("described", "EEG", 1000.0)
    assert "stream described: no channel units: values are taken as they come" in caplog.text
    del outlet


def test_a_counter_channel_becomes_sample_numbers() -> None:
    outlet = make_outlet("counting", n_channels=3, labels=("C3", "count", "C4"))
    with reading("counting", counter_channel="count") as source:
        assert source.info.ch_names == ("C3", "C4")
        values = np.arange(30.0).reshape(10, 3)
        values[:, 1] = np.arange(500, 520, 2)
        push(outlet, values)
        block = read_samples(source, 10)
    np.testing.assert_array_equal(block.data, values[:, [0, 2]])
    np.testing.assert_array_equal(block.sample_numbers, np.arange(500, 520, 2))


def test_a_counter_channel_that_is_not_there_is_refused() -> None:
    outlet = make_outlet("uncounted", labels=("C3", "C4"))
    with pytest.raises(StreamMismatch, match=r"counter_channel must be one of .* \(C3, C4\), got 'count'"):
        LslSource(find("uncounted"), counter_channel="count")
    del outlet


def test_nothing_found_says_what_is_there() -> None:
    outlet = make_outlet("present", n_channels=4, sfreq=250.0)
    with pytest.raises(StreamLost, match=r"with name 'absent', got none within 2 s; on the network: .*'present'"):
        find_stream(StreamQuery(name="absent"), 2.0)
    del outlet


def test_two_streams_of_one_name_are_refused_with_both_listed() -> None:
    first = make_outlet("double", source_id="left-device")
    second = make_outlet("double", source_id="right-device")
    look = Network()
    wait_until(lambda: len([one for one in look.streams() if one.name == "double"]) == 2, "both answer")
    with pytest.raises(StreamMismatch, match=r"got 2 with name 'double'.*left-device.*right-device"):
        find_stream(StreamQuery(name="double"), DEADLINE_S)
    assert find_stream(StreamQuery(name="double", source_id="right-device"), DEADLINE_S).source_id == "right-device"
    del first, second


def test_a_text_stream_is_no_source_of_samples() -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("only-text", "EEG", 1, 0, "string", "t"))
    with pytest.raises(StreamMismatch, match="source must be a stream of numbers, got 'only-text'"):
        find_stream(StreamQuery(name="only-text"), DEADLINE_S)
    del outlet


def test_list_streams_lists_each_sender_once() -> None:
    outlet = make_outlet("listed")
    find("listed")
    wait_until(lambda: [found.name for found in list_streams(0.7)].count("listed") == 1, "listed once")
    del outlet


def test_another_session_on_this_computer_does_not_see_our_streams(tmp_path: Path) -> None:
    outlet = make_outlet("private")
    find("private")
    ours = Path(os.environ["LSLAPICFG"]).read_text(encoding="utf-8")
    theirs = tmp_path / "lsl_api.cfg"
    theirs.write_text(ours.replace(SESSION_ID, "someone-else"), encoding="utf-8")
    look = (
        "from neuroloop.stream.sources.lsl.network import list_streams; print([one.name for one in list_streams({})])"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", look.format(wait_s)], env={**os.environ, "LSLAPICFG": str(path)},
            capture_output=True, check=True,
        ).stdout.decode()
        for path, wait_s in ((theirs, 0.7), (Path(os.environ["LSLAPICFG"]), 3.0))
    ]  # fmt: skip
    assert seen[0] == "[]\n"
    assert "'private'" in seen[1]
    del outlet


def test_a_killed_sender_is_noticed_and_found_again_by_its_id() -> None:
    sender = start_sender("mortal")
    try:
        with reading("mortal") as source:
            read_samples(source, 20)
            end_sender(sender)
            with pytest.raises(StreamLost, match=r"source must keep sending, got a stream that stopped.*device-1"):
                read_samples(source, 10**9)
            with pytest.raises(StreamLost, match="is closed"):
                source.read(0.0)
            with pytest.raises(StreamLost, match=r"did not come back within 0\.3 s"):
                source.reopen(0.3)
            uid = source.found.uid
            sender = start_sender("mortal")
            source.reopen(DEADLINE_S)
            assert source.n_reopened == 1
            assert source.found.uid != uid
            block = read_samples(source, 20)
            np.testing.assert_array_equal(np.diff(block.data[:, 0]), 1.0)
    finally:
        end_sender(sender)


def test_a_stream_that_comes_back_with_another_layout_is_refused() -> None:
    outlet = make_outlet("changing", n_channels=2, source_id="changing-1")
    with reading("changing") as source:
        assert outlet.wait_for_consumers(DEADLINE_S)
        del outlet
        with pytest.raises(StreamLost, match="stopped"):
            read_samples(source, 1)
        outlet = make_outlet("changing", n_channels=3, source_id="changing-1")
        with pytest.raises(StreamMismatch, match=r"'changing' must come back as it was, got other ch_names"):
            source.reopen(DEADLINE_S)
    del outlet


def test_the_clock_of_this_computer_is_not_off() -> None:
    outlet = make_outlet("clock")
    with closing(ClockOffset(find("clock"))) as offset:

        def is_right() -> bool:
            offset_s = offset.measure()
            return offset_s is not None and abs(offset_s) < 0.005

        wait_until(is_right, "an offset of nothing; what is measured while others have the core may be off")
    del outlet


def test_no_offset_comes_from_a_sender_that_is_gone() -> None:
    outlet = make_outlet("clockless")
    found = find("clockless")
    del outlet
    closed = ClockOffset(found)
    assert closed.measure(timeout_s=0.3) is None
    closed.close()
    closed.close()
    assert closed.measure(0.1) is None
