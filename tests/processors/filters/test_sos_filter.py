from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import BandpassDesign, FilterSettings, HighpassDesign, LowpassDesign, NotchDesign
from neuroloop.processors.filters.sos_filter import SosFilter
from neuroloop.stream.contracts.chunks import FloatArray
from tests.processors import naive

NOTCH = NotchDesign(freq_hz=50, q=30)
BAND = BandpassDesign(low_hz=1, high_hz=40, order=4)
MONITOR = FilterSettings(kind="filter", designs=(NOTCH, BAND))


def made(
    *designs: NotchDesign | BandpassDesign | LowpassDesign | HighpassDesign, n: int = 3, sfreq: float = 1000.0
) -> SosFilter:
    return SosFilter(FilterSettings(kind="filter", designs=designs), naive.stream_info(n, sfreq))


def noise(n_samples: int, n_channels: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n_samples, n_channels)) * 40.0 + 15.0


def test_monitor_filter_is_scipys_primed_from_the_first_sample() -> None:
    stage = SosFilter(MONITOR, naive.stream_info(5, 1000.0))
    x = noise(6000, 5)
    b, a = signal.iirnotch(50, 30, fs=1000)
    sos = np.concatenate([[[*b, *a]], signal.butter(4, [1, 40], "bandpass", fs=1000, output="sos")])
    expected, _ = signal.sosfilt(sos, x, axis=0, zi=signal.sosfilt_zi(sos)[:, :, np.newaxis] * x[0])
    got = stage.process(naive.as_chunk(x, stage.info_in)).data
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(x).max())


@pytest.mark.parametrize(
    "design",
    [LowpassDesign(freq_hz=30, order=5), HighpassDesign(freq_hz=2, order=3), BandpassDesign(low_hz=8, high_hz=12)],
)
def test_every_design_filters_as_scipy(design: LowpassDesign | HighpassDesign | BandpassDesign) -> None:
    stage = made(design, sfreq=250.0)
    x = noise(1500, 3)
    edges = [design.low_hz, design.high_hz] if isinstance(design, BandpassDesign) else design.freq_hz
    sos = signal.butter(design.order, edges, design.kind, fs=250, output="sos")
    expected, _ = signal.sosfilt(sos, x, axis=0, zi=signal.sosfilt_zi(sos)[:, :, np.newaxis] * x[0])
    got = stage.process(naive.as_chunk(x, stage.info_in)).data
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(x).max())


def test_vector_lanes_equal_the_plain_loop_for_every_channel_count() -> None:
    x = noise(40, 70)
    for n_channels in range(1, 71):
        stage = SosFilter(MONITOR, naive.stream_info(n_channels, 1000.0))
        arrays = stage.plan_arrays()
        got = stage.process(naive.as_chunk(x[:, :n_channels], stage.info_in)).data
        expected = naive.sections(x[:, :n_channels], arrays["sos"], arrays["zi"])
        assert got.tobytes() == expected.tobytes(), n_channels


@pytest.mark.parametrize("n_sections", range(1, 25))
def test_any_number_of_sections_equals_the_plain_loop(n_sections: int) -> None:
    designs = [LowpassDesign(freq_hz=30 + 5 * i, order=2) for i in range(n_sections)]
    stage = made(*designs, n=11, sfreq=500.0)
    assert stage.n_sections == n_sections
    x = noise(50, 11, seed=n_sections)
    arrays = stage.plan_arrays()
    got = stage.process(naive.as_chunk(x, stage.info_in)).data
    assert got.tobytes() == naive.sections(x, arrays["sos"], arrays["zi"]).tobytes()


