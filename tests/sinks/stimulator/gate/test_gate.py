"""The gate rule by rule: what starts a dose, what refuses it, what ends it."""

from __future__ import annotations

from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import RecommendationSettings
from neuroloop.sinks.stimulator.gate.gate import Gate
from tests.sinks.stimulator.rig import EXAMPLE, Rig, line_of, row, settings, setup_of

ALPHA = row("alpha")
BETA = row("beta", frequency_hz=20.0)
QUICK = {"hold_off_s": 0.5, "dwell_s": 0.0, "refractory_s": 1.0, "blanking_s": 0.0, "ramp_s": 0.5, "lockout_s": 30.0}


def rig_of(*rows: RecommendationSettings, ledger: Any = None, decision_s: float | None = None, **values: Any) -> Rig:
    given = {**values, "gate": {**QUICK, **values.get("gate", {})}}
    return Rig(setup_of(settings(rows or (ALPHA, BETA), **given), ledger=ledger, decision_s=decision_s))


def started(*rows: RecommendationSettings, **values: Any) -> Rig:
    """Return a rig that stimulates for alpha at full amplitude."""
    rig = rig_of(*rows, **values)
    rig.arm()
    rig.stay("alpha", 3)
    assert rig.at() == "STIMULATING"
    return rig


def last_rules(rig: Rig) -> list[str]:
    return rig.refused()[-1]


# what starts


def test_nothing_leaves_before_it_is_armed() -> None:
    rig = rig_of()
    rig.move(3)
    rig.stay("alpha", 5)
    assert rig.at() == "DISARMED"
    assert not rig.intervals
    assert rig.refused() == [["armed"]]


def test_a_confirmed_state_goes_through_the_whole_machine() -> None:
    rig = started()
    rig.stay("rest", 4)
    assert rig.steps() == [
        "DISARMED",
        "ARMED",
        "RAMP_UP",
        "STIMULATING",
        "RAMP_DOWN",
        "LOCKOUT",
        "ARMED",
    ]
    assert rig.actions() == ["arm", "start", "stop"]
    assert rig.refused() == []


def test_a_start_carries_its_numbers_and_its_place() -> None:
    rig = started()
    start = next(one for one in rig.all("command") if one.values["action"] == "start")
    assert start.lease is not None
    assert start.lease.number == 1
    assert start.values["charge_per_phase_uc"] == 0.4
    assert start.values["shannon_k"] == 0.425969
    assert start.values["amplitude_ma"] == 2.0
    assert start.event == {
        "stream": "eeg",
        "sample": start.event["sample"],
        "k": 0,
        "time": start.event["sample"] / 250,
        "delay_s": 0.5,
    }


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_start_needs_as_many_decisions_in_a_row_as_asked(n: int) -> None:
    rig = rig_of(gate={"confirm_n": n})
    rig.arm()
    for done in range(1, n + 1):
        rig.decide("alpha")
        assert (rig.at() == "RAMP_UP") == (done == n)
        rig.move(0.2)


def test_another_class_or_too_little_confidence_begins_the_count_anew() -> None:
    rig = rig_of(gate={"confirm_n": 3})
    rig.arm()
    for label, confidence in (("alpha", 0.9), ("alpha", 0.9), ("alpha", 0.79), ("alpha", 0.9), ("alpha", 0.9)):
        rig.decide(label, confidence)
    assert rig.at() == "ARMED"
    rig.event("prediction", label="beta", confidence=0.9, valid=True)
    rig.decide("alpha")
    rig.decide("alpha")
    assert rig.at() == "ARMED"
    rig.decide("alpha")
    assert rig.at() == "RAMP_UP"


def test_too_little_confidence_is_refused_with_both_numbers() -> None:
    rig = rig_of()
    rig.arm()
    rig.stay("alpha", 2, confidence=0.7)
    assert rig.refused() == [["min_confidence"]]
    assert rig.all("refusal")[0].values["rules"] == [
        {"rule": "min_confidence", "value": 0.7, "limit": 0.8, "relation": "at least"}
    ]


