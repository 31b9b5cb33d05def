from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Event, canonical
from neuroloop.stream.engine.sequencer import Sequencer

SFREQ = 250.0


def stream_info(sfreq: float = SFREQ, n_channels: int = 2) -> StreamInfo:
    names = tuple(f"c{i}" for i in range(n_channels))
    return StreamInfo("amp", "EEG", "id", sfreq, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def sequencer(sfreq: float = SFREQ, n_channels: int = 2, position: int = 0, **timing: Any) -> Sequencer:
    return Sequencer(TimingSettings(**timing), stream_info(sfreq, n_channels), position)


def numbered(n_samples: int, n_channels: int = 2) -> FloatArray:
    """Rows that carry their own number, so that a lost or doubled one is seen."""
    return np.arange(n_samples, dtype=np.float64)[:, None] * np.ones(n_channels)


def joined(chunks: Sequence[Chunk]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "index": np.concatenate([np.arange(c.first_sample, c.next_sample) for c in chunks] or [np.empty(0, int)]),
        "data": np.concatenate([c.data for c in chunks] or [np.empty((0, 2))]),
        "timestamps": np.concatenate([c.timestamps for c in chunks] or [np.empty(0)]),
        "valid": np.concatenate([c.valid for c in chunks] or [np.empty(0, bool)]),
    }


def only(events: list[Event], kind: str) -> Event:
    assert [event.type for event in events] == [kind]
    return events[0]


def assert_balanced(seq: Sequencer, n_pushed: int) -> None:
    counts = seq.counters
    assert seq.next_sample - seq.start == counts["received"] + counts["filled"] + counts["jumped"]
    assert counts["received"] + counts["duplicates"] == n_pushed


# --- ordinary flow


def test_samples_without_a_gap_keep_their_rows_stamps_and_numbers() -> None:
    seq = sequencer(position=100)
    data, stamps = numbered(700), 5.0 + np.arange(700) / SFREQ
    chunks = seq.push(data[:300], stamps[:300]) + seq.push(data[300:], stamps[300:])
    assert [(c.first_sample, len(c)) for c in chunks] == [(100, 300), (400, 400)]
    out = joined(chunks)
    np.testing.assert_array_equal(out["data"], data)
    np.testing.assert_array_equal(out["timestamps"], stamps)
    assert out["valid"].all()
    assert seq.take_events() == []
    assert_balanced(seq, 700)


def test_empty_block_gives_no_chunk_and_changes_nothing() -> None:
    seq = sequencer(timing="regular")
    seq.push(numbered(5), np.arange(5) / SFREQ)
    before = seq.get_state()
    assert seq.push(np.empty((0, 2)), np.empty(0)) == []
    for name, array in seq.get_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_caller_may_reuse_his_buffer_and_chunks_are_read_only() -> None:
    seq = sequencer()
    buffer, stamps = numbered(4), np.arange(4) / SFREQ
    (chunk,) = seq.push(buffer, stamps)
    buffer[:] = -1
    stamps[:] = -1
    np.testing.assert_array_equal(chunk.data, numbered(4))
    np.testing.assert_array_equal(chunk.timestamps, np.arange(4) / SFREQ)
    assert not any(array.flags.writeable for array in (chunk.data, chunk.timestamps, chunk.valid))


def test_input_is_not_mutated_by_a_gap_fill() -> None:
    seq = sequencer(timing="regular")
    data, stamps = numbered(4), np.array([0, 1, 5, 6]) / SFREQ
    data.flags.writeable = stamps.flags.writeable = False
    seq.push(data, stamps)
    np.testing.assert_array_equal(data, numbered(4))


def test_other_memory_layouts_and_types_are_taken() -> None:
    seq = sequencer()
    (chunk,) = seq.push(np.asfortranarray(numbered(6).astype(np.float32)), (np.arange(12) / SFREQ)[::2])
    np.testing.assert_array_equal(chunk.data, numbered(6))
    assert chunk.data.dtype == np.float64
    assert chunk.data.flags.c_contiguous


def test_rows_not_finite_or_flagged_by_the_source_are_not_valid() -> None:
    seq = sequencer()
    data = numbered(5)
    data[1, 1] = np.nan
    data[2, 0] = np.inf
    (chunk,) = seq.push(data, np.arange(5) / SFREQ, valid=np.array([True, True, True, False, True]))
    np.testing.assert_array_equal(chunk.valid, [True, False, False, False, True])
    np.testing.assert_array_equal(chunk.data, data)
    assert seq.counters["nonfinite"] == 2


def test_stamp_that_is_not_finite_becomes_what_the_line_predicts() -> None:
    seq = sequencer(timing="regular")
    stamps = np.arange(6) / SFREQ
    stamps[3:5] = [np.nan, np.inf]
    (chunk,) = seq.push(numbered(6), stamps)
    np.testing.assert_allclose(chunk.timestamps, np.arange(6) / SFREQ, rtol=0, atol=1e-12)
    assert chunk.first_sample == 0
    assert seq.counters["bad_stamps"] == 2
    assert seq.counters["gaps"] == 0


# --- regular


@pytest.mark.parametrize("periods", [2, 3, 100])
def test_regular_step_of_several_periods_is_a_gap(periods: int) -> None:
    seq = sequencer(timing="regular")
    stamps = np.concatenate([np.arange(10), 9 + periods + np.arange(10)]) / SFREQ
    chunks = seq.push(numbered(20), stamps)
    event = only(seq.take_events(), "gap")
    assert event.sample == 9 + periods
    assert event.time == stamps[10]
    assert event.k == 0
    assert event.values["missing"] == periods - 1
    assert event.values["first_missing"] == 10
    assert event.values["filled"] is True
    assert event.values["duration_s"] == pytest.approx((periods - 1) / SFREQ, rel=1e-9)
    out = joined(chunks)
    np.testing.assert_array_equal(out["index"], np.arange(19 + periods))
    np.testing.assert_array_equal(out["valid"], [True] * 10 + [False] * (periods - 1) + [True] * 10)
    assert_balanced(seq, 20)


def test_regular_step_of_a_period_and_a_half_is_no_gap() -> None:
    seq = sequencer(timing="regular", sfreq=4.0)
    seq.push(numbered(3), np.array([0.0, 0.25, 0.625]))
    assert seq.counters["gaps"] == 0
    seq.push(numbered(1), np.array([1.01]))
    assert seq.counters["gaps"] == 1


def test_regular_drops_samples_whose_stamps_were_seen() -> None:
    seq = sequencer(timing="regular")
    data, stamps = numbered(200), np.arange(200) / SFREQ
    seq.push(data[:150], stamps[:150])
    assert seq.push(data[50:150], stamps[50:150]) == []
    (chunk,) = seq.push(data[140:], stamps[140:])
    assert chunk.first_sample == 150
    np.testing.assert_array_equal(chunk.data, data[150:])
    assert seq.counters["duplicates"] == 110
    assert seq.take_events() == []
    assert_balanced(seq, 310)


def test_regular_backward_stamp_never_lowers_the_index_and_makes_no_gap_after_it() -> None:
    seq = sequencer(timing="regular")
    stamps = np.array([0, 1, 2, 0.5, 4, 5]) / SFREQ
    (chunk,) = seq.push(numbered(6), stamps)
    assert (chunk.first_sample, len(chunk)) == (0, 6)
    assert seq.counters["backward"] == 1
    assert seq.counters["gaps"] == 0


def test_regular_clock_that_stays_a_little_behind_is_accepted_and_later_gaps_are_seen() -> None:
    seq = sequencer(timing="regular")
    behind = 10.3 / SFREQ
    stamps = np.concatenate([np.arange(100), np.arange(100, 300)]) / SFREQ
    stamps[100:] -= behind
    stamps[250:] += 3 / SFREQ
    seq.push(numbered(300), stamps)
    assert only(seq.take_events(), "gap").values["missing"] == 3


def test_clock_that_steps_back_is_an_event_and_the_index_goes_on() -> None:
    seq = sequencer(timing="regular")
    stamps = np.concatenate([1000.0 + np.arange(10) / SFREQ, 3.0 + np.arange(10) / SFREQ])
    chunks = seq.push(numbered(20), stamps)
    event = only(seq.take_events(), "stream")
    assert event.values == {"what": "clock_step", "step_s": stamps[10] - stamps[9]}
    assert (event.sample, event.time) == (10, 3.0)
    np.testing.assert_array_equal(joined(chunks)["index"], np.arange(20))
    assert seq.counters["clock_steps"] == 1
    seq.push(numbered(1), np.array([stamps[-1] + 3 / SFREQ]))
    assert only(seq.take_events(), "gap").values["missing"] == 2


# --- counter


def test_counter_steps_are_exact_whatever_the_stamps_say() -> None:
    seq = sequencer(timing="counter", position=7)
    numbers = np.array([50, 51, 52, 55, 56, 56, 54, 57], np.int64)
    chunks = seq.push(numbered(8), np.zeros(8), numbers)
    out = joined(chunks)
    np.testing.assert_array_equal(out["index"], 7 + np.arange(8))
    np.testing.assert_array_equal(out["data"][:, 0], [0, 1, 2, 2, 2, 3, 4, 7])
    np.testing.assert_array_equal(out["valid"], [True, True, True, False, False, True, True, True])
    assert only(seq.take_events(), "gap").values["first_missing"] == 10
    assert seq.counters["duplicates"] == 2
    assert_balanced(seq, 8)


def test_counter_that_starts_anew_does_not_stop_the_stream() -> None:
    seq = sequencer(timing="counter", reset_after_s=0.1)
    numbers = np.concatenate([np.arange(1000, 1010), np.arange(5)])
    chunks = seq.push(numbered(15), np.arange(15) / SFREQ, numbers)
    np.testing.assert_array_equal(joined(chunks)["index"], np.arange(15))
    event = only(seq.take_events(), "stream")
    assert event.values == {"what": "counter_reset", "number": 0}
    assert event.sample == 10


def test_auto_takes_sample_numbers_where_they_are_given(caplog: pytest.LogCaptureFixture) -> None:
    seq = sequencer()
    with caplog.at_level(logging.INFO, "neuroloop.timing"):
        seq.push(numbered(2), np.zeros(2), np.array([1, 4]))
    assert seq.mode == "counter"
    assert seq.is_decided
    assert [record.getMessage() for record in caplog.records] == [
        "amp: timing 'counter' (the source gives sample numbers)"
    ]
    assert seq.counters["filled"] == 2


# --- gaps: fill and jump


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("hold", [1.0, 1.0, 1.0]),
        ("zero", [0.0, 0.0, 0.0]),
        ("interpolate", [1.25, 1.5, 1.75]),
        ("nan", [np.nan, np.nan, np.nan]),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_fill_stands_between_its_neighbours(fill: str, expected: list[float], cut: int) -> None:
    seq = sequencer(sfreq=4.0, timing="regular", fill=fill)
    data, stamps = numbered(4), np.array([0.0, 0.25, 1.25, 1.5])
    out = joined(seq.push(data[:cut], stamps[:cut]) + seq.push(data[cut:], stamps[cut:]))
    np.testing.assert_array_equal(out["data"][:, 1], [0.0, 1.0, *expected, 2.0, 3.0])
    np.testing.assert_array_equal(out["timestamps"], np.arange(7) / 4)
    np.testing.assert_array_equal(out["valid"], [True, True, False, False, False, True, True])


@pytest.mark.parametrize(("missing", "n_chunks"), [(250, 1), (251, 2)])
def test_gap_beyond_reset_after_s_is_jumped_over(missing: int, n_chunks: int) -> None:
    seq = sequencer(timing="regular", reset_after_s=1.0)
    stamps = np.concatenate([np.arange(10), 10 + missing + np.arange(10)]) / SFREQ
    chunks = seq.push(numbered(20), stamps)
    assert len(chunks) == n_chunks
    assert chunks[-1].next_sample == 20 + missing
    event = only(seq.take_events(), "gap")
    assert event.values["missing"] == missing
    assert event.values["filled"] is (n_chunks == 1)
    assert seq.counters["filled" if n_chunks == 1 else "jumped"] == missing
    assert_balanced(seq, 20)


def test_gap_of_years_allocates_nothing() -> None:
    seq = sequencer(timing="bursty")
    seq.push(numbered(3), np.arange(3) / SFREQ)
    (chunk,) = seq.push(numbered(1), np.array([1e9]))
    assert len(chunk) == 1
    assert chunk.first_sample == seq.next_sample - 1 > 2e11


def test_gap_after_a_jump_in_the_same_block_is_filled_from_the_row_before_it() -> None:
    seq = sequencer(timing="regular", reset_after_s=0.1)
    chunks = seq.push(numbered(4), np.array([0, 1, 1000, 1003]) / SFREQ)
    assert [(c.first_sample, list(c.data[:, 0])) for c in chunks] == [(0, [0, 1]), (1000, [2, 2, 2, 3])]


# --- bursty


def packets(n_samples: int, sfreq: float, size: int) -> FloatArray:
    """Stamps of arrival: all samples of a packet carry the time of its last."""
    return (np.arange(n_samples) // size * size + size - 1) / sfreq


@pytest.mark.parametrize("effective", [186.0, 249.6, 300.0])
@pytest.mark.parametrize("size", [1, 20])
def test_bursty_finds_the_effective_rate_and_invents_no_gap(effective: float, size: int) -> None:
    seq = sequencer(timing="bursty")
    seq.push(numbered(6000), packets(6000, effective, size))
    assert seq.counters["gaps"] == 0
    assert seq.effective_sfreq == pytest.approx(effective, rel=1e-3)


@pytest.mark.parametrize("effective", [186.0, 250.0, 300.0])
@pytest.mark.parametrize("missing", [80, 200])
@pytest.mark.parametrize("at", [1000, 3000])
def test_bursty_counts_a_loss_exactly_at_the_effective_rate(effective: float, missing: int, at: int) -> None:
    seq = sequencer(timing="bursty")
    stamps = np.concatenate([np.arange(at), at + missing + np.arange(500)]) / effective
    seq.push(numbered(len(stamps)), stamps)
    event = only(seq.take_events(), "gap")
    assert (event.values["missing"], event.values["first_missing"]) == (missing, at)


def test_bursty_counts_a_loss_in_the_first_moments_at_the_nominal_rate() -> None:
    seq = sequencer(timing="bursty")
    seq.push(numbered(400), np.delete(np.arange(500), slice(20, 120)) / SFREQ)
    assert only(seq.take_events(), "gap").values["missing"] == 100


def test_bursty_counts_a_loss_between_packets_to_within_a_packet() -> None:
    seq = sequencer(timing="bursty")
    stamps = packets(6000, SFREQ, 10)
    seq.push(numbered(5500), np.delete(stamps, slice(3000, 3500)))
    assert only(seq.take_events(), "gap").values["missing"] == pytest.approx(500, abs=10)


def test_bursty_lead_below_the_tolerance_is_no_gap() -> None:
    seq = sequencer(timing="bursty", gap_tolerance_s=0.25)
    stamps = np.arange(1000) / SFREQ
    stamps[500:] += 0.24
    seq.push(numbered(1000), stamps)
    assert seq.counters["gaps"] == 0


def test_line_is_the_recursion_of_the_book() -> None:
    seq = sequencer(sfreq=100.0, timing="bursty")
    stamps = np.arange(900) / 98.0 + 0.003 * np.random.default_rng(3).standard_normal(900)
    line, period = stamps[0], 0.01
    for n, stamp in enumerate(stamps[1:]):
        weight = max(0.75 * (n + 1), 50.0)
        lead = stamp - (line + period)
        line += period + 2 * (2 * weight - 1) / (weight * (weight + 1)) * lead
        period += 6 / (weight * (weight + 1)) * lead
    seq.push(numbered(900), stamps)
    assert seq.effective_sfreq == pytest.approx(1 / period, rel=1e-12)
    assert seq.effective_sfreq == pytest.approx(98.0, rel=1e-3)


# --- auto


def test_auto_judges_regular_stamps_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    seq = sequencer()
    with caplog.at_level(logging.INFO, "neuroloop.timing"):
        seq.push(numbered(499), np.arange(499) / SFREQ)
        assert (seq.mode, seq.is_decided) == ("bursty", False)
        seq.push(numbered(1), np.array([499 / SFREQ]))
    assert (seq.mode, seq.is_decided) == ("regular", True)
    assert [record.getMessage() for record in caplog.records] == [
        "amp: timing 'regular' (judged from 500 stamps, effective rate 250 Hz, nominal 250 Hz)"
    ]
    seq.push(numbered(1), np.array([502 / SFREQ]))
    assert seq.counters["filled"] == 2


def test_auto_judges_regular_in_spite_of_a_loss_in_the_first_seconds() -> None:
    seq = sequencer()
    stamps = np.delete(np.arange(700), slice(100, 103)) / SFREQ
    seq.push(numbered(697), stamps)
    assert seq.mode == "regular"


@pytest.mark.parametrize("stamps", [packets(600, SFREQ, 5), np.arange(600) / 240.0, np.arange(600) / 125.0])
def test_auto_judges_packets_and_other_rates_bursty(stamps: FloatArray) -> None:
    seq = sequencer()
    seq.push(numbered(600), stamps)
    assert (seq.mode, seq.is_decided) == ("bursty", True)
    assert seq.counters["gaps"] == 0


def test_auto_takes_its_decision_back_at_the_first_short_step(caplog: pytest.LogCaptureFixture) -> None:
    seq = sequencer()
    stamps = np.arange(1500) / SFREQ
    hiccup = slice(700, 710)
    stamps[hiccup] = stamps[710] - 0.0005 * np.arange(10, 0, -1)
    with caplog.at_level(logging.INFO, "neuroloop.timing"):
        seq.push(numbered(600), stamps[:600])
        seq.push(numbered(900), stamps[600:])
    assert seq.mode == "bursty"
    assert "disproved 'regular'" in caplog.records[-1].getMessage()
    assert seq.counters["gaps"] == 1


def test_auto_keeps_two_different_rows_of_one_stamp_and_drops_a_repeated_row() -> None:
    seq = sequencer()
    seq.push(numbered(600), np.arange(600) / SFREQ)
    assert seq.push(numbered(600)[-1:], np.array([599 / SFREQ])) == []
    assert seq.mode == "regular"
    (chunk,) = seq.push(numbered(601)[-1:], np.array([599 / SFREQ]))
    assert chunk.first_sample == 600
    assert seq.mode == "bursty"


def test_irregular_stream_is_numbered_in_order_of_arrival() -> None:
    seq = sequencer(sfreq=0.0)
    (chunk,) = seq.push(numbered(4), np.array([0.0, 10.0, 10.0, 500.0]))
    assert (chunk.first_sample, len(chunk)) == (0, 4)
    assert (seq.mode, seq.effective_sfreq) == ("arrival", 0.0)
    seq.push(numbered(1), np.array([1.0]))
    assert only(seq.take_events(), "stream").values == {"what": "clock_step", "step_s": -499.0}


def test_slow_stream_tolerates_less_than_half_a_period() -> None:
    seq = sequencer(sfreq=1 / 300)
    stamps = 300.0 * np.arange(40, dtype=np.float64)
    stamps[20:25] += 100.0
    stamps[30:] += 600.0
    seq.push(numbered(40), stamps)
    assert seq.counters["filled"] + seq.counters["jumped"] == 2
    assert_balanced(seq, 40)


# --- properties


@st.composite
def raw_streams(draw: st.DrawFn) -> dict[str, Any]:
    """Stamps with packets, losses, repeats, clock steps, values that are not finite."""
    seed = draw(st.integers(0, 2**32 - 1))
    timing = draw(st.sampled_from(["auto", "counter", "regular", "bursty"]))
    fill = draw(st.sampled_from(["hold", "zero", "interpolate", "nan"]))
    jitter = draw(st.sampled_from([0.0, 0.0, 0.001, 0.02]))
    faults = draw(st.lists(st.sampled_from(["loss", "long loss", "repeat", "step back", "nan", "stamp"]), max_size=6))
    rng = np.random.default_rng(seed)
    number = np.arange(300)
    clock = np.zeros(300)
    data = rng.standard_normal((300, 2))
    for fault in faults:
        at = int(rng.integers(1, len(number) - 20))
        if fault == "loss":
            keep = np.delete(np.arange(len(number)), slice(at, at + int(rng.integers(1, 12))))
            number, clock, data = number[keep], clock[keep], data[keep]
        elif fault == "long loss":
            number, clock = number.copy(), clock.copy()
            number[at:] += 400
        elif fault == "repeat":
            order = np.concatenate([np.arange(at + 10), np.arange(at, len(number))])
            number, clock, data = number[order], clock[order], data[order]
        elif fault == "step back":
            clock[at:] -= 2.0
        elif fault == "nan":
            data[at : at + 3, rng.integers(2)] = np.nan
        else:
            clock[at] = np.nan
    stamps: FloatArray = number / 50.0 + clock
    stamps += jitter * rng.standard_normal(len(stamps))
    numbers = number.astype(np.int64) if timing == "counter" else None
    return {"timing": timing, "fill": fill, "data": data, "stamps": stamps, "numbers": numbers}


def run(raw: dict[str, Any], cuts: list[int], resume: bool = False) -> tuple[list[Chunk], list[str], dict[str, int]]:
    def make() -> Sequencer:
        return sequencer(50.0, timing=raw["timing"], fill=raw["fill"], reset_after_s=0.5)

    seq = make()
    chunks: list[Chunk] = []
    lines: list[str] = []
    edges = [0, *sorted(min(cut, len(raw["stamps"])) for cut in cuts), len(raw["stamps"])]
    for begin, end in itertools.pairwise(edges):
        part = slice(begin, end)
        numbers = None if raw["numbers"] is None else raw["numbers"][part]
        chunks += seq.push(raw["data"][part], raw["stamps"][part], numbers)
        lines += [canonical(event) for event in seq.take_events()]
        if resume:
            state = seq.get_state()
            seq = make()
            seq.set_state(state)
    return chunks, lines, seq.counters


@settings(max_examples=150, deadline=None)
@given(raw=raw_streams(), cuts=st.lists(st.integers(0, 320), max_size=40), resume=st.booleans())
def test_rows_numbers_and_events_do_not_depend_on_cutting_or_stopping(
    raw: dict[str, Any], cuts: list[int], resume: bool
) -> None:
    whole, whole_lines, whole_counts = run(raw, [])
    parts, part_lines, part_counts = run(raw, cuts, resume)
    expected, actual = joined(whole), joined(parts)
    for name in ("index", "data", "timestamps", "valid"):
        assert expected[name].tobytes() == actual[name].tobytes(), name
    assert whole_lines == part_lines
    assert whole_counts == part_counts


@settings(max_examples=60, deadline=None)
@given(raw=raw_streams())
def test_books_balance_and_indices_rise(raw: dict[str, Any]) -> None:
    chunks, _, counts = run(raw, [100, 200])
    index = joined(chunks)["index"]
    assert np.all(np.diff(index) >= 1)
    assert index[-1] + 1 == counts["received"] + counts["filled"] + counts["jumped"]
    assert counts["received"] + counts["duplicates"] == len(raw["stamps"])
    assert len(index) == counts["received"] + counts["filled"]


@settings(max_examples=40, deadline=None)
@given(lost=st.sets(st.integers(1, 298), max_size=60), timing=st.sampled_from(["regular", "counter"]))
def test_exact_rules_find_exactly_the_lost_samples(lost: set[int], timing: str) -> None:
    kept = np.array([i for i in range(300) if i not in lost])
    seq = sequencer(timing=timing)
    numbers = kept.astype(np.int64) if timing == "counter" else None
    stamps = np.arange(300, dtype=np.float64)[kept] / SFREQ
    out = joined(seq.push(numbered(300)[kept], stamps, numbers))
    np.testing.assert_array_equal(out["index"], np.arange(300))
    np.testing.assert_array_equal(np.flatnonzero(~out["valid"]), sorted(lost))
    np.testing.assert_array_equal(out["data"][kept, 0], kept)


# --- errors


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"position must be >= 0, got -1"):
        sequencer(position=-1)
    seq = sequencer(timing="counter")
    with pytest.raises(ValueError, match=r"data must have shape \(3, 2\), got \(3, 1\)"):
        seq.push(numbered(3, 1), np.arange(3.0))
    with pytest.raises(ValueError, match=r"sample_numbers must be given with timing 'counter', got None"):
        seq.push(numbered(3), np.arange(3.0))
    with pytest.raises(ValueError, match=r"sample_numbers must have shape \(3,\), got \(2,\)"):
        seq.push(numbered(3), np.arange(3.0), np.arange(2))
    with pytest.raises(ValueError, match=r"valid must have shape \(3,\), got \(1,\)"):
        seq.push(numbered(3), np.arange(3.0), np.arange(3), np.ones(1, bool))
    with pytest.raises(ValueError, match=r"floats must have shape"):
        seq.set_state(sequencer(n_channels=5).get_state())


def test_faulty_call_changes_nothing() -> None:
    seq = sequencer(timing="counter")
    before = seq.get_state()
    with pytest.raises(ValueError, match="sample_numbers must have shape"):
        seq.push(numbered(3), np.arange(3.0), np.arange(2))
    for name, array in seq.get_state().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("lost", "seen"), [(130, True), (60, False)])
def test_a_loss_is_seen_as_soon_as_half_a_second_was_regular(lost: int, seen: bool) -> None:
    stamps = np.delete(np.arange(1000) / 250.0, slice(lost, lost + 3))
    seq = sequencer()
    seq.push(np.zeros((len(stamps), 2)), stamps)
    assert seq.mode == "regular"
    assert [event.values["first_missing"] for event in seq.take_events()] == ([lost] if seen else [])
