"""The judge of random loops finds each thing that may not be, in records made by hand; and the sound one is sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.sinks.stimulator.judge import Act, Case, Decision, Row, Silence, Stretch, breaches
from tests.sinks.stimulator.reference import bounds_of, broken, most_ma, numbers_of, places

S = 10**9
ROW = Row("alpha", 50.0, 200.0, 1.0, "biphasic", 6.0, False)
NAMED = replace(ROW, is_named_only=True)
RAMP_S = 0.5
ARMED_AGAIN = Act(20 * S, 1, "arm", is_authorised=True, is_accepted=True)


def stretch(from_s: float, to_s: float, from_ma: float, to_ma: float, **values: object) -> Stretch:
    """Return one lease; the way takes as long as the whole, or none where nothing changes."""
    on, off = round(from_s * S), round(to_s * S)
    mean = (from_ma + to_ma) / 2
    charge = mean * 0.2 * 50.0 * (to_s - from_s)
    reached = on if from_ma == to_ma else off
    made = Stretch(on, off, from_ma, to_ma, reached, 50.0, 200.0, "biphasic", charge, "renewed", 0)
    return replace(made, **values)  # type: ignore[arg-type]


def dose(at_s: float, on_s: float = 2.0, run: int = 0) -> list[Stretch]:
    """Return a dose as it should be."""
    found = [stretch(at_s, at_s + 0.5, 0.0, 1.0, run=run)]
    moment = at_s + 0.5
    while moment < at_s + on_s - 1e-9:
        found.append(stretch(moment, moment + 0.25, 1.0, 1.0, run=run))
        moment += 0.25
    found[-1] = replace(found[-1], ended_by="stop")
    return found


def case(stretches: list[Stretch], row: Row = ROW, **values: object) -> Case:
    """Return a case in which a person has armed at 0 s."""
    bounds = bounds_of("custom", "implanted", 0.06, session={"max_session_charge_mc": 0.1, "max_day_charge_mc": 0.15})
    made = Case(
        rows=(row,),
        bounds=bounds,
        step_ma=0.01,
        step_us=1.0,
        step_hz=0.1,
        lease_s=0.5,
        heartbeat_s=0.1,
        watchdog_s=0.5,
        ramp_s=RAMP_S,
        soft_stop_s=0.5,
        refractory_s=1.0,
        arming_s=600.0,
        link_ns=2_000_000,
        stretches=stretches,
        acts=[Act(0, 0, "arm", is_authorised=True, is_accepted=True)],
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_dose_as_it_should_be_breaches_nothing() -> None:
    assert breaches(case([*dose(1.0), *dose(5.0)])) == []


def test_a_state_that_was_left_between_doses_begins_another_episode() -> None:
    found = [*dose(1.0), *dose(5.0), *dose(9.0)]
    assert breaches(case(found, starts_per_episode=2, decisions=[Decision(7 * S, 0, "rest")])) == []


def _louder(one: Stretch, factor: float) -> Stretch:
    return replace(one, from_ma=one.from_ma * factor, to_ma=one.to_ma * factor, charge_uc=one.charge_uc * factor)


WRONG: dict[str, tuple[Callable[[], Case], str]] = {
    "density": (
        lambda: case([_louder(one, 10.0) for one in dose(1.0)], replace(ROW, ma=10.0)),
        "max_charge_density_uc_cm2",
    ),
    "k": (lambda: case([_louder(one, 10.0) for one in dose(1.0)], replace(ROW, ma=10.0)), "max_shannon_k"),
    "row": (lambda: case([_louder(one, 1.02) for one in dose(1.0)]), "in the row alpha"),
    "table": (lambda: case([replace(one, us=100.0) for one in dose(1.0)]), "is not in the table"),
    "first step": (
        lambda: case([replace(dose(1.0)[0], from_ma=0.02), *dose(1.0)[1:]]),
        "step of 0.02",
    ),
    "step": (
        lambda: case([dose(1.0)[0], replace(dose(1.0)[1], from_ma=0.9), *dose(1.0)[2:]]),
        "step of 0.0999",
    ),
    "slew": (lambda: case([stretch(1.0, 1.05, 0.0, 1.0), *dose(0.55)[1:]], ramp_s=0.0), "at most 10.0 mA/s"),
    "ramp": (lambda: case([stretch(1.0, 1.4, 0.0, 1.0, ended_by="stop")]), "a ramp of at least 0.5"),
    "lease": (lambda: case([stretch(1.0, 1.6, 0.0, 1.0, ended_by="stop")]), "lease of 0.6"),
    "own charge": (
        lambda: case([replace(one, charge_uc=one.charge_uc + 0.3) for one in dose(1.0)]),
        "charge must be",
    ),
    "dose": (lambda: case(dose(1.0, 7.5), bounds=bounds_of("custom", "implanted", 0.06)), "dose of 7.5"),
    "pause": (lambda: case([*dose(1.0), *dose(3.5)]), "off for 0.5"),
    "window": (lambda: case([*dose(1.0), *dose(5.0)], clean_s=2.2), "to decide without what was given"),
    "look": (lambda: case(dose(1.0, 3.0), look_every_s=2.5), "dose of 3.0 s, at most 2.5"),
    "parts": (
        lambda: case([one for n in range(4) for one in dose(1.0 + 4 * n)], lockout_s=60.0),
        "without a lockout, at most 6.0",
    ),
    "lockout": (lambda: case([*dose(1.0, 5.5), *dose(30.0)], lockout_s=60.0), "though alpha had given its dose"),
    "lockout behind a restart": (
        lambda: case([*dose(1.0, 5.5), *dose(30.0, run=1)], lockout_s=60.0, acts=[*case([]).acts, ARMED_AGAIN]),
        "though alpha had given its dose",
    ),
    "starts of an episode": (
        lambda: case([*dose(1.0), *dose(5.0), *dose(9.0)], starts_per_episode=2),
        "3 doses though the state was never left",
    ),
    "area": (lambda: case([], area_cm2=0.06, needs_area=True), "armed with an area of None"),
    "off ratio": (
        lambda: case([*dose(1.0), *dose(4.5)], bounds=bounds_of("vns", "implanted", 0.06), rows=(ROW,)),
        "behind 2.0",
    ),
    "session charge": (lambda: case([one for n in range(7) for one in dose(1.0 + 4 * n)]), "session of"),
    "day charge": (
        lambda: case(
            [one for n in range(10) for one in dose(1.0 + 4 * n, run=n % 2)],
            acts=[Act(0, n % 2, "arm", is_authorised=True, is_accepted=True) for n in range(10)],
        ),
        "day of",
    ),
    "starts": (
        lambda: case(
            [*dose(1.0), *dose(5.0)], bounds=bounds_of("custom", "implanted", 0.06, session={"max_starts_per_h": 1})
        ),
        "2 starts",
    ),
    "session time": (
        lambda: case(
            [*dose(1.0), *dose(5.0)], bounds=bounds_of("custom", "implanted", 0.06, session={"max_session_s": 2.5})
        ),
        "session of 4.0 s",
    ),
    "silence": (lambda: case(dose(1.0), silences=[Silence("stall", round(1.2 * S), 9 * S, S // 2)]), "after stall"),
    "nobody armed": (lambda: case(dose(1.0), acts=[]), "without arming"),
    "expired": (lambda: case(dose(1.0), arming_s=0.1), "without arming"),
    "armed too short": (lambda: case(dose(1.0), arming_s=1.2), "after the end of arming"),
    "token": (
        lambda: case([], acts=[Act(0, 0, "arm", is_authorised=False, is_accepted=True)]),
        "without the token",
    ),
    "stop": (
        lambda: case(dose(1.0), acts=[*case([]).acts, Act(2 * S, 0, "stop", is_authorised=False, is_accepted=True)]),
        "on 1.0000 s after a stop",
    ),
    "name": (lambda: case(dose(1.0), NAMED), "was not named"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_finds_what_may_not_be(what: str) -> None:
    make, words = WRONG[what]
    found = breaches(make())
    assert any(words in one for one in found), found


def test_formulas_are_those_of_a_calculation_by_hand() -> None:
    bounds = bounds_of("custom", "implanted", 0.06)
    found = numbers_of(2.5, 20.0, 1000.0, "biphasic", bounds).values
    assert round(float(found["max_charge_density_uc_cm2"]), 3) == 41.667
    assert round(float(found["max_shannon_k"]), 3) == 2.018
    assert float(found["max_duty"]) == 0.04
    assert float(found["max_rms_ma"]) == 0.5
    assert float(found["max_pulse_energy_mj"]) == 3.125e-3
    assert broken(2.5, 20.0, 1000.0, "biphasic", bounds) != []
    sine = numbers_of(2.0, 1.0, 0.0, "sine", bounds_of("tacs", "transcutaneous", 25.0))
    assert round(float(sine.pulse_uc), 4) == 636.6198
    direct = numbers_of(2.0, 0.0, 0.0, "direct", bounds_of("tdcs", "transcutaneous", 25.0))
    assert float(direct.values["max_net_dc_ua"]) == 2000.0


def test_every_shipped_place_has_a_largest_amplitude_that_lies_on_a_limit() -> None:
    for profile, route in places():
        shape = (0.0, 0.0, "direct") if profile == "tdcs" else (20.0, 100.0, "biphasic")
        shape = (40.0, 0.0, "sine") if profile == "tacs" else shape
        bounds = bounds_of(profile, route, 0.06 if route == "implanted" else 10.0)
        most = most_ma(*shape, bounds)
        assert broken(most, *shape, bounds) == []
        assert broken(most * 1.0001 + 1e-9, *shape, bounds) != []
