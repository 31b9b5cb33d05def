"""The quality of a stream: exact counts for faults that are known, and which unit an amplitude looks like."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StreamInfo, make_chunk
from neuroloop.stream.quality.histogram import Histogram
from neuroloop.stream.quality.quality import QualityMeter

SFREQ = 100.0
N_ROWS = 3000


def info(n_channels: int = 3, kind: str = "EEG", unit: str = "uV", sfreq: float = SFREQ) -> StreamInfo:
    names = tuple(f"c{i}" for i in range(n_channels))
    return StreamInfo("amp", kind, "", sfreq, names, (kind,) * n_channels, (unit,) * n_channels)


def noise(n_rows: int = N_ROWS, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n_rows, 3)) * 20.0


def regular(n_rows: int = N_ROWS) -> FloatArray:
    return 10.0 + np.arange(n_rows) / SFREQ


def measured(
    x: FloatArray,
    stamps: FloatArray | None = None,
    cuts: Sequence[int] = (),
    valid: BoolArray | None = None,
    first: int = 0,
    **options: Any,
) -> dict[str, Any]:
    stamps = regular(len(x)) if stamps is None else stamps
    flags = np.asarray(np.isfinite(x).all(axis=1)) if valid is None else valid
    meter = QualityMeter(info(x.shape[1], **options))
    for a, b in itertools.pairwise([0, *cuts, len(x)]):
        meter.add(
            make_chunk(x[a:b].copy(), stamps[a:b].copy(), first + a, flags[a:b].copy(), info(x.shape[1], **options))
        )
    return meter.report()


def test_a_good_stream_has_no_warnings_and_its_figures_are_numpys() -> None:
    x = noise() + 5.0
    report = measured(x)
    assert report["warnings"] == []
    for c, channel in enumerate(report["channels"]):
        seconds = x[:, c].reshape(30, 100)
        assert (channel["min"], channel["max"], channel["finite"]) == (x[:, c].min(), x[:, c].max(), N_ROWS)
        assert (channel["nan"], channel["inf"], channel["dc_shifts"], channel["seconds"]) == (0, 0, 0, 30)
        assert (channel["flat_share"], channel["railed_share"]) == (0.0, 0.0)
        assert channel["mean"] == pytest.approx(x[:, c].mean(), abs=1e-10)
        low, high = np.sort(np.ptp(seconds, axis=1))[[13, 16]]
        assert 0.98 * low <= channel["peak_to_peak_1s"] <= 1.02 * high
        low, high = np.sort(seconds.std(axis=1))[[13, 16]]
        assert 0.98 * low <= channel["std_1s"] <= 1.02 * high
    json.dumps(report, allow_nan=False)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=10).map(sorted), first=st.integers(0, 500))
def test_the_report_does_not_depend_on_chunking(cuts: list[int], first: int) -> None:
    x = noise()
    x[500:600, 1] = np.nan
    x[900:1400, 2] = 7.0
    stamps = regular() + np.random.default_rng(3).uniform(0, 0.004, N_ROWS)
    assert measured(x, stamps, cuts, first=first) == measured(x, stamps, first=first)


def test_values_that_are_not_finite_are_counted_apart() -> None:
    x = noise()
    x[100:130, 0] = np.nan
    x[200:202, 1] = [np.inf, -np.inf]
    report = measured(x)
    assert [(c["nan"], c["inf"], c["finite"]) for c in report["channels"]] == [
        (30, 0, 2970),
        (0, 2, 2998),
        (0, 0, 3000),
    ]
    assert [c["seconds"] for c in report["channels"]] == [29, 29, 30]
    assert report["warnings"] == ["channels c0, c1 hold values that are not finite"]


def test_a_channel_that_drops_out_is_flat_from_there_on() -> None:
    x = noise()
    x[950:, 1] = 0.0
    report = measured(x)
    assert [c["flat_share"] for c in report["channels"]] == [0.0, 20 / 30, 0.0]
    assert report["warnings"] == ["channels c1 are flat for at least half of the time"]


def test_a_clipped_channel_is_railed_and_a_flat_one_is_not() -> None:
    x = noise()
    x[1000:1020, 0] = 150.0
    x[2030:2050, 0] = 150.0
    x[2110:2114, 0] = 150.0  # four in a row are chance
    x[:, 1] = 3.0
    report = measured(x)
    assert [c["railed_share"] for c in report["channels"]] == [2 / 30, 0.0, 0.0]
    assert "channels c0 stay at the end of their range in more than 5 % of the seconds" in report["warnings"]


@pytest.mark.parametrize("at", [1000, 1050, 1099])
def test_a_shift_of_the_mean_is_counted_once(at: int) -> None:
    x = noise()
    x[at:, 2] += 900.0
    assert [c["dc_shifts"] for c in measured(x)["channels"]] == [0, 0, 1]


def test_a_drift_is_no_shift() -> None:
    x = noise() * 0.01 + np.arange(N_ROWS)[:, None] * 0.5
    assert [c["dc_shifts"] for c in measured(x)["channels"]] == [0, 0, 0]


def test_missing_rows_are_left_out() -> None:
    x = noise()
    x[1000:1100] = 1e6
    valid = np.ones(N_ROWS, np.bool_)
    valid[1000:1100] = False
    report = measured(x, valid=valid)
    assert [c["finite"] for c in report["channels"]] == [2900] * 3
    assert max(c["max"] for c in report["channels"]) < 200.0
    assert report["timing"]["effective_sfreq"] == pytest.approx(SFREQ, rel=1e-9)


def test_a_jump_of_the_numbering_leaves_the_seconds_around_it_out() -> None:
    meter, x = QualityMeter(info()), noise()
    for a, b, first in ((0, 1050, 0), (1050, 3000, 5050)):
        meter.add(
            make_chunk(
                x[a:b].copy(), 10 + np.arange(first, first + b - a) / SFREQ, first, np.ones(b - a, np.bool_), info()
            )
        )
    report = meter.report()
    assert [c["seconds"] for c in report["channels"]] == [10 + 19] * 3
    assert report["timing"]["effective_sfreq"] == pytest.approx(SFREQ, rel=1e-9)


def test_regular_stamps_have_no_jitter() -> None:
    timing = measured(noise())["timing"]
    assert timing["effective_sfreq"] == pytest.approx(SFREQ, rel=1e-9)
    assert timing["interval_ms"]["median"] == pytest.approx(10.0, rel=1e-3)
    assert timing["deviation_ms"]["max"] < 1e-6
    assert (timing["packets"], timing["repeated_stamps"], timing["backward_stamps"]) == (None, 0, 0)


def test_no_median_is_outside_the_values_it_is_of() -> None:
    x = np.tile(np.array([[-0.3], [0.3]]), (500, 1))  # the bucket of 0.6 has its middle above it
    stamps = np.arange(1000) / 128.0  # every step is 7.8125 ms, on the lower edge of its bucket
    report = measured(x, stamps, sfreq=128.0)
    interval, channel = report["timing"]["interval_ms"], report["channels"][0]
    assert interval["min"] == interval["median"] == interval["p99"] == interval["max"] == 7.8125
    assert channel["peak_to_peak_1s"] == channel["max"] - channel["min"]


def test_jitter_is_the_deviation_from_the_line() -> None:
    offset = np.random.default_rng(7).uniform(-2e-3, 2e-3, N_ROWS)
    timing = measured(noise(), regular() + offset)["timing"]
    assert timing["deviation_ms"]["median"] == pytest.approx(1.0, abs=0.1)
    assert timing["deviation_ms"]["p99"] == pytest.approx(1.98, abs=0.1)
    assert timing["deviation_ms"]["max"] < 2.4
    steps = np.diff(regular() + offset) * 1e3
    assert timing["interval_ms"]["min"] == pytest.approx(steps.min(), abs=1e-9)
    assert timing["interval_ms"]["max"] == pytest.approx(steps.max(), abs=1e-9)
    assert timing["interval_ms"]["p99"] == pytest.approx(np.quantile(steps, 0.99), rel=0.01)


def test_packets_repeated_and_backward_stamps_are_counted() -> None:
    stamps = np.repeat(10.0 + np.arange(300) * 0.1, 10)
    stamps[1505] -= 0.05
    timing = measured(noise(), stamps)["timing"]
    assert timing["packets"] == 300 + 2
    assert timing["samples_per_packet"] == pytest.approx(N_ROWS / 302)
    assert timing["largest_packet"] == 10
    assert timing["repeated_stamps"] == 3000 - 300 - 2
    assert timing["backward_stamps"] == 1


def test_a_rate_that_is_not_the_claimed_one_is_said() -> None:
    report = measured(noise(), 10.0 + np.arange(N_ROWS) / 74.4)
    assert report["timing"]["effective_sfreq"] == pytest.approx(74.4, rel=1e-9)
    assert report["warnings"] == ["the stamps say 74.4 Hz, the stream claims 100 Hz"]


def said(what: str, wanted: str, got: str, guess: str | None = None) -> str:
    sentence = f"{what} should have a standard deviation of {wanted} uV, got {got}"
    return sentence if guess is None else f"{sentence}; it looks like {guess}"


@pytest.mark.parametrize(
    ("kind", "unit", "scale", "warning"),
    [
        ("EEG", "uV", 1.0, None),
        ("EEG", "V", 1e-6, None),
        ("EEG", "mV", 1e-3, None),
        ("EEG", "uV", 1e-6, said("EEG in uV", "0.1 to 1000", "about 1e-5 uV", "V")),
        ("EEG", "V", 1.0, said("EEG in V", "0.1 to 1000", "about 1e+7 uV", "uV")),
        ("EEG", "uV", 1e9, said("EEG in uV", "0.1 to 1000", "about 1e+10 uV")),
        ("EEG", "", 1.0, "no unit is given, the amplitude looks like uV"),
        ("EEG", "", 1e-6, "no unit is given, the amplitude looks like V"),
        ("EEG", "count", 1e9, None),
        ("EMG", "mV", 1e-3, None),
        ("EMG", "V", 10.0, said("EMG in V", "0.1 to 10000", "about 1e+8 uV", "uV")),
        ("ECG", "mV", 0.02, None),
        ("ECG", "uV", 0.02, said("ECG in uV", "1 to 10000", "about 1e-1 uV", "mV")),
        ("PPG", "", 1e5, None),
        ("PPG", "mV", 1e5, said("PPG in mV", "1 to 5e+06", "about 1e+9 uV", "uV")),
        ("ACC", "g", 1e-9, None),
    ],
)
def test_amplitudes_tell_the_unit(kind: str, unit: str, scale: float, warning: str | None) -> None:
    expected = [] if warning is None else [f"channels c0, c1, c2: {warning}"]
    assert measured(noise() * scale, kind=kind, unit=unit)["warnings"] == expected


@pytest.mark.parametrize(
    ("unit", "mean", "warning"),
    [
        ("degC", 36.6, None),
        ("K", 309.0, None),
        ("degC", 309.0, "temperature in degC should be between 10 and 45; it looks like K"),
        ("degC", 97.9, "temperature in degC should be between 10 and 45; it looks like degF"),
        ("degF", 36.6, "temperature in degF should be between 50 and 113; it looks like degC"),
        ("degC", -200.0, "temperature in degC should be between 10 and 45"),
    ],
)
def test_temperatures_tell_the_unit(unit: str, mean: float, warning: str | None) -> None:
    expected = [] if warning is None else [f"channels c0, c1, c2: {warning}"]
    assert measured(noise() * 1e-3 + mean, kind="TEMP", unit=unit)["warnings"] == expected


def test_an_envelope_is_not_judged_as_a_signal() -> None:
    x = noise(300) * 1e-4
    assert measured(x, 10.0 + np.arange(300.0), kind="EMG", unit="uV", sfreq=1.0)["warnings"] == []


def test_channels_with_the_same_fault_share_a_sentence() -> None:
    x = noise()
    x[:, 1:] *= 1e-6
    (warning,) = measured(x)["warnings"]
    assert warning.startswith("channels c1, c2: EEG in uV")


def test_an_empty_stream_has_a_report() -> None:
    report = QualityMeter(info()).report()
    assert report["timing"]["effective_sfreq"] is None
    assert [c["mean"] for c in report["channels"]] == [None] * 3
    assert report["warnings"] == []


def test_a_stream_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sfreq must be above 0, got 0.0"):
        QualityMeter(info(sfreq=0.0))


@pytest.mark.parametrize(("bits", "share"), [(5, 2.0**-6), (10, 2.0**-11)])
def test_a_quantile_is_right_to_half_a_bucket(bits: int, share: float) -> None:
    histogram = Histogram(1, bits)
    values = np.exp(np.random.default_rng(5).uniform(-20, 20, 10001))
    histogram.add_column(values)
    for q in (0.01, 0.5, 0.99):
        exact = np.sort(values)[round(q * len(values)) - 1]
        assert histogram.quantile(0, q) == pytest.approx(exact, rel=share)
    assert histogram.count(0) == 10001


def test_zeros_and_huge_values_stay_within_the_histogram() -> None:
    histogram = Histogram(1, 5)
    histogram.add_column(np.array([0.0, 0.0, np.nan, 1e300]))
    assert histogram.quantile(0, 0.5) == 0.0
    assert histogram.count(0) == 3
