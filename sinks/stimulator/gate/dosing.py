"""One dose at a time: its leases, its ramps, its end; what leaves for the device, and what it costs.

What follows for a dose is returned as intents, in order; the gate carries them out, and it alone moves the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.gate.charge_budget import ChargeBudget
from neuroloop.sinks.stimulator.gate.decisions import Decisions
from neuroloop.sinks.stimulator.gate.device_watch import DeviceWatch
from neuroloop.sinks.stimulator.gate.dose_history import Dose, DoseHistory
from neuroloop.sinks.stimulator.gate.episode import Episode, is_blind
from neuroloop.sinks.stimulator.gate.interlocks import Interlocks
from neuroloop.sinks.stimulator.gate.leases import Issued, LeaseLine
from neuroloop.sinks.stimulator.gate.machine import MachineState
from neuroloop.sinks.stimulator.gate.output_state import OutputState
from neuroloop.sinks.stimulator.gate.outputs import Outputs
from neuroloop.sinks.stimulator.gate.setup import Setup


@dataclass(frozen=True, slots=True)
class Move:
    """The machine is to move."""

    to: MachineState
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """A lease is to leave."""

    action: Literal["start", "renew"]
    issued: Issued
    reason: str


@dataclass(frozen=True, slots=True)
class Off:
    """The output is to go off now."""

    reason: str
    is_event: bool = True


@dataclass(frozen=True, slots=True)
class EndDose:
    """The dose is over; its output is off."""


Intent = Move | Send | Off | EndDose


class Dosing:
    """Give doses; the gate says when to begin and when to end.

    Parameters
    ----------
    setup : Setup
    outputs : Outputs
    decisions : Decisions
    interlocks : Interlocks
    """

    def __init__(self, setup: Setup, outputs: Outputs, decisions: Decisions, interlocks: Interlocks) -> None:
        self._setup = setup
        self._gate = setup.settings.gate
        self._outputs = outputs
        self._decisions = decisions
        self.budget = ChargeBudget(setup.limits, setup.earlier.day_uc, session_uc=setup.earlier.session_uc)
        self.line = LeaseLine(
            setup.capabilities,
            lease_ns=setup.lease_ns,
            gate=self._gate,
            max_slew_ma_s=setup.limits.max_slew_ma_s,
        )
        self.device = DeviceWatch(
            setup.capabilities,
            watchdog_s=self._gate.watchdog_s,
            line=self.line,
            meter=self.budget.meter,
            interlocks=interlocks,
        )
        self.output = OutputState(
            patience_ns=round(self._gate.watchdog_s * 1e9), acknowledges=setup.capabilities.acknowledges
        )
        self.episode = Episode(self._gate)
        self._window_ns = round(setup.window_s * 1e9)
        self._was_look = False
        self._ended_ns = 0
        self.history = DoseHistory(self._gate, setup.limits)
        self.dose: Dose | None = None
        self._now = 0
        self._changed_ns: int | None = None

    def at(self, now_ns: int) -> None:
        """Let time pass."""
        self._now = now_ns

    @property
    def day_uc(self) -> float:
        """Upper bound of the charge of the last 24 hours, all runs together."""
        return self.budget.day_uc(self._now)

    @property
    def _blanked_until_ns(self) -> int:
        """Until when the newest change of the output blanks; a start changes it when the device says that it began."""
        blanking_ns = round(self._gate.blanking_s * 1e9)
        until = 0 if self._changed_ns is None else self._changed_ns + blanking_ns
        if self.line.current is not None and blanking_ns:
            begun_ns = self.line.begun_ns
            until = max(until, (self._now if begun_ns is None else begun_ns) + blanking_ns)
        return until

    @property
    def _clean_from_ns(self) -> int:
        """From when on a window has no output of the last dose in it, settled; behind a look whatever is configured."""
        blanking_s = max(self._gate.blanking_s, self._gate.pulse_blanking_s)
        if not self.output.was_on or not (blanking_s or self._was_look):
            return 0
        off_ns = self.output.off_ns
        since_ns = self._now if off_ns is None else max(off_ns, self._ended_ns)
        return since_ns + round(blanking_s * 1e9) + self._window_ns

    @property
    def heard_ns(self) -> int | None:
        """From when on silence of the decisions counts.

        Blanked ones break it only behind a change of the output, behind a dose until a window is clean, and during a
        dose of which none can be clean.
        """
        newest, accepted = self._decisions.newest_ns, self._decisions.accepted_ns
        if newest is None or accepted is None:
            return newest
        dose, until = self.dose, self._blanked_until_ns
        if dose is None:
            until = max(until, self._clean_from_ns)
        elif is_blind(dose.row, self._gate, self._setup.window_s):
            until = self._now
        elif self._gate.pulse_blanking_s > 0:  # so long every pulse blanks
            until = max(until, accepted + self._window_ns + round(self._gate.pulse_blanking_s * 1e9))
        return min(newest, max(accepted, until))

    def is_blanked(self, arrival_ns: int | None) -> bool:
        """Return whether a decision saw the output, or a change of it, by when its newest sample arrived.

        During a dose: the newest sample lies close behind a start, the full amplitude or the begin of the ramp down, or
        the window overlaps a pulse and what comes behind it. Behind a dose: the window reaches back to its end.
        """
        at, dose, blanking_s = self._now if arrival_ns is None else arrival_ns, self.dose, self._gate.pulse_blanking_s
        if at < self._blanked_until_ns:
            return True
        if dose is None:
            return at < self._clean_from_ns
        if blanking_s == 0:
            return False
        millihertz = round(dose.plan.train.frequency_hz * 1000)
        if millihertz == 0 or is_blind(dose.row, self._gate, self._setup.window_s):
            return True
        begun_ns = self.line.begun_ns or dose.start_ns
        phase_ns = (at - begun_ns) * millihertz % 10**12 // millihertz
        return phase_ns < self._window_ns + blanking_s * 1e9

    def facts(self, dose_of: Assessment, since_ns: int) -> dict[str, tuple[Check, ...]]:
        """Return what earlier doses and the limits of charge say to a start now."""
        if not dose_of.is_allowed:
            return {}
        row = self._setup.rows[dose_of.state]
        first = self.line.up(dose_of, self._now).lease.charge_uc + self._reserve_uc(dose_of)
        return {
            "earlier": (
                *self.history.judge(row, dose_of, self._now, since_ns),
                *self.episode.judge(row, dose_of.ramp_s),
            ),
            "charge": tuple(self.budget.checks(first, self._now)),
        }

    def start(self, plan: Assessment) -> Sequence[Intent]:
        """Begin a dose, or the next part of one."""
        row = self._setup.rows[plan.state]
        dose = self.history.plan(row, plan, self._now)
        self._bound(dose, self.episode.left_s(row), is_look=False)
        self._bound(dose, self._gate.look_every_s, is_look=True)
        self.dose = dose
        self.history.started(dose)
        self.budget.open_dose()
        self.episode.started(row.state)
        self._changed_ns = self._now
        return [Move("RAMP_UP", plan.state), Send("start", self.line.up(plan, self._now), "confirmed")]

    def _bound(self, dose: Dose, seconds: float, *, is_look: bool) -> None:
        """Let a dose be over after so long."""
        end_ns = dose.start_ns + round(seconds * 1e9)
        if end_ns < dose.end_ns:
            dose.down_ns += end_ns - dose.end_ns
            dose.end_ns, dose.is_look, dose.is_cut_by_session = end_ns, is_look, False

    def is_full(self, dose: Dose) -> bool:
        """Return whether a dose whose time is over was given in full, with the parts of it before."""
        if dose.is_look:
            return self.episode.is_used_up(dose.row, dose.on_s(self._now), dose.plan.ramp_s)
        return not dose.is_cut_by_session

    def advance(self, state: MachineState) -> Sequence[Intent]:
        """Go on with the dose that is being given: up, at the top, or down."""
        dose = self.dose
        if dose is not None and state == "RAMP_DOWN":
            return self._advance_down(dose)
        if dose is not None and state in ("RAMP_UP", "STIMULATING"):
            return self._advance_up(dose)
        return []

    @property
    def is_down(self) -> bool:
        """Whether a ramp down is over."""
        dose = self.dose
        return dose is None or dose.off_ns is None or self._now >= dose.off_ns

    def _advance_down(self, dose: Dose) -> Sequence[Intent]:
        """Go on with a ramp down."""
        if self.is_down:
            return _finish("ramped down")
        if self.line.is_due(self._now):
            return self._go_down(dose, "ramp down") or _finish("ramped down")
        return []

    def _go_down(self, dose: Dose, reason: str) -> list[Intent]:
        """Return the next lease of a ramp down, nothing where there is none."""
        issued = self.line.down(dose.plan, self._now)
        if issued is None or self.budget.exceeded(issued.lease.charge_uc, self._now) is not None:
            return []
        return [Send("renew", issued, reason)]

    def _advance_up(self, dose: Dose) -> Sequence[Intent]:
        """Go on with the ramp up or the plateau, or begin to go down."""
        intents: list[Intent] = []
        if dose.top_ns is None and self.line.is_at_top(dose.plan, self._now):
            dose.top_ns = self._now
            self._changed_ns = self._now
            self.device.at_top(dose.plan.rate_uc_s, dose.plan.numbers["charge_per_phase_uc"] or 0.0)
            intents.append(Move("STIMULATING", "full amplitude"))
        if self._now >= dose.down_ns:
            dose.is_full = self.is_full(dose)
            reason = "look" if dose.is_look else "session time" if dose.is_cut_by_session else "dose given"
            return [*intents, *self.begin_down(reason)]
        reserve_uc = self._reserve_uc(dose.plan)
        over = self.budget.exceeded(reserve_uc, self._now)
        if over is not None:
            intents += self.begin_down(over)
        elif self.line.is_due(self._now):
            issued = self.line.up(dose.plan, self._now)
            over = self.budget.exceeded(issued.lease.charge_uc + reserve_uc, self._now)
            intents += [Send("renew", issued, "go on")] if over is None else self.begin_down(over)
        return intents

    def begin_down(self, reason: str) -> Sequence[Intent]:
        """Begin the ramp down of the dose."""
        dose = self.dose
        if dose is None:
            return []
        self._changed_ns = self._now
        # a device goes down from when it has the lease, which may wait for the disk
        late_s = self._gate.watchdog_s + self._gate.heartbeat_s
        dose.off_ns = self._now + round((dose.plan.ramp_s + late_s) * 1e9)
        current = self.line.current
        intents: Sequence[Intent] = []
        if self._has_not_begun:
            intents = _finish(reason)
        elif current is not None and not current.is_final:
            intents = self._go_down(dose, reason) or _finish(reason)
        return [Move("RAMP_DOWN", reason), *intents]

    @property
    def _has_not_begun(self) -> bool:
        """Whether the device has not said that the dose began: a start that still waits for the disk is withdrawn.

        Of one that says nothing, a start may wait for as long as the disk may take.
        """
        dose = self.dose
        if self.line.current is None or dose is None:
            return False
        if self._setup.capabilities.acknowledges:
            return self.line.begun_ns is None
        return self._now - dose.start_ns <= round(self._gate.watchdog_s * 1e9)

    def soft_stop(self, reason: str) -> Sequence[Intent]:
        """Begin the ramp of a safe stop; nothing where there is nothing to ramp.

        It is never slower than an ordinary ramp down and never lasts beyond the dose.
        """
        dose = self.dose
        if dose is None or self._has_not_begun:
            return []
        seconds = min(self._gate.soft_stop_s, (dose.end_ns - self._now) * 1e-9, self.line.lease_ns * 1e-9)
        slope = dose.plan.train.amplitude_ma / dose.plan.ramp_s
        seconds = min(seconds, self.line.most_ma(self._now) / slope)
        issued = self.line.soft(self._now, seconds, dose.plan)
        if issued is None or self.budget.exceeded(issued.lease.charge_uc, self._now) is not None:
            return []
        dose.off_ns = self._now + round(seconds * 1e9)
        return [Move("SAFE_STOP", reason), Send("renew", issued, reason)]

    # what the gate carries out

    def send(self, one: Send, state: MachineState) -> None:
        """Send a lease, counted in full before it leaves."""
        dose, issued = self.dose, one.issued
        if issued.lease.train.amplitude_ma < issued.from_ma:
            self.device.leave_top()
        self.line.commit(issued)
        self.output.lease(issued)
        self.budget.issue(issued.lease, self._now, most_ma=issued.most_ma)
        self.device.leased()
        self._outputs.command(
            one.action,
            one.reason,
            self._decisions.moment,
            state,
            plan=None if dose is None else dose.plan,
            lease=issued.lease,
            session_uc=self.budget.session_uc,
            day_uc=self.day_uc,
            is_event=one.action == "start",
        )

    def off(self, reason: str, state: MachineState, *, is_event: bool = True) -> None:
        """Switch the output off now."""
        dose = self.dose
        self.line.end()
        self.output.off(self._now)
        self.device.leave_top()
        self.device.stopped(self._now)
        self._outputs.command(
            "stop",
            reason,
            self._decisions.moment,
            state,
            plan=None if dose is None else dose.plan,
            on_s=None if dose is None else dose.on_s(self._now),
            session_uc=self.budget.session_uc,
            day_uc=self.day_uc,
            is_event=is_event,
        )
        if is_event and dose is not None:
            self._changed_ns = self._now

    def end_dose(self) -> None:
        """Note the end of the dose, if one was given."""
        dose = self.dose
        if dose is None:
            return
        charge_uc = self.budget.close_dose()
        self.dose = None
        self._was_look, self._ended_ns = dose.is_look and self._now >= dose.down_ns, self._now
        self.episode.ended(dose.row.state, dose.on_s(self._now), is_full=dose.is_full)
        self._decisions.forget()
        self._outputs.forget_request()
        values = self.history.ended(dose, self._now, charge_uc=charge_uc)
        self._outputs.note(**values, session_uc=self.budget.session_uc, day_uc=self.day_uc)

    def _reserve_uc(self, plan: Assessment) -> float:
        """Return what a ramp down may need, one pulse more for each of its leases included."""
        top, lease_s = plan.train.amplitude_ma, self._setup.lease_ns * 1e-9
        ramp = train_charge_uc(plan.train, top, 0.0, plan.ramp_s + 4.0 * lease_s)
        n_leases = 4.0 + 2.0 * plan.ramp_s / (self.line.renew_ns(self.line.lease_ns) * 1e-9)
        return ramp + n_leases * (plan.numbers["charge_per_phase_uc"] or 0.0)


def _finish(reason: str) -> list[Intent]:
    """Return what ends a dose whose ramp down is over."""
    return [Off(reason), EndDose(), Move("LOCKOUT", reason)]
