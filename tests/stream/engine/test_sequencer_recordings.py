"""Real stamps: what was lost and what was not is known from the files themselves."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyxdf

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.engine.sequencer import Sequencer

pytestmark = pytest.mark.shared


def load(path: Path, *, synchronize: bool = False, **match: Any) -> list[tuple[float, FloatArray]]:
    """Return rate and stamps of every regular stream with samples."""
    streams, _ = pyxdf.load_xdf(
        str(path), synchronize_clocks=synchronize, dejitter_timestamps=False, verbose=False, **match
    )
    found = [(float(s["info"]["nominal_srate"][0]), np.asarray(s["time_stamps"])) for s in streams]
    return [(sfreq, stamps) for sfreq, stamps in found if sfreq > 0 and len(stamps) > 0]


def number(sfreq: float, stamps: FloatArray, **timing: Any) -> Sequencer:
    """Push in chunks of 37, as a live loop might."""
    seq = Sequencer(TimingSettings(**timing), StreamInfo("s", "EEG", "", sfreq, ("c",), ("EEG",), ("uV",)))
    data = np.zeros((len(stamps), 1))
    for begin in range(0, len(stamps), 37):
        seq.push(data[begin : begin + 37], stamps[begin : begin + 37])
    return seq


def assert_nothing_lost(seq: Sequencer, n_samples: int) -> None:
    counts = seq.counters
    assert (counts["received"], counts["filled"], counts["jumped"], counts["duplicates"]) == (n_samples, 0, 0, 0)
    assert seq.next_sample == n_samples


@pytest.mark.parametrize(
    ("name", "n_samples", "n_backward"),
    [
        ("handTwo", 11890, 159),
        ("markersPlusEKG", 5620, 72),
        ("three_motion_one", 77200, 1449),
        ("three_motion_two", 53680, 1086),
        ("three_motion_three", 80450, 1405),
        ("three_motion_four", 77260, 1664),
        ("three_motion_personA", 85690, 2868),
    ],
)
def test_emg_over_radio_lost_nothing(shared_data: Path, name: str, n_samples: int, n_backward: int) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "openbci-emg" / f"{name}.xdf")
    assert len(stamps) == n_samples
    seq = number(sfreq, stamps)
    assert seq.mode == "bursty"
    assert_nothing_lost(seq, n_samples)
    assert seq.counters["backward"] == n_backward
    assert seq.effective_sfreq == pytest.approx(250.2, abs=0.15)


def test_naive_rule_would_invent_22268_samples(shared_data: Path) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "openbci-emg" / "three_motion_personA.xdf")
    steps = np.diff(stamps)
    assert np.sum(np.round(steps[steps > 1.5 / sfreq] * sfreq) - 1) == 22268


def test_six_packets_within_two_seconds_have_four_gaps_between_them(shared_data: Path) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "openbci-emg" / "handFour.xdf")
    assert len(stamps) == 60
    seq = number(sfreq, stamps)
    events = seq.take_events()
    # four of the five steps between packets are above the tolerance: 0.93, 0.28, 0.30, 0.55 s
    assert [event.type for event in events] == ["gap"] * 4
    assert events[0].values["missing"] == 231
    # the fifth, 0.12 s, stays unseen
    span = (stamps[-1] - stamps[0]) * sfreq + 1
    assert seq.next_sample == pytest.approx(span, abs=0.25 * sfreq)


def test_effective_rate_below_nominal_lost_nothing(shared_data: Path) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "openbci-1khz" / "test.xdf")
    seq = number(sfreq, stamps)
    assert seq.mode == "bursty"
    assert_nothing_lost(seq, 9520)
    assert seq.effective_sfreq == pytest.approx(998.4, abs=0.4)


@pytest.mark.parametrize("subject", ["P001", "P002", "P031", "P050"])
def test_muse_streams_of_three_rates_lost_nothing(shared_data: Path, subject: str) -> None:
    folder = shared_data / "xdf" / "muse-multistream"
    streams = load(folder / f"sub-{subject}_ses-S001_task-Default_run-001_eeg.xdf")
    assert {sfreq for sfreq, _ in streams} >= {52.0, 256.0}
    for sfreq, stamps in streams:
        seq = number(sfreq, stamps)
        assert seq.mode == ("bursty" if sfreq == 52.0 else "regular")
        assert_nothing_lost(seq, len(stamps))


@pytest.mark.parametrize(
    ("pattern", "mode", "goes_back"),
    [("*2017-09-*.csv.gz", "bursty", True), ("visual_P300*session3*11-14.4*.csv.gz", "regular", False)],
)
def test_muse_text_stamps_lost_nothing(shared_data: Path, pattern: str, mode: str, goes_back: bool) -> None:
    files = sorted((shared_data / "muse-erp").glob(pattern))
    assert files
    for path in files[:3]:
        with gzip.open(path, "rt") as lines:
            column = lines.readline().strip().split(",").index("timestamps")
            stamps = np.array([float(line.split(",")[column]) for line in lines])
        assert bool(np.diff(stamps).min() < 0) is goes_back
        seq = number(256.0, stamps)
        assert seq.mode == mode
        assert_nothing_lost(seq, len(stamps))


def test_clock_reset_in_raw_stamps_is_a_clock_step(shared_data: Path) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "reference" / "clock_resets.xdf")
    seq = number(sfreq, stamps)
    assert_nothing_lost(seq, 27815)
    rate, event = seq.take_events()
    assert (event.type, event.sample) == ("stream", 12876)
    assert event.values["what"] == "clock_step"
    assert event.values["step_s"] == pytest.approx(-653187.8948, abs=1e-4)
    # nominal 100 Hz, stamps say 93
    assert seq.effective_sfreq == pytest.approx(92.9, abs=0.5)
    assert (rate.sample, rate.values["what"], rate.values["nominal_sfreq"]) == (2000, "rate", 100.0)
    assert rate.values["effective_sfreq"] == pytest.approx(93.4, abs=0.1)


def test_clock_reset_in_synchronised_stamps_is_one_gap_that_is_jumped(shared_data: Path) -> None:
    ((sfreq, stamps),) = load(shared_data / "xdf" / "reference" / "clock_resets.xdf", synchronize=True)
    step = np.diff(stamps).max()
    assert step == pytest.approx(274, abs=1)
    seq = number(sfreq, stamps)
    rate, event = seq.take_events()
    assert rate.values["what"] == "rate"
    assert (event.type, event.values["filled"], event.values["first_missing"]) == ("gap", False, 12876)
    # 274 s at the effective rate, known to 1 %
    assert event.values["missing"] == pytest.approx(step * 93.24, rel=0.01)
    assert seq.counters["jumped"] == event.values["missing"]
    assert seq.counters["received"] == 27815
