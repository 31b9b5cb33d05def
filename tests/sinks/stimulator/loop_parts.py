"""A disk, a wire and a device of a random closed loop, in virtual time."""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from neuroloop.sinks.stimulator.devices.device_clock import DeviceClock
from neuroloop.sinks.stimulator.devices.simulator.model import Interval, ModelLimits, StimulatorModel
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, Lease
from tests.sinks.stimulator.judge import Stretch
from tests.sinks.stimulator.loop_plan import LoopPlan


class VirtualDisk:
    """Takes a `DiskWriter`'s place: what was handed over lies on the disk when its ticket's time has come.

    A process that is killed leaves what it handed over; a power cut takes everything behind the last ticket that is
    done.
    """

    def __init__(self, plan: LoopPlan, rng: random.Random, clock_ns: Callable[[], int]) -> None:
        self._plan = plan
        self._rng = rng
        self._clock_ns = clock_ns
        self._work: deque[tuple[int, AppendFile | None, bytes, int]] = deque()
        self._n_tickets = 0
        self._last_ns = 0
        self.done = 0
        self.failures: dict[Path, str] = {}
        self.lines: list[bytes] = []
        """Of the log, as they were handed over."""

    @property
    def next_ns(self) -> int:
        """When the next ticket is done."""
        return next((at_ns for at_ns, _, _, ticket in self._work if ticket), 2**62)

    def append(self, file: AppendFile, data: bytes) -> None:
        """Hand over lines."""
        if file.leads:
            self.lines.append(data)
        else:
            self._work.append((0, file, data, 0))

    def sync(self) -> int:
        """Return a ticket."""
        plan, rng = self._plan, self._rng
        wait_s = rng.uniform(0.0, 0.55) if rng.random() < plan.slow_disk else plan.disk_s * rng.random()
        self._last_ns = max(self._last_ns, self._clock_ns() + round(wait_s * 1e9))
        self._n_tickets += 1
        self._work.append((self._last_ns, None, b"", self._n_tickets))
        return self._n_tickets

    def advance(self) -> None:
        """Put on the disk what is due."""
        now, due = self._clock_ns(), 0
        for index, (at_ns, _, _, ticket) in enumerate(self._work):
            if ticket and at_ns <= now:
                due = index + 1
        for _ in range(due):
            _, file, data, ticket = self._work.popleft()
            if file is not None:
                file.write(data)
            elif not self.failures:
                self.done = ticket

    def fail(self) -> None:
        """Take nothing more."""
        self.failures[Path("disk")] = "No space left on device"

    def lose(self, *, is_power_cut: bool) -> None:
        """The process is gone; the machine too in a power cut."""
        while self._work:
            _, file, data, _ = self._work.popleft()
            if file is not None and not is_power_cut:
                file.write(data)


class _Command(NamedTuple):
    """A command on its way."""

    at_ns: int
    action: str
    lease: Lease | None
    sent_ns: int
    not_after_ns: int | None


