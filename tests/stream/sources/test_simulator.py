from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.sources import oscillation
from neuroloop.stream.sources.simulator import STATES, Simulator


def simulator(t0: float = 0.0, **values: Any) -> Simulator:
    return Simulator(SimulatorSettings(**values), t0)


def labels(sim: Simulator, n_samples: int) -> list[str]:
    return [sim.state_at(i) for i in range(n_samples)]


def density(data: FloatArray, sfreq: float = 250.0) -> tuple[FloatArray, FloatArray]:
    freqs, power = welch(data, sfreq, nperseg=1000, axis=0)
    return freqs, power


@pytest.fixture(scope="module")
def five_minutes() -> tuple[Simulator, FloatArray, FloatArray]:
    sim = simulator(seed=1, n_channels=19, block_s=15.0)
    return sim, sim.generate(0, 75000)[0], np.array(labels(sim, 75000))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**70),
    start=st.integers(0, 20000) | st.integers(0, 10**9),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    sfreq=st.sampled_from([1.0, 100.0, 250.0, 1000.0, 333.3]),
)
def test_signal_does_not_depend_on_how_it_is_read(seed: int, start: int, cuts: list[int], sfreq: float) -> None:
    make = {"seed": seed, "n_channels": 3, "sfreq": sfreq, "block_s": 1e6 if start > 20000 else 2.0}
    whole, stamps = simulator(**make).generate(start, 2000)
    other = simulator(**make)
    edges = [0, *sorted(cuts), 2000]
    parts = [other.generate(start + a, b - a) for a, b in itertools.pairwise(edges)]
    assert np.concatenate([part[0] for part in parts]).tobytes() == whole.tobytes()
    assert np.concatenate([part[1] for part in parts]).tobytes() == stamps.tobytes()
    assert np.isfinite(whole).all()


def test_signal_is_the_same_on_every_machine() -> None:
    data, _ = simulator(seed=7, n_channels=20, block_s=3.0).generate(1000, 5000)
    assert hashlib.sha256(data.tobytes()).hexdigest()[:16] == "68e8bab22135dbad"


def test_reading_backwards_gives_the_same_samples() -> None:
    sim = simulator(seed=5, block_s=2.0)
    late = sim.generate(5000, 100)[0]
    early = sim.generate(0, 100)[0]
    fresh = simulator(seed=5, block_s=2.0)
    np.testing.assert_array_equal(fresh.generate(0, 100)[0], early)
    np.testing.assert_array_equal(fresh.generate(5000, 100)[0], late)


def test_seeds_differ() -> None:
    one, other = (simulator(seed=seed).generate(0, 5000)[0] for seed in (1, 2))
    assert abs(np.corrcoef(one[:, 2], other[:, 2])[0, 1]) < 0.3


def test_stamps_start_at_t0() -> None:
    _, stamps = simulator(t0=100.0).generate(500, 3)
    np.testing.assert_array_equal(stamps, [102.0, 100.0 + 501 / 250, 100.0 + 502 / 250])


def test_info_names_the_montage_and_the_seed() -> None:
    info = simulator(seed=42, n_channels=21, sfreq=500.0).info
    assert (info.name, info.type, info.sfreq) == ("simulator", "EEG", 500.0)
    assert "42" in info.source_id
    assert info.ch_names[:4] == ("Fp1", "Fp2", "F3", "F4")
    assert info.ch_names[18:] == ("Pz", "EEG20", "EEG21")
    assert set(info.ch_units) == {"uV"}
    assert set(info.ch_types) == {"EEG"}


def test_background_falls_by_a_power_law(five_minutes: tuple[Simulator, FloatArray, FloatArray]) -> None:
    _, data, states = five_minutes
    freqs, power = density(data[states == "rest"])
    fitted = ((freqs >= 1) & (freqs <= 7)) | ((freqs >= 14) & (freqs <= 40))
    slope = np.polyfit(np.log(freqs[fitted]), np.log(power[fitted][:, 4]), 1)[0]
    assert -2.5 < slope < -1.0
    assert power[freqs == 110.0, 4] > 2e-3


def test_alpha_is_a_peak_at_the_back_of_the_head(five_minutes: tuple[Simulator, FloatArray, FloatArray]) -> None:
    sim, data, states = five_minutes
    back, front = sim.info.ch_names.index("O1"), sim.info.ch_names.index("Fp1")
    freqs, power = density(data[states == "alpha"])
    inside = (freqs >= 9) & (freqs <= 11)
    around = ((freqs >= 6) & (freqs < 8)) | ((freqs > 12.5) & (freqs <= 15))
    assert power[inside, back].mean() > 30 * power[around, back].mean()
    assert power[inside, back].mean() > 10 * power[inside, front].mean()
    _, rest = density(data[states == "rest"])
    assert power[inside, back].mean() > 4 * rest[inside, back].mean()


def test_seizure_is_a_large_rhythm_near_three_hertz(five_minutes: tuple[Simulator, FloatArray, FloatArray]) -> None:
    _, data, states = five_minutes
    freqs, power = density(data[states == "seizure"])
    peak = freqs[np.argmax(np.where(freqs > 1, power[:, 4], 0))]
    assert 2.2 <= peak <= 3.5
    assert data[states == "seizure"].std() > 2 * data[states == "rest"].std()


