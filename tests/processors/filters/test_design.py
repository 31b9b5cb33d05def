from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import BandpassDesign, FilterDesign, HighpassDesign, LowpassDesign, NotchDesign
from neuroloop.processors.filters.design import design_cascade, group_delay_samples, periodic_hann, rate_allows

RATES = (160.0, 250.0, 512.0, 1000.0, 2000.0)


def scipy_sos(design: FilterDesign, sfreq: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(design, NotchDesign):
        b, a = signal.iirnotch(design.freq_hz, design.q, fs=sfreq)
        return np.concatenate([b, a])[np.newaxis]
    edges: Any = [design.low_hz, design.high_hz] if isinstance(design, BandpassDesign) else design.freq_hz
    return np.asarray(signal.butter(design.order, edges, design.kind, fs=sfreq, output="sos"))


@pytest.mark.parametrize("sfreq", RATES)
@pytest.mark.parametrize(
    "design",
    [
        *(BandpassDesign(low_hz=1, high_hz=40, order=order) for order in range(1, 6)),
        BandpassDesign(low_hz=0.5, high_hz=70, order=3),
        BandpassDesign(low_hz=8, high_hz=12, order=12),
        *(LowpassDesign(freq_hz=30, order=order) for order in (1, 2, 3, 4, 8)),
        *(HighpassDesign(freq_hz=2, order=order) for order in (1, 2, 3, 4)),
        NotchDesign(freq_hz=50, q=30),
        NotchDesign(freq_hz=60, q=2),
    ],
    ids=str,
)
def test_response_is_that_of_scipy(design: FilterDesign, sfreq: float) -> None:
    frequencies = np.linspace(0.0, 0.499 * sfreq, 500)
    _, ours = signal.freqz_sos(design_cascade([design], sfreq).sos, frequencies, fs=sfreq)
    _, theirs = signal.freqz_sos(scipy_sos(design, sfreq), frequencies, fs=sfreq)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)  # relative to the pass band's gain of 1


def test_unit_states_are_those_of_scipy_for_each_section() -> None:
    cascade = design_cascade([BandpassDesign(low_hz=1, high_hz=40), LowpassDesign(freq_hz=60, order=3)], 500.0)
    for section, zi in zip(cascade.sos, cascade.zi, strict=True):
        # lfilter_zi wants no trailing zeros: a first-order section has one state
        order = 2 if section[5] else 1
        expected = signal.lfilter_zi(section[: order + 1], section[3 : 4 + order])
        np.testing.assert_allclose(zi[:order], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 8, 250, 1001])
def test_hann_window_is_scipys_periodic_one(n_samples: int) -> None:
    np.testing.assert_allclose(periodic_hann(n_samples), signal.get_window("hann", n_samples), rtol=0, atol=1e-15)


def test_settle_time_is_when_the_slowest_pole_has_decayed_to_one_percent() -> None:
    designs: list[FilterDesign] = [NotchDesign(freq_hz=50, q=30), BandpassDesign(low_hz=1, high_hz=40)]
    expected = 0
    for design in designs:
        radius = max(np.abs(np.roots(section[3:])).max() for section in scipy_sos(design, 1000.0))
        expected += int(np.ceil(np.log(0.01) / np.log(radius)))
    assert design_cascade(designs, 1000.0).settle_samples == expected


def test_delay_is_the_group_delay_at_the_geometric_centre_of_the_pass_band() -> None:
    designs: list[FilterDesign] = [NotchDesign(freq_hz=50, q=30), BandpassDesign(low_hz=1, high_hz=40)]
    cascade = design_cascade(designs, 1000.0)
    expected = 0.0
    for section in cascade.sos:
        _, delay = signal.group_delay((section[:3], section[3:]), w=[np.sqrt(40.0)], fs=1000.0)
        expected += float(delay[0])
    assert cascade.delay_s == pytest.approx(expected / 1000.0, abs=1e-9)
    assert cascade.delay_s == round(cascade.delay_s, 9)


@pytest.mark.parametrize(
    ("design", "at_hz"),
    [
        (LowpassDesign(freq_hz=30), 15.0),
        (HighpassDesign(freq_hz=2), np.sqrt(2 * 250.0)),
        (NotchDesign(freq_hz=50), 25.0),
    ],
)
def test_delay_of_other_designs_is_stated_at_the_documented_frequency(design: FilterDesign, at_hz: float) -> None:
    cascade = design_cascade([design], 500.0)
    sections = [(s[0], s[1], s[2], s[4], s[5]) for s in cascade.sos.tolist()]
    assert cascade.delay_s == pytest.approx(group_delay_samples(sections, float(at_hz), 500.0) / 500.0, abs=1e-9)


