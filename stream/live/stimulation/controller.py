"""What the stimulator process does with anything that comes: an input of the gate, its outputs, the log, the device."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from neuroloop.sinks.stimulator.actuator import Actuator
from neuroloop.sinks.stimulator.control import OperatorRequest
from neuroloop.sinks.stimulator.counting import StimulationCounts
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import HardLimits
from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.gate.machine import ARMED_STATES
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, Clocks
from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.log.events import event_of
from neuroloop.sinks.stimulator.read_back import electrode_line, needs_area
from neuroloop.sinks.stimulator.records import DeviceAnswer, GateInput, GateOutput
from neuroloop.sinks.stimulator.token import TokenCheck, forget_token
from neuroloop.stream.live.shared_state import EventRecord, Shared, pack_event
from neuroloop.stream.live.stimulation.coarse_clocks import ceiled, coarse_clocks
from neuroloop.stream.live.stimulation.setup import Equipment, StimulationPlan

_WITH_TOKEN = frozenset({"arm", "confirm", "reset", "unblind"})
_HEARD = frozenset({"prediction", "state", "gap", "skip", "artifact", "drift", "stream"})
_LEFT_OUT = ("id", "probabilities")
"""Of events: what the gate does not look at."""
_log = logging.getLogger("neuroloop.stimulator")


class Controller:
    """Gate, log, ledger and device as one.

    Parameters
    ----------
    plan : StimulationPlan
    shared : Shared
    equipment : Equipment
    writer : DiskWriter

    Raises
    ------
    NeuroloopError
        If the log cannot be made or the gate refuses its setup.
    """

    def __init__(self, plan: StimulationPlan, shared: Shared, equipment: Equipment, writer: DiskWriter) -> None:
        if shared.stimulation is None:
            raise ValueError("stimulation must be shared, got None")
        self.equipment = equipment
        self._plan = plan
        self._writer = writer
        self._link = shared.stimulation
        self._said = self._link.said.writer()
        self._counts = StimulationCounts(self._link.counters)
        self._log_failed = self._link.numbers("log_failed")
        self._is_on_word = self._link.numbers("is_on")
        self._gate = Gate(equipment.setup)
        sealed = equipment.sealed
        self._is_blinded = sealed is not None
        self._log = AuditLog(plan.out / AUDIT_FILE, writer, coarse_clocks() if self._is_blinded else Clocks())
        self._actuator = Actuator(
            equipment.device,
            self._log,
            equipment.ledger,
            writer,
            patience_s=plan.settings.gate.watchdog_s,
            successors={row["state"]: row["successors"] for row in equipment.setup["table"]},
            seal=None if sealed is None else sealed.seal,
        )
        self._electrode = electrode_line(plan.settings, equipment.setup["limits_sha256"])
        self._tokens = TokenCheck(plan.token_sha256)
        self._number = 0
        self._t_ns = 0
        self._start_arrival_ns = 0
        self._n_failures = 0
        self._state = ""
        self.try_channels: Callable[[], dict[str, str]] = dict
        """Tries the ways to stop, and returns why each does not work, or ""; called at every arming."""
        self.is_device_on = False
        """Whether the newest answer of the device says that its output is on, or a stop waits for its answer."""
        limits = session_limits(plan.settings, HardLimits.model_validate(equipment.setup["hard"]))
        self._counts.put(
            session_limit_uc=limits.max_session_charge_mc * 1e3, day_limit_uc=limits.max_day_charge_mc * 1e3
        )
        for note in equipment.ledger.notes:
            _log.warning("%s", note)
        self.tell("setup", equipment.setup, time.monotonic_ns())

    @property
    def may_stimulate(self) -> bool:
        """Whether the device is armed, or its output may still be on."""
        return self._gate.state in ARMED_STATES or self._gate.state == "SAFE_STOP"

    @property
    def round_trip_ns(self) -> int:
        """How long the device takes to act, as the gate reckons with it; 0 where it is not known."""
        return self._gate.round_trip_ns

    def tell(self, kind: Any, values: Mapping[str, Any], t_ns: int, arrival_ns: int = 0) -> list[GateOutput]:
        """Make an input of the gate and carry out what it decides.

        Parameters
        ----------
        kind : str
            As `GateInput`.
        values : mapping
        t_ns : int
            When it came; one before the last input's counts as that.
        arrival_ns : int
            When the newest sample behind it arrived, 0 where there is none.
        """
        self._t_ns = max(self._t_ns, t_ns)
        one = GateInput(self._number, self._t_ns, kind, values)
        self._number += 1
        outputs = self._gate.step(one)
        self._actuator.carry_out(one, outputs)
        self._counts.take(outputs)
        for output in outputs:
            if output.kind == "command" and output.values["action"] in ("stop", "disarm", "start"):
                self.is_device_on = True  # until the device has answered
            elif output.kind == "note" and output.values["what"] == "dose":
                self._keep_dose(output.values)
            if output.is_event:
                self._emit(output, arrival_ns or one.t_ns)
        if self._gate.state != self._state:
            self._enter(self._gate.state)
        return outputs

    def _keep_dose(self, values: Mapping[str, Any]) -> None:
        """Write the end of a dose into the ledger, and the lockout that it begins."""
        ledger = self.equipment.ledger
        ledger.note_end(values["on_s"], values["charge_uc"])
        if values["lockout_s"] > 0:
            ledger.note_lockout(values["lockout_s"])

    def _emit(self, output: GateOutput, arrival_ns: int) -> None:
        """Hand an event to the cold process."""
        record, _ = pack_event(event_of(output), arrival_ns, time.perf_counter_ns())
        self._said.append(record)
        self._said.notify()

    def _enter(self, state: str) -> None:
        """Show the state of the machine."""
        if self._state in ("", "DISARMED") and state in ARMED_STATES:
            forget_token(self._plan.out)
        self._state = state
        _log.info("stimulation: %s", state)

    def stop(self, channel: str, reason: str, t_ns: int, by: Mapping[str, int] | None = None) -> None:
        """Stop, whoever asks; ``by`` says who, where that is known."""
        now_ns = time.monotonic_ns()
        values = {"action": "stop", "channel": channel, "authorised": False, "reason": reason, "override": []}
        values.update(by or {})
        self.tell("operator", values, now_ns)
        self._counts.observe_stop((self._actuator.stopped_ns - t_ns) * 1e-9)
        _log.warning("stimulation: stopped by %s (%s)", channel, reason)

    def request(self, request: OperatorRequest) -> dict[str, Any]:
        """Answer a request of the operator's socket."""
        now_ns = time.monotonic_ns()
        verb = request.verb
        if verb == "status":
            return {"accepted": True, "state": self._gate.state, "text": self._status(now_ns)}
        if verb == "show":
            text, is_needed = self._electrode, needs_area(self._plan.settings)
            return {"accepted": True, "state": self._gate.state, "text": text, "needs_area": is_needed}
        by = {"uid": request.uid, "pid": request.pid}
        if verb == "stop":
            self.stop("socket", request.reason, now_ns, by)
            return {"accepted": True, "state": self._gate.state, "text": ""}
        wait_s = self._tokens.wait_s(now_ns) if verb in _WITH_TOKEN else 0.0
        if wait_s > 0:  # no input of the gate: whoever tries tokens must not fill the log
            text = f"token must not be tried again for {wait_s:.1f} s after so many wrong ones, got another"
            return {"accepted": False, "state": self._gate.state, "text": text}
        tried = self.try_channels() if verb == "arm" else {}
        deaf = [f"{name} ({why})" for name, why in tried.items() if why]
        if deaf:
            text = f"every way to stop must work before arming, got {', '.join(deaf)}"
            _log.error("stimulation: %s", text)
            return {"accepted": False, "state": self._gate.state, "text": text}
        values = {
            "action": verb,
            "channel": "socket",
            "authorised": verb not in _WITH_TOKEN or self._tokens.is_right(request.token, now_ns),
            "reason": request.reason,
            "override": [request.override] if request.override else [],
            **by,
            **({"tried": list(tried)} if tried else {}),
        }
        if verb == "arm":
            values["area_cm2"] = request.area_cm2
        if n_unjudged := self._tokens.take_unjudged():
            values["unjudged_tokens"] = n_unjudged
            _log.warning("stimulation: %d tokens were tried too soon after wrong ones, none was judged", n_unjudged)
        refused = [one.values["reason"] for one in self.tell("operator", values, now_ns) if one.kind == "refusal"]
        text = "; ".join(refused)
        if verb == "unblind" and not refused:
            text = self._unblind()
        elif verb == "arm" and not refused:
            ways = ", ".join(tried)
            text = f"{self._electrode}; tried, and work: {ways}; log head {self._log.head}"
            where = (self._log.seq, self._log.head)
            _log.info("stimulation: armed for %s; ways to stop tried: %s; log at seq %d, head %s",
                      self._electrode, ways, *where)  # fmt: skip
        return {"accepted": not refused, "state": self._gate.state, "text": text}

    def _status(self, now_ns: int) -> str:
        """Say how it is."""
        until_ns, dose = self._gate.armed_until_ns, self._gate.dose
        parts = [] if until_ns is None else [f"armed for {(until_ns - now_ns) * 1e-9:.0f} s"]
        if dose is not None:
            parts.append(f"{dose.row.state} for {dose.on_s(now_ns):.1f} s")
        parts.append(f"24 h {self._gate.day_uc * 1e-3:.3f} mC")
        return ", ".join(parts)

    def _unblind(self) -> str:
        """Put the assignment into the log and say it."""
        assignment = self.equipment.assignment
        if assignment is None:
            return "the run is not blinded"
        t_ns = max(self._t_ns, time.monotonic_ns())  # an answer's time is rounded up, and may lie ahead of the clock
        self._log.take_act("unblind", self._number - 1, t_ns, arm=assignment.arm, salt=assignment.salt)
        return f"the run is {assignment.arm}"

    def event(self, record: EventRecord) -> None:
        """Take an event of the hot process."""
        values = json.loads(record.line)
        if values["type"] not in _HEARD:
            return
        for key in _LEFT_OUT:
            values.pop(key, None)
        values["k"] = record.k
        values["arrival_ns"] = record.arrival_ns
        outputs = self.tell("event", values, time.monotonic_ns(), record.arrival_ns)
        if any(one.kind == "command" and one.values["action"] == "start" for one in outputs):
            self._start_arrival_ns = record.arrival_ns

    def lost(self, n: int) -> None:
        """Stop: events of the hot process were overwritten before they were looked at."""
        self.stop("watchdog", f"{n} events of the hot process were lost", time.monotonic_ns())

    def leave(self) -> None:
        """Let go what is on the disk; tell the gate, once, of a log or ledger that takes nothing more."""
        fault = self._actuator.leave()
        for ticket_ns in self._actuator.take_waits_ns():
            self._counts.observe_fsync(ticket_ns * 1e-9)
        if self._actuator.started_ns and self._start_arrival_ns:
            self._counts.observe_command((self._actuator.started_ns - self._start_arrival_ns) * 1e-9)
            self._start_arrival_ns = self._actuator.started_ns = 0
        failures = self._writer.failures
        if len(failures) > self._n_failures:
            self._n_failures = len(failures)
            path, reason = list(failures.items())[-1]
            fault = f"{path.name}: {reason}"
        if fault is not None:
            self._log_failed[0] = 1
            _log.error("stimulation: the log must be writable, got %s; output off", fault)
            self.tell("log", {"what": "failed", "number": self._number, "reason": fault}, time.monotonic_ns())

    def hear(self) -> list[DeviceAnswer]:
        """Take what the device has said; tell the gate."""
        answers = self._actuator.answers()
        for one in answers:
            if one.kind != "lost":
                self.is_device_on = one.is_on
                self._is_on_word[0] = one.is_on
            values = asdict(one)
            values["delivered_uc"] = one.delivered_uc if math.isfinite(one.delivered_uc) else None
            now_ns = time.monotonic_ns()
            self.tell("device", values, ceiled(now_ns) if self._is_blinded else now_ns)
            self._actuator.settle(one, self._gate.bound_up_to_uc)
        return answers

    def pulse(self, values: Mapping[str, Any], now_ns: int) -> None:
        """Take a heartbeat; show how it is."""
        self.tell("pulse", values, now_ns)
        self._counts.put(
            heartbeat_ns=now_ns,
            armed_until_ns=self._gate.armed_until_ns or 0,
            session_uc=self._gate.session_uc,
            day_uc=self._gate.day_uc,
        )

    def finish(self, disk_s: float) -> None:
        """Switch off, end the log and the ledger; waits for the disk so long at most."""
        now_ns = time.monotonic_ns()
        ledger = self.equipment.ledger
        charge = {"session_uc": ledger.session_uc, "day_uc": ledger.day_uc()}
        end: dict[str, Any] = {"reason": "the run is over", "charge": charge}
        if n_unjudged := self._tokens.take_unjudged():
            end["unjudged_tokens"] = n_unjudged
        self.tell("end", end, now_ns)
        ledger.close((self._log.seq, self._log.head))
        _log.info("stimulation: log ends with seq %d, head %s", self._log.seq, self._log.head)
        self._writer.sync()
        if not self._writer.close(disk_s) or self._writer.failures:
            self._log_failed[0] = 1
        self._log.close()
        self._said.close()
        forget_token(self._plan.out)