def test_a_row_outside_the_envelope_is_refused_with_all_its_rules() -> None:
    rig = rig_of(*EXAMPLE)
    rig.arm(override=["high"])
    rig.stay("high", 2)
    assert rig.refused() == [["charge_density_uc_cm2", "shannon_k"]]
    assert "got 41.67" in rig.all("refusal")[0].values["reason"]
    assert "got 2.018" in rig.all("refusal")[0].values["reason"]


def test_a_row_that_needs_an_override_starts_only_where_it_was_named() -> None:
    named = row("alpha", requires_override=True)
    rig = rig_of(named)
    rig.arm()
    rig.stay("alpha", 2)
    assert rig.refused() == [["override"]]
    rig.operator("arm", override=["alpha"])
    rig.stay("alpha", 1)
    assert rig.at() in ("RAMP_UP", "STIMULATING")


def test_an_override_ends_with_the_arming() -> None:
    rig = rig_of(row("alpha", requires_override=True))
    rig.arm(override=["alpha"])
    rig.operator("disarm")
    rig.move(1)
    rig.operator("arm")
    rig.stay("alpha", 2)
    assert last_rules(rig) == ["override"]


def test_only_a_successor_may_follow() -> None:
    rig = started(row("alpha", successors=("beta",)), BETA, row("gamma"))
    rig.stay("rest", 3)
    rig.stay("gamma", 3)
    assert last_rules(rig) == ["successor"]
    rig.stay("beta", 3)
    assert rig.at() == "STIMULATING"


def test_what_an_earlier_run_gave_last_binds_the_first_start() -> None:
    rig = rig_of(row("alpha", successors=()), BETA, ledger={"day_charge_uc": 0.0, "last_state": "alpha"})
    rig.arm()
    rig.stay("beta", 2)
    assert rig.refused() == [["successor"]]


def test_another_state_must_have_lasted() -> None:
    rig = started(gate={"dwell_s": 6.0})
    rig.stay("beta", 5)
    assert last_rules(rig) == ["dwell_s"]
    rig.stay("beta", 2)
    assert rig.at() in ("RAMP_UP", "STIMULATING")


def test_nothing_starts_right_after_a_dose() -> None:
    rig = started(gate={"refractory_s": 4.0})
    rig.decide("rest")
    rig.move(1.0)
    rig.stay("alpha", 3)
    assert last_rules(rig) == ["refractory_left_s"]
    rig.stay("alpha", 2)
    assert rig.at() in ("RAMP_UP", "STIMULATING")


def test_a_dose_that_was_given_in_full_locks_out() -> None:
    rig = rig_of(row("alpha", duration_s=4.0))
    rig.arm()
    rig.stay("alpha", 10)
    doses = [one.values for one in rig.all("note") if one.values["what"] == "dose"]
    assert [one["is_full"] for one in doses] == [True]
    assert 3.2 <= doses[0]["on_s"] <= 4.0
    assert rig.at() == "LOCKOUT"
    assert "lockout_left_s" in last_rules(rig)
    rig.stay("alpha", 26)
    assert rig.actions().count("start") == 2


def test_a_lock_out_outlives_the_program() -> None:
    rig = rig_of(ledger={"day_charge_uc": 0.0, "lockout_left_s": 20.0})
    rig.arm()
    rig.stay("alpha", 2)
    assert rig.refused() == [["lockout_left_s"]]


def test_starts_per_hour_are_counted_over_restarts() -> None:
    rig = rig_of(limits={"max_starts_per_h": 3}, ledger={"day_charge_uc": 0.0, "start_ages_s": [10.0, 3000.0, 4000.0]})
    rig.arm()
    rig.stay("alpha", 2)
    rig.stay("rest", 3)
    rig.stay("alpha", 2)
    assert rig.actions().count("start") == 1
    assert last_rules(rig) == ["starts_per_h"]


