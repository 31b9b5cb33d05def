"""Every rule of the gate in one ordered table: what it is against, what follows where it fails, how it is judged.

**The order is part of the safety argument.** For whatever is asked (`judge`) the rules are judged from the top:

- who asks, and whether the machine is where that may be asked, comes before everything else;
- then the interlocks, those about silence first, for nothing else is known where nobody speaks. All of them are judged,
  none hides another, and the hardest effect among those that do not hold is what happens. They are judged at every
  input, before a dose goes on and before one begins: a bad input never starts what it then has to stop;
- then the device: nothing begins on an output that is not known to be off;
- then what is to be given (the envelope). A train that is beyond its limits is not judged further: what stands behind
  it reckons with the train;
- then the decision, earlier doses, and the charge last, which counts what is about to be granted.

A refusal names every rule that does not hold, in this order. `EFFECTS` and `REFUSAL_RULES` are views of the table. The
names stand in logs, metrics and documents and are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal

from neuroloop.config.stimulation import GateSettings, RecommendationSettings, StimulationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.gate.machine import ARMED_STATES, GIVING_STATES, MachineState

Ask = Literal["run", "go_on", "start", "arm", "confirm", "reset", "unblind"]
"""``run``: at every input; ``go_on``: at every accepted decision during a dose; the others: when they are asked for."""


class Hazard(StrEnum):
    """What may go wrong for whom is stimulated, or for whom has to prove what was done."""

    TISSUE = "tissue is damaged by the train, or the train startles by its ramp"
    RUNAWAY = "output goes on after the program, the pipeline or the stream has failed"
    STATE = "output goes on, or begins again, though its state is over"
    AMOUNT = "too much in a session or a day, or too often"
    UNINTENDED = "output begins though nobody who may has meant it"
    DEVICE = "the device gives other than it was told"
    BAD_DATA = "decided on bad data or on the output's own artefact"
    UNPROVEN = "nobody can tell what happened"


class Effect(IntEnum):
    """What follows where a rule does not hold, from the mildest to the hardest."""

    REFUSE = 0
    """What is asked for is not done; what is given goes on."""
    HOLD = 1
    """Ramp down within the soft stop; arming stays."""
    CUT = 2
    """Off at once; arming stays."""
    DISARM = 3
    """Ramp down within the soft stop, then disarmed."""
    KILL = 4
    """Off at once, disarmed."""
    FAULT = 5
    """Off at once, latched until reset."""

    @property
    def is_immediate(self) -> bool:
        """Whether the output goes off without a ramp."""
        return self in (Effect.CUT, Effect.KILL, Effect.FAULT)

    @property
    def disarms(self) -> bool:
        """Whether the operator must arm again."""
        return self >= Effect.DISARM


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the rules are judged by, at one moment.

    Parameters
    ----------
    now_ns : int
    machine : str
    settings : GateSettings
    standing : mapping of str to Check
        Interlocks whose cause was said and has not been taken back.
    pulse_s, stuck_s, age_s, silent_s : float or None
        How long ago: the newest heartbeat, the newest progress, the arrival of the newest sample, the decision that
        silence is reckoned from. None where there was none, or where it is not watched.
    most_silent_s : float
        Of program and pipeline: the watchdog time less what the way to the device takes.
    max_age_s, max_silence_s : float
    hold_off_until_ns : int or None
    is_device_off, is_self_tested, ends_by_itself : bool
        The newest answer says off; it said so lately; leases end in the device.
    is_authorised : bool
    reason : str
    overrides : tuple of str
        What the operator said, or has named when arming.
    area_cm2 : float or None
        Of the electrode, as the operator has read it back.
    armed_s : float
        How long this run has been armed so far.
    electrode : StimulationSettings
    row : RecommendationSettings or None
        Of the dose that is asked for, or is being given.
    plan : Assessment or None
    state, label : str
    confidence : float or None
        Of the decisions.
    earlier, charge : tuple of Check
        What earlier doses and the limits of charge say to the dose that is asked for.
    """

    now_ns: int
    machine: MachineState
    settings: GateSettings
    standing: Mapping[str, Check]
    pulse_s: float | None
    stuck_s: float | None
    age_s: float | None
    silent_s: float | None
    most_silent_s: float
    max_age_s: float
    max_silence_s: float
    hold_off_until_ns: int | None
    is_device_off: bool
    is_self_tested: bool
    ends_by_itself: bool
    armed_s: float
    electrode: StimulationSettings
    area_cm2: float | None = None
    is_authorised: bool = False
    reason: str = ""
    overrides: tuple[str, ...] = ()
    row: RecommendationSettings | None = None
    plan: Assessment | None = None
    state: str = ""
    label: str = ""
    confidence: float | None = None
    earlier: tuple[Check, ...] = ()
    charge: tuple[Check, ...] = ()


