"""The gate: a pure function of its ordered inputs that decides what may leave for a stimulator.

It has no clock, reads and writes nothing and draws nothing: the same inputs give the same outputs on any machine, and
so does every beginning of them. It refuses and never clamps. Inputs, by ``kind``, and their ``values``:

============  =========================================================================================================
``setup``     what `neuroloop.sinks.stimulator.gate.setup.make_setup` returned, the same that the gate was made from;
first, once ``event``     identity of a pipeline event: ``type``, ``sample``, ``k``, ``time`` (null for NaN),
``delay_s``, and

              * ``prediction``: ``label``, ``confidence``, ``valid``
              * ``state``: ``state``, ``confidence``
              * ``gap``: ``missing``; ``skip``: ``n``; ``artifact``: ``kind``
              * ``drift``: ``what``, ``monitor``, ``hold``
              * ``stream``: ``what``, ``step_s`` for ``clock_step``

              and ``arrival_ns`` (when its newest sample arrived, monotonic; the input's ``t_ns`` where it is absent).
              Other types say nothing here
``pulse``     ``progress`` (counter of the hot loop), ``age_s`` (now - arrival of the newest sample, null before the
              first), ``is_up``, ``hot_alive``, ``received``, ``missing`` (filled + jumped), ``nonfinite``,
              ``clock_steps`` (counts that never fall), ``wall_s`` (wall clock), ``day_charge_uc`` (the ledger's last
              24 h over all runs, with every lease of this one that was output before), ``limits_sha256``,
              ``config_sha256`` (of the files as they are now). At least every ``heartbeat_s``
``operator``  ``action`` (arm, disarm, stop, reset, confirm, unblind), ``channel``, ``authorised``, ``reason``,
              ``override`` (states). ``confirm`` renews the arming as it is; ``arm`` renews it and names states anew
``device``    a `DeviceAnswer`: ``kind``, ``lease``, ``is_on``, ``delivered_uc`` (null for NaN), ``reason``, ``command``
``log``       ``what``: durable or failed; ``number``
``end``       ``reason``; everything stops, and nothing is done at later inputs
============  =========================================================================================================

An input that is not as agreed, out of order or earlier than the one before is a fault. Rules about time are judged at
every input.

Sham: a dose ramps up as a real one; at the top the device is ramped down and switched off, and the machine goes on as
if it were stimulating. Events (commands and refusals) are made in the same way for both, without charges, and charge
rules count what a real dose would have delivered; the audit log shows by its leases what left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuroloop.config.recommendations import request_values
from neuroloop.config.stimulation import RecommendationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.gate.decisions import Decisions
from neuroloop.sinks.stimulator.gate.dose_history import Dose
from neuroloop.sinks.stimulator.gate.dosing import Dosing
from neuroloop.sinks.stimulator.gate.inputs import count, flag, number, text, texts
from neuroloop.sinks.stimulator.gate.interlocks import Effect, Interlocks, Trip
from neuroloop.sinks.stimulator.gate.machine import ARMED_STATES, IllegalTransition, Machine, MachineState
from neuroloop.sinks.stimulator.gate.outputs import Outputs
from neuroloop.sinks.stimulator.gate.setup import read_setup
from neuroloop.sinks.stimulator.records import GateInput, GateOutput
from neuroloop.stream.contracts.events import encode

_GIVING: frozenset[MachineState] = frozenset({"RAMP_UP", "STIMULATING", "RAMP_DOWN"})
_DECISIONS = ("prediction", "state")


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
        self._dosing = Dosing(self._setup, self._machine, self._outputs, self._decisions, self._interlocks)
        self._device = self._dosing.device
        self._now = 0
        self._n_inputs = 0
        self._armed_until_ns: int | None = None
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
    def session_uc(self) -> float:
        """Upper bound of the charge of this run; of what a real dose would have delivered, under sham."""
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
            try:
                self._take(entry)
            except (ValueError, TypeError, LookupError) as error:
                self._interlocks.trip("input", f"{entry.kind}: {error}")
            self._control(entry)
        except (IllegalTransition, ArithmeticError, ValueError, TypeError, LookupError) as error:
            self._outputs.note("internal", error=repr(error))
            self._fault([Trip("internal", repr(error))])
        return self._outputs.take()

    # what comes in

    def _take(self, entry: GateInput) -> None:
        """Take note of an input; only the operator's are answered here."""
        values = entry.values
        if (entry.kind == "setup") != (self._machine.state == "INIT") and not _is_stop(entry):
            raise ValueError("input must be the setup once and first")
        if entry.kind == "setup":
            if encode(values) != self._given:
                raise ValueError("setup must be the one that the gate was made from")
            setup = self._setup
            self._dosing.history.begin(self._now, lockout_left_s=setup.lockout_left_s, start_ages_s=setup.start_ages_s)
            self._dosing.history.follow(setup.rows.get(setup.last_state or ""))
            self._go("DISARMED", "set up")
        elif entry.kind == "event":
            self._take_event(values)
        elif entry.kind == "pulse":
            self._interlocks.pulse(values, self._now)
            self._dosing.budget.read_ledger(number(values, "day_charge_uc"))
        elif entry.kind == "operator":
            self._take_operator(values)
        elif entry.kind == "device":
            self._device.answer(values, self._now)
        elif entry.kind == "log":
            self._interlocks.log(is_durable=text(values, "what") == "durable", what=values.get("number"))
        elif entry.kind == "end":
            self._stop(f"end: {values.get('reason', '')}")
            self._is_ended = True
        else:
            raise ValueError(f"kind must be a known one, got {entry.kind!r}")

    def _take_event(self, values: Mapping[str, Any]) -> None:
        """Take an event of the pipeline."""
        kind = text(values, "type")
        if kind in _DECISIONS:
            self._interlocks.waited(_waited_s(values, self._now))
        if kind == "prediction":
            is_good = self._decisions.predict(
                values, self._now, is_blanked=self._dosing.is_blanked(values.get("arrival_ns"))
            )
            self._interlocks.flag_rows(is_good=is_good)
        elif kind == "state":
            self._decisions.enter(values, self._now)
            state, confidence = text(values, "state"), values.get("confidence")
            asked = request_values(self._setup.rows.get(state), state, -1.0 if confidence is None else confidence)
            self._outputs.request({**asked, "confidence": confidence}, self._decisions.moment, count(values, "k"))
        else:
            self._interlocks.event(values, self._now)

    def _take_operator(self, values: Mapping[str, Any]) -> None:
        """Do what the operator asks; a stop needs nothing, what makes it less safe needs the token."""
        action, channel = text(values, "action"), text(values, "channel")
        if action == "stop":
            self._stop(f"operator: {channel}")
            return
        if action == "disarm":
            self._disarm_softly("operator")
            return
        if action not in ("arm", "confirm", "reset", "unblind"):
            raise ValueError(f"action must be a known one, got {action!r}")
        reason = str(values.get("reason") or "").strip()
        checks = self._operator_checks(action, flag(values, "authorised"), reason)
        failed = [check for check in checks if not check.ok]
        if failed:
            self._outputs.refuse(action, failed, self._decisions.moment, self._machine.state)
            return
        overrides = texts(values, "override")
        if action in ("reset", "unblind"):
            self._outputs.note(action, channel=channel, reason=reason, faults=list(self._faults))
            if action == "reset":
                self._faults.clear()
                self._go("DISARMED", f"reset: {reason}")
            return
        self._armed_until_ns = self._now + round(self._gate.arming_s * 1e9)
        if action == "arm":
            self._overrides = overrides
        self._outputs.note(
            "armed", action=action, channel=channel, override=list(self._overrides), s=self._gate.arming_s
        )
        if self._machine.state == "DISARMED":
            self._stop_told = ""
            self._device.armed()
            self._decisions.forget()
            self._outputs.forget_request()
            self._go("ARMED", f"operator: {channel}")
            self._outputs.command("arm", "operator", self._decisions.moment, self._machine.state)

    def _operator_checks(self, action: str, is_authorised: bool, reason: str) -> list[Check]:
        """Return the rules for what the operator asks, in the order of judging."""
        state = self._machine.state
        checks = [Check("authorised", is_authorised, True, is_authorised, "")]
        if action in ("reset", "unblind"):
            checks.append(Check("reason", reason, "given", bool(reason), ""))
        if action == "reset":
            checks.append(Check("machine", state, ["FAULT"], state == "FAULT", "one of"))
        elif action == "confirm":
            checks.append(Check("machine", state, list(ARMED_STATES_SHOWN), state in ARMED_STATES, "one of"))
        elif action == "arm":
            allowed = ["DISARMED", *ARMED_STATES_SHOWN]
            checks.append(Check("machine", state, allowed, state in allowed, "one of"))
            is_safe = self._setup.capabilities.ends_by_itself
            checks.append(Check("device_ends_by_itself", is_safe, True, is_safe, ""))
        if action in ("arm", "reset"):
            is_off = self._device.is_self_tested(self._now) or state in _GIVING
            checks.append(Check("device_self_test", "off" if is_off else "not off", "off", is_off, ""))
            for trip in self._interlocks.standing(self._now, self._dosing.heard_ns):
                if action == "arm" or trip.effect is Effect.FAULT:
                    checks.append(_interlock_check(trip))
        return checks

    # what follows

    def _control(self, entry: GateInput) -> None:
        """Judge everything at this moment: stop first, then go on, then begin."""
        now = self._now
        if self._machine.state == "INIT":
            trips = self._interlocks.take(now, None)
            faults = [trip for trip in trips if trip.effect is Effect.FAULT]
            if faults:
                self._fault(faults)
            return
        self._device.judge_silence(now)
        if self._machine.state in ARMED_STATES and self._device.is_mute(now):
            self._interlocks.trip("device_silent", "status")
        if self._dosing.line.is_lapsed(now):
            self._interlocks.trip("lease_lapsed", self._dosing.line.newest)
        self._stop_for(self._interlocks.take(now, self._dosing.heard_ns))
        if self._armed_until_ns is not None and now >= self._armed_until_ns:
            self._disarm_softly("arming expired")
        self._advance()
        is_decision = entry.kind == "event" and entry.values.get("type") in _DECISIONS
        if is_decision and not self._dosing.is_blanked(entry.values.get("arrival_ns")):
            self._consider()
        if entry.kind in ("pulse", "setup"):
            self._look_after_device()

    def _look_after_device(self) -> None:
        """Repeat a stop that is not confirmed, ask how the device is."""
        moment, state = self._decisions.moment, self._machine.state
        if state == "FAULT" and not self._device.is_confirmed_off:
            self._outputs.note("not_off", faults=list(self._faults))
            self._device.stopped(self._now)
            self._outputs.command("stop", "not confirmed off", moment, state, is_event=False)
        if state not in _GIVING and self._device.is_to_be_asked(self._now):
            self._device.asked(self._now)
            self._outputs.command("status", "watch", moment, state, is_event=False)

    def _stop_for(self, trips: list[Trip]) -> None:
        """Do what the interlocks ask for."""
        names = frozenset(trip.name for trip in trips)
        for trip in trips:
            if trip.name not in self._tripped:
                self._outputs.note("tripped", **trip.as_dict())
        for name in sorted(self._tripped - names):
            self._outputs.note("cleared", interlock=name)
        self._tripped = names
        faults = [trip for trip in trips if trip.effect is Effect.FAULT]
        if faults:
            self._fault(faults)
        state = self._machine.state
        if not trips or state in ("FAULT", "DISARMED"):
            return
        self._decisions.forget()
        is_immediate = any(trip.effect.is_immediate for trip in trips)
        disarms = any(trip.effect.disarms for trip in trips)
        reason = ", ".join(dict.fromkeys(trip.name for trip in trips))
        if state in _GIVING or state == "SAFE_STOP":
            self._safe_stop(reason, is_immediate=is_immediate, disarms=disarms)
        elif disarms:
            self._disarm(reason)

    def _fault(self, trips: list[Trip]) -> None:
        """Switch off now and stay so until reset."""
        fresh = [trip.name for trip in trips if trip.name not in self._faults]
        self._faults += dict.fromkeys(fresh)
        if self._machine.state == "FAULT":
            return
        reason = ", ".join(dict.fromkeys(trip.name for trip in trips))
        self._dosing.off(f"fault: {reason}")
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
        self._dosing.off(reason, is_event=not is_told)
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
        if state in _GIVING or state == "SAFE_STOP":
            self._safe_stop(reason, is_immediate=False, disarms=True)
        elif state in ARMED_STATES:
            self._disarm(reason)

    def _safe_stop(self, reason: str, *, is_immediate: bool, disarms: bool) -> None:
        """Enter, or go on with, a safe stop."""
        if self._machine.state != "SAFE_STOP":
            self._stop_disarms = disarms
            if not is_immediate and self._dosing.soft_stop(reason):
                return
            self._dosing.off(reason)
            self._go("SAFE_STOP", reason)
            self._leave_safe_stop(reason)
            return
        self._stop_disarms = self._stop_disarms or disarms
        if is_immediate:
            self._dosing.off(reason)
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
        self._device.stopped(self._now)
        self._outputs.command("disarm", reason, self._decisions.moment, self._machine.state)

    def _advance(self) -> None:
        """Let time pass for what is being given, or waited for."""
        state, dose = self._machine.state, self._dosing.dose
        if state == "LOCKOUT" and self._now >= self._dosing.history.wait_until_ns():
            self._go("ARMED", "waited")
        elif state == "SAFE_STOP" and (self._dosing.is_down or (dose is not None and self._now >= dose.end_ns)):
            self._dosing.off("safe stop")
            self._leave_safe_stop("ramped down")
        elif state in _GIVING and dose is not None and self._now >= dose.end_ns:
            dose.is_full = not dose.is_cut_by_session
            self._safe_stop("dose over", is_immediate=True, disarms=False)
        else:
            self._dosing.advance()

    def _consider(self) -> None:
        """Act upon the newest decision: end what it does not ask for, begin what it does."""
        state, dose, decisions = self._machine.state, self._dosing.dose, self._decisions
        if dose is not None:
            if state in ("RAMP_UP", "STIMULATING") and not decisions.supports(dose.row.state, dose.row.min_confidence):
                is_left = decisions.state != dose.row.state or decisions.label != dose.row.state
                self._dosing.begin_down("state left" if is_left else "confidence")
            return
        row = self._setup.rows.get(decisions.state)
        if row is None:
            self._outputs.forget_request()
            return
        plan = self._setup.assessments[row.state]
        failed = [check for check in self._start_checks(row, plan) if not check.ok]
        if failed:
            request = (row.state, decisions.since_ns)
            self._outputs.refuse_start(request, failed, decisions.moment, state, self._now)
        elif decisions.supports(row.state, row.min_confidence) and decisions.n_in_a_row >= self._gate.confirm_n:
            if state == "LOCKOUT":
                self._go("ARMED", "waited")
            self._outputs.forget_request()
            self._dosing.start(plan)

    def _start_checks(self, row: RecommendationSettings, plan: Assessment) -> list[Check]:
        """Return every rule for a start, in the order of judging."""
        now, state, decisions = self._now, self._machine.state, self._decisions
        checks = [Check("armed", state, ["ARMED"], state in ("ARMED", "LOCKOUT"), "one of")]
        checks += [_interlock_check(trip) for trip in self._interlocks.standing(now, self._dosing.heard_ns)]
        is_off = self._device.is_confirmed_off
        checks.append(Check("device_self_test", "off" if is_off else "not off", "off", is_off, ""))
        checks += plan.failures
        if not plan.is_allowed:
            return checks
        is_named = not row.requires_override or row.state in self._overrides
        checks.append(Check("override", list(self._overrides), f"naming {row.state}", is_named, ""))
        if decisions.label == row.state and decisions.confidence is not None:
            enough, least = decisions.confidence >= row.min_confidence, row.min_confidence
            checks.append(Check("min_confidence", decisions.confidence, least, enough, "at least"))
        until = self._interlocks.hold_off_until_ns
        left = self._gate.hold_off_s if until is None else max(0.0, (until - now) * 1e-9)
        checks.append(Check("hold_off_s", left, 0.0, until is not None and now >= until))
        return checks + self._dosing.start_checks(plan, decisions.since_ns)

    def _go(self, to: MachineState, reason: str) -> None:
        self._outputs.transition(self._machine.go(to, reason))


ARMED_STATES_SHOWN: tuple[str, ...] = tuple(sorted(ARMED_STATES))


def _interlock_check(trip: Trip) -> Check:
    """Return an interlock as a rule that does not hold."""
    detail = trip.name if trip.value is None else f"{trip.name} {trip.value}"
    if trip.limit is not None:
        detail += f" (limit {trip.limit})"
    return Check("interlock", detail, "clear", False, "")


def _waited_s(values: Mapping[str, Any], now_ns: int) -> float:
    """Return how long ago the newest sample of a decision arrived, 0 where it does not say."""
    arrival = values.get("arrival_ns")
    if isinstance(arrival, int) and not isinstance(arrival, bool) and arrival > 0:
        return (now_ns - arrival) * 1e-9
    return 0.0


def _is_stop(entry: GateInput) -> bool:
    """Return whether an input stops, which needs no setup."""
    return entry.kind == "end" or (entry.kind == "operator" and entry.values.get("action") == "stop")