def test_nothing_starts_in_the_hold_off() -> None:
    rig = rig_of(gate={"hold_off_s": 5.0})
    rig.move(2)
    rig.operator("arm")
    rig.stay("alpha", 2)
    assert rig.refused() == [["hold_off_s"]]
    rig.stay("alpha", 3)
    assert rig.at() != "ARMED"


def test_decisions_close_behind_a_change_of_the_output_are_not_acted_upon() -> None:
    rig = rig_of(gate={"blanking_s": 1.0})
    rig.arm()
    rig.stay("alpha", 1)
    assert rig.at() == "RAMP_UP"
    rig.decide("rest")
    assert rig.at() == "RAMP_UP"
    rig.move(3)
    rig.decide("rest")
    assert rig.at() == "RAMP_DOWN"


def test_a_decision_whose_sample_came_before_the_blanking_was_over_is_blanked_too() -> None:
    rig = rig_of(gate={"blanking_s": 1.0})
    rig.arm()
    rig.stay("alpha", 1)
    rig.move(0.5)
    dose = rig.gate.dose
    assert dose is not None
    assert dose.top_ns is not None
    rig.move((dose.top_ns + 1_100_000_000 - rig.now_ns) * 1e-9)
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=dose.top_ns + 900_000_000)
    assert rig.at() == "STIMULATING"
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=rig.now_ns)
    assert rig.at() == "RAMP_DOWN"


def test_decisions_behind_a_pulse_are_not_acted_upon() -> None:
    rig = started(row("alpha", frequency_hz=2.0), gate={"pulse_blanking_s": 0.2})
    dose = rig.gate.dose
    assert dose is not None
    begun = rig.intervals[0].on_ns
    pulse = begun + ((rig.now_ns - begun) // 500_000_000 + 1) * 500_000_000
    rig.move((pulse + 210_000_000 - rig.now_ns) * 1e-9)
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=pulse + 199_000_000)
    assert rig.at() == "STIMULATING"
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=pulse + 205_000_000)
    assert rig.at() == "RAMP_DOWN"


def test_a_reason_is_told_once_until_it_changes() -> None:
    rig = rig_of(gate={"hold_off_s": 4.0})
    rig.move(1)
    rig.operator("arm")
    for _ in range(8):
        rig.decide("alpha", 0.7)
        rig.move(0.25)
    assert rig.refused() == [["min_confidence", "hold_off_s"]]
    for _ in range(12):
        rig.decide("alpha", 0.7)
        rig.decide("alpha", 0.75)
        rig.move(0.25)
    assert rig.refused() == [["min_confidence", "hold_off_s"], ["min_confidence"]]


# what ends


@pytest.mark.parametrize(
    ("label", "confidence", "reason"), [("rest", 0.97, "state left"), ("alpha", 0.79, "confidence")]
)
def test_a_dose_ends_with_its_state_or_its_confidence(label: str, confidence: float, reason: str) -> None:
    rig = started()
    rig.decide(label, confidence)
    assert rig.at() == "RAMP_DOWN"
    assert rig.all("transition")[-1].values["reason"] == reason
    rig.move(1.0)
    assert not rig.model.is_on
    assert rig.intervals[-1].to_ma == pytest.approx(0.0, abs=1e-9)


