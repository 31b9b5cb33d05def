"""One random closed loop: gate, actuator, log, ledger and device in virtual time, with faults and with people.

`Program` does what the stimulator process does with every input, in the same order (stream/live/stimulation's
controller), with the real gate, actuator, log and ledger; only the clock, the disk and the wire are virtual.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.actuator import Actuator
from neuroloop.sinks.stimulator.envelope.profiles import HARD_LIMITS_SHA256
from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, Clocks, input_of, output_record
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.log.ledger_entries import LedgerClock
from neuroloop.sinks.stimulator.records import Device, GateInput, GateOutput
from neuroloop.sinks.stimulator.sham import ArmFilter
from tests.sinks.stimulator.judge import Act, Case, Decision, Silence, breaches, doses
from tests.sinks.stimulator.loop_parts import VirtualDisk, WireDevice, records_of
from tests.sinks.stimulator.loop_plan import LoopPlan, settings_of
from tests.sinks.stimulator.reference import bounds_of, dec, numbers_of, stepped
from tests.sinks.stimulator.rig import CAPABILITIES, CONFIG_SHA256, setup_of

_DAY_NS = 86_400 * 10**9
_HASHES = {"limits_sha256": HARD_LIMITS_SHA256, "config_sha256": CONFIG_SHA256}
_SILENCES = ("stall", "stale", "stream_down", "standing", "hot_dead", "silent", "limits", "config", "down_event")
_EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gap", {"missing": 3}),
    ("skip", {"n": 40}),
    ("artifact", {"kind": "rail"}),
    ("drift", {"what": "onset", "monitor": "m", "hold": True}),
    ("drift", {"what": "onset", "monitor": "m", "hold": True}),
    ("drift", {"what": "end", "monitor": "m", "hold": False}),
    ("drift", {"what": "end", "monitor": "m", "hold": False}),
    ("stream", {"what": "clock_step", "step_s": 0.5}),
    ("stream", {"what": "clock_step", "step_s": 0.002}),
    ("stream", {"what": "counter_reset", "number": 7}),
    ("marker", {"label": "x"}),
)


@dataclass
class Outcome:
    """What became of a loop."""

    seed: int
    breaches: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    trips: Counter[str] = field(default_factory=Counter)
    worst_step_share: float = 0.0
    """The largest sudden change, as a share of the largest amplitude of the table."""


class Program:
    """One start of the stimulator process."""

    def __init__(self, world: World, number: int) -> None:
        plan = world.plan
        self.world = world
        self.number = number
        self.disk = VirtualDisk(plan, world.rng, lambda: world.now_ns)
        folder = world.folder / str(number)
        folder.mkdir()
        clock = LedgerClock(lambda: world.wall_ns, lambda: world.now_ns, lambda: "boot")
        writer: Any = self.disk
        self.ledger = Ledger(world.folder, "s", "e", run=f"run{number}", writer=writer, clock=clock)
        if not plan.acknowledges:
            self.ledger.never_settles()
        device: Device = world.device
        if plan.is_sham:
            device = ArmFilter(device, "sham", clock_ns=lambda: world.now_ns)
        self.setup = setup_of(
            StimulationSettings.model_validate(settings_of(plan)),
            capabilities=world.capabilities,
            ledger=self.ledger.history(),
            decision_s=plan.decision_s if plan.names_decision_s else None,
            window_s=plan.window_s,
        )
        self.gate = Gate(self.setup)
        clocks = Clocks(lambda: world.wall_ns, lambda: world.now_ns * 1e-9)
        self.log = AuditLog(folder / AUDIT_FILE, writer, clocks)
        self.actuator = Actuator(
            device,
            self.log,
            self.ledger,
            writer,
            patience_s=plan.watchdog_s,
            successors={row["state"]: row["successors"] for row in self.setup["table"]},
            clock_ns=lambda: world.now_ns,
        )
        self.n_inputs = 0
        self.n_failures = 0
        self.tell("setup", self.setup)

    def tell(self, kind: Any, values: Mapping[str, Any]) -> list[GateOutput]:
        """Make an input of the gate and carry out what it decides."""
        one = GateInput(self.n_inputs, self.world.now_ns, kind, values)
        self.n_inputs += 1
        outputs = self.gate.step(one)
        self.actuator.carry_out(one, outputs)
        for output in outputs:
            if output.kind == "note":
                self._note(output.values)
        return outputs

    def _note(self, values: Mapping[str, Any]) -> None:
        if values["what"] == "tripped":
            self.world.outcome.trips[values["interlock"]] += 1
        elif values["what"] == "dose":
            self.ledger.note_end(values["on_s"], values["charge_uc"])
            if values["lockout_s"] > 0:
                self.ledger.note_lockout(values["lockout_s"])

    def turn(self) -> None:
        """Do what one turn of the process's loop does: let leases go, hear the device."""
        self.disk.advance()
        fault = self.actuator.leave()
        if len(self.disk.failures) > self.n_failures:
            self.n_failures = len(self.disk.failures)
            fault = next(iter(self.disk.failures.values()))
        if fault is not None:
            self.tell("log", {"what": "failed", "number": self.n_inputs, "reason": fault})
        for one in self.actuator.answers():
            values = asdict(one)
            values["delivered_uc"] = one.delivered_uc if math.isfinite(one.delivered_uc) else None
            self.tell("device", values)
            self.actuator.settle(one, self.gate.bound_up_to_uc)

    def replay_faults(self) -> list[str]:
        """Decide again on the logged inputs; return what came out otherwise."""
        gate: Gate | None = None
        said: list[dict[str, Any]] = []
        logged: list[dict[str, Any]] = []
        for record in records_of(self.disk.lines):
            record.pop("seq")
            record.pop("prev")
            if "in" in record:
                one = input_of(record)
                gate = gate or Gate(one.values)
                said += [output_record(one.number, output) for output in gate.step(one)]
            elif "out" in record:
                logged.append(record)
        plain = records_of([_line(one) for one in said])
        return [] if plain == logged else [f"run {self.number}: the replay decides otherwise"]


