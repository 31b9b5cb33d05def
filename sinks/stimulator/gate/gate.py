"""The gate: a pure function of its ordered inputs that decides what may leave for a stimulator.

It has no clock, reads and writes nothing and draws nothing: the same inputs give the same outputs on any machine, and
so does every beginning of them. It refuses and never clamps. The seven kinds of input are read once, at the door
(`neuroloop.sinks.stimulator.gate.inputs`): ``setup``, what `make_setup` returned, first and once; ``event`` of the
pipeline; ``pulse``, at least every ``heartbeat_s``; ``operator``, where ``confirm`` renews the arming as it is and
``arm`` names states anew; ``device``; ``log``; ``end``, behind which nothing is done.

An input that is not as agreed, out of order or earlier than the one before is a fault. Rules about time are judged at
every input.

It knows nothing of sham: it decides and counts as for a real dose, and what it decided is turned into a sham behind it
(`neuroloop.sinks.stimulator.sham`). Events of sham and blinded runs (commands and refusals) hold no charges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroloop.config.recommendations import request_values
from neuroloop.sinks.stimulator.envelope.envelope import Check
from neuroloop.sinks.stimulator.gate.armed_time import ArmedTime
from neuroloop.sinks.stimulator.gate.decisions import Decisions
from neuroloop.sinks.stimulator.gate.dose_history import Dose
from neuroloop.sinks.stimulator.gate.dosing import Dosing, EndDose, Intent, Move, Off, Send
from neuroloop.sinks.stimulator.gate.inputs import (
    DeviceInput,
    EndInput,
    EventInput,
    Input,
    LogInput,
    OperatorInput,
    Prediction,
    PulseInput,
    SetupInput,
    StateChange,
    read_input,
)
from neuroloop.sinks.stimulator.gate.interlocks import Interlocks
from neuroloop.sinks.stimulator.gate.machine import (
    ARMED_STATES,
    GIVING_STATES,
    IllegalTransition,
    Machine,
    MachineState,
)
from neuroloop.sinks.stimulator.gate.output_state import BrokenInvariant, OutputState
from neuroloop.sinks.stimulator.gate.outputs import Outputs
from neuroloop.sinks.stimulator.gate.rules import EFFECTS, Effect, Facts, judge, sign
from neuroloop.sinks.stimulator.gate.setup import read_setup
from neuroloop.sinks.stimulator.records import GateInput, GateOutput
from neuroloop.stream.contracts.events import encode


class Gate:
    """Decide what a stimulator is told.

    Parameters
    ----------
    setup : mapping
        What `neuroloop.sinks.stimulator.gate.setup.make_setup` returned.

    Raises
    ------
    ConfigError
        If it is not as agreed, or looser than the hard limits.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._given = encode(setup)
        self._setup = read_setup(setup)
        self._gate = self._setup.settings.gate
        self._machine = Machine()
        self._outputs = Outputs(self._setup.stream, is_coded=self._setup.is_coded)
        self._decisions = Decisions(self._setup.rows, self._setup.delay_s)
        self._interlocks = Interlocks(
            self._gate,
            decision_s=self._setup.decision_s,
            limits_sha256=self._setup.limits_sha256,
            config_sha256=self._setup.config_sha256,
        )
        self._dosing = Dosing(self._setup, self._outputs, self._decisions, self._interlocks)
        self._device = self._dosing.device
        self._now = 0
        self._n_inputs = 0
        self._armed_until_ns: int | None = None
        self._armed_time = ArmedTime(self._gate.armed_total_s)
        self._overrides: tuple[str, ...] = ()
        self._stop_disarms = False
        self._faults: list[str] = []
        self._tripped: frozenset[str] = frozenset()
        self._stop_told = ""
        self._is_ended = False

    @property
    def state(self) -> MachineState:
        """The state of the machine."""
        return self._machine.state

    @property
    def armed_until_ns(self) -> int | None:
        """When the arming expires, ``None`` while disarmed."""
        return self._armed_until_ns

    @property
    def round_trip_ns(self) -> int:
        """How long the device takes to act, 0 where it is not known."""
        return self._device.round_trip_ns

    @property
    def dose(self) -> Dose | None:
        """The dose that is being given, if one is."""
        return self._dosing.dose

    @property
    def output(self) -> OutputState:
        """Whether the output is on, since when, and until when at most."""
        return self._dosing.output

    @property
    def session_uc(self) -> float:
        """Upper bound of the charge of this run, as if every dose were real."""
        return self._dosing.budget.session_uc

    @property
    def day_uc(self) -> float:
        """Upper bound of the charge of the last 24 hours, all runs together."""
        return self._dosing.day_uc

    def bound_up_to_uc(self, lease: int) -> float:
        """Return the most that this run's leases up to one can have delivered; for the ledger."""
        return self._dosing.budget.meter.bound_up_to_uc(lease)

    def step(self, entry: GateInput) -> list[GateOutput]:
        """Take the next input and return what follows from it, in order."""
        if self._is_ended:
            return []
        number_, before = self._n_inputs, self._now
        self._n_inputs += 1
        try:
            if entry.number != number_ or (number_ and entry.t_ns < before):
                expected = f"{number_} not before {before}"
                self._interlocks.trip("input", f"input must be {expected}, got {entry.number} at {entry.t_ns}")
                self._n_inputs = entry.number + 1
            self._now = max(entry.t_ns, before) if number_ else entry.t_ns
            self._dosing.at(self._now)
            one = None
            try:
                one = read_input(entry)
                self._take(one)
            except ValueError as error:
                self._interlocks.trip("input", f"{entry.kind}: {error}")
            self._control(entry.kind, one)
            self._prove()
        except (BrokenInvariant, IllegalTransition, ArithmeticError, ValueError, TypeError, LookupError) as error:
            self._outputs.note("internal", error=repr(error))
            self._fault([sign("internal", repr(error))])
        return self._outputs.take()

    # what comes in

    def _take(self, one: Input) -> None:
        """Take note of an input; only the operator's are answered here."""
        if isinstance(one, SetupInput) != (self._machine.state == "INIT") and not _is_stop(one):
            raise ValueError("input must be the setup once and first")
        if isinstance(one, SetupInput):
            if one.encoded != self._given:
                raise ValueError("setup must be the one that the gate was made from")
            setup = self._setup
            self._dosing.history.begin(self._now, setup.earlier, rows=setup.rows, plans=setup.assessments)
            self._go("DISARMED", "set up")
        elif isinstance(one, EventInput):
            self._take_event(one)
        elif isinstance(one, PulseInput):
            self._interlocks.pulse(one, self._now)
            self._dosing.budget.read_ledger(one.day_charge_uc)
        elif isinstance(one, OperatorInput):
            self._take_operator(one)
        elif isinstance(one, DeviceInput):
            self._device.answer(one, self._now)
            if one.kind != "lost":
                is_off = self._device.is_confirmed_off
                self._dosing.output.answer(one.lease, self._now, is_on=one.is_on, is_off_confirmed=is_off)
        elif isinstance(one, LogInput):
            self._interlocks.log(is_durable=one.is_durable, what=one.figure)
        else:
            self._stop(f"end: {one.reason}")
            self._is_ended = True

    def _take_event(self, event: EventInput) -> None:
        """Take an event of the pipeline."""
        one = event.said
        if event.is_decision:
            self._interlocks.waited(event.waited_s(self._now))
        if isinstance(one, Prediction):
            is_blanked = self._dosing.is_blanked(event.arrival_ns)
            is_good = self._decisions.predict(one, self._now, is_blanked=is_blanked)
            self._interlocks.flag_rows(is_good=is_good)
            if is_good and not is_blanked:
                self._dosing.episode.accept(one.label)
        elif isinstance(one, StateChange):
            self._decisions.enter(one, self._now)
            state, confidence = one.state, one.confidence
            asked = request_values(self._setup.rows.get(state), state, -1.0 if confidence is None else confidence)
            self._outputs.request({**asked, "confidence": confidence}, self._decisions.moment, one.place.k)
        elif one is not None:
            self._interlocks.event(one, self._now)

    def _take_operator(self, one: OperatorInput) -> None:
        """Do what the operator asks; a stop needs nothing, what makes it less safe needs the token."""
        action, channel, reason = one.action, one.channel, one.reason
        if action == "stop":
            self._stop(f"operator: {channel}")
            return
        if action == "disarm":
            self._disarm_softly("operator")
            return
        failed = judge(action, self._facts(is_authorised=one.is_authorised, reason=reason, area_cm2=one.area_cm2))
        if failed:
            self._outputs.refuse(action, failed, self._decisions.moment, self._machine.state)
            return
        if action in ("reset", "unblind"):
            self._outputs.note(action, channel=channel, reason=reason, faults=list(self._faults))
            if action == "reset":
                self._faults.clear()
                self._go("DISARMED", f"reset: {reason}")
            return
        self._armed_until_ns = self._armed_time.until_ns(self._now, self._gate.arming_s)
        if action == "arm":
            self._overrides = one.overrides
        armed_s = (self._armed_until_ns - self._now) * 1e-9
        self._outputs.note("armed", action=action, channel=channel, override=list(self._overrides), s=armed_s)
        self._end_what_is_no_longer_named()
        if self._machine.state == "DISARMED":
            self._stop_told = ""
            self._device.armed()
            self._decisions.forget()
            self._outputs.forget_request()
            self._go("ARMED", f"operator: {channel}")
            self._outputs.command("arm", "operator", self._decisions.moment, self._machine.state)

    def _end_what_is_no_longer_named(self) -> None:
        """End a dose that needs to be named when arming, once it is not any more."""
        dose = self._dosing.dose
        if dose is None or not dose.row.requires_override or dose.row.state in self._overrides:
            return
        if self._machine.state in ("RAMP_UP", "STIMULATING"):
            self._carry_out(self._dosing.begin_down("override withdrawn"))

    def _facts(self, **more: Any) -> Facts:
        """Return all that the rules are judged by, now."""
        device, decisions = self._device, self._decisions
        return Facts(
            now_ns=self._now,
            machine=self._machine.state,
            is_device_off=device.is_confirmed_off,
            is_self_tested=device.is_self_tested(self._now),
            armed_s=self._armed_time.used_ns(self._now) * 1e-9,
            electrode=self._setup.settings,
            ends_by_itself=self._setup.capabilities.ends_by_itself,
            state=decisions.state,
            label=decisions.label,
            confidence=decisions.confidence,
            **self._interlocks.facts(self._now, self._dosing.heard_ns),
            **more,
        )

    # what follows

    def _control(self, kind: str, one: Input | None) -> None:
        """Judge everything at this moment: stop first, then go on, then begin."""
        now = self._now
        if self._machine.state == "INIT":
            if faults := _faults(self._interlocks.take(self._facts())):
                self._fault(faults)
            return
        self._device.judge_silence(now)
        if self._machine.state in ARMED_STATES and self._device.is_mute(now):
            self._interlocks.trip("device_silent", "status")
        if self._dosing.line.is_lapsed(now):
            self._interlocks.trip("lease_lapsed", self._dosing.line.newest)
        self._stop_for(self._interlocks.take(self._facts()))
        if self._armed_until_ns is not None and now >= self._armed_until_ns:
            self._disarm_softly("arming expired")
        self._advance()
        if isinstance(one, EventInput) and one.is_decision and not self._dosing.is_blanked(one.arrival_ns):
            self._consider()
        if kind in ("pulse", "setup"):
            self._look_after_device()

    def _look_after_device(self) -> None:
        """Repeat a stop that is not confirmed, ask how the device is."""
        moment, state = self._decisions.moment, self._machine.state
        if state == "FAULT" and not self._device.is_confirmed_off:
            self._outputs.note("not_off", faults=list(self._faults))
            self._device.stopped(self._now)
            self._outputs.command("stop", "not confirmed off", moment, state, is_event=False)
        if state not in GIVING_STATES and self._device.is_to_be_asked(self._now):
            self._device.asked(self._now)
            self._outputs.command("status", "watch", moment, state, is_event=False)

    def _stop_for(self, trips: list[Check]) -> None:
        """Do what the interlocks ask for."""
        names = frozenset(trip.rule for trip in trips)
        for trip in trips:
            if trip.rule not in self._tripped:
                effect = EFFECTS[trip.rule].name
                self._outputs.note("tripped", interlock=trip.rule, effect=effect, value=trip.value, limit=trip.limit)
        for name in sorted(self._tripped - names):
            self._outputs.note("cleared", interlock=name)
        self._tripped = names
        if faults := _faults(trips):
            self._fault(faults)
        state = self._machine.state
        if not trips or state in ("FAULT", "DISARMED"):
            return
        self._decisions.forget()
        is_immediate = any(EFFECTS[trip.rule].is_immediate for trip in trips)
        disarms = any(EFFECTS[trip.rule].disarms for trip in trips)
        reason = ", ".join(dict.fromkeys(trip.rule for trip in trips))
        if state in GIVING_STATES or state == "SAFE_STOP":
            self._safe_stop(reason, is_immediate=is_immediate, disarms=disarms)
        elif disarms:
            self._disarm(reason)

    def _fault(self, trips: list[Check]) -> None:
        """Switch off now and stay so until reset."""
        fresh = [trip.rule for trip in trips if trip.rule not in self._faults]
        self._faults += dict.fromkeys(fresh)
        if self._machine.state == "FAULT":
            if self._dosing.output.commanded is not None:
                self._off("fault: internal")
            return
        reason = ", ".join(dict.fromkeys(trip.rule for trip in trips))
        self._off(f"fault: {reason}")
        self._dosing.end_dose()
        self._disarm_device(f"fault: {reason}")
        self._go("FAULT", reason)

    def _stop(self, reason: str) -> None:
        """Stop now, in any state, and disarm: the operator's stop, or the end.

        A stop that only repeats the last one (a stop file that stays) goes to the device again and is no further event.
        """
        state = self._machine.state
        is_told = state in ("INIT", "DISARMED", "FAULT") and reason == self._stop_told
        self._stop_told = reason
        self._off(reason, is_event=not is_told)
        if state == "FAULT" or is_told:
            return
        self._dosing.end_dose()
        if state != "SAFE_STOP":
            self._go("SAFE_STOP", reason)
        self._disarm_device(reason)
        self._go("DISARMED", reason)

    def _disarm_softly(self, reason: str) -> None:
        """Ramp down if something is given, then disarm."""
        state = self._machine.state
        if state in GIVING_STATES or state == "SAFE_STOP":
            self._safe_stop(reason, is_immediate=False, disarms=True)
        elif state in ARMED_STATES:
            self._disarm(reason)

    def _safe_stop(self, reason: str, *, is_immediate: bool, disarms: bool) -> None:
        """Enter, or go on with, a safe stop."""
        if self._machine.state != "SAFE_STOP":
            self._stop_disarms = disarms
            ramp = [] if is_immediate else self._dosing.soft_stop(reason)
            self._carry_out(ramp)
            if ramp:
                return
            self._off(reason)
            self._go("SAFE_STOP", reason)
            self._leave_safe_stop(reason)
            return
        self._stop_disarms = self._stop_disarms or disarms
        if is_immediate:
            self._off(reason)
            self._leave_safe_stop(reason)

    def _leave_safe_stop(self, reason: str) -> None:
        """The output is off: wait, or be disarmed."""
        self._dosing.end_dose()
        if self._stop_disarms:
            self._disarm(reason)
        else:
            self._go("LOCKOUT", reason)

    def _disarm(self, reason: str) -> None:
        self._disarm_device(reason)
        self._go("DISARMED", reason)

    def _disarm_device(self, reason: str) -> None:
        self._armed_until_ns, self._overrides = None, ()
        self._armed_time.end(self._now)
        self._device.stopped(self._now)
        self._outputs.command("disarm", reason, self._decisions.moment, self._machine.state)

    def _advance(self) -> None:
        """Let time pass for what is being given, or waited for."""
        state, dose = self._machine.state, self._dosing.dose
        if state == "LOCKOUT" and self._now >= self._dosing.history.wait_until_ns():
            self._go("ARMED", "waited")
        elif state == "SAFE_STOP" and (self._dosing.is_down or (dose is not None and self._now >= dose.end_ns)):
            self._off("safe stop")
            self._leave_safe_stop("ramped down")
        elif state in GIVING_STATES and dose is not None and self._now >= dose.end_ns:
            dose.is_full = self._dosing.is_full(dose)
            self._safe_stop("dose over", is_immediate=True, disarms=False)
        else:
            self._carry_out(self._dosing.advance(state))

    def _consider(self) -> None:
        """Act upon the newest decision: end what it does not ask for, begin what it does."""
        state, dose, decisions = self._machine.state, self._dosing.dose, self._decisions
        if dose is not None:
            if state in ("RAMP_UP", "STIMULATING") and (failed := judge("go_on", self._facts(row=dose.row))):
                self._carry_out(self._dosing.begin_down(failed[0].rule))
            return
        row = self._setup.rows.get(decisions.state)
        if row is None:
            self._outputs.forget_request()
            return
        plan = self._setup.assessments[row.state]
        earlier = self._dosing.facts(plan, decisions.since_ns)
        failed = judge("start", self._facts(row=row, plan=plan, overrides=self._overrides, **earlier))
        if failed:
            request = (row.state, decisions.since_ns)
            self._outputs.refuse_start(request, failed, decisions.moment, state, self._now)
        elif decisions.supports(row.state, row.min_confidence) and decisions.n_in_a_row >= self._gate.confirm_n:
            if state == "LOCKOUT":
                self._go("ARMED", "waited")
            self._outputs.forget_request()
            self._carry_out(self._dosing.start(plan))

    # the only place that moves the machine and lets anything out

    def _carry_out(self, intents: Sequence[Intent]) -> None:
        """Do what follows for a dose, in order."""
        for one in intents:
            if isinstance(one, Move):
                self._go(one.to, one.reason)
            elif isinstance(one, Send):
                self._dosing.send(one, self._machine.state)
            elif isinstance(one, Off):
                self._off(one.reason, is_event=one.is_event)
            elif isinstance(one, EndDose):
                self._dosing.end_dose()

    def _off(self, reason: str, *, is_event: bool = True) -> None:
        self._dosing.off(reason, self._machine.state, is_event=is_event)

    def _go(self, to: MachineState, reason: str) -> None:
        self._outputs.transition(self._machine.go(to, reason))

    def _prove(self) -> None:
        """Hold what every part believes about the output against each other."""
        dosing, is_armed = self._dosing, self._armed_until_ns is not None
        broken = dosing.output.broken(
            self._machine.state, self._now, dose=dosing.dose, planned=dosing.line.current, is_armed=is_armed
        )
        if broken is not None:
            raise BrokenInvariant(broken)


def _faults(trips: list[Check]) -> list[Check]:
    """Return the interlocks that latch."""
    return [trip for trip in trips if EFFECTS[trip.rule] is Effect.FAULT]


def _is_stop(one: Input) -> bool:
    """Return whether an input stops, which needs no setup."""
    return isinstance(one, EndInput) or (isinstance(one, OperatorInput) and one.action == "stop")
