"""A device that says nothing any more, noticed by each of the rules alone."""

from __future__ import annotations

from tests.sinks.stimulator.rig import Link, Rig, row, settings, setup_of


def trips(rig: Rig) -> list[tuple[str, object]]:
    notes = [one.values for one in rig.all("note") if one.values["what"] == "tripped"]
    return [(one["interlock"], one["value"]) for one in notes]


def test_a_lease_that_is_over_without_a_renewal_disarms_before_the_device_counts_as_silent() -> None:
    rig = Rig(setup_of(settings((row(),), gate={"hold_off_s": 0.5, "lease_s": 0.3})))
    rig.arm()
    rig.stay("alpha", 3)
    assert rig.at() == "STIMULATING"
    rig.link = Link(drops_answers=True)
    rig.move(0.45)
    assert trips(rig)[-1][0] == "lease_lapsed"
    assert rig.at() == "DISARMED"
    assert not rig.model.is_on


def test_a_device_that_does_not_say_how_it_is_while_nothing_is_given_is_a_fault() -> None:
    rig = Rig(setup_of(settings((row(),), gate={"hold_off_s": 0.5})))
    rig.arm()
    assert rig.at() == "ARMED"
    rig.link = Link(drops_answers=True)
    rig.move(2.5)
    assert ("device_silent", "status") in trips(rig)
    assert rig.at() == "FAULT"


def test_a_decision_behind_a_missing_heartbeat_says_that_it_is_missing_before_the_next_one_comes() -> None:
    rig = Rig(setup_of(settings((row(),), gate={"hold_off_s": 0.5})))
    rig.arm()
    rig.stay("alpha", 3)
    rig.move(0.6, pulses=False)
    rig.decide("alpha")
    assert "heartbeat" in [name for name, _ in trips(rig)]
    assert rig.at() == "DISARMED"


def test_a_disk_that_holds_up_a_renewal_for_longer_than_the_lease_ends_the_dose_in_a_fault() -> None:
    rig = Rig(setup_of(settings((row(),), gate={"hold_off_s": 0.5, "ramp_s": 1.0})))
    rig.arm()
    rig.stay("alpha", 4)
    rig.link.disk_ns = 300_000_000
    rig.stay("alpha", 1)
    assert rig.intervals[-1].ended_by == "lease_over"
    assert not rig.model.is_on
    assert rig.at() == "FAULT"
    assert rig.all("transition")[-1].values["reason"] == "device_nack"
