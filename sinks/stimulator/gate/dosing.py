"""One dose at a time: its leases, its ramps, its end; what leaves for the device, and what it costs."""

from __future__ import annotations

from typing import Any

from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.gate.charge_budget import ChargeBudget
from neuroloop.sinks.stimulator.gate.decisions import Decisions
from neuroloop.sinks.stimulator.gate.device_watch import DeviceWatch
from neuroloop.sinks.stimulator.gate.dose_history import Dose, DoseHistory
from neuroloop.sinks.stimulator.gate.interlocks import Interlocks
from neuroloop.sinks.stimulator.gate.leases import Issued, LeaseLine
from neuroloop.sinks.stimulator.gate.machine import Machine, MachineState
from neuroloop.sinks.stimulator.gate.outputs import Outputs
from neuroloop.sinks.stimulator.gate.setup import Setup


class Dosing:
    """Give doses; the gate says when to begin and when to end.

    Parameters
    ----------
    setup : Setup
    machine : Machine
    outputs : Outputs
    decisions : Decisions
    interlocks : Interlocks
    """

    def __init__(
        self, setup: Setup, machine: Machine, outputs: Outputs, decisions: Decisions, interlocks: Interlocks
    ) -> None:
        self._setup = setup
        self._gate = setup.settings.gate
        self._machine = machine
        self._outputs = outputs
        self._decisions = decisions
        self.budget = ChargeBudget(setup.limits, setup.ledger_day_uc)
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
        self.history = DoseHistory(self._gate, setup.limits)
        self.dose: Dose | None = None
        self._now = 0
        self._changed_ns: int | None = None

    def at(self, now_ns: int) -> None:
        """Let time pass."""
        self._now = now_ns
        dose = self.dose
        if dose is not None and self._setup.is_sham and dose.top_ns is not None:
            self.budget.withheld_uc = dose.plan.rate_uc_s * ((now_ns - dose.top_ns) * 1e-9)

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
    def heard_ns(self) -> int | None:
        """From when on silence of the decisions counts; blanked ones break it only behind a change of the output."""
        newest, accepted = self._decisions.newest_ns, self._decisions.accepted_ns
        if newest is None or accepted is None:
            return newest
        return min(newest, max(accepted, self._blanked_until_ns))

    def is_blanked(self, arrival: Any) -> bool:
        """Return whether a sample arrived too close behind a change of the output, or behind a pulse of it."""
        at = arrival if isinstance(arrival, int) and not isinstance(arrival, bool) else self._now
        if at < self._blanked_until_ns:
            return True
        dose, blanking_s = self.dose, self._gate.pulse_blanking_s
        if dose is None or blanking_s == 0 or dose.plan.train.frequency_hz * blanking_s >= 1:
            return False
        millihertz = round(dose.plan.train.frequency_hz * 1000)
        if millihertz == 0:
            return False
        begun_ns = self.line.begun_ns or dose.start_ns
        phase_ns = (at - begun_ns) * millihertz % 10**12 // millihertz
        return phase_ns < blanking_s * 1e9

    def start_checks(self, dose_of: Assessment, since_ns: int) -> list[Check]:
        """Return the rules about earlier doses and about charge for a start now."""
        row = self._setup.rows[dose_of.state]
        first = self.line.up(dose_of, self._now).lease.charge_uc + self._reserve_uc(dose_of)
        return [
            *self.history.judge(row, dose_of, self._now, since_ns),
            *self.budget.checks(first, self._now),
        ]

    def start(self, plan: Assessment) -> None:
        """Begin a dose."""
        dose = self.history.plan(self._setup.rows[plan.state], plan, self._now)
        self.dose = dose
        self.history.started(dose)
        self._changed_ns = self._now
        self._go("RAMP_UP", plan.state)
        self._send("start", self.line.up(plan, self._now), "confirmed")

    def advance(self) -> None:
        """Go on with the dose that is being given: up, at the top, or down."""
        dose, state = self.dose, self._machine.state
        if dose is None:
            return
        if state == "RAMP_DOWN":
            self._advance_down(dose)
        elif state in ("RAMP_UP", "STIMULATING"):
            self._advance_up(dose)

    @property
    def is_down(self) -> bool:
        """Whether a ramp down, sent or withheld, is over."""
        dose = self.dose
        return dose is None or dose.off_ns is None or self._now >= dose.off_ns

    def _advance_down(self, dose: Dose) -> None:
        """Go on with a ramp down."""
        is_over = self.is_down
        if not is_over and self.line.is_due(self._now):
            is_over = not self._go_down(dose, "ramp down")
        if is_over:
            self._finish("ramped down")

    def _go_down(self, dose: Dose, reason: str) -> bool:
        """Send the next lease of a ramp down; return whether there is one."""
        issued = self.line.down(dose.plan, self._now)
        if issued is None or self.budget.exceeded(issued.lease.charge_uc, self._now) is not None:
            return False
        self._send("renew", issued, reason)
        return True

    def _finish(self, reason: str) -> None:
        """End a dose whose ramp down is over."""
        self.off(reason)
        self.end_dose()
        self._go("LOCKOUT", reason)

    def _advance_up(self, dose: Dose) -> None:
        """Go on with the ramp up or the plateau, or begin to go down."""
        if dose.top_ns is None and self.line.is_at_top(dose.plan, self._now):
            dose.top_ns = self._now
            self._changed_ns = self._now
            if not self._setup.is_sham:
                self.device.at_top(dose.plan.rate_uc_s, dose.plan.numbers["charge_per_phase_uc"] or 0.0)
            self._go("STIMULATING", "full amplitude")
        if self._now >= dose.down_ns:
            dose.is_full = not dose.is_cut_by_session
            self.begin_down("session time" if dose.is_cut_by_session else "dose given")
            return
        reserve_uc = self._reserve_uc(dose.plan)
        over = self.budget.exceeded(reserve_uc, self._now)
        if over is not None:
            self.begin_down(over)
        elif self._setup.is_sham and dose.top_ns is not None:
            self._advance_sham(dose)
        elif self.line.is_due(self._now):
            issued = self.line.up(dose.plan, self._now)
            over = self.budget.exceeded(issued.lease.charge_uc + reserve_uc, self._now)
            if over is not None:
                self.begin_down(over)
            else:
                self._send("renew", issued, "go on")

    def _advance_sham(self, dose: Dose) -> None:
        """Ramp the device down while the machine goes on."""
        is_over = self.line.current is None or self.line.is_over(self._now)
        if dose.is_withheld or not (is_over or self.line.is_due(self._now)):
            return
        if is_over or not self._go_down(dose, "sham"):
            dose.is_withheld = True
            self.off("sham", is_event=False)

    def begin_down(self, reason: str) -> None:
        """Begin the ramp down of the dose."""
        dose = self.dose
        if dose is None:
            return
        self._changed_ns = self._now
        self._go("RAMP_DOWN", reason)
        # both arms end at the same moment; a device goes down from when it has the lease, which may wait for the disk
        late_s = self._gate.watchdog_s + self._gate.heartbeat_s
        dose.off_ns = self._now + round((dose.plan.ramp_s + late_s) * 1e9)
        current = self.line.current
        if current is not None and not current.is_final and not self._go_down(dose, reason):
            self._finish(reason)

    def soft_stop(self, reason: str) -> bool:
        """Begin the ramp of a safe stop; return whether there is anything to ramp.

        It is never slower than an ordinary ramp down and never lasts beyond the dose. What is withheld takes as long.
        """
        dose = self.dose
        if dose is None:
            return False
        seconds = min(self._gate.soft_stop_s, (dose.end_ns - self._now) * 1e-9, self.line.lease_ns * 1e-9)
        if self.line.current is None:
            dose.off_ns = self._now + round(min(seconds, dose.plan.ramp_s) * 1e9)
            self._go("SAFE_STOP", reason)
            return True
        slope = dose.plan.train.amplitude_ma / dose.plan.ramp_s
        seconds = min(seconds, self.line.most_ma(self._now) / slope)
        issued = self.line.soft(self._now, seconds, dose.plan)
        if issued is None or self.budget.exceeded(issued.lease.charge_uc, self._now) is not None:
            return False
        dose.off_ns = self._now + round(seconds * 1e9)
        self._go("SAFE_STOP", reason)
        self._send("renew", issued, reason)
        return True

    def _send(self, action: str, issued: Issued, reason: str) -> None:
        """Send a lease, counted in full before it leaves."""
        dose = self.dose
        if issued.lease.train.amplitude_ma < issued.from_ma:
            self.device.leave_top()
        self.line.commit(issued)
        self.budget.issue(issued.lease, self._now, most_ma=issued.most_ma)
        self.device.leased()
        self._outputs.command(
            "start" if action == "start" else "renew",
            reason,
            self._decisions.moment,
            self._machine.state,
            plan=None if dose is None else dose.plan,
            lease=issued.lease,
            session_uc=self.budget.session_uc,
            day_uc=self.day_uc,
            is_event=action == "start",
        )

    def off(self, reason: str, *, is_event: bool = True) -> None:
        """Switch the output off now."""
        dose = self.dose
        self.line.end()
        self.device.leave_top()
        self.device.stopped(self._now)
        self._outputs.command(
            "stop",
            reason,
            self._decisions.moment,
            self._machine.state,
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
        self.budget.close_dose()
        self.dose = None
        self._decisions.forget()
        self._outputs.forget_request()
        values = self.history.ended(dose, self._now)
        self._outputs.note(**values, session_uc=self.budget.session_uc, day_uc=self.day_uc)

    def _reserve_uc(self, plan: Assessment) -> float:
        """Return what a ramp down may need, one pulse more for each of its leases included."""
        top, lease_s = plan.train.amplitude_ma, self._setup.lease_ns * 1e-9
        ramp = train_charge_uc(plan.train, top, 0.0, plan.ramp_s + 4.0 * lease_s)
        n_leases = 4.0 + 2.0 * plan.ramp_s / (self.line.renew_ns(self.line.lease_ns) * 1e-9)
        return ramp + n_leases * (plan.numbers["charge_per_phase_uc"] or 0.0)

    def _go(self, to: MachineState, reason: str) -> None:
        self._outputs.transition(self._machine.go(to, reason))