Judge = Callable[[Facts], tuple[Check, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Parameters
    ----------
    id : str
        As in logs, metrics and documents.
    hazard : Hazard
    effect : Effect
    asks : tuple of str
        When it is judged.
    judge : callable
        Returns its checks: none where it does not apply; more than one where it stands for a table of its own.
    is_of_standing : bool
        Whether it says nothing but what stands in `Facts.standing`.
    """

    id: str
    hazard: Hazard
    effect: Effect
    asks: tuple[Ask, ...]
    judge: Judge
    is_of_standing: bool = False


# how rules are judged; a failing check of an interlock bears its name


def sign(name: str, value: object = None, limit: object = None) -> Check:
    """Return an interlock that has something against stimulation."""
    return Check(name, value, limit, False, "")


def _said(name: str) -> Judge:
    """Judge by what was said and not taken back; what happened at one moment is handed over as it is."""
    return lambda facts: (facts.standing[name],) if name in facts.standing else ()


def _over(name: str, seconds: float | None, most: float) -> tuple[Check, ...]:
    return (sign(name, seconds, most),) if seconds is not None and seconds > most else ()


def _heartbeat(facts: Facts) -> tuple[Check, ...]:
    return _over("heartbeat", facts.pulse_s, facts.most_silent_s)


def _progress(facts: Facts) -> tuple[Check, ...]:
    return _over("progress", facts.stuck_s, facts.most_silent_s)


def _stale(facts: Facts) -> tuple[Check, ...]:
    if facts.pulse_s is not None and facts.age_s is None:
        return (sign("stale", None, facts.max_age_s),)
    return _over("stale", facts.age_s, facts.max_age_s)


def _decisions_lost(facts: Facts) -> tuple[Check, ...]:
    return _over("decisions_lost", facts.silent_s, facts.max_silence_s)


def _authorised(facts: Facts) -> tuple[Check, ...]:
    return (Check("authorised", facts.is_authorised, True, facts.is_authorised, ""),)


def _reason(facts: Facts) -> tuple[Check, ...]:
    return (Check("reason", facts.reason, "given", bool(facts.reason), ""),)


def _machine(*allowed: MachineState) -> Judge:
    return lambda facts: (Check("machine", facts.machine, list(allowed), facts.machine in allowed, "one of"),)


def _area(facts: Facts) -> tuple[Check, ...]:
    """Judge the area that was read back; a simulated device needs none, and then takes no wrong one."""
    electrode, read = facts.electrode, facts.area_cm2
    if read is None and electrode.device.kind == "simulated":
        return ()
    wanted = electrode.electrode_area_cm2
    return (Check("area_cm2", "nothing" if read is None else read, wanted, read == wanted, "read back as"),)


def _armed_total(facts: Facts) -> tuple[Check, ...]:
    used_s, most_s = facts.armed_s, facts.settings.armed_total_s
    return (Check("armed_total_s", used_s, most_s, used_s < most_s, "below"),)


def _armed(facts: Facts) -> tuple[Check, ...]:
    return (Check("armed", facts.machine, ["ARMED"], facts.machine in ("ARMED", "LOCKOUT"), "one of"),)


def _ends_by_itself(facts: Facts) -> tuple[Check, ...]:
    return (Check("device_ends_by_itself", facts.ends_by_itself, True, facts.ends_by_itself, ""),)


def _self_test(facts: Facts) -> tuple[Check, ...]:
    return _off(facts.is_self_tested or facts.machine in GIVING_STATES)


def _confirmed_off(facts: Facts) -> tuple[Check, ...]:
    return _off(facts.is_device_off)


def _off(is_off: bool) -> tuple[Check, ...]:
    return (Check("device_self_test", "off" if is_off else "not off", "off", is_off, ""),)


def _envelope(facts: Facts) -> tuple[Check, ...]:
    return () if facts.plan is None else facts.plan.failures


def _override(facts: Facts) -> tuple[Check, ...]:
    row = facts.row
    if row is None:
        return ()
    is_named = not row.requires_override or row.state in facts.overrides
    return (Check("override", list(facts.overrides), f"naming {row.state}", is_named, ""),)


def _min_confidence(facts: Facts) -> tuple[Check, ...]:
    row, found = facts.row, facts.confidence
    if row is None or found is None or facts.label != row.state:
        return ()
    return (Check("min_confidence", found, row.min_confidence, found >= row.min_confidence, "at least"),)


def _hold_off(facts: Facts) -> tuple[Check, ...]:
    until, now = facts.hold_off_until_ns, facts.now_ns
    left = facts.settings.hold_off_s if until is None else max(0.0, (until - now) * 1e-9)
    return (Check("hold_off_s", left, 0.0, until is not None and now >= until),)


def _state_left(facts: Facts) -> tuple[Check, ...]:
    row = facts.row
    if row is None:
        return ()
    is_there = facts.state == row.state and facts.label == row.state
    return (Check("state left", [facts.state, facts.label], row.state, is_there, ""),)


def _confidence(facts: Facts) -> tuple[Check, ...]:
    row, found = facts.row, facts.confidence
    if row is None:
        return ()
    return (Check("confidence", found, row.min_confidence, found is not None and found >= row.min_confidence),)


def _of(name: str) -> Judge:
    """Judge by what earlier doses, or the limits of charge, say under a name."""
    return lambda facts: tuple(one for one in (*facts.earlier, *facts.charge) if one.rule == name)


def _asked(id_: str, hazard: Hazard, asks: tuple[Ask, ...], judge: Judge) -> Rule:
    """Return a rule that refuses what is asked for."""
    return Rule(id_, hazard, Effect.REFUSE, asks, judge)


def _interlock(id_: str, hazard: Hazard, effect: Effect, judge: Judge | None = None) -> Rule:
    """Return an interlock: judged at every input, and against a start and arming; against a reset where it latches."""
    asks: tuple[Ask, ...] = ("run", "start", "arm", "reset") if effect is Effect.FAULT else ("run", "start", "arm")
    return Rule(id_, hazard, effect, asks, _said(id_) if judge is None else judge, is_of_standing=judge is None)


_H, _E = Hazard, Effect
_ARMED_SHOWN: tuple[MachineState, ...] = tuple(sorted(ARMED_STATES))

RULES: tuple[Rule, ...] = (
    # who asks, and where the machine is
    _asked("authorised", _H.UNINTENDED, ("arm", "confirm", "reset", "unblind"), _authorised),
    _asked("reason", _H.UNPROVEN, ("reset", "unblind"), _reason),
    _asked("machine", _H.UNINTENDED, ("reset",), _machine("FAULT")),
    _asked("machine", _H.UNINTENDED, ("confirm",), _machine(*_ARMED_SHOWN)),
    _asked("machine", _H.UNINTENDED, ("arm",), _machine("DISARMED", *_ARMED_SHOWN)),
    _asked("area_cm2", _H.TISSUE, ("arm",), _area),
    _asked("armed_total_s", _H.UNINTENDED, ("arm", "confirm"), _armed_total),
    _asked("armed", _H.UNINTENDED, ("start",), _armed),
    _asked("device_ends_by_itself", _H.RUNAWAY, ("arm",), _ends_by_itself),
    _asked("device_self_test", _H.DEVICE, ("arm", "reset"), _self_test),
    # interlocks
    _interlock("no_pulse", _H.RUNAWAY, _E.CUT),
    _interlock("stale", _H.RUNAWAY, _E.CUT, _stale),
    _interlock("decisions_lost", _H.STATE, _E.CUT, _decisions_lost),
    _interlock("missing", _H.BAD_DATA, _E.HOLD),
    _interlock("gap", _H.BAD_DATA, _E.HOLD),
    _interlock("skip", _H.BAD_DATA, _E.HOLD),
    _interlock("artifact", _H.BAD_DATA, _E.HOLD),
    _interlock("flagged", _H.BAD_DATA, _E.HOLD),
    _interlock("nonfinite", _H.BAD_DATA, _E.HOLD),
    _interlock("drift", _H.BAD_DATA, _E.HOLD),
    _interlock("clock_step", _H.BAD_DATA, _E.DISARM),
    _interlock("counter_reset", _H.BAD_DATA, _E.DISARM),
    _interlock("stream_found", _H.UNINTENDED, _E.DISARM),
    _interlock("wall_clock", _H.AMOUNT, _E.DISARM),
    _interlock("device_slow", _H.RUNAWAY, _E.DISARM),
    _interlock("stream_lost", _H.RUNAWAY, _E.KILL),
    _interlock("progress", _H.RUNAWAY, _E.KILL, _progress),
    _interlock("heartbeat", _H.RUNAWAY, _E.KILL, _heartbeat),
    _interlock("lease_lapsed", _H.RUNAWAY, _E.KILL),
    _interlock("device_off", _H.DEVICE, _E.KILL),
    _interlock("hot_dead", _H.RUNAWAY, _E.FAULT),
    _interlock("limits_changed", _H.TISSUE, _E.FAULT),
    _interlock("config_changed", _H.TISSUE, _E.FAULT),
    _interlock("log", _H.UNPROVEN, _E.FAULT),
    _interlock("device_lost", _H.RUNAWAY, _E.FAULT),
    _interlock("device_nack", _H.DEVICE, _E.FAULT),
    _interlock("device_silent", _H.DEVICE, _E.FAULT),
    _interlock("device_still_on", _H.DEVICE, _E.FAULT),
    _interlock("device_unleased", _H.DEVICE, _E.FAULT),
    _interlock("device_excess", _H.DEVICE, _E.FAULT),
    _interlock("device_deficit", _H.DEVICE, _E.FAULT),
    _interlock("input", _H.UNPROVEN, _E.FAULT),
    _interlock("internal", _H.RUNAWAY, _E.FAULT),
    # the device
    _asked("device_self_test", _H.DEVICE, ("start",), _confirmed_off),
    # what is to be given; nothing behind it is judged where it fails
    _asked("envelope", _H.TISSUE, ("start",), _envelope),
    # the decision
    _asked("override", _H.UNINTENDED, ("start",), _override),
    _asked("min_confidence", _H.STATE, ("start",), _min_confidence),
    _asked("hold_off_s", _H.BAD_DATA, ("start",), _hold_off),
    Rule("state left", _H.STATE, _E.HOLD, ("go_on",), _state_left),
    Rule("confidence", _H.STATE, _E.HOLD, ("go_on",), _confidence),
    # earlier doses
    _asked("successor", _H.AMOUNT, ("start",), _of("successor")),
    _asked("dwell_s", _H.STATE, ("start",), _of("dwell_s")),
    _asked("refractory_left_s", _H.AMOUNT, ("start",), _of("refractory_left_s")),
    _asked("lockout_left_s", _H.AMOUNT, ("start",), _of("lockout_left_s")),
    _asked("off_left_s", _H.AMOUNT, ("start",), _of("off_left_s")),
    _asked("starts_per_h", _H.AMOUNT, ("start",), _of("starts_per_h")),
    _asked("starts_per_day", _H.AMOUNT, ("start",), _of("starts_per_day")),
    _asked("session_s", _H.AMOUNT, ("start",), _of("session_s")),
    _asked("starts_per_episode", _H.STATE, ("start",), _of("starts_per_episode")),
    _asked("look_every_s", _H.STATE, ("start",), _of("look_every_s")),
    # the charge
    _asked("session_charge_mc", _H.AMOUNT, ("start",), _of("session_charge_mc")),
    _asked("day_charge_mc", _H.AMOUNT, ("start",), _of("day_charge_mc")),
)
"""The table; see the module for its order."""

INTERLOCKS: tuple[Rule, ...] = tuple(rule for rule in RULES if "run" in rule.asks)
EFFECTS: dict[str, Effect] = {rule.id: rule.effect for rule in INTERLOCKS}
"""Every interlock by name."""
REFUSAL_RULES: tuple[str, ...] = (
    *dict.fromkeys("interlock" if "run" in rule.asks else rule.id for rule in RULES if "go_on" not in rule.asks),
)
"""What refusals are for; failures of the envelope stand under their own names in the list of rules."""
_BY_ASK: dict[Ask, tuple[Rule, ...]] = {
    ask: tuple(rule for rule in RULES if ask in rule.asks)
    for ask in ("run", "go_on", "start", "arm", "confirm", "reset", "unblind")
}

_WITHOUT_STANDING: dict[Ask, tuple[Rule, ...]] = {
    ask: tuple(rule for rule in rules if not rule.is_of_standing) for ask, rules in _BY_ASK.items()
}
"""The same without those that look up what stands, where nothing does: the table is walked at every input."""


def judge(ask: Ask, facts: Facts) -> list[Check]:
    """Return every rule that does not hold for what is asked, in the order of the table.

    Interlocks stand under their own name for ``run``, and as rule ``interlock`` in what is refused.

    Raises
    ------
    ValueError
        If earlier doses or the charge say something that no rule is for: it would be passed over.
    """
    failed: list[Check] = []
    for rule in (_BY_ASK if facts.standing else _WITHOUT_STANDING)[ask]:
        judged = rule.judge(facts)
        if not judged:  # most rules have nothing to say, and this is asked at every input
            continue
        found = [check for check in judged if not check.ok]
        if ask != "run" and "run" in rule.asks:
            found = [_refusing(check) for check in found]
        failed += found
        if rule.id == "envelope" and found:
            break
    checked = (*facts.earlier, *facts.charge)
    if checked and (unruled := {check.rule for check in checked}.difference(REFUSAL_RULES)):
        raise ValueError(f"checks of a start must be in the table of rules, got {sorted(unruled)}")
    return failed


def _refusing(trip: Check) -> Check:
    """Return an interlock as the rule ``interlock`` that does not hold."""
    detail = trip.rule if trip.value is None else f"{trip.rule} {trip.value}"
    if trip.limit is not None:
        detail += f" (limit {trip.limit})"
    return Check("interlock", detail, "clear", False, "")