def interlocked(rig: Rig, fault: str) -> None:
    """Let one thing go wrong."""
    if fault == "stale":
        rig.age_s = 0.3
    elif fault == "no_age":
        rig.age_s = None
    elif fault == "missing":
        rig.missing += 40
    elif fault == "nonfinite":
        rig.nonfinite += 1
    elif fault == "clock_steps":
        rig.clock_steps += 1
    elif fault == "wall":
        rig.wall_s -= 5.0
    elif fault == "down":
        rig.is_up = False
    elif fault == "dead":
        rig.is_alive = False
    elif fault in ("limits", "config"):
        rig.hashes[f"{fault}_sha256"] = "0" * 64
    elif fault == "progress":
        rig.is_moving = False
        rig.move(0.5)
    elif fault == "flagged":
        rig.decide("alpha", valid=False)
    elif fault == "nan":
        rig.decide("alpha", float("nan"))
    elif fault == "log":
        rig.put("log", {"what": "failed", "number": 3})
    elif fault == "malformed":
        rig.put("event", {"type": "prediction", "label": 3})
    else:
        event: dict[str, tuple[str, dict[str, Any]]] = {
            "gap": ("gap", {"missing": 2}),
            "skip": ("skip", {"n": 40}),
            "artifact": ("artifact", {"kind": "rail"}),
            "drift": ("drift", {"what": "onset", "monitor": "m", "hold": True}),
            "clock_step": ("stream", {"what": "clock_step", "step_s": -0.02}),
            "lost": ("stream", {"what": "lost"}),
            "found": ("stream", {"what": "found"}),
            "counter": ("stream", {"what": "counter_reset", "number": 1}),
        }
        rig.event(event[fault][0], **event[fault][1])
    rig.move(0.1)


SOFT = ["missing", "nonfinite", "flagged", "nan", "gap", "skip", "artifact", "drift"]
CUT = ["stale", "no_age"]
SOFT_DISARM = ["clock_steps", "wall", "clock_step", "found", "counter"]
CUT_DISARM = ["down", "progress", "lost"]
FAULTS = ["dead", "limits", "config", "log", "malformed"]


@pytest.mark.parametrize("fault", SOFT + SOFT_DISARM)
def test_doubt_ramps_down_within_the_soft_stop(fault: str) -> None:
    rig = started()
    since = rig.now_ns
    interlocked(rig, fault)
    assert rig.at() == "SAFE_STOP"
    rig.move(1.0)
    assert not rig.model.is_on
    last = rig.intervals[-1]
    assert (last.from_ma, last.ended_by) == (2.0, "lease_over")
    assert last.to_ma == pytest.approx(0.0, abs=1e-9)
    assert (last.off_ns - since) * 1e-9 <= 0.1 + 0.5 + 0.1
    assert (rig.at() == "DISARMED") == (fault in SOFT_DISARM)


@pytest.mark.parametrize("fault", CUT + CUT_DISARM + FAULTS)
def test_silence_and_faults_switch_off_at_once(fault: str) -> None:
    rig = started()
    interlocked(rig, fault)
    rig.move(0.01)
    assert not rig.model.is_on
    assert rig.intervals[-1].ended_by in ("stop", "disarm")
    expected = "FAULT" if fault in FAULTS else "DISARMED" if fault in CUT_DISARM else "LOCKOUT"
    assert rig.at() == expected


@pytest.mark.parametrize("fault", SOFT + CUT)
def test_what_passes_needs_no_new_arming_but_the_hold_off(fault: str) -> None:
    rig = started()
    interlocked(rig, fault)
    rig.age_s = 0.01
    rig.event("drift", what="end", monitor="m", hold=False)
    rig.decide("rest")
    rig.move(4.0)
    assert rig.at() == "ARMED"
    rig.stay("alpha", 2)
    assert rig.at() in ("RAMP_UP", "STIMULATING")


@pytest.mark.parametrize("fault", [one for one in SOFT + CUT if one not in ("no_age", "nan")])
def test_nothing_starts_while_in_doubt(fault: str) -> None:
    rig = rig_of(gate={"hold_off_s": 3.0, "missing_window_s": 3.0})
    rig.arm()
    rig.move(1.0)
    interlocked(rig, fault)
    rig.stay("alpha", 1)
    assert rig.at() == "ARMED"
    assert not rig.intervals
    assert "hold_off_s" in last_rules(rig)


def test_a_soft_stop_near_the_end_of_a_dose_does_not_make_it_longer() -> None:
    rig = rig_of(row("alpha", duration_s=6.0))
    rig.arm()
    rig.stay("alpha", 5.0)
    rig.move(0.5)
    assert rig.at() == "RAMP_DOWN"
    rig.event("gap", missing=2)
    rig.move(1.0)
    assert (rig.intervals[-1].off_ns - rig.intervals[0].on_ns) * 1e-9 <= 6.0


