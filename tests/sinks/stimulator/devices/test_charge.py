import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.devices.charge import charge_per_phase_uc, delivered_uc, lease_uc
from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.records import Train
from tests.sinks.stimulator.devices.leases import PULSES, make_lease, slow_charge_uc

TRAINS = st.one_of(
    st.builds(
        Train,
        st.integers(1, 2500).map(lambda tenths: tenths / 10),
        st.integers(0, 1000).map(lambda steps: steps / 100),
        st.integers(1, 1000).map(float),
        st.sampled_from(["biphasic", "monophasic"]),
    ),
    st.builds(Train, st.integers(1, 1000).map(lambda tenths: tenths / 10), st.floats(0, 10), st.just(0.0),
              st.just("sine")),
    st.builds(Train, st.just(0.0), st.floats(0, 10), st.just(0.0), st.just("direct")),
)  # fmt: skip
CYCLES = st.floats(0, 1, exclude_max=True)


@settings(max_examples=150, deadline=None)
@given(TRAINS, st.floats(0, 10), st.floats(1e-4, 2), CYCLES)
def test_charge_equals_the_sum_over_phases(train: Train, from_ma: float, duration_s: float, first_cycle: float) -> None:
    slope = (train.amplitude_ma - from_ma) / duration_s
    fast = delivered_uc(train, from_ma=from_ma, slope_ma_s=slope, duration_s=duration_s, first_cycle=first_cycle)
    slow = slow_charge_uc(train, from_ma, train.amplitude_ma, duration_s, first_cycle)
    # Simpson with 64 steps a half wave errs by 1e-7, and phases that begin at the very end by rounding
    assert fast == pytest.approx(slow, rel=1e-6, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(TRAINS, st.floats(0, 10), st.floats(1e-3, 2), st.floats(0, 1), CYCLES)
def test_two_parts_deliver_what_the_whole_does(
    train: Train, from_ma: float, duration_s: float, part: float, first_cycle: float
) -> None:
    slope = (train.amplitude_ma - from_ma) / duration_s
    values: dict[str, Any] = {"slope_ma_s": slope}
    whole = delivered_uc(train, from_ma=from_ma, duration_s=duration_s, first_cycle=first_cycle, **values)
    first_s = part * duration_s
    middle = (first_cycle + train.frequency_hz * first_s) % 1.0
    first = delivered_uc(train, from_ma=from_ma, duration_s=first_s, first_cycle=first_cycle, **values)
    second = delivered_uc(
        train, from_ma=from_ma + slope * first_s, duration_s=duration_s - first_s, first_cycle=middle, **values
    )
    assert first + second == pytest.approx(whole, rel=1e-9, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(TRAINS, st.floats(0, 10), st.floats(1e-3, 2), CYCLES)
def test_charge_is_never_more_than_the_gate_accounts_for(
    train: Train, from_ma: float, duration_s: float, first_cycle: float
) -> None:
    slope = (train.amplitude_ma - from_ma) / duration_s
    charge = delivered_uc(train, from_ma=from_ma, slope_ma_s=slope, duration_s=duration_s, first_cycle=first_cycle)
    assert charge <= train_charge_uc(train, from_ma, train.amplitude_ma, duration_s) * (1 + 1e-9) + 1e-9


def test_ten_pulses_deliver_ten_times_the_charge_of_one() -> None:
    assert charge_per_phase_uc(PULSES, 2.5) == pytest.approx(0.5)
    assert lease_uc(make_lease()) == pytest.approx(5.0)


def test_a_ramp_from_nothing_delivers_by_the_pulses_that_fall_into_it() -> None:
    # pulses at 0, 50, ..., 250 ms of 300 ms: 200 us times the amplitudes 0, 1/6, ..., 5/6, each rising within the pulse
    within = 6 * 0.5 * 200e-6 * 2.5 / 0.3 * 200 / 1e3
    assert lease_uc(make_lease(slew_ma_s=2.5 / 0.3, duration_s=0.3)) == pytest.approx(200 / 1e3 * 2.5 * 2.5 + within)


def test_direct_current_delivers_current_times_time() -> None:
    train = Train(0.0, 2.0, 0.0, "direct")
    assert lease_uc(make_lease(train=train, duration_s=0.5)) == pytest.approx(1000.0)
    assert charge_per_phase_uc(train, 2.0) == 0.0


def test_a_sine_delivers_its_positive_half_waves() -> None:
    train = Train(10.0, 1.0, 0.0, "sine")
    assert charge_per_phase_uc(train, 1.0) == pytest.approx(1e3 / (math.pi * 10))
    assert lease_uc(make_lease(train=train, duration_s=0.5)) == pytest.approx(5e3 / (math.pi * 10))
