from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import BandPowerSettings
from neuroloop.processors.features.bandpower import BandPower
from neuroloop.stream.contracts.chunks import FloatArray
from tests.processors import naive

BANDS = {"delta": (0.0, 4.0), "alpha": (8.0, 13.0), "high": (30.0, 50.0), "alpha_again": (9.0, 12.0)}
RNG = np.random.default_rng(5)


def periodogram_powers(rows: FloatArray, sfreq: float, bands: dict[str, tuple[float, float]]) -> FloatArray:
    """Return channel-major powers by scipy."""
    frequencies, density = signal.periodogram(rows, sfreq, window="hann", detrend=False, scaling="density", axis=0)
    powers = [density[(low <= frequencies) & (frequencies < high)].sum(axis=0) for low, high in bands.values()]
    return np.ravel(np.array(powers).T * sfreq / len(rows))


def made(window: int, hop: int, n: int = 3, sfreq: float = 100.0, *, log: bool = False) -> BandPower:
    settings = BandPowerSettings(kind="bandpower", window_samples=window, hop_samples=hop, bands=BANDS, log=log)
    return BandPower(settings, naive.stream_info(n, sfreq))


@pytest.mark.parametrize(
    ("window", "hop"),
    [
        (100, 10),
        (100, 100),
        (100, 50),
        (100, 4),
        (100, 5),
        (64, 8),
        (99, 33),
        (255, 17),
        (100, 1),
        (100, 7),
        (99, 10),
        (50, 80),
    ],
)
@pytest.mark.parametrize("n_channels", [1, 3, 17])
def test_power_is_that_of_the_periodogram(window: int, hop: int, n_channels: int) -> None:
    stage = made(window, hop, n_channels)
    start = 23
    x = RNG.standard_normal((3 * window + 2 * hop, n_channels)) * 20 + 5
    first, cut = naive.windows(x, start, window, hop)
    out = stage.process(naive.as_chunk(x, stage.info_in, start))
    assert out.first_sample == first
    # rounding of the sums is relative to the window's whole power, of which every band here holds some percent
    np.testing.assert_allclose(out.data, [periodogram_powers(rows, 100.0, BANDS) for rows in cut], rtol=1e-10)


@pytest.mark.parametrize(
    ("window", "bands"), [(1, {"all": (0.0, 50.0)}), (2, {"all": (0.0, 50.0)}), (3, {"all": (0.0, 50.0)})]
)
def test_the_shortest_windows_follow_the_periodogram_too(window: int, bands: dict[str, tuple[float, float]]) -> None:
    settings = BandPowerSettings(kind="bandpower", window_samples=window, hop_samples=1, bands=bands)
    stage = BandPower(settings, naive.stream_info(2))
    x = RNG.standard_normal((10, 2)) + 3
    _, cut = naive.windows(x, 0, window, 1)
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_allclose(out.data, [periodogram_powers(rows, 100.0, bands) for rows in cut], rtol=1e-12)


@pytest.mark.parametrize("hop", [10, 7])
def test_log_is_that_of_the_power(hop: int) -> None:
    x = RNG.standard_normal((300, 3))
    power, logged = made(100, hop), made(100, hop, log=True)
    chunk = naive.as_chunk(x, power.info_in)
    np.testing.assert_allclose(logged.process(chunk).data, np.log(power.process(chunk).data), rtol=0, atol=1e-12)


def test_log_of_silence_is_finite() -> None:
    stage = made(100, 10, log=True)
    out = stage.process(naive.as_chunk(np.zeros((100, 3)), stage.info_in))
    np.testing.assert_allclose(out.data, np.log(np.finfo(np.float64).tiny), rtol=0, atol=1e-12)


def test_a_sine_in_a_band_gives_half_its_squared_amplitude() -> None:
    stage = made(100, 10, 1)
    x = 6.0 * np.sin(2 * np.pi * 10.0 * np.arange(200) / 100.0)[:, np.newaxis]
    out = stage.process(naive.as_chunk(x, stage.info_in))
    np.testing.assert_allclose(out.data[:, 1], 18.0, rtol=1e-12)


@pytest.mark.parametrize("hop", [10, 7])
def test_a_bad_burst_leaves_no_trace_after_its_windows(hop: int) -> None:
    x = RNG.standard_normal((600, 3))
    spoiled = x.copy()
    spoiled[200:210] = 1e90
    spoiled[215] = np.nan
    clean = made(100, hop).process(naive.as_chunk(x, naive.stream_info(3)))
    stage = made(100, hop)
    out = stage.process(naive.as_chunk(spoiled, stage.info_in))
    after = np.array([k * hop > 215 for k in range(len(out))])
    assert out.data[after].tobytes() == clean.data[after].tobytes()
    assert np.isfinite(out.data).all()


def test_names_are_channel_major_and_units_are_squared() -> None:
    info = made(100, 10, 2).info_out
    assert info.ch_names[:4] == ("c0:delta", "c0:alpha", "c0:high", "c0:alpha_again")
    assert info.ch_names[4] == "c1:delta"
    assert set(info.ch_units) == {"uV^2"}
    assert set(made(100, 10, 2, log=True).info_out.ch_units) == {"log(uV^2)"}
    assert info.sfreq == 10.0


@pytest.mark.parametrize(
    ("band", "sfreq", "message"),
    [
        ((30.0, 60.0), 100.0, r"^bands\.odd must end at or below sfreq/2=50\.0, got \[30\.0, 60\.0\]$"),
        (
            (10.2, 10.8),
            100.0,
            r"^bands\.odd must hold at least one bin of 1 Hz \(window_samples=100, sfreq=100\), got \[10\.2, 10\.8\]",
        ),
        ((1.0, 2.0), 0.0, r"^sfreq must be above 0 for band power, got 0\.0$"),
    ],
)
def test_an_impossible_band_names_its_field(band: tuple[float, float], sfreq: float, message: str) -> None:
    settings = BandPowerSettings(kind="bandpower", window_samples=100, hop_samples=10, bands={"odd": band})
    with pytest.raises(ConfigError, match=message):
        BandPower(settings, naive.stream_info(1, sfreq))