class WireDevice:
    """A `Device` behind a wire: the model, what it lies, what is lost on the way. It lives over restarts.

    Commands and answers keep their order, and take up to the plan's delay each. How long an answer took, and by when a
    lease must be over, is reckoned as the devices of the program do, by the device's clock where it tells it.
    """

    def __init__(self, plan: LoopPlan, capabilities: Capabilities, now_ns: int) -> None:
        self.plan = plan
        self.now_ns = now_ns
        self.run = 0
        self.drops = False
        self._known = capabilities
        self._rng = random.Random(plan.seed + 1)
        self._at_ns = now_ns
        # the device's own limits are far away: what holds here is held by the program
        wide = replace(capabilities, max_amplitude_ma=1e6, max_frequency_hz=1e6, max_pulse_width_us=1e6)
        self.model = StimulatorModel(ModelLimits(wide, math.inf), lambda: self._at_ns + plan.clock_ahead_ns)
        self._clock = DeviceClock()
        self._way: deque[_Command] = deque()
        self._back: deque[tuple[int, DeviceAnswer, int]] = deque()
        """When it is here, what, and when what it answers was sent, 0 where nobody asked."""
        self.record: list[Stretch] = []
        self.n_granted = 0
        self.stuck_from_ns: int | None = None
        self._truth_uc = 0.0
        self._flood_ns = 0

    # as the program sees it

    def capabilities(self) -> Capabilities:
        return self._known

    def fileno(self) -> int:
        return -1

    def validate(self, lease: Lease) -> str | None:
        return None

    def arm(self) -> None:
        self._send("arm")

    def disarm(self) -> None:
        self._send("disarm")

    def start(self, lease: Lease) -> None:
        self._send("start", lease)

    def renew(self, lease: Lease) -> None:
        self._send("renew", lease)

    def stop(self) -> str | None:
        self._send("stop")
        return None

    def status(self) -> None:
        self._send("status")

    def close(self) -> None:
        self._send("stop")

    def answers(self) -> list[DeviceAnswer]:
        found = []
        while self._back and self._back[0][0] <= self.now_ns:
            _, one, sent_ns = self._back.popleft()
            found.append(replace(one, trip_ns=self._trip_ns(one, sent_ns)) if sent_ns else one)
        return found

    def _trip_ns(self, one: DeviceAnswer, sent_ns: int) -> int:
        """Return how long a command took, as `JsonLinesDevice` measures it."""
        read_ns, clock = self.now_ns, self._clock
        if not self.plan.tells_clock:
            return max(1, read_ns - sent_ns)
        clock.note(sent_ns, one.t_ns, read_ns)
        return max(1, min(read_ns - sent_ns, clock.trip_ns(sent_ns, one.t_ns)))

    # the wire

    def _delay_ns(self) -> int:
        return round(self.plan.link_s * self._rng.uniform(0.5, 1.0) * 1e9)

    def _send(self, action: str, lease: Lease | None = None) -> None:
        if self.drops and self._rng.random() < self.plan.drop:
            return
        at = self.now_ns + self._delay_ns()
        deadline = None
        if lease is not None and self.plan.tells_clock:
            deadline = self._clock.not_after_ns(self.now_ns + round(self.plan.watchdog_s * 1e9))
        at = max(at, self._way[-1].at_ns) if self._way else at
        self._way.append(_Command(at, action, lease, self.now_ns, deadline))

    def _say(self, one: DeviceAnswer, sent_ns: int = 0) -> None:
        plan = self.plan
        if not plan.acknowledges or (self.drops and self._rng.random() < plan.drop):
            return
        if plan.lie == "null":
            one = replace(one, delivered_uc=math.nan)
        elif plan.factor != 1.0:
            one = replace(one, delivered_uc=one.delivered_uc * plan.factor)
        at = self._at_ns + self._delay_ns()
        self._back.append((max(at, self._back[-1][0]) if self._back else at, one, sent_ns))

    @property
    def next_ns(self) -> int:
        """When something arrives at either end."""
        way = self._way[0].at_ns if self._way else 2**62
        return min(way, self._back[0][0] if self._back else 2**62)

    @property
    def next_command_ns(self) -> int:
        """When the next command arrives at the device."""
        return self._way[0].at_ns if self._way else 2**62

    def advance(self, now_ns: int) -> None:
        """Let time pass for the device."""
        self.now_ns = now_ns
        while self._way and self._way[0].at_ns <= now_ns:
            one = self._way.popleft()
            self._at_ns = max(self._at_ns, one.at_ns)
            self._say(self._obey(one), one.sent_ns)
        self._at_ns = now_ns
        self.model.advance()
        if self.plan.lie == "flood" and now_ns >= self._flood_ns:
            self._flood_ns = now_ns + 30_000_000
            self._say(self.model.status(""))
        for interval in self.model.take_intervals():
            self._keep(interval)

    def _obey(self, one: _Command) -> DeviceAnswer:
        model, action, lease = self.model, one.action, one.lease
        if lease is not None:
            if self.plan.refuse and self._rng.random() < self.plan.refuse:
                return model.refuse(action, lease.number, "not now")
            return (model.start if action == "start" else model.renew)(lease, one.not_after_ns)
        if action == "arm":
            return model.arm()
        if action == "status":
            return model.status()
        if self.plan.lie == "ignores_stop" and model.is_on:
            return replace(model.status(), kind="ack", command=action)
        if action == "disarm":
            return model.disarm()
        return model.stop()

    def _keep(self, one: Interval) -> None:
        if not one.is_granted:
            return
        self.n_granted += 1
        more = self.plan.factor if self.plan.lie == "delivers_more" else 1.0
        self._truth_uc += one.charge_uc * more
        train, ahead_ns = one.lease.train, self.plan.clock_ahead_ns
        self.record.append(
            Stretch(
                one.on_ns - ahead_ns,
                one.off_ns - ahead_ns,
                one.from_ma,
                one.to_ma,
                one.reached_ns - ahead_ns,
                train.frequency_hz,
                train.pulse_width_us,
                train.waveform,
                one.charge_uc * more,
                one.ended_by,
                self.run,
            )
        )

    # what happens to it

    def stick(self) -> None:
        """The switch does not open any more."""
        if not self.model.is_stuck:
            self.model.is_stuck, self.stuck_from_ns = True, self.now_ns

    def die(self) -> None:
        """The line is cut: the device lets go, and the program learns of it."""
        self._way.clear()
        self._at_ns = self.now_ns
        self.model.disconnect()
        self._back.append((self.now_ns, DeviceAnswer("lost", 0, False, math.nan, "the line is cut"), 0))

    def switch_off(self) -> None:
        """Somebody presses the switch on the device, which says so."""
        self._at_ns = self.now_ns
        self.model.stop()
        self._say(self.model.status(""))

    def cut(self) -> None:
        """The program is gone; what it has sent may still arrive, and whoever notices lets go."""
        if self.plan.notices_kill:
            self._way.clear()
            self._at_ns = self.now_ns
            self.model.disconnect()
        self._back.clear()

    def connect(self, run: int) -> None:
        """A new program has opened it."""
        self._way.clear()
        self._back.clear()
        self.model.terminate()
        self.model.disconnect()
        self.advance(self.now_ns)
        self.run = run
        self._clock = DeviceClock()
        back_ns = self._delay_ns()
        acted_ns = self.now_ns - back_ns + self.plan.clock_ahead_ns
        self._clock.note(self.now_ns - back_ns - self._delay_ns(), acted_ns, self.now_ns)  # its answer to hello

    @property
    def truth_uc(self) -> float:
        """What was delivered so far under leases that are over."""
        return self._truth_uc


def records_of(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the records of a log's lines."""
    return [json.loads(line) for line in lines]
