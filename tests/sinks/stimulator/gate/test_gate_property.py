"""Whatever happens, in whatever order: what the device records of itself stays within the limits."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from neuroloop.sinks.stimulator.gate.gate import Gate
from tests.sinks.stimulator.checker import Allowed, charge_uc, faults, on_after
from tests.sinks.stimulator.rig import EXAMPLE, Link, Rig, line_of, row, settings, setup_of

GATE = {
    "arming_s": 9.0,
    "hold_off_s": 0.3,
    "dwell_s": 0.5,
    "refractory_s": 1.5,
    "lockout_s": 6.0,
    "blanking_s": 0.1,
    "ramp_s": 0.5,
    "missing_window_s": 1.0,
}
LIMITS = {
    "max_session_charge_mc": 0.4,
    "max_day_charge_mc": 0.6,
    "max_slew_ma_s": 4.0,
    "max_session_s": 60.0,
    "max_starts_per_h": 12,
}
ALPHA = row("alpha", duration_s=6.0, successors=("beta", "high"))
BETA = row("beta", frequency_hz=100.0, amplitude_ma=3.0, duration_s=3.0, requires_override=True)
HIGH = EXAMPLE[2].model_copy(
    update={"successors": None, "requires_override": False, "duration_s": 5.0, "frequency_hz": 20.0}
)
RUN = settings((ALPHA, BETA, HIGH), gate=GATE, limits=LIMITS)
WATCHDOG_S, HEARTBEAT_S = 0.5, 0.1
SLACK_S = 0.05
ALLOWED = Allowed(
    settings=frozenset({(50.0, 200.0, 2.0), (100.0, 200.0, 3.0)}),
    area_cm2=0.06,
    max_density_uc_cm2=30.0,
    max_k=1.5,
    max_slew_ma_s=4.0,
    max_step_ma=0.01,
    max_lease_s=WATCHDOG_S,
    max_dose_s=6.0 + SLACK_S,
    min_off_s=1.5 - SLACK_S,
    full_s={50.0: 6.0, 100.0: 3.0},
    lockout_s=6.0 - SLACK_S,
    max_session_uc=400.0,
    max_day_uc=600.0,
)
SECONDS = st.sampled_from([0.02, 0.1, 0.25, 0.6, 1.3, 3.0])
LABELS = st.sampled_from(["alpha", "alpha", "beta", "high", "rest"])


class AnyOrder(RuleBasedStateMachine):
    """Inputs, timings and faults in any order, over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier_uc = 0.0
        self.rig = Rig(setup_of(RUN))
        self.last_arm_ns: int | None = None
        self.is_stuck = False
        self.was_bad_link = False

    @initialize()
    def it_begins(self) -> None:
        self.the_operator_starts_over()
        assert self.rig.at() == "STIMULATING"

    # the pipeline

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.rig.move(seconds)

    @rule(label=LABELS, confidence=st.sampled_from([0.3, 0.85, 0.97]), n=st.integers(1, 6), valid=st.booleans())
    def decisions_come(self, label: str, confidence: float, n: int, valid: bool) -> None:
        for _ in range(n):
            self.rig.decide(label, confidence, valid=valid)
            self.rig.move(0.25)

    @rule(label=LABELS, seconds=st.sampled_from([2, 4, 12]))
    def a_state_lasts(self, label: str, seconds: int) -> None:
        self.rig.stay(label, seconds)

    @rule(
        event=st.sampled_from(
            [
                ("gap", {"missing": 3}),
                ("skip", {"n": 40}),
                ("artifact", {"kind": "rail"}),
                ("drift", {"what": "onset", "monitor": "m", "hold": True}),
                ("drift", {"what": "end", "monitor": "m", "hold": False}),
                ("stream", {"what": "clock_step", "step_s": 0.5}),
                ("stream", {"what": "clock_step", "step_s": 0.005}),
                ("stream", {"what": "lost"}),
                ("stream", {"what": "found"}),
                ("stream", {"what": "counter_reset", "number": 7}),
                ("marker", {"label": "x"}),
            ]
        )
    )
    def something_happens(self, event: tuple[str, dict[str, Any]]) -> None:
        self.rig.event(event[0], **event[1])

    @rule(
        fault=st.sampled_from(["missing", "nonfinite", "clock", "wall", "limits", "config"]),
        seconds=SECONDS,
        begins=st.booleans(),
    )
    def the_pulse_says_something_else(self, fault: str, seconds: float, begins: bool) -> None:
        if begins:
            self.the_operator_starts_over()
        rig = self.rig
        began = rig.now_ns
        if fault == "missing":
            rig.missing += 30
        elif fault == "nonfinite":
            rig.nonfinite += 1
        elif fault == "clock":
            rig.clock_steps += 1
        elif fault == "wall":
            rig.wall_s += 3600.0
        else:
            rig.hashes[f"{fault}_sha256"] = "0" * 64
        rig.move(seconds)
        if fault in ("limits", "config"):
            self._is_off_by(began, HEARTBEAT_S)
            rig.hashes = dict(Rig(setup_of(RUN)).hashes)

    @rule(age_s=st.sampled_from([0.4, None]), is_up=st.booleans(), seconds=st.sampled_from([0.3, 0.7, 1.5]))
    def the_stream_falls_silent(self, age_s: float | None, is_up: bool, seconds: float) -> None:
        self.the_operator_starts_over()
        rig = self.rig
        began = rig.now_ns
        rig.age_s, rig.is_up = age_s, is_up
        rig.move(seconds)
        self._is_off_by(began, HEARTBEAT_S)
        rig.age_s, rig.is_up = 0.01, True

    @rule(seconds=st.sampled_from([0.3, 0.7, 1.5]), begins=st.booleans())
    def the_hot_loop_stands_still(self, seconds: float, begins: bool) -> None:
        if begins:
            self.the_operator_starts_over()
        began = self.rig.now_ns
        self.rig.is_moving = False
        self.rig.move(seconds)
        self.rig.is_moving = True
        self._is_off_by(began, WATCHDOG_S + HEARTBEAT_S)

    @rule(seconds=st.sampled_from([0.3, 0.7, 1.5]), begins=st.booleans())
    def the_program_stands_still(self, seconds: float, begins: bool) -> None:
        if begins:
            self.the_operator_starts_over()
        began = self.rig.now_ns
        self.rig.move(seconds, pulses=False)
        self._is_off_by(began, WATCHDOG_S)
        self.rig.pulse()

    @rule()
    def the_hot_process_dies(self) -> None:
        self.rig.is_alive = False
        self.rig.pulse()
        self.rig.is_alive = True

    @rule(is_durable=st.booleans())
    def the_log_is_written_or_not(self, is_durable: bool) -> None:
        self.rig.put("log", {"what": "durable" if is_durable else "failed", "number": 3})

    # the operator

    @rule(
        action=st.sampled_from(["arm", "arm", "arm", "confirm", "disarm", "stop", "reset", "unblind"]),
        authorised=st.sampled_from([True, True, True, False]),
        override=st.sampled_from([[], ["beta"], ["beta", "high"]]),
    )
    def the_operator_acts(self, action: str, authorised: bool, override: list[str]) -> None:
        rig = self.rig
        began = rig.now_ns
        found = rig.operator(action, authorised=authorised, override=override)
        refused = any(one.kind == "refusal" for one in found)
        if action in ("arm", "confirm") and authorised and not refused:
            self.last_arm_ns = rig.now_ns
        if action == "stop":
            assert found[0].kind == "command"
            assert found[0].values["action"] == "stop"
            rig.move(0.02)
            self._is_off_by(began, SLACK_S)

    @rule()
    def the_operator_starts_over(self) -> None:
        """Do what a person would do to go on: mend, reset, arm, wait."""
        self.rig.put("log", {"what": "durable", "number": 4})
        self.rig.event("drift", what="end", monitor="m", hold=False)
        self.rig.event("stream", what="found")
        self.rig.decide("rest")
        self.rig.move(1.3)
        self.the_operator_acts("reset", True, [])
        self.rig.move(0.6)
        self.the_operator_acts("arm", True, ["beta"])
        self.rig.move(0.3)
        self.rig.stay("alpha", 4)

    # the device

    @rule(latency=st.sampled_from([0, 2_000_000, 15_000_000, 40_000_000]))
    def the_way_to_the_device_changes(self, latency: int) -> None:
        self.rig.link = Link(latency_ns=latency)

    @rule(kind=st.sampled_from(["commands", "answers", "refuses"]), seconds=SECONDS)
    def the_device_fails(self, kind: str, seconds: float) -> None:
        self.was_bad_link = True
        self.rig.link = Link(
            drops_commands=kind == "commands", drops_answers=kind == "answers", refuses=kind == "refuses"
        )
        self.rig.decide("alpha")
        self.rig.move(seconds)
        self.rig.link = Link()

    @rule()
    def the_device_is_lost(self) -> None:
        self.rig.put("device", {"kind": "lost", "lease": 0, "is_on": False, "delivered_uc": None, "reason": "gone"})

    @rule(more=st.sampled_from([0.5, 1e3]))
    def the_device_says_that_it_gave_more(self, more: float) -> None:
        answer = self.rig.model.status()
        self.rig.put(
            "device",
            {"kind": "status", "lease": 0, "is_on": answer.is_on, "delivered_uc": answer.delivered_uc + more},
        )

    @precondition(lambda self: not self.is_stuck)
    @rule()
    def the_switch_sticks(self) -> None:
        self.the_operator_starts_over()
        self.is_stuck = self.rig.model.is_stuck = True
        self.rig.operator("stop")
        self.rig.move(2.0)
        if self.rig.model.is_on:
            assert self.rig.at() == "FAULT"
            assert self.rig.outputs[-1][-1].kind in ("command", "note")
            stops = [one for one in self.rig.all("command") if one.values["action"] == "stop"]
            before = len(stops)
            self.rig.move(0.5)
            after = [one for one in self.rig.all("command") if one.values["action"] == "stop"]
            assert len(after) >= before + 4

    @rule()
    def the_program_is_started_again(self) -> None:
        """Kill it: the device goes off, the ledger has every lease in full."""
        rig = self.rig
        self._judge()
        rig.model.terminate()
        self.earlier_uc += charge_uc(rig.intervals + rig.model.take_intervals()) if not self.is_stuck else 0.0
        base = rig.base_uc + sum(charge for _, charge in rig.granted)
        self.was_bad_link = False
        self.rig = Rig(setup_of(RUN, ledger={"day_charge_uc": base}), base_uc=base, now_ns=rig.now_ns + 1_000_000_000)
        self.is_stuck = False
        self.last_arm_ns = None

    @rule()
    def another_electrode_is_taken(self) -> None:
        self._judge()
        self.earlier_uc = 0.0
        self.rig = Rig(setup_of(RUN), now_ns=self.rig.now_ns)
        self.is_stuck = self.was_bad_link = False
        self.it_begins()

    # what must hold

    def _is_off_by(self, since_ns: int, seconds: float) -> None:
        """Check that nothing is on so long after a moment, up to now."""
        rig = self.rig
        if self.is_stuck:
            return
        late_s = WATCHDOG_S if self.was_bad_link else 0.0
        record = [*rig.intervals]
        slack = SLACK_S + 2 * rig.link.latency_ns * 1e-9 + late_s
        end = rig.model.end_ns
        if rig.model.is_on and end is not None:
            assert (rig.now_ns - since_ns) * 1e-9 <= seconds + slack
        assert on_after(record, since_ns, rig.now_ns) <= seconds + slack

    def _judge(self) -> None:
        rig = self.rig
        granted = [one for one in rig.intervals if one.is_granted]
        assert faults(granted, ALLOWED) == []
        if not self.is_stuck:
            total = charge_uc(rig.intervals)
            assert total <= ALLOWED.max_session_uc
            assert total + self.earlier_uc <= ALLOWED.max_day_uc
            assert total <= rig.gate.session_uc * (1 + 1e-9)

    @invariant()
    def the_record_is_within_the_limits(self) -> None:
        self._judge()

    @invariant()
    def nothing_is_on_without_arming(self) -> None:
        rig = self.rig
        if rig.model.is_on and not self.is_stuck:
            assert self.last_arm_ns is not None
            assert rig.now_ns - self.last_arm_ns <= (GATE["arming_s"] + WATCHDOG_S + 2 * SLACK_S) * 1e9
        if rig.at() in ("DISARMED", "FAULT", "INIT"):
            assert rig.gate.armed_until_ns is None

    def teardown(self) -> None:
        """Let a new gate decide again: every output of every beginning is the same to the byte."""
        rig = self.rig
        again = Gate(rig.setup)
        for entry, outputs in zip(rig.inputs, rig.outputs, strict=True):
            assert [line_of(one) for one in again.step(entry)] == [line_of(one) for one in outputs]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(
    max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