def _line(record: Mapping[str, Any]) -> bytes:
    from neuroloop.stream.contracts.events import encode

    return encode(record).encode()


class World:
    """Everything around the program; time is moved by hand."""

    def __init__(self, plan: LoopPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.rng = random.Random(plan.seed)
        self.now_ns = 10**12
        self.wall_offset_ns = 1_700_000_000 * 10**9
        self.outcome = Outcome(plan.seed)
        self.capabilities = replace(
            CAPABILITIES,
            max_amplitude_ma=100.0,
            max_frequency_hz=400.0,
            step_ma=plan.step_ma,
            acknowledges=plan.acknowledges,
        )
        self.device = WireDevice(plan, self.capabilities, self.now_ns)
        self.case = self._case()
        self.program: Program | None = None
        self.backlog: deque[tuple[str, dict[str, Any]]] = deque()
        self._set_pipeline()
        self.old_uc = 0.0
        self.worst_ledger_uc = 0.0

    @property
    def wall_ns(self) -> int:
        """The wall clock."""
        return self.now_ns + self.wall_offset_ns

    def _case(self) -> Case:
        plan = self.plan
        lease_ns = round(plan.lease_s * 1e9)
        loses = plan.drop > 0 or plan.lie == "ignores_stop"
        more = 0.0
        bounds = bounds_of(plan.profile, plan.route, plan.area_cm2, session=plan.limits)
        return Case(
            rows=plan.rows,
            bounds=bounds,
            step_ma=plan.step_ma,
            step_us=self.capabilities.step_us,
            step_hz=self.capabilities.step_hz,
            lease_s=plan.lease_s,
            heartbeat_s=plan.gate["heartbeat_s"],
            watchdog_s=plan.watchdog_s,
            ramp_s=plan.gate["ramp_s"],
            soft_stop_s=plan.gate["soft_stop_s"],
            refractory_s=plan.gate["refractory_s"],
            arming_s=plan.gate["arming_s"],
            look_every_s=plan.gate["look_every_s"],
            starts_per_episode=round(plan.gate["starts_per_episode"]),
            lockout_s=plan.gate["lockout_s"],
            clean_s=max(plan.gate["blanking_s"], plan.gate.get("pulse_blanking_s", 0.0)) + plan.window_s,
            area_cm2=plan.area_cm2,
            needs_area=not plan.is_simulated,
            link_ns=round(plan.link_s * 1e9),
            late_ns=lease_ns if loses else 0,
            stall_ns=lease_ns,
            charge_factor=plan.factor if plan.lie == "delivers_more" else 1.0,
            overshoot_uc=more,
        )

    def _set_pipeline(self) -> None:
        self.progress = self.received = self.sample = 0
        self.missing = self.nonfinite = 0
        self.sample_ns = self.now_ns
        self.is_streaming = self.is_up = self.is_alive = self.is_moving = True
        self.is_deciding = True
        self.hashes = dict(_HASHES)
        self.wants = "rest"
        self.state = "unknown"
        self.stalled_until_ns = 0
        self.next_beat_ns = self.now_ns
        self.next_decision_ns = self.now_ns
        self.next_look_ns = self.now_ns + 300_000_000
        self.next_wish_ns = self.now_ns
        self.next_sample_ns = self.now_ns
        self.n_denied = 0

    # time

    def move(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now_ns + round(seconds * 1e9)
        while True:
            program = self.program
            moments = [end, self.next_decision_ns, self.device.next_command_ns]
            if program is not None:
                own = min(self.next_beat_ns, self.device.next_ns, program.disk.next_ns, self.next_look_ns)
                moments.append(max(own, self.stalled_until_ns))
            self.now_ns = max(self.now_ns, min(moments))
            self.device.advance(self.now_ns)
            self._pipeline()
            if program is not None and self.now_ns >= self.stalled_until_ns:
                self._turn(program)
                self.device.advance(self.now_ns)
            if self.now_ns >= end:
                return

    def _pipeline(self) -> None:
        """The hot process: samples, decisions."""
        if self.is_streaming and self.is_up:
            self.sample_ns = self.now_ns
        if self.now_ns < self.next_decision_ns:
            return
        self.next_decision_ns = self.now_ns + round(self.plan.decision_s * 1e9)
        if self.now_ns >= self.next_wish_ns:
            names = [row.state for row in self.plan.rows]
            self.wants = self.rng.choice([*names, *names, "rest"])
            self.next_wish_ns = self.now_ns + round(self.rng.choice([1.0, 3.0, 8.0, 20.0]) * 1e9)
        if self.is_deciding and self.is_streaming and self.is_up and self.is_alive and self.is_moving:
            self._decide()

    def _decide(self) -> None:
        plan, rng = self.plan, self.rng
        label, confidence, is_valid = self.wants, 0.95, True
        if rng.random() > plan.obedience:
            label = rng.choice([*(row.state for row in plan.rows), "rest", "nobody"])
            confidence, is_valid = rng.choice([0.5, 0.81, 0.99]), rng.random() > 0.1
        self.event("prediction", label=label, confidence=confidence, valid=is_valid)
        state = label if is_valid else "unknown"
        if state != self.state:
            self.state = state
            self.event("state", state=state, confidence=confidence)

    def event(self, event_type: str, **values: Any) -> None:
        """Hand an event of the pipeline over; it waits where the program stands still."""
        self.sample += 25
        identity = {"type": event_type, "stream": "eeg", "sample": self.sample, "k": 0, "time": self.sample / 250}
        arrival = {"arrival_ns": self.sample_ns} if self.plan.says_arrival else {}
        self.backlog.append(("event", {**identity, "delay_s": 0.5, **arrival, **values}))

    def _turn(self, program: Program) -> None:
        program.turn()
        while self.backlog:
            kind, values = self.backlog.popleft()
            if values["type"] == "prediction" and values["valid"]:
                self.case.decisions.append(Decision(self.now_ns, program.number, values["label"]))
            program.tell(kind, values)
        if self.now_ns >= self.next_look_ns:
            self.next_look_ns = self.now_ns + 400_000_000
            self._operator(program)
        if self.now_ns >= self.next_beat_ns:
            self.next_beat_ns = self.now_ns + round(self.plan.gate["heartbeat_s"] * 1e9)
            self._pulse(program)

    def _pulse(self, program: Program) -> None:
        if self.is_moving and self.is_alive:
            self.progress += 1
            self.received += 25
        day_uc = program.ledger.day_uc()
        truth_uc = self.device.truth_uc - self.old_uc
        if truth_uc > day_uc * (1 + 1e-9) and self._is_believable():
            self.worst_ledger_uc = max(self.worst_ledger_uc, truth_uc - day_uc)
        program.tell(
            "pulse",
            {
                "progress": self.progress,
                "age_s": (self.now_ns - self.sample_ns) * 1e-9,
                "is_up": self.is_up,
                "hot_alive": self.is_alive,
                "received": self.received,
                "missing": self.missing,
                "nonfinite": self.nonfinite,
                "clock_steps": 0,
                "wall_s": self.wall_ns * 1e-9,
                "day_charge_uc": day_uc,
                **self.hashes,
            },
        )

    def _is_believable(self) -> bool:
        """Whether the ledger must know of everything at any moment: the device does what it is told."""
        return self.plan.lie not in ("delivers_more", "stuck_on")

    # people

    def act(self, program: Program, action: str, *, authorised: bool = True, named: tuple[str, ...] = ()) -> bool:
        """Do something as the operator; return whether it was accepted."""
        area: float | None = None
        if action == "arm":
            area = None if self.plan.is_simulated and self.rng.random() < 0.5 else self.plan.area_cm2
            if self.rng.random() < 0.05:
                area = self.rng.choice([None, 0.1 * self.plan.area_cm2, 100 * self.plan.area_cm2])
        values = {
            "action": action,
            "channel": "terminal",
            "authorised": authorised,
            "reason": "a reason",
            "override": list(named),
            **({} if action != "arm" else {"area_cm2": area}),
        }
        outputs = program.tell("operator", values)
        is_accepted = not any(one.kind == "refusal" and one.values["what"] == action for one in outputs)
        self.case.acts.append(Act(self.now_ns, program.number, action, authorised, is_accepted, named, area))
        self.outcome.counts[f"operator_{action}"] += 1
        return is_accepted

    def _operator(self, program: Program) -> None:
        """Look at it as a person does who wants to go on; sometimes press anything."""
        rng, state = self.rng, program.gate.state
        if rng.random() < self.plan.spam:
            for _ in range(rng.randrange(1, 5)):
                action = rng.choice(["arm", "confirm", "reset", "stop", "disarm", "arm", "unblind"])
                named = tuple(rng.sample([row.state for row in self.plan.rows], rng.randrange(len(self.plan.rows) + 1)))
                self.act(program, action, authorised=rng.random() < 0.6, named=named)
            return
        if state == "FAULT":
            self.n_denied = 0 if self.act(program, "reset") else self.n_denied + 1
        elif state == "DISARMED":
            names = tuple(row.state for row in self.plan.rows if row.is_named_only and rng.random() < 0.8)
            self.n_denied = 0 if self.act(program, "arm", named=names) else self.n_denied + 1
        elif rng.random() < 0.02:
            self.act(program, "stop")
        elif rng.random() < 0.03:
            self.act(program, "confirm")

    # faults

    def fail(self, kind: str, seconds: float) -> None:
        """Let something be silent, or wrong, for a time; the output must be off in time."""
        plan, link_ns = self.plan, self.case.link_ns
        beat_ns, watchdog_ns = round(plan.gate["heartbeat_s"] * 1e9), round(plan.watchdog_s * 1e9)
        bound_ns, begin_ns = beat_ns, self.now_ns
        if kind == "stall":
            self.stalled_until_ns = self.now_ns + round(seconds * 1e9)
            bound_ns, link_ns = self._untended_ns
        elif kind == "stale":
            self.is_streaming = False
            bound_ns = watchdog_ns + beat_ns
        elif kind == "stream_down":
            self.is_up = False
        elif kind == "standing":
            self.is_moving = False
            bound_ns = watchdog_ns + beat_ns
        elif kind == "hot_dead":
            self.is_alive = False
        elif kind == "silent":
            self.is_deciding = False
            longest_s = max(3 * plan.decision_s, plan.watchdog_s)
            bound_ns = round(longest_s * 1e9) + beat_ns
        elif kind in ("limits", "config"):
            self.hashes[f"{kind}_sha256"] = "0" * 64
        elif kind == "down_event":
            self.event("stream", what="lost")
            self.is_up = False
        self.move(seconds)
        if kind != "silent" or plan.names_decision_s:
            self.case.silences.append(Silence(kind, begin_ns, self.now_ns, bound_ns + link_ns))
        self.outcome.counts[f"fault_{kind}"] += 1
        self.is_streaming = self.is_up = self.is_alive = self.is_moving = self.is_deciding = True
        self.hashes = dict(_HASHES)
        if kind in ("down_event", "stream_down"):
            self.event("stream", what="found")

    @property
    def _untended_ns(self) -> tuple[int, int]:
        """How long the output may go on by itself behind the last command, and how late that may have come."""
        if self.plan.tells_clock:  # it knows the moment, however late the lease has come
            return round(self.plan.watchdog_s * 1e9), 0
        return round(self.plan.lease_s * 1e9), self.case.link_ns

    def _happen(self) -> None:
        """Let something happen in the stream, or to the numbers of the pulse."""
        kind = self.rng.choice(["event", "event", "event", "missing", "nonfinite", "wall"])
        self.outcome.counts[f"event_{kind}"] += 1
        if kind == "missing":
            self.missing += 30
        elif kind == "nonfinite":
            self.nonfinite += 1
        elif kind == "wall":
            self.wall_offset_ns += self.rng.choice([2, 3600]) * 10**9
        else:
            name, values = self.rng.choice(_EVENTS)
            self.event(name, **values)

    # a loop

    def run(self) -> Outcome:
        """Run it and judge it."""
        plan, rng = self.plan, self.rng
        for number in range(plan.n_runs):
            self.device.connect(number)
            self.program = Program(self, number)
            self._set_pipeline()
            self.backlog.clear()
            end_ns = self.now_ns + round(plan.run_s * 1e9)
            while self.now_ns < end_ns:
                self._episode(rng)
                if self.n_denied > 8:
                    break
            self._end(number)
        return self._judge()

    def _episode(self, rng: random.Random) -> None:
        plan = self.plan
        drawn = rng.random()
        self.device.drops = plan.drop > 0
        if drawn < plan.fault:
            self.fail(rng.choice(_SILENCES), rng.choice([0.2, 0.7, 1.2, 2.2]))
            self.move(rng.choice([1.0, 4.0]))
        elif drawn < plan.fault + plan.events:
            self._happen()
            self.move(rng.choice([0.3, 2.0]))
        elif rng.random() < plan.events * 0.1:
            kind = rng.choice(["die", "switch_off"])
            self.outcome.counts[f"device_{kind}"] += 1
            (self.device.die if kind == "die" else self.device.switch_off)()
            self.move(2.0)
        elif plan.lie == "stuck_on" and rng.random() < 0.2:
            self.device.stick()
            self.move(1.0)
        elif plan.disk_fails and rng.random() < 0.1 and self.program is not None:
            self.program.disk.fail()
            self.move(1.0)
        else:
            self.move(rng.choice([0.5, 2.0, 5.0]))

    def _end(self, number: int) -> None:
        """Kill the program, or let it end, and let time pass until the next one."""
        program, plan = self.program, self.plan
        assert program is not None
        self.outcome.counts["inputs"] += program.n_inputs
        self.outcome.counts["kills"] += 1
        if self.outcome.seed % 4 == 0:
            self.outcome.breaches += program.replay_faults()
        begin_ns = self.now_ns
        program.disk.advance()
        program.disk.lose(is_power_cut=plan.power_cut[number])
        program.ledger.release()
        program.log.close()
        self.program = None
        self.device.cut()
        self.case.ends.append((number, begin_ns))
        self.move(min(plan.gaps_s[number], 3.0))
        bound_ns = self.case.link_ns if plan.notices_kill else sum(self._untended_ns)
        self.case.silences.append(Silence("kill", begin_ns, self.now_ns, bound_ns))
        more_ns = round(max(0.0, plan.gaps_s[number] - 3.0) * 1e9)
        if more_ns:
            self.now_ns += more_ns
            self.device.advance(self.now_ns)
        self.old_uc = sum(one.charge_uc for one in self.device.record if self.now_ns - one.off_ns >= _DAY_NS)

    def _unnoticed(self) -> list[str]:
        """Judge that a meter that is far off, over seconds at full amplitude, was noticed."""
        plan, trips = self.plan, self.outcome.trips
        if (
            not plan.acknowledges
            or plan.is_sham
            or plan.drop
            or plan.lie not in ("under", "units", "over", "delivers_more")
        ):
            return []
        name = "device_excess" if plan.factor > 1 else "device_deficit"
        for dose in doses(self.case.stretches):
            row = next(row for row in plan.rows if row.waveform == dose[0].waveform and abs(row.hz - dose[0].hz) < 0.1)
            full = [one for one in dose if dec(one.from_ma) == dec(one.to_ma) == stepped(row.ma, plan.step_ma)]
            still_s = sum(one.off_ns - one.on_ns for one in full) * 1e-9
            # one pulse more a lease is allowed for: few pulses a lease hide much
            is_fast = row.hz == 0 or row.hz * plan.lease_s >= 50
            if still_s > 8.0 and is_fast and trips[name] == 0:
                return [f"{still_s} s at full amplitude of a device that says {plan.factor} of it, no {name}"]
        return []

    def _judge(self) -> Outcome:
        plan, case, outcome = self.plan, self.case, self.outcome
        case.stretches = self.device.record
        if plan.lie == "stuck_on" and self.device.stuck_from_ns is not None:
            stuck_ns = self.device.stuck_from_ns
            case.stretches = [one for one in case.stretches if one.off_ns <= stuck_ns]
        if plan.lie == "delivers_more":
            # what it says is known at the next answer, and then a ramp down follows, with the surplus on it
            peaks = [numbers_of(row.ma, row.hz, row.us, row.waveform, case.bounds) for row in plan.rows]
            seconds = plan.lease_s + 2 * plan.link_s + plan.gate["heartbeat_s"] + plan.gate["ramp_s"]
            case.overshoot_uc = plan.factor * max(float(one.rate_uc_s) * seconds + float(one.pulse_uc) for one in peaks)
        outcome.breaches += [*breaches(case), *self._unnoticed()]
        if self.worst_ledger_uc:
            outcome.breaches.append(f"the ledger is {self.worst_ledger_uc} uC below what was delivered")
        given = doses(case.stretches)
        outcome.counts["doses"] += len(given)
        outcome.counts["leases"] += len(case.stretches)
        outcome.counts["restarts"] += plan.n_runs - 1
        outcome.counts[f"lie_{plan.lie}"] += 1
        outcome.counts[f"profile_{plan.profile}_{plan.route}"] += len(given)
        outcome.worst_step_share = case.worst_step_ma / max(row.ma for row in plan.rows)
        return outcome