def test_a_small_clock_step_is_no_step() -> None:
    rig = started()
    rig.event("stream", what="clock_step", step_s=0.009)
    rig.clock_steps += 1
    rig.move(0.5)
    assert rig.at() == "STIMULATING"


def test_decisions_that_waited_too_long_start_nothing_however_fresh_the_stream() -> None:
    rig = rig_of()
    rig.arm()
    rig.event("state", state="alpha", confidence=0.97, arrival_ns=rig.now_ns)
    for _ in range(8):
        rig.event("prediction", label="alpha", confidence=0.97, valid=True, arrival_ns=rig.now_ns - 300_000_000)
        rig.move(0.5)
    assert rig.at() == "ARMED"
    assert "start" not in rig.actions()


def test_a_decision_that_waited_too_long_switches_off() -> None:
    rig = started()
    rig.event("prediction", label="alpha", confidence=0.97, valid=True, arrival_ns=rig.now_ns - 300_000_000)
    rig.move(0.01)
    assert not rig.model.is_on
    assert "stale" in str([one.values for one in rig.all("note")])


def test_decisions_that_stop_coming_stop_stimulation() -> None:
    rig = started(decision_s=0.5)
    rig.move(1.0)
    assert rig.at() == "STIMULATING"
    rig.move(1.0)
    assert rig.at() in ("LOCKOUT", "ARMED")
    assert "decisions_lost" in str([one.values for one in rig.all("note")])


@pytest.mark.parametrize("blanking_s", [0.01, 0.049])
def test_a_dose_whose_decisions_are_all_blanked_ends_though_they_keep_coming(blanking_s: float) -> None:
    rig = rig_of(row("alpha", frequency_hz=20.0), decision_s=0.25, gate={"pulse_blanking_s": blanking_s})
    rig.arm()
    rig.decide("alpha")
    rig.move(0.25)
    rig.decide("alpha")
    rig.move(1.0 + 0.002)
    begun = next(one.on_ns for one in rig.intervals)
    left = rig.now_ns
    for k in range(20):  # each at the very beginning of a pulse
        rig.move((begun + (25 + 5 * k) * 50_000_000 + 4_000_000 - rig.now_ns) * 1e-9)
        rig.decide("rest")
    rig.move(0.5)
    assert not rig.model.is_on
    assert (rig.intervals[-1].off_ns - left) * 1e-9 <= 0.75 + 0.1 + 0.05
    assert "decisions_lost" in str([one.values for one in rig.all("note")])


def test_blanking_behind_a_change_of_the_output_is_no_silence() -> None:
    rig = rig_of(decision_s=0.1, gate={"blanking_s": 2.0})
    rig.arm()
    for _ in range(60):
        rig.decide("alpha")
        rig.move(0.1)
    assert rig.at() == "STIMULATING"


def test_blanking_begins_when_the_device_has_begun_and_not_when_it_was_told_to() -> None:
    rig = rig_of(gate={"blanking_s": 1.0, "ramp_s": 4.0})
    rig.arm()
    rig.link.disk_ns = 300_000_000
    rig.decide("alpha")
    rig.decide("alpha")
    told = rig.now_ns
    rig.move(1.4)
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=told + 1_250_000_000)
    assert rig.at() == "RAMP_UP"
    rig.event("prediction", label="rest", confidence=0.9, valid=True, arrival_ns=told + 1_350_000_000)
    assert rig.at() == "RAMP_DOWN"


def test_a_program_that_stood_still_finds_the_device_off_and_stops() -> None:
    rig = started()
    rig.move(2.0, pulses=False)
    assert not rig.model.is_on
    assert rig.intervals[-1].ended_by in ("lease_over", "stop", "disarm")
    rig.pulse()
    assert rig.at() == "DISARMED"