@pytest.mark.parametrize(("line_hz", "present"), [(50.0, True), (60.0, True), (0.0, False)])
def test_line_noise_is_where_it_was_asked_for(line_hz: float, present: bool) -> None:
    data, _ = simulator(seed=2, n_channels=1, line_hz=line_hz).generate(0, 20000)
    freqs, power = density(data)
    for hz in (50.0, 60.0):
        beside = power[np.abs(freqs - hz - 3) < 1].mean()
        assert (power[freqs == hz, 0] > 20 * beside) == (present and hz == line_hz)


def test_blinks_are_frontal_and_listed() -> None:
    sim = simulator(seed=1, n_channels=10, block_s=1e6)
    data, _ = sim.generate(0, 75000)
    blinks = sim.blinks(0, 75000)
    assert 30 <= len(blinks) <= 75
    assert {blink.label for blink in blinks} == {"blink"}
    starts = [round(blink.time * 250) for blink in blinks if 0.5 < blink.time < 299]
    rises = np.array([data[i + 10 : i + 35].mean(axis=0) - data[i - 25 : i].mean(axis=0) for i in starts])
    rise = rises.mean(axis=0)
    names = sim.info.ch_names
    assert rise[names.index("Fp1")] > 50
    assert abs(rise[names.index("O1")]) < 5
    assert sim.blinks(0, 40000) + sim.blinks(40000, 35000) == blinks


def test_markers_tell_the_state_of_every_sample() -> None:
    sim = simulator(seed=3, block_s=4.0, t0=10.0)
    markers = sim.markers(0, 50000)
    assert markers[0].time == 10.0
    assert markers[0].label == "rest"
    assert {marker.label for marker in markers} == set(STATES)
    assert all(a.label != b.label for a, b in itertools.pairwise(markers))
    starts = [round((marker.time - 10.0) * 250) for marker in markers]
    truth = np.repeat([marker.label for marker in markers], np.diff([*starts, 50000]))
    assert list(truth) == labels(sim, 50000)
    lengths = np.diff(starts) / 250
    assert 2.0 <= lengths.min() < lengths.max() <= 6.0
    assert lengths.mean() == pytest.approx(4.0, rel=0.15)


def test_markers_of_neighbouring_stretches_add_up() -> None:
    sim = simulator(seed=3, block_s=0.5)
    edges = [0, 1, 130, 131, 1000, 4000]
    parts = [m for a, b in itertools.pairwise(edges) for m in sim.markers(a, b - a)]
    assert parts == simulator(seed=3, block_s=0.5).markers(0, 4000)


def test_signal_enters_and_leaves_a_state_without_a_jump() -> None:
    sim = simulator(seed=1, n_channels=4, sfreq=2000.0, block_s=5.0, line_hz=0.0)
    data, _ = sim.generate(0, 400_000)
    steps = np.abs(np.diff(data, axis=0))
    changes = [round(marker.time * 2000) for marker in sim.markers(1, 399_000)]
    ramps = [i + 1000 for i in changes if i < 398_000]
    assert steps[[i - 1 for i in changes + ramps]].max() < 10


def test_stream_ends_after_its_duration() -> None:
    sim = simulator(duration_s=2.0)
    assert sim.n_samples == 500
    data, stamps = sim.generate(450, 100)
    assert (data.shape, stamps.shape) == ((50, 8), (50,))
    assert sim.generate(500, 10)[0].shape == (0, 8)
    whole, _ = sim.generate(0, 1000)
    assert whole.shape == (500, 8)
    assert sim.markers(0, 1000)[0].label == "rest"
    np.testing.assert_array_equal(whole[450:], data)


def test_empty_stretch_is_empty() -> None:
    sim = simulator()
    data, stamps = sim.generate(10, 0)
    assert (data.shape, stamps.shape) == ((0, 8), (0,))
    assert sim.markers(0, 0) == []
    assert sim.blinks(0, 0) == []


def test_background_spectrum_does_not_depend_on_the_rate() -> None:
    slow, fast = (simulator(seed=4, n_channels=2, sfreq=sfreq, line_hz=0.0) for sfreq in (250.0, 1000.0))
    a, b = slow.generate(0, 2500)[0], fast.generate(0, 10000)[0][::4]
    # the slow noises are the same functions of time; only the fastest knots and the sensor noise differ
    assert np.corrcoef(a[:, 0], b[:, 0])[0, 1] > 0.98


def test_random_numbers_are_uniform_and_unrelated() -> None:
    draws = np.array([[oscillation.draw(9, 1, i, j) for j in range(2)] for i in range(4000)])
    assert 0 <= draws.min() < draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.var() == pytest.approx(1 / 12, rel=0.05)
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.05
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.05


def test_white_noise_has_its_scale() -> None:
    out = np.zeros((20000, 2))
    oscillation.add_white(1, 5, 0, 2.0, out)
    assert out.std() == pytest.approx(2.0, rel=0.02)
    assert out.mean() == pytest.approx(0.0, abs=0.05)
    assert abs(np.corrcoef(out[:, 0], out[:, 1])[0, 1]) < 0.03


def test_wrong_arguments_are_named() -> None:
    sim = simulator()
    with pytest.raises(ValueError, match=r"start must be >= 0, got -1"):
        sim.generate(-1, 5)
    with pytest.raises(ValueError, match=r"n must be >= 0, got -5"):
        sim.markers(1, -5)
    with pytest.raises(ValueError, match=r"sample must be >= 0, got -1"):
        sim.state_at(-1)
