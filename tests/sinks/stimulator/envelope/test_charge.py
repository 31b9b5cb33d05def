"""Charge, density, k and the rest, against the table that was computed by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.envelope.charge import (
    exact,
    on_grid,
    quantities,
    shannon_k,
    train_charge_uc,
)
from neuroloop.sinks.stimulator.records import Train

LOW, MEDIUM, HIGH = (
    Train(20.0, 2.5, 200.0, "biphasic"),
    Train(50.0, 3.5, 300.0, "biphasic"),
    Train(100.0, 5.0, 500.0, "biphasic"),
)


@pytest.mark.parametrize(
    ("train", "charge", "density", "k", "mean_ua", "rms_ma", "energy_uj", "total_mc", "duration_s"),
    [
        (LOW, 0.50, 8.3, 0.62, 10, 0.22, 0.63, 18, 1800),
        (MEDIUM, 1.05, 17.5, 1.26, 52.5, 0.61, 1.84, 142, 2700),
        (HIGH, 2.50, 41.7, 2.02, 250, 1.58, 6.25, 900, 3600),
    ],
)
def test_the_three_rows_have_the_numbers_of_the_table(
    train: Train,
    charge: float,
    density: float,
    k: float,
    mean_ua: float,
    rms_ma: float,
    energy_uj: float,
    total_mc: float,
    duration_s: float,
) -> None:
    found = quantities(train, area_cm2=0.06, load_ohm=500.0, imbalance=0.0)
    assert found.charge_per_phase_uc == exact(charge)
    assert float(found.charge_density_uc_cm2 or 0) == pytest.approx(density, abs=0.05)
    assert found.reported_k == pytest.approx(k, abs=0.005)
    assert float(found.mean_phase_ua) == mean_ua
    assert found.rms_ma == pytest.approx(rms_ma, abs=0.006)
    assert float(found.pulse_energy_mj or 0) * 1000 == pytest.approx(energy_uj, abs=0.006)
    assert float(found.rate_uc_s) * duration_s / 1000 == pytest.approx(total_mc, abs=0.5)
    assert found.net_dc_ua == 0


@pytest.mark.parametrize(("train", "net"), [(LOW, 10), (MEDIUM, 52.5), (HIGH, 250)])
def test_one_sign_alone_is_a_direct_current(train: Train, net: float) -> None:
    alone = Train(train.frequency_hz, train.amplitude_ma, train.pulse_width_us, "monophasic")
    assert float(quantities(alone, area_cm2=0.06, load_ohm=500.0, imbalance=0.0).net_dc_ua) == net


@given(charge=st.floats(1e-4, 1e3), area=st.floats(1e-5, 1e3))
def test_k_is_the_logarithm_to_the_last_digit(charge: float, area: float) -> None:
    # libm may be wrong in the last place, so the twin decides to 12 digits only
    assert float(shannon_k(exact(charge), exact(area))) == pytest.approx(math.log10(charge * charge / area), abs=1e-12)


def test_k_on_a_limit_is_on_it_and_not_above() -> None:
    assert shannon_k(Fraction(1), Fraction(1, 10)) == 1


def test_a_sine_and_a_direct_current_have_what_they_have() -> None:
    sine = quantities(Train(10.0, 2.0, 0.0, "sine"), area_cm2=25.0, load_ohm=500.0, imbalance=0.0)
    assert float(sine.charge_per_phase_uc or 0) == pytest.approx(2000 / math.pi / 10)
    assert sine.rms_ma == pytest.approx(2 / math.sqrt(2))
    direct = quantities(Train(0.0, 2.0, 0.0, "direct"), area_cm2=25.0, load_ohm=500.0, imbalance=0.0)
    assert direct.charge_per_phase_uc is None
    assert direct.k is None
    assert direct.rate_uc_s == 2000
    assert direct.net_dc_ua == 2000
    assert direct.current_density_ma_cm2 == Fraction(2, 25)


@pytest.mark.parametrize(
    ("value", "step", "left"),
    [(2.5, 0.01, 2.5), (0.3, 0.1, 0.3), (2.519, 0.01, 2.51), (0.009, 0.01, 0.0), (2.5, 0.0, 2.5), (1.0, 0.3, 0.9)],
)
def test_a_value_off_the_grid_becomes_the_nearest_lower_step(value: float, step: float, left: float) -> None:
    assert on_grid(value, step) == left


@given(value=st.floats(0, 100), step=st.sampled_from([0.01, 0.012, 0.1, 0.3, 1.0]))
def test_the_grid_never_rounds_up(value: float, step: float) -> None:
    left = on_grid(value, step)
    assert left <= value
    assert value - left < step * (1 + 1e-9)
    assert on_grid(left, step) == left


@given(
    start=st.floats(0, 5),
    end=st.floats(0, 5),
    seconds=st.floats(0.001, 2),
    phase=st.floats(0, 1),
    hz=st.sampled_from([0.5, 3.0, 20.0, 130.0]),
)
def test_no_pulse_train_delivers_more_than_is_counted(
    start: float, end: float, seconds: float, phase: float, hz: float
) -> None:
    train = Train(hz, 5.0, 200.0, "biphasic")
    times = [(n + phase) / hz for n in range(int(seconds * hz) + 2) if (n + phase) / hz <= seconds]
    given_uc = math.fsum((start + (end - start) * t / seconds) * 0.2 for t in times)
    assert given_uc <= train_charge_uc(train, start, end, seconds) * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize(
    ("train", "imbalance", "net_ua"),
    [
        (Train(100.0, 1.0, 1000.0, "biphasic"), 0.01, 1.0),  # 1 uC, 100 times a second: 100 uA, a hundredth stays
        (Train(50.0, 2.0, 200.0, "biphasic"), 0.005, 0.1),
        (Train(10.0, 2.0, 0.0, "sine"), 0.01, 6.36619772),  # 2 mA / pi, whatever the frequency
        (Train(50.0, 2.0, 200.0, "monophasic"), 0.01, 20.0),
        (Train(0.0, 2.0, 0.0, "direct"), 0.01, 2000.0),
    ],
)
def test_what_the_second_phase_leaves_is_net_current(train: Train, imbalance: float, net_ua: float) -> None:
    found = quantities(train, area_cm2=0.06, load_ohm=500.0, imbalance=imbalance)
    assert float(found.net_dc_ua) == pytest.approx(net_ua, rel=1e-8)