def test_the_session_has_a_time_and_a_dose_is_cut_short_by_it() -> None:
    rig = rig_of(row("alpha", duration_s=9.0), limits={"max_session_s": 10.0}, gate={"lockout_s": 0.0})
    rig.arm()
    rig.stay("alpha", 30)
    on_s = sum(one.off_ns - one.on_ns for one in rig.intervals) * 1e-9
    assert 8.0 < on_s <= 10.0
    assert last_rules(rig) == ["session_s"]


def test_the_time_of_the_session_ends_a_dose_that_would_be_longer() -> None:
    rig = rig_of(row("alpha", duration_s=9.0), limits={"max_session_s": 14.0}, gate={"lockout_s": 0.0})
    rig.arm()
    rig.stay("alpha", 40)
    on_s = sum(one.off_ns - one.on_ns for one in rig.intervals) * 1e-9
    assert 10.0 < on_s <= 14.0
    assert "session time" in [one.values["reason"] for one in rig.all("transition")]


@pytest.mark.parametrize("limits", [{"max_session_charge_mc": 0.3}, {"max_day_charge_mc": 0.3}])
def test_charge_ends_a_dose_and_refuses_the_next(limits: dict[str, float]) -> None:
    rig = rig_of(row("alpha", duration_s=14.0, amplitude_ma=2.0), limits=limits)
    rig.arm()
    rig.stay("alpha", 25)
    given = sum(one.charge_uc for one in rig.intervals)
    assert 150.0 < given <= 300.0
    assert rig.gate.session_uc >= given
    rule = f"{next(iter(limits)).removeprefix('max_')}"
    assert any(one.values["reason"] == rule for one in rig.all("transition"))
    rig.stay("rest", 2)
    rig.stay("alpha", 2)
    assert rule in last_rules(rig)


def test_what_earlier_runs_gave_counts_for_the_day() -> None:
    made = setup_of(settings((ALPHA,), gate=QUICK), ledger={"day_charge_uc": 1.9995e6})
    rig = Rig(made, base_uc=1.9995e6)
    rig.arm()
    rig.stay("alpha", 2)
    assert rig.refused() == []
    rig = Rig(made, base_uc=1.99999e6)
    rig.arm()
    rig.stay("alpha", 2)
    assert rig.refused() == [["day_charge_mc"]]


# the operator


@pytest.mark.parametrize("seconds", [0.0, 0.3, 2.0])
def test_an_operators_stop_is_off_within_the_step(seconds: float) -> None:
    rig = rig_of()
    rig.arm()
    rig.decide("alpha")
    rig.decide("alpha")
    rig.move(seconds)
    found = rig.operator("stop", authorised=False)
    assert found[0].kind == "command"
    assert found[0].values["action"] == "stop"
    assert rig.at() == "DISARMED"
    rig.move(0.01)
    assert not rig.model.is_on
    rig.stay("alpha", 3)
    assert rig.actions().count("start") == 1


def test_a_stop_that_is_repeated_is_one_event() -> None:
    rig = started()
    for _ in range(5):
        rig.operator("stop", channel="file")
        rig.move(0.1)
    assert rig.actions().count("stop") == 1
    assert [one.values["action"] for one in rig.all("command")].count("stop") == 5


def test_arming_needs_the_token_and_stopping_does_not() -> None:
    rig = rig_of()
    rig.move(3)
    rig.operator("arm", authorised=False)
    assert rig.at() == "DISARMED"
    assert rig.refused() == [["authorised"]]


def test_arming_expires_and_can_be_renewed() -> None:
    rig = rig_of(gate={"arming_s": 5.0})
    rig.arm()
    rig.stay("alpha", 3)
    rig.operator("confirm")
    rig.stay("alpha", 4)
    assert rig.at() == "STIMULATING"
    rig.stay("alpha", 3)
    assert rig.at() == "DISARMED"
    assert not rig.model.is_on
    assert rig.gate.armed_until_ns is None


