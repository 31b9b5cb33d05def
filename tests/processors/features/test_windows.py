from __future__ import annotations

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import LogVarianceSettings, WindowSettings
from neuroloop.processors.features.logvar import LogVariance
from neuroloop.processors.features.window import Window
from neuroloop.processors.stages.window_grid import WindowGrid
from tests.processors import naive

RNG = np.random.default_rng(4)
CASES = [(1, 1), (5, 1), (5, 5), (6, 2), (7, 3), (3, 8), (12, 5)]


def cutter(window: int, hop: int, n: int = 2) -> Window:
    return Window(WindowSettings(kind="window", window_samples=window, hop_samples=hop), naive.stream_info(n))


@pytest.mark.parametrize(("window", "hop"), CASES)
@pytest.mark.parametrize("start", [0, 1, 4, 1003])
def test_windows_lie_on_the_grid_of_the_global_index(window: int, hop: int, start: int) -> None:
    x = RNG.standard_normal((40, 2))
    first, cut = naive.windows(x, start, window, hop)
    stage = cutter(window, hop)
    out = stage.process(naive.as_chunk(x, stage.info_in, start))
    assert out.first_sample == first
    np.testing.assert_array_equal(out.data, np.array([rows.ravel() for rows in cut]).reshape(-1, 2 * window))
    newest = [stage.newest_input(k) for k in range(first, first + len(cut))]
    np.testing.assert_array_equal(out.timestamps, 10.0 + np.array(newest) / 100.0)


def test_columns_are_named_time_major() -> None:
    info = cutter(2, 1).info_out
    assert info.ch_names == ("t0:c0", "t0:c1", "t1:c0", "t1:c1")
    assert info.ch_units == ("uV",) * 4


def test_the_output_rate_is_the_input_rate_over_the_hop() -> None:
    assert cutter(4, 8).info_out.sfreq == 12.5


def test_seconds_become_samples_by_round() -> None:
    settings = WindowSettings(kind="window", window_s=0.57, hop_s=0.07)
    assert WindowGrid.from_settings(settings, 256.0) == WindowGrid(146, 18)


@pytest.mark.parametrize(
    ("window_s", "hop_s", "message"),
    [
        (0.001, 0.5, r"^window_s must be at least one sample at sfreq=100, got 0\.001$"),
        (0.5, 0.004, r"^hop_s must be at least one sample at sfreq=100, got 0\.004$"),
    ],
)
def test_a_length_of_no_samples_is_refused(window_s: float, hop_s: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Window(WindowSettings(kind="window", window_s=window_s, hop_s=hop_s), naive.stream_info(1))


def test_seconds_mean_nothing_for_an_irregular_stream() -> None:
    with pytest.raises(ConfigError, match=r"^window_s must be given in samples for an irregular stream, got 1\.0$"):
        Window(WindowSettings(kind="window", window_s=1, hop_s=1), naive.stream_info(1, sfreq=0.0))


def test_an_empty_result_carries_the_number_of_the_next_row() -> None:
    stage = cutter(6, 2)
    info = stage.info_in
    assert stage.process(naive.as_chunk(np.zeros((0, 2)), info, 9)).first_sample == 5
    assert stage.process(naive.as_chunk(np.zeros((4, 2)), info, 9)).first_sample == 5  # rows 9-12, window 5 is 10-15
    assert stage.process(naive.as_chunk(np.zeros((0, 2)), info, 13)).first_sample == 5
    out = stage.process(naive.as_chunk(np.zeros((3, 2)), info, 13))
    assert (out.first_sample, len(out)) == (5, 1)
    assert stage.process(naive.as_chunk(np.zeros((1, 2)), info, 16)).first_sample == 6


def test_delay_is_half_the_span_of_a_window() -> None:
    assert cutter(12, 5).delay_s == 0.055


@pytest.mark.parametrize(("window", "hop"), [case for case in CASES if case[0] > 1])
def test_log_variance_is_that_of_numpy(window: int, hop: int) -> None:
    x = RNG.standard_normal((60, 9)) * 30 + 1000
    settings = LogVarianceSettings(kind="logvar", window_samples=window, hop_samples=hop)
    stage = LogVariance(settings, naive.stream_info(9))
    first, cut = naive.windows(x, 13, window, hop)
    out = stage.process(naive.as_chunk(x, stage.info_in, 13))
    assert out.first_sample == first
    np.testing.assert_allclose(out.data, [np.log(np.var(rows, axis=0)) for rows in cut], rtol=0, atol=1e-9)
    assert out.info.ch_units == ("log(uV^2)",) * 9


def test_log_variance_of_a_flat_channel_is_that_of_the_smallest_normal_number() -> None:
    stage = LogVariance(LogVarianceSettings(kind="logvar", window_samples=4, hop_samples=4), naive.stream_info(1))
    out = stage.process(naive.as_chunk(np.full((4, 1), 3.0), stage.info_in))
    assert out.data[0, 0] == pytest.approx(np.log(np.finfo(np.float64).tiny), abs=1e-12)
