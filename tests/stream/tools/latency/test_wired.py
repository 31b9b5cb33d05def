"""A wired loop: edges of a channel, and the doses that they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.tools.latency.trace import LoopbackError
from neuroloop.stream.tools.latency.wired import rising_edges, start_samples, wired_latencies

SFREQ = 500.0


def stream_of(values: FloatArray, *, first_number: int = 0) -> RecordedStream:
    info = StreamInfo("amp", "EEG", "amp", SFREQ, ("C3", "TRIG"), ("EEG", "TRIG"), ("uV", ""))
    n = len(values)
    data = np.column_stack((np.zeros(n), values))
    return RecordedStream(info, data, 100.0 + np.arange(n) / SFREQ, sample_numbers=first_number + np.arange(n))


def trigger(n: int, *pulses: tuple[int, int]) -> FloatArray:
    values = np.random.default_rng(5).normal(0.0, 0.02, n)
    for start, stop in pulses:
        values[start:stop] += 5.0
    return values


def test_edges_are_where_the_level_rises_and_noise_makes_none() -> None:
    values = trigger(100, (20, 30), (60, 61))
    values[40] = np.nan
    values[45:50] = 2.4  # half-way, and back: no edge
    assert rising_edges(values).tolist() == [20, 60]


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, np.nan), np.empty(0)])
def test_a_channel_that_never_changes_has_no_edge(values: FloatArray) -> None:
    assert rising_edges(values).tolist() == []


def test_each_dose_gets_the_first_edge_behind_it_before_the_next_dose() -> None:
    stream = stream_of(trigger(2000, (105, 150), (400, 410), (1995, 1999)), first_number=7000)
    latencies, n_doses = wired_latencies([7100, 7300, 7350, 7900], stream, "TRIG")
    assert n_doses == 4
    np.testing.assert_allclose(latencies, [5 / SFREQ * 1e9, 50 / SFREQ * 1e9], atol=2)


def test_an_edge_at_the_very_sample_of_the_decision_is_not_its_answer() -> None:
    latencies, _ = wired_latencies([105], stream_of(trigger(500, (105, 150), (300, 310))), "TRIG")
    np.testing.assert_allclose(latencies, [195 / SFREQ * 1e9], atol=2)


def test_a_channel_that_is_not_there_or_never_rises_is_refused() -> None:
    with pytest.raises(LoopbackError, match=r"loopback-channel must be a channel of the stream \(C3, TRIG\), got 'X'"):
        wired_latencies([1], stream_of(trigger(50)), "X")
    with pytest.raises(LoopbackError, match="loopback-channel must rise when the output goes on, got no edge on 'C3'"):
        wired_latencies([1], stream_of(trigger(50)), "C3")


def test_a_half_written_last_line_is_left_for_later(tmp_path: Path) -> None:
    whole = '{"type":"command","action":"start","sample":12}\n{"type":"command","action":"stop","sample":20}\n'
    (tmp_path / "events.jsonl").write_text(whole + '{"type":"command","act', encoding="utf-8")
    assert start_samples(tmp_path) == [12]