def test_a_filter_whose_designs_are_all_left_out_passes_the_signal() -> None:
    stage = made(NotchDesign(freq_hz=50, when="sfreq > 2.2 * f0"), sfreq=100.0)
    assert stage.n_sections == 0
    assert stage.left_out == ("notch 50 Hz: sfreq=100 fails sfreq > 2.2 * f0",)
    assert stage.delay_s == 0.0
    chunk = naive.as_chunk(noise(20, 3), stage.info_in)
    out = stage.process(chunk)
    naive.assert_same(out, chunk)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=8),
    seed=st.integers(0, 2**32 - 1),
    bad=st.sets(st.tuples(st.integers(0, 299), st.integers(0, 9)), max_size=4),
    lost=st.sets(st.integers(0, 299), max_size=3),
)
def test_fused_filters_equal_one_after_the_other(
    cuts: list[int], seed: int, bad: set[tuple[int, int]], lost: set[int]
) -> None:
    info = naive.stream_info(10, 1000.0)
    quick = (LowpassDesign(freq_hz=200), HighpassDesign(freq_hz=100, order=3))
    first, second = made(NotchDesign(freq_hz=50, q=0.5), quick[0], n=10), made(quick[1], n=10)
    fused = SosFilter.fused(made(NotchDesign(freq_hz=50, q=0.5), quick[0], n=10), made(quick[1], n=10))
    x = noise(300, 10, seed)
    for place in bad:
        x[place] = np.nan
    valid = np.ones(300, np.bool_)
    valid[list(lost)] = False
    chunk = naive.as_chunk(x, info, 7, valid)
    expected = second.process(first.process(chunk))
    naive.assert_same(naive.run(fused, chunk, cuts), expected)
    assert fused.warmup_samples == first.warmup_samples + second.warmup_samples
    assert fused.delay_s == pytest.approx(first.delay_s + second.delay_s, abs=1e-9)
    assert fused.name == second.name


def test_filters_of_different_streams_cannot_be_fused() -> None:
    with pytest.raises(ValueError, match="second must take the output of 'filter', got StreamInfo"):
        SosFilter.fused(made(NOTCH, n=3), made(BAND, n=4))


def test_bad_values_are_held_and_flagged_for_the_settle_time() -> None:
    stage = made(HighpassDesign(freq_hz=100, order=2), n=2)
    x = noise(200, 2)
    x[90, 1] = np.nan
    x[91:93] = np.inf
    x[120, 0] = -2e100
    out = stage.process(naive.as_chunk(x, stage.info_in, 1000))
    clean = x.copy()
    clean[120, 0] = np.nan
    arrays = stage.plan_arrays()
    assert out.data.tobytes() == naive.sections(naive.held(clean), arrays["sos"], arrays["zi"]).tobytes()
    w = stage.warmup_samples
    expected = np.ones(200, np.bool_)
    expected[:w] = expected[90 : 93 + w] = expected[120 : 121 + w] = False
    np.testing.assert_array_equal(out.valid, expected)


def test_an_offset_gives_no_step_at_the_start() -> None:
    stage = made(BAND, n=1)
    out = stage.process(naive.as_chunk(np.full((500, 1), 1e5), stage.info_in))
    assert np.abs(out.data).max() < 1e-5


def test_rows_that_are_not_contiguous_give_the_same_result() -> None:
    x = noise(60, 4)
    info = naive.stream_info(4, 1000.0)
    chunk = naive.as_chunk(x, info)
    transposed = type(chunk)(np.asfortranarray(x), chunk.timestamps, 0, chunk.valid, info)
    naive.assert_same(made(NOTCH, n=4).process(transposed), made(NOTCH, n=4).process(chunk))


def test_a_band_edge_beyond_nyquist_is_refused_by_the_constructor() -> None:
    with pytest.raises(ConfigError, match=r"^designs\.1\.high_hz must be below sfreq/2=50\.0, got 60\.0$"):
        made(NotchDesign(freq_hz=20), BandpassDesign(low_hz=1, high_hz=60), sfreq=100.0)


def test_state_has_the_shape_that_scipy_uses() -> None:
    stage = made(BAND, n=3)
    assert stage.get_state()["zi"].shape == (4, 2, 3)