def test_arming_needs_a_device_that_ends_by_itself() -> None:
    made = setup_of(settings((ALPHA,), gate=QUICK))
    made["capabilities"]["ends_by_itself"] = False
    rig = Rig(made)
    rig.move(3)
    rig.operator("arm")
    assert rig.refused() == [["device_ends_by_itself"]]


def test_arming_needs_a_device_that_has_said_that_it_is_off() -> None:
    rig = rig_of()
    rig.link.drops_answers = True
    rig.move(3)
    rig.operator("arm")
    assert rig.refused() == [["device_self_test"]]


@pytest.mark.parametrize("fault", ["stale", "down", "drift", "flagged"])
def test_arming_needs_clear_interlocks(fault: str) -> None:
    rig = rig_of()
    rig.move(3)
    interlocked(rig, fault)
    rig.operator("arm")
    assert rig.refused() == [["interlock"]]


def test_a_fault_stays_until_it_is_reset_with_a_reason() -> None:
    rig = started()
    interlocked(rig, "config")
    for values, rules in (
        ({"authorised": False}, ["authorised", "interlock"]),
        ({"reason": "  "}, ["reason", "interlock"]),
        ({}, ["interlock"]),
    ):
        rig.move(1.2)
        rig.operator("reset", **values)
        assert last_rules(rig) == rules
    rig.operator("arm")
    assert "machine" in last_rules(rig)
    rig.hashes = dict(rig_of().hashes)
    rig.move(0.2)
    rig.operator("reset", reason="the file is back")
    assert rig.at() == "DISARMED"
    rig.operator("arm")
    assert rig.at() == "ARMED"


def test_unblinding_is_audited_and_needs_a_reason() -> None:
    rig = rig_of()
    rig.operator("unblind", reason="")
    assert rig.refused() == [["reason"]]
    rig.operator("unblind", reason="the study is over")
    assert rig.all("note")[-1].values["what"] == "unblind"


def test_the_end_switches_off_and_nothing_follows() -> None:
    rig = started()
    found = rig.put("end", {"reason": "stream over"})
    assert [one.values["action"] for one in found if one.kind == "command"] == ["stop", "disarm"]
    rig.move(1.0)
    assert not rig.model.is_on
    assert rig.operator("arm") == []


# inputs and determinism


def test_inputs_out_of_order_are_a_fault() -> None:
    rig = started()
    entry = rig.inputs[-1]
    found = rig.gate.step(entry)
    assert rig.at() == "FAULT"
    assert found[1].values["action"] == "stop"


def test_time_that_goes_back_is_a_fault() -> None:
    rig = started()
    rig.now_ns -= 1_000_000
    rig.put("log", {"what": "durable", "number": 1})
    assert rig.at() == "FAULT"


def test_a_second_setup_is_a_fault() -> None:
    rig = rig_of()
    rig.put("setup", rig.setup)
    assert rig.at() == "FAULT"


def test_another_setup_than_the_one_given_is_a_fault() -> None:
    rig = rig_of()
    rig.gate = Gate(rig.setup)
    rig.inputs.clear()
    rig.put("setup", {**rig.setup, "delay_s": 0.4})
    assert rig.at() == "FAULT"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stream": 3}, r"stream must be text, got 3"),
        ({"table": []}, r"setup must be as"),
        ({"hard": {}}, r"setup must be as"),
    ],
)
def test_a_wrong_setup_makes_no_gate(change: dict[str, Any], message: str) -> None:
    made = setup_of(settings((ALPHA,)))
    if change.get("table") == []:
        made["table"] = [{"state": "alpha"}]
    else:
        made |= change
    with pytest.raises(ConfigError, match=message):
        Gate(made)


def test_a_setup_without_area_or_route_makes_no_gate() -> None:
    for key in ("electrode_area_cm2", "route"):
        made = setup_of(settings((ALPHA,)))
        del made["settings"][key]
        with pytest.raises(ConfigError, match=key):
            Gate(made)


