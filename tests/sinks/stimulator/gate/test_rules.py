"""One table of rules, and its order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neuroloop.config.stimulation import GateSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.gate.rules import EFFECTS, INTERLOCKS, RULES, Effect, Facts, Hazard, judge, sign
from neuroloop.sinks.stimulator.records import Train
from tests.sinks.stimulator.rig import row, settings

ALPHA = row("alpha", requires_override=True)
GOOD = Facts(
    now_ns=10**9,
    machine="ARMED",
    settings=GateSettings(),
    standing={},
    pulse_s=0.1,
    stuck_s=0.1,
    age_s=0.1,
    silent_s=0.1,
    most_silent_s=0.5,
    max_age_s=0.25,
    max_silence_s=0.75,
    hold_off_until_ns=0,
    is_device_off=True,
    is_self_tested=True,
    ends_by_itself=True,
    armed_s=0.0,
    electrode=settings(),
    is_authorised=True,
    reason="a reason",
    overrides=("alpha",),
    row=ALPHA,
    state="alpha",
    label="alpha",
    confidence=0.9,
)


def plan(*checks: Check) -> Assessment:
    """Return an assessment with these checks."""
    train = Train(50.0, 2.0, 200.0, "biphasic")
    return Assessment(state="alpha", train=train, duration_s=60.0, ramp_s=1.0, numbers={}, checks=checks, rate_uc_s=1.0)


def test_where_everything_holds_nothing_is_against_it() -> None:
    assert judge("run", GOOD) == judge("start", GOOD) == judge("go_on", GOOD) == judge("arm", GOOD) == []


def test_a_start_is_judged_from_who_asks_over_the_device_and_the_train_to_the_charge() -> None:
    found = judge(
        "start",
        replace(
            GOOD, machine="DISARMED", age_s=None, standing={"gap": sign("gap", 3), "log": sign("log")},
            is_device_off=False, overrides=(), confidence=0.5, hold_off_until_ns=None,
            earlier=(Check("session_s", 2.0, 1.0, False),), charge=(Check("day_charge_mc", 2.0, 1.0, False),),
        ),
    )  # fmt: skip
    assert [(one.rule, str(one.value).split()[0]) for one in found] == [
        ("armed", "DISARMED"), ("interlock", "stale"), ("interlock", "gap"), ("interlock", "log"),
        ("device_self_test", "not"), ("override", "[]"), ("min_confidence", "0.5"), ("hold_off_s", "2.0"),
        ("session_s", "2.0"), ("day_charge_mc", "2.0"),
    ]  # fmt: skip


def test_behind_a_train_beyond_its_limits_nothing_is_judged() -> None:
    beyond = plan(Check("shannon_k", 2.0, 1.5, False), Check("duty", 0.1, 0.5, True))
    found = judge("start", replace(GOOD, plan=beyond, overrides=()))
    assert [one.rule for one in found] == ["shannon_k"]


def test_every_interlock_counts_against_a_start_and_arming_and_what_latches_against_a_reset() -> None:
    for rule in INTERLOCKS:
        assert {"run", "start", "arm"} <= set(rule.asks)
        assert ("reset" in rule.asks) == (rule.effect is Effect.FAULT)
    standing = {rule.id: sign(rule.id) for rule in INTERLOCKS}
    found = judge("run", replace(GOOD, standing=standing, pulse_s=9.0, stuck_s=9.0, age_s=9.0, silent_s=9.0))
    assert [one.rule for one in found] == list(EFFECTS)


def test_every_rule_names_a_hazard_and_every_hazard_has_a_rule() -> None:
    assert {rule.hazard for rule in RULES} == set(Hazard)


def test_a_check_that_no_rule_is_for_is_not_passed_over() -> None:
    odd = Check("odd", 1.0, 0.0, False)
    with pytest.raises(ValueError, match=r"checks of a start must be in the table of rules, got \['odd'\]"):
        judge("start", replace(GOOD, earlier=(odd,)))


def test_a_dose_ends_by_the_first_rule_that_does_not_hold() -> None:
    assert [one.rule for one in judge("go_on", replace(GOOD, label="rest", confidence=0.1))] == [
        "state left",
        "confidence",
    ]
