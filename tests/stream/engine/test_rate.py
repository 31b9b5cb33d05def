"""The effective rate against the nominal one: said once per episode, at a sample number that chunking cannot move."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.engine.sequencer import Sequencer


def sequencer(sfreq: float = 250.0, **options: Any) -> Sequencer:
    return Sequencer(TimingSettings(**options), StreamInfo("s", "EEG", "", sfreq, ("c",), ("EEG",), ("uV",)))


def told(stamps: FloatArray, cuts: Sequence[int] = (), sfreq: float = 250.0, **options: Any) -> list[tuple[int, float]]:
    seq = sequencer(sfreq, **options)
    for a, b in itertools.pairwise([0, *cuts, len(stamps)]):
        seq.push(np.zeros((b - a, 1)), stamps[a:b])
    events = [event for event in seq.take_events() if event.values.get("what") == "rate"]
    assert all(event.type == "stream" and event.values["nominal_sfreq"] == sfreq for event in events)
    assert all(event.time == stamps[event.sample] for event in events if seq.counters["filled"] == 0)
    return [(event.sample, event.values["effective_sfreq"]) for event in events]


def packets(sfreq: float, n_samples: int, size: int = 10, jitter_s: float = 0.03, seed: int = 5) -> FloatArray:
    """Stamps of arrival: a packet's samples come together, the packets late by up to the jitter."""
    arrival = np.repeat(np.arange(n_samples // size) * size / sfreq, size)
    return 50.0 + arrival + np.repeat(np.random.default_rng(seed).uniform(0, jitter_s, n_samples // size), size)


def test_186_instead_of_250_hz_is_said_once() -> None:
    ((sample, rate),) = told(packets(186.0, 60 * 186 // 10 * 10))
    assert sample == 5000  # four blocks of 1250 samples, the first of which begins with sample 0
    assert rate == pytest.approx(186.0, rel=0.003)


@pytest.mark.parametrize("share", [0.975, 1.025])
def test_a_rate_beyond_the_tolerance_is_said(share: float) -> None:
    ((_, rate),) = told(packets(250.0 * share, 15000))
    assert rate == pytest.approx(250.0 * share, rel=0.002)
    assert told(packets(250.0 * share, 15000), rate_tolerance=0.03) == []


@pytest.mark.parametrize("share", [0.985, 1.0, 1.015])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rate_within_the_tolerance_is_not_said(share: float, seed: int) -> None:
    assert told(packets(250.0 * share, 30000, jitter_s=0.1, seed=seed)) == []


def test_a_stall_that_is_caught_up_is_not_said() -> None:
    stamps = packets(250.0, 30000)
    late = (stamps > 90.0) & (stamps < 94.0)
    stamps[late] = 94.0
    assert told(stamps, gap_tolerance_s=5.0) == []


def test_a_rate_that_changes_is_said_again_after_it_was_right() -> None:
    pieces = [packets(rate, 10000) - 50.0 for rate in (250.0, 186.0, 250.0, 300.0)]
    begins = np.cumsum([0.0] + [piece[-1] + 0.05 for piece in pieces[:-1]])
    stamps = np.concatenate([piece + begin for piece, begin in zip(pieces, begins, strict=True)])
    (slow, fast) = told(stamps)
    assert 10000 + 5000 <= slow[0] < 20000
    # right after the change the stamps look like losses, which are counted for a while
    assert slow[1] == pytest.approx(186.0, rel=0.05)
    assert 30000 + 5000 <= fast[0] < 40000
    assert fast[1] == pytest.approx(300.0, rel=0.02)


def test_a_clock_step_begins_the_estimate_anew() -> None:
    stamps = packets(186.0, 12000)
    stamps[4000:] -= 1000.0
    assert [sample for sample, _ in told(stamps)] == [4000 + 5000]


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 12000), max_size=10).map(sorted))
def test_when_it_is_said_does_not_depend_on_chunking(cuts: list[int]) -> None:
    stamps = packets(186.0, 12000)
    assert told(stamps, cuts) == told(stamps)


def test_it_can_be_resumed_at_any_sample() -> None:
    stamps = packets(186.0, 12000)
    for cut in (1, 1249, 1250, 4999, 5000, 5001):
        first, second = sequencer(), sequencer()
        first.push(np.zeros((cut, 1)), stamps[:cut])
        second.set_state(first.get_state())
        second.push(np.zeros((12000 - cut, 1)), stamps[cut:])
        found = [*first.take_events(), *second.take_events()]
        assert [(e.sample, e.values["effective_sfreq"]) for e in found if e.type == "stream"] == told(stamps)


def test_an_irregular_stream_has_no_rate_to_miss() -> None:
    assert told(packets(186.0, 12000), sfreq=0.0) == []


def test_losses_that_are_counted_do_not_slow_the_rate() -> None:
    keep = np.arange(30000) % 100 < 90
    stamps = (50.0 + np.arange(30000) / 250.0)[keep]
    seq = sequencer(timing="regular")
    seq.push(np.zeros((len(stamps), 1)), stamps)
    assert {event.type for event in seq.take_events()} == {"gap"}