def test_harmonics_below_the_limit_are_designed_and_the_others_reported() -> None:
    cascade = design_cascade([NotchDesign(freq_hz=50, q=30, harmonics=4)], 400.0)
    assert len(cascade.sos) == 3
    assert cascade.left_out == ("notch 200 Hz: sfreq=400 fails 200 < 0.45 * sfreq",)
    _, response = signal.freqz_sos(cascade.sos, [50.0, 100.0, 150.0], fs=400.0)
    np.testing.assert_allclose(np.abs(response), 0.0, atol=1e-12)


def test_a_design_that_the_rate_forbids_is_left_out_and_reported() -> None:
    designs: list[FilterDesign] = [
        NotchDesign(freq_hz=50, when="sfreq > 2.2 * f0"),
        BandpassDesign(low_hz=1, high_hz=40),
    ]
    cascade = design_cascade(designs, 100.0)
    assert len(cascade.sos) == 4
    assert cascade.left_out == ("notch 50 Hz: sfreq=100 fails sfreq > 2.2 * f0",)
    assert design_cascade(designs, 250.0).left_out == ()


@pytest.mark.parametrize(
    ("when", "sfreq", "expected"),
    [
        (None, 10.0, True),
        ("sfreq >= 200", 200.0, True),
        ("sfreq > 200", 200.0, False),
        ("sfreq <= 2 * 100", 200.0, True),
        ("sfreq < 4*f0", 200.0, False),
        ("sfreq < 4.1*f0", 200.0, True),
    ],
)
def test_when_expressions_compare_the_rate(when: str | None, sfreq: float, expected: bool) -> None:
    assert rate_allows(when, sfreq, 50.0, "designs.0") is expected


def test_a_when_expression_with_a_broken_number_names_its_field() -> None:
    with pytest.raises(ConfigError, match=r"designs\.1\.when must be like 'sfreq > 2\.2 \* f0', got 'sfreq > 1\.2\.3'"):
        rate_allows("sfreq > 1.2.3", 100.0, 50.0, "designs.1")


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (BandpassDesign(low_hz=1, high_hz=60), r"^designs\.0\.high_hz must be below sfreq/2=50\.0, got 60\.0$"),
        (BandpassDesign(low_hz=1, high_hz=50), r"^designs\.0\.high_hz must be below sfreq/2=50\.0, got 50\.0$"),
        (LowpassDesign(freq_hz=51), r"^designs\.0\.freq_hz must be below sfreq/2=50\.0, got 51\.0$"),
        (HighpassDesign(freq_hz=50), r"^designs\.0\.freq_hz must be below sfreq/2=50\.0, got 50\.0$"),
        (NotchDesign(freq_hz=40, q=0.5), r"^designs\.0\.q must be above 0\.8 \(twice freq_hz/sfreq\), got 0\.5$"),
        (
            HighpassDesign(freq_hz=1e-12),
            r"^designs\.0\.freq_hz must be such that the filter is stable in float64, got 1e-12$",
        ),
    ],
)
def test_a_design_that_cannot_work_names_its_field(design: FilterDesign, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        design_cascade([design], 100.0)


def test_an_irregular_stream_has_no_filter() -> None:
    with pytest.raises(ConfigError, match=r"sfreq must be above 0 for a filter, got 0\.0"):
        design_cascade([LowpassDesign(freq_hz=10)], 0.0)


def test_designed_arrays_are_the_ones_every_machine_must_give() -> None:
    # recorded once: workers compare hashes of these arrays
    cascade = design_cascade([NotchDesign(freq_hz=50, q=30), BandpassDesign(low_hz=1, high_hz=40)], 1000.0)
    assert [value.hex() for value in cascade.sos[1].tolist()] == [
        "0x1.35b7abccdd393p-1",
        "0x0.0p+0",
        "-0x1.35b7abccdd393p-1",
        "0x1.0000000000000p+0",
        "-0x1.981a9b3d91929p+0",
        "0x1.486fef3a7bbe2p-1",
    ]
