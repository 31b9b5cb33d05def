"""A dose does not outlast its state for longer than a look, whatever its own artefact makes of the decisions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from neuroloop.sinks.stimulator.gate.episode import is_blind, look_warnings
from tests.sinks.stimulator.checker import doses
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of

LOOK_S, WINDOW_S = 5.0, 1.0
GATE = {
    "hold_off_s": 0.5,
    "refractory_s": 0.5,
    "blanking_s": 0.2,
    "ramp_s": 0.5,
    "lockout_s": 3600.0,
    "look_every_s": LOOK_S,
}


def rig_of(one: Any = None, *, gate: dict[str, Any] | None = None, **values: Any) -> Rig:
    """Return an armed rig whose decisions look back a second and come four times a second."""
    made = settings((one or row("alpha", duration_s=60.0),), gate={**GATE, **(gate or {})})
    rig = Rig(setup_of(made, window_s=WINDOW_S, **{"decision_s": 0.25, **values}))
    rig.arm()
    return rig


def live(rig: Rig, seconds: float, *, label: str = "alpha", artefact: str | None = None) -> None:
    """Decide four times a second: for a label, or for the artefact while its window has output in it."""
    for _ in range(round(seconds * 4)):
        off_ns = 0 if not rig.intervals else max(one.off_ns for one in rig.intervals)
        sees_output = rig.model.is_on or rig.now_ns - off_ns < WINDOW_S * 1e9
        rig.decide(artefact if artefact is not None and sees_output else label)
        rig.move(0.25)


def lengths_s(rig: Rig) -> list[float]:
    """Return how long the device itself says that each output was on."""
    rig.move(0.02)
    return [(one[-1].off_ns - one[0].on_ns) * 1e-9 for one in doses(rig.intervals)]


def pauses_s(rig: Rig) -> list[float]:
    """Return how long the device was off between them."""
    found = doses(rig.intervals)
    return [(later[0].on_ns - one[-1].off_ns) * 1e-9 for one, later in pairwise(found)]


@pytest.mark.parametrize("pulse_blanking_s", [0.0, 0.002])
def test_a_classifier_that_takes_the_artefact_for_the_state_keeps_the_output_on_for_one_look(
    pulse_blanking_s: float,
) -> None:
    rig = rig_of(gate={"pulse_blanking_s": pulse_blanking_s})
    live(rig, 1.0)
    live(rig, 20.0, label="rest", artefact="alpha")
    assert len(lengths_s(rig)) == 1
    assert lengths_s(rig)[0] <= LOOK_S
    assert rig.steps().count("FAULT") == 0
    assert "look" in [one.values["reason"] for one in rig.all("transition")]


@pytest.mark.parametrize("blanking_s", [0.0, 0.2])
def test_behind_a_look_nothing_begins_before_a_whole_window_without_output_was_decided_on(blanking_s: float) -> None:
    rig = rig_of(gate={"blanking_s": blanking_s})
    live(rig, 14.0)
    assert len(lengths_s(rig)) >= 2
    assert all(length <= LOOK_S for length in lengths_s(rig))
    assert all(pause >= WINDOW_S + blanking_s + 0.25 for pause in pauses_s(rig))


def test_behind_an_ordinary_end_too_a_start_needs_a_window_without_output() -> None:
    rig = rig_of()
    live(rig, 2.5)
    rig.decide("rest")
    rig.decide("rest")
    live(rig, 5.0)
    assert len(lengths_s(rig)) == 2
    assert pauses_s(rig)[0] >= WINDOW_S + 0.2 + 0.25


def test_a_state_that_stays_gets_no_more_starts_than_an_episode_may_have() -> None:
    rig = rig_of(gate={"starts_per_episode": 3, "lockout_s": 0.0})
    live(rig, 60.0)
    assert len(lengths_s(rig)) == 3
    assert rig.refused()[-1] == ["starts_per_episode"]
    live(rig, 1.0, label="rest")
    live(rig, 4.0)
    assert len(lengths_s(rig)) == 4


def test_starts_that_are_used_up_lock_out_as_a_dose_that_was_given_in_full() -> None:
    rig = rig_of(gate={"starts_per_episode": 2})
    live(rig, 30.0)
    live(rig, 2.0, label="rest")
    live(rig, 10.0)
    assert len(lengths_s(rig)) == 2
    assert "lockout_left_s" in rig.refused()[-1]


def test_the_parts_of_a_dose_are_together_no_longer_than_the_dose_and_lock_out() -> None:
    rig = rig_of(row("alpha", duration_s=14.0))
    live(rig, 40.0)
    assert [round(length) for length in lengths_s(rig)] == [4, 4, 3]
    assert sum(lengths_s(rig)) <= 14.0
    assert "lockout_left_s" in rig.refused()[-1]


def test_a_dose_goes_on_with_what_is_left_of_it_when_its_state_comes_again() -> None:
    rig = rig_of(row("alpha", duration_s=9.0), gate={"look_every_s": 30.0})
    live(rig, 4.0)
    live(rig, 4.0, label="rest")
    live(rig, 20.0)
    assert len(lengths_s(rig)) == 2
    assert 6.0 < sum(lengths_s(rig)) <= 9.0
    assert "lockout_left_s" in rig.refused()[-1]


def test_during_a_dose_of_which_no_decision_can_be_clean_their_silence_is_none() -> None:
    rig = rig_of(gate={"pulse_blanking_s": 0.002})
    live(rig, 4.0)
    assert rig.at() == "STIMULATING"
    assert "decisions_lost" not in str([one.values for one in rig.all("note")])


def test_where_pulses_leave_some_decisions_clean_a_dose_ends_with_its_state() -> None:
    rig = rig_of(row("alpha", frequency_hz=0.5, duration_s=60.0), gate={"pulse_blanking_s": 0.2, "look_every_s": 30.0})
    live(rig, 8.0)
    assert rig.at() == "STIMULATING"
    left_ns = rig.now_ns
    live(rig, 4.0, label="rest")
    assert (rig.intervals[-1].off_ns - left_ns) * 1e-9 <= WINDOW_S + 0.2 + 0.25 + 0.5 + 0.2


def test_a_decision_whose_window_reaches_back_to_a_pulse_is_not_acted_upon() -> None:
    rig = rig_of(
        row("alpha", frequency_hz=0.5, duration_s=60.0),
        gate={"pulse_blanking_s": 0.2, "look_every_s": 30.0},
        decision_s=None,
    )
    live(rig, 2.0)
    begun = rig.intervals[0].on_ns
    pulse = begun + 4_000_000_000
    rig.move((pulse + 1_250_000_000 - rig.now_ns) * 1e-9)
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=pulse + 1_150_000_000)
    assert rig.at() == "STIMULATING"
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=pulse + 1_230_000_000)
    assert rig.at() == "RAMP_DOWN"


def test_a_look_that_is_too_short_for_the_ramps_starts_nothing() -> None:
    rig = rig_of(gate={"look_every_s": 2.0})
    live(rig, 3.0)
    assert lengths_s(rig) == []
    assert rig.refused()[-1] == ["look_every_s"]


def test_whoever_writes_the_table_is_told_what_looks_mean_for_a_row() -> None:
    gate = settings(gate={**GATE, "pulse_blanking_s": 0.002}).gate
    told = look_warnings(row(), gate, ramp_s=0.5, window_s=WINDOW_S)
    assert told == [
        "given in parts: off for a look after 5 s of output, at most 5 times, 25 of 60 s, while the state lasts",
        "no decision during its dose can be free of its pulses (window 1 s): it cannot end with its state, only by a "
        "look, after 5 s",
    ]
    short = look_warnings(row(duration_s=4.0, frequency_hz=0.5), gate, ramp_s=2.0, window_s=None)
    assert short == ["gate.look_every_s must be at least 5.4 for its ramps, got 5: refused"]


def test_direct_current_leaves_no_decision_clean_and_harmless_pulses_all() -> None:
    gate = settings(gate={"pulse_blanking_s": 0.001}).gate
    direct = row(frequency_hz=0.0, pulse_width_us=0.0, waveform="direct")
    assert is_blind(direct, gate, 0.0)
    assert is_blind(row(), gate, 0.5)
    assert not is_blind(row(frequency_hz=1.0), gate, 0.5)
    assert not is_blind(direct, settings().gate, 0.5)
