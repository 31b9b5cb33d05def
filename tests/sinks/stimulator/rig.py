"""A gate, a simulated device and a hand-moved clock, wired as the stimulator process wires them."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from neuroloop.config.recommendations import load_table
from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings
from neuroloop.sinks.stimulator.devices.simulator.model import Interval, ModelLimits, StimulatorModel
from neuroloop.sinks.stimulator.envelope.profiles import HARD_LIMITS_SHA256, HardLimits, load_hard_limits
from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.gate.setup import make_setup
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, GateInput, GateOutput
from neuroloop.stream.contracts.events import encode

SHIPPED, _ = load_hard_limits()
CONFIG_SHA256 = "c" * 64
CAPABILITIES = Capabilities(
    name="model",
    max_amplitude_ma=10.0,
    max_frequency_hz=200.0,
    max_pulse_width_us=1000.0,
    step_ma=0.01,
    step_us=1.0,
    step_hz=0.1,
    waveforms=("biphasic", "monophasic", "direct", "sine"),
    timeout_s=2.0,
    ends_by_itself=True,
    acknowledges=True,
    imbalance=0.0,
)


def quick(hard: HardLimits) -> HardLimits:
    """Return limits that bound tissue as these do, under which a gate may be as quick as a test needs it."""
    values = hard.model_dump(mode="json", exclude_none=True)
    values["gate"]["at_least"] = {**dict.fromkeys(values["gate"]["at_least"], 0.0), "confirm_n": 1}
    values["gate"]["at_most"] |= {"blanking_s": 5.0, "pulse_blanking_s": 0.5, "heartbeat_s": 0.5, "watchdog_s": 2.0}
    for routes in values["profiles"].values():
        for one in routes.values():
            one["min_lockout_s"] = 0.0
    return HardLimits.model_validate(values)


HARD = quick(SHIPPED)
EXAMPLE = load_table("adaptive_stimulation").states


def row(state: str = "alpha", **values: Any) -> RecommendationSettings:
    """Return a harmless row."""
    given = {"frequency_hz": 50.0, "amplitude_ma": 2.0, "pulse_width_us": 200.0, "duration_s": 60.0} | values
    return RecommendationSettings(state=state, min_confidence=given.pop("min_confidence", 0.8), **given)


def settings(rows: tuple[RecommendationSettings, ...] = EXAMPLE, **values: Any) -> StimulationSettings:
    """Return settings around a table; ``gate`` and ``limits`` as mappings."""
    given: dict[str, Any] = {"electrode_area_cm2": 0.06, "route": "implanted"}
    plain = [json.loads(one.model_dump_json()) for one in rows]
    return StimulationSettings.model_validate({**given, "table": plain, **values})


def setup_of(
    one: StimulationSettings,
    *,
    capabilities: Capabilities = CAPABILITIES,
    ledger: dict[str, Any] | None = None,
    decision_s: float | None = None,
    window_s: float = 0.0,
) -> dict[str, Any]:
    """Return a setup as it stands in the input log."""
    made = make_setup(
        one,
        one.table or (),
        hard=HARD,
        limits_sha256=HARD_LIMITS_SHA256,
        capabilities=capabilities,
        stream="eeg",
        delay_s=0.5,
        decision_s=decision_s,
        window_s=window_s,
        plan_hash="p" * 64,
        bundle_hash="b" * 64,
        config_sha256=CONFIG_SHA256,
        ledger=ledger or {"day_charge_uc": 0.0},
    )
    return dict(json.loads(encode(made)))


@dataclass
class Link:
    """What goes wrong on the way to the device and back."""

    latency_ns: int = 2_000_000
    disk_ns: int = 0
    """How long the record of a lease takes to the disk before the lease may leave."""
    drops_commands: bool = False
    drops_answers: bool = False
    refuses: bool = False


@dataclass
class Rig:
    """Everything that is needed for a run in which time is moved by hand.

    Inputs are kept as JSON lines, outputs too, so that runs can be compared and replayed.
    """

    setup: dict[str, Any]
    heartbeat_s: float = 0.1
    base_uc: float = 0.0
    now_ns: int = 1_000_000_000_000
    link: Link = field(default_factory=Link)

    def __post_init__(self) -> None:
        known = dict(self.setup["capabilities"])
        known["waveforms"] = tuple(known["waveforms"])
        self.capabilities = Capabilities(**known)
        self.device_ns = self.now_ns
        self.off_ns = round(self.setup["settings"]["gate"]["watchdog_s"] * 1e9)
        self.model = StimulatorModel(ModelLimits(self.capabilities, 1e9), lambda: self.device_ns)
        self.gate = Gate(self.setup)
        self.inputs: list[GateInput] = []
        self.outputs: list[list[GateOutput]] = []
        self.intervals: list[Interval] = []
        self._way: deque[tuple[int, int, GateOutput]] = deque()
        """When the device gets it, when it left, what."""
        self._back: deque[tuple[int, DeviceAnswer]] = deque()
        self.progress = 0
        self.received = 0
        self.missing = 0
        self.nonfinite = 0
        self.clock_steps = 0
        self.wall_s = 1_700_000_000.0
        self.age_s: float | None = 0.01
        self.is_up = True
        self.is_alive = True
        self.is_moving = True
        self.hashes = {"limits_sha256": HARD_LIMITS_SHA256, "config_sha256": CONFIG_SHA256}
        self.sample = 0
        self.state = "unknown"
        self.granted: list[tuple[int, float]] = []
        self.armed_spans: list[tuple[int, int]] = []
        self._armed_ns: int | None = None
        self.put("setup", self.setup)

    # time and the device

    def put(self, kind: Any, values: dict[str, Any]) -> list[GateOutput]:
        """Hand one input to the gate and its commands to the device."""
        entry = GateInput(len(self.inputs), self.now_ns, kind, json.loads(encode(values)))
        self.inputs.append(entry)
        found = self.gate.step(entry)
        self.outputs.append(found)
        for one in found:
            if one.kind == "command":
                if one.lease is not None:
                    self.granted.append((self.now_ns, one.lease.charge_uc))
                self._leave(one)
        self._deliver()
        return found

    def _leave(self, one: GateOutput) -> None:
        """Send a command: leases wait for the disk, a stop withdraws those that do."""
        link, left_ns = self.link, self.now_ns
        if one.lease is not None:
            left_ns += link.disk_ns
        elif one.values["action"] in ("stop", "disarm"):
            left = [each for each in self._way if each[2].lease is None or each[1] <= self.now_ns]
            self._way = deque(left)
        if not link.drops_commands:
            at = left_ns + link.latency_ns
            self._way.append((max(at, self._way[-1][0]) if self._way else at, left_ns, one))

    def _deliver(self) -> None:
        """Let the device take what has reached it, at the time when it did."""
        while self._way and self._way[0][0] <= self.now_ns:
            at, left_ns, one = self._way.popleft()
            self.device_ns = max(self.device_ns, at)
            for answer in self._obey(one, left_ns + self.off_ns):
                if not self.link.drops_answers:
                    back_ns = self.device_ns + self.link.latency_ns
                    self._back.append((back_ns, replace(answer, trip_ns=back_ns - left_ns)))
        self.device_ns = max(self.device_ns, self.now_ns)
        self.model.advance()
        self.intervals += self.model.take_intervals()

    def _obey(self, one: GateOutput, not_after_ns: int) -> list[DeviceAnswer]:
        action, model = one.values["action"], self.model
        if action in ("start", "renew") and (one.lease is None or self.link.refuses):
            return [model.refuse(action, 0 if one.lease is None else one.lease.number, "told to")]
        if action == "start" and one.lease is not None:
            return [model.start(one.lease, not_after_ns)]
        if action == "renew" and one.lease is not None:
            return [model.renew(one.lease, not_after_ns)]
        if action == "arm":
            self._armed_ns = self.device_ns
            return [model.arm()]
        if action == "disarm":
            if self._armed_ns is not None:
                self.armed_spans.append((self._armed_ns, self.device_ns))
                self._armed_ns = None
            return [model.stop(), model.disarm()]
        return [model.stop() if action == "stop" else model.status()]

    def move(self, seconds: float, *, pulses: bool = True) -> None:
        """Let time pass, with heartbeats and the device's answers as they come."""
        end = self.now_ns + round(seconds * 1e9)
        beat = round(self.heartbeat_s * 1e9)
        next_beat = self.now_ns + beat
        while True:
            moments = [end]
            if pulses:
                moments.append(next_beat)
            if self._back:
                moments.append(self._back[0][0])
            if self._way:
                moments.append(self._way[0][0])
            self.now_ns = max(self.now_ns, min(moments))
            self._deliver()
            while self._back and self._back[0][0] <= self.now_ns:
                self.answer(self._back.popleft()[1])
            if pulses and self.now_ns >= next_beat:
                self.pulse()
                next_beat += beat
            if self.now_ns >= end:
                break

    def stand_still(self, seconds: float) -> None:
        """Let time pass for the device and what is on its way there, and for nothing else."""
        self._way = deque(each for each in self._way if each[1] <= self.now_ns)
        self.now_ns += round(seconds * 1e9)
        self._deliver()

    # inputs

    def answer(self, one: DeviceAnswer) -> list[GateOutput]:
        """Hand a device's answer to the gate."""
        return self.put("device", asdict(one))

    def pulse(self) -> list[GateOutput]:
        """Hand a heartbeat to the gate."""
        if self.is_moving:
            self.progress += 1
            self.received += 25
        day = self.base_uc + sum(charge for at, charge in self.granted if self.now_ns - at < 86_400 * 10**9)
        return self.put(
            "pulse",
            {
                "progress": self.progress,
                "age_s": self.age_s,
                "is_up": self.is_up,
                "hot_alive": self.is_alive,
                "received": self.received,
                "missing": self.missing,
                "nonfinite": self.nonfinite,
                "clock_steps": self.clock_steps,
                "wall_s": self.wall_s + self.now_ns * 1e-9,
                "day_charge_uc": day,
                **self.hashes,
            },
        )

    def event(self, event_type: str, **values: Any) -> list[GateOutput]:
        """Hand an event of the pipeline to the gate."""
        self.sample += 25
        identity = {"type": event_type, "stream": "eeg", "sample": self.sample, "k": 0, "time": self.sample / 250}
        return self.put("event", {**identity, "delay_s": 0.5, **values})

    def decide(self, label: str, confidence: float = 0.97, *, valid: bool = True) -> None:
        """Hand a prediction, and the change of state where it is one."""
        self.event("prediction", label=label, confidence=confidence, valid=valid)
        state = label if valid else "unknown"
        if state != self.state:
            self.state = state
            self.event("state", state=state, confidence=confidence)

    def operator(self, action: str, **values: Any) -> list[GateOutput]:
        """Hand what the operator does to the gate."""
        given = {"channel": "terminal", "authorised": True, "reason": "a reason", "override": []}
        return self.put("operator", {"action": action, **given, **values})

    # a run

    def arm(self, **values: Any) -> None:
        """Wait until the hold-off is over, then arm, with the area read back."""
        values.setdefault("area_cm2", self.setup["settings"]["electrode_area_cm2"])
        self.move(2.6)
        self.operator("arm", **values)
        self.move(0.3)

    def stay(self, label: str, seconds: float, confidence: float = 0.97) -> None:
        """Decide for a label, twice a second."""
        for _ in range(round(seconds * 2)):
            self.decide(label, confidence)
            self.move(0.5)

    # what came out

    def at(self) -> str:
        """Return the state of the machine."""
        return self.gate.state

    def all(self, kind: str) -> list[GateOutput]:
        """Return all outputs of one kind."""
        return [one for found in self.outputs for one in found if one.kind == kind]

    def actions(self) -> list[str]:
        """Return the actions of all commands that are events."""
        return [one.values["action"] for one in self.all("command") if one.is_event]

    def steps(self) -> list[str]:
        """Return the states that the machine has gone through."""
        return [one.values["to"] for one in self.all("transition")]

    def refused(self) -> list[list[str]]:
        """Return the rules of each refusal."""
        return [[rule["rule"] for rule in one.values["rules"]] for one in self.all("refusal")]

    def lines(self) -> list[str]:
        """Return everything that was put out as JSON lines."""
        return [line_of(one) for found in self.outputs for one in found]


def line_of(one: GateOutput) -> str:
    """Return an output as one JSON line."""
    lease = None if one.lease is None else asdict(one.lease)
    return encode(
        {"kind": one.kind, "values": one.values, "lease": lease, "is_event": one.is_event, "event": one.event}
    )