def test_the_same_inputs_give_the_same_bytes() -> None:
    rig = started()
    interlocked(rig, "gap")
    rig.stay("beta", 6)
    again = Gate(rig.setup)
    lines = [line_of(one) for entry in rig.inputs for one in again.step(entry)]
    assert lines == rig.lines()
    assert len(lines) > 40


# how long, and for what, it is armed


def test_renewals_do_not_keep_a_run_armed_beyond_its_total() -> None:
    rig = rig_of(gate={"arming_s": 5.0, "armed_total_s": 20.0})
    rig.arm()
    armed_ns = rig.now_ns
    while rig.at() == "ARMED" and rig.now_ns - armed_ns < 60e9:
        rig.operator("confirm")
        rig.move(1)
    assert 19e9 < rig.now_ns - armed_ns < 21.5e9
    rig.operator("arm")
    assert rig.at() == "DISARMED"
    assert last_rules(rig) == ["armed_total_s"]


def test_time_armed_is_added_up_over_armings_and_not_while_disarmed() -> None:
    rig = rig_of(gate={"arming_s": 5.0, "armed_total_s": 20.0})
    rig.arm()
    for _ in range(2):
        rig.move(5.2)  # it expires, and stays disarmed for as long
        assert rig.at() == "DISARMED"
        rig.move(10.0)
        rig.operator("arm")
        rig.move(0.3)
        assert rig.at() == "ARMED"
    rig.operator("disarm")  # 10.3 s are used
    rig.move(0.3)
    rig.operator("arm")
    rig.move(5.2)
    assert rig.at() == "DISARMED"
    rig.operator("arm")  # 15.3 s are used
    rig.move(4.6)
    assert rig.at() == "ARMED"
    rig.move(0.2)
    assert rig.at() == "DISARMED"


def test_a_dose_ends_when_the_state_that_it_needs_is_named_no_more() -> None:
    named = row("alpha", requires_override=True)
    rig = rig_of(named, BETA)
    rig.arm(override=["alpha"])
    rig.stay("alpha", 3)
    assert rig.at() == "STIMULATING"
    rig.operator("arm", override=["alpha"])
    rig.move(0.2)
    assert rig.at() == "STIMULATING"
    rig.operator("arm")
    assert rig.at() == "RAMP_DOWN"
    rig.stay("alpha", 3)
    assert last_rules(rig)[0] == "override"
    assert not rig.model.is_on


def test_a_dose_that_needs_no_name_goes_on_when_it_is_armed_anew() -> None:
    rig = started()
    rig.operator("arm")
    rig.move(0.5)
    assert rig.at() == "STIMULATING"


# the area is read back

REAL: dict[str, Any] = {"mode": "real", "device": {"kind": "tcp", "port": 9}, "subject": "S01", "electrode": "E1",
        "electrode_shape": {"kind": "cylinder", "diameter_mm": 1.27, "length_mm": 1.5}}  # fmt: skip


@pytest.mark.parametrize(("area_cm2", "got"), [(None, "nothing"), (6.0, "6"), (0.6, "0.6"), (0.0598, "0.0598")])
def test_a_real_device_is_armed_only_with_its_area_read_back(area_cm2: float | None, got: str) -> None:
    rig = rig_of(**REAL)
    rig.arm(area_cm2=area_cm2)
    assert rig.at() == "DISARMED"
    assert last_rules(rig) == ["area_cm2"]
    assert rig.all("refusal")[-1].values["reason"] == f"area_cm2 must be read back as 0.06, got {got}"
    rig.arm(area_cm2=0.06)
    assert rig.at() == "ARMED"


def test_a_simulated_device_needs_no_area_and_takes_no_wrong_one() -> None:
    rig = rig_of()
    rig.arm(area_cm2=6.0)
    assert rig.at() == "DISARMED"
    assert last_rules(rig) == ["area_cm2"]
    rig.arm()
    assert rig.at() == "ARMED"
