"""Sham stimulation, an output filter behind the gate: ramp up, ramp down, off; and nothing that the gate could tell.

The gate decides and counts as for a real dose. What it decided goes through this filter to the device. In the sham arm
a dose's leases become a ramp up, a ramp down at the same rate, and off. The gate's figures of both arms are of one
make: a *shadow*, the device model itself, takes every lease at the moment at which the device answers, and what it
delivers is what the gate is told. For every command of the gate the device gets exactly one, and its one answer is
translated; so nothing comes earlier or later, or more or less often, in one arm than in the other.

Safety goes before blinding: what contradicts the shadow by more than a meter may err is passed on as it is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from neuroloop.sinks.stimulator.devices.charge import charge_per_phase_uc
from neuroloop.sinks.stimulator.devices.simulator.model import ModelLimits, StimulatorModel
from neuroloop.sinks.stimulator.records import Capabilities, Device, DeviceAnswer, DeviceError, Lease

Arm = Literal["real", "sham"]
GRID_NS = 10_000_000
"""Times that a blinded run shows are multiples of it: what two commands differ in on their way is far below."""
_EXCESS = 0.05
"""A device's own count may be so much above the shadow's before it is passed on: what the gate itself allows."""
_EXCESS_UC = 0.1
_STRAY = 0.5
"""A device's own count may grow by so much more or less than the shadow's between two answers."""
_NOT_OFF = "the output must be off, got on"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A command of the gate, what the device was sent in its place, and whether a sham was past its ramp up by then."""

    command: str
    sent: str
    lease: Lease | None
    is_turned: bool
    is_off: bool


class ArmFilter:
    """A device behind which nobody can tell real from sham; implements `neuroloop.sinks.stimulator.records.Device`.

    Parameters
    ----------
    device : Device
    arm : {'real', 'sham'}
        ``real`` hands everything on as it is.
    is_blinded : bool
        Round the times of answers to `GRID_NS`.
    clock_ns : callable
        ``CLOCK_MONOTONIC``.
    note : callable, optional
        Is given what really went to the device and what it really said, as JSON values.
    """

    def __init__(
        self,
        device: Device,
        arm: Arm,
        *,
        is_blinded: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        note: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._device = device
        self._arm = arm
        self._is_blinded = is_blinded
        self._clock_ns = clock_ns
        self._note = note
        self._shadow_ns = 0
        capabilities = device.capabilities()
        self._acknowledges = capabilities.acknowledges
        self._shadow = StimulatorModel(ModelLimits(capabilities, math.inf), lambda: self._shadow_ns)
        self._asked: deque[_Asked] = deque()
        self._phase: Literal["none", "up", "down", "off"] = "none"
        self._ramp_ns = 0
        self._begun_ns: int | None = None
        """When the ramp that is under way, up or down, had begun for certain."""
        self._pulse_uc = 0.0
        self._counts = (0.0, 0.0)
        """What the device and the shadow had counted at the last answer."""
        self._is_strange = False

    def capabilities(self) -> Capabilities:
        """Return what the device can do."""
        return self._device.capabilities()

    def fileno(self) -> int:
        """Return the device's descriptor."""
        return self._device.fileno()

    def validate(self, lease: Lease) -> str | None:
        """Return why the device would not deliver this."""
        return self._device.validate(lease)

    # commands: one of the gate is one for the device

    def arm(self) -> None:
        """Make it ready."""
        self._hand("arm", "arm", None, self._device.arm)

    def disarm(self) -> None:
        """Make it deaf."""
        self._hand("disarm", "disarm", None, self._device.disarm)
        self._phase = "none"

    def stop(self) -> str | None:
        """Switch off now."""
        fault = self._hand("stop", "stop", None, self._device.stop)
        self._phase = "none"
        return fault

    def status(self) -> None:
        """Ask the device."""
        self._hand("status", "status", None, self._device.status)

    def start(self, lease: Lease) -> None:
        """Begin the ramp of a dose."""
        self._phase, top_ma = "up", lease.train.amplitude_ma
        self._ramp_ns = math.ceil(top_ma / lease.slew_ma_s * 1e9)
        self._pulse_uc = charge_per_phase_uc(lease.train, top_ma)
        self._begun_ns = None if self._acknowledges else self._clock_ns()
        self._hand("start", "start", lease, lambda: self._device.start(lease), lease)

    def renew(self, lease: Lease) -> None:
        """Go on; in the sham arm turn round at the top, and switch off when the ramp down is over."""
        if self._arm == "sham" and self._phase == "up" and self._is_ramp_over():
            self._phase = "down"
            self._begun_ns = None if self._acknowledges else self._clock_ns() + round(lease.duration_s * 1e9)
        elif self._phase == "down" and self._is_ramp_over():
            self._phase = "off"
            fault = self._hand("renew", "stop", lease, self._device.stop)
            if fault is not None:
                raise DeviceError(fault)
            return
        if self._phase == "off":
            self._hand("renew", "status", lease, self._device.status)
            return
        sent = lease
        if self._phase == "down":
            sent = replace(lease, train=replace(lease.train, amplitude_ma=0.0))
        self._hand("renew", "renew", lease, lambda: self._device.renew(sent), sent)

    def _is_ramp_over(self) -> bool:
        """Return whether the device has had the time for all of the ramp that is under way, up or down."""
        return self._begun_ns is not None and self._clock_ns() - self._begun_ns >= self._ramp_ns

    def _hand(
        self,
        command: str,
        sent: str,
        lease: Lease | None,
        do: Callable[[], str | None],
        sent_lease: Lease | None = None,
    ) -> str | None:
        """Hand a command over, and expect its answer; return why it was not taken, if it was not."""
        is_turned = self._phase in ("down", "off")
        fault = do()
        if self._acknowledges:
            self._asked.append(_Asked(command, sent, lease, is_turned, self._phase == "off"))
        if self._note is not None:
            values = {} if sent_lease is None else {"lease": asdict(sent_lease)}
            self._note({"sent": sent, "t_ns": self._clock_ns(), **values})
        return fault

    # answers: one of the device is one for the gate

    def answers(self) -> list[DeviceAnswer]:
        """Return what a device would say that delivers what the gate decided; what is wrong shows through."""
        found = []
        for one in self._device.answers():
            if self._note is not None:
                uc = one.delivered_uc if math.isfinite(one.delivered_uc) else None
                self._note({"said": one.kind, **asdict(one), "delivered_uc": uc})
            answer = one if one.kind == "lost" or not self._acknowledges else self._translated(one)
            if answer is not None:
                found.append(answer)
        return found

    def _translated(self, one: DeviceAnswer) -> DeviceAnswer | None:
        """Return what the gate is told, None where nothing."""
        self._shadow_ns = max(self._shadow_ns, one.t_ns or self._clock_ns())
        asked = self._question(one)
        if asked is None:
            if self._phase in ("down", "off") and not one.reason:
                return None  # it has said unasked that it is off, as it should be
            asked = _Asked(one.command, one.command, None, is_turned=False, is_off=False)
        if one.kind == "nack":
            due = self._shadow.status()
        else:
            due = self._let_shadow(asked, one)
            if self._begun_ns is None and asked.is_turned == (self._phase == "down") and asked.lease is not None:
                self._begun_ns = self._clock_ns()
        figure = self._figure(one, due)
        self._shadow.take_intervals()
        self._shadow.take_edges()
        t_ns, trip_ns = one.t_ns, one.trip_ns
        if self._is_blinded:
            t_ns, trip_ns = t_ns - t_ns % GRID_NS, -(-trip_ns // GRID_NS) * GRID_NS
        if one.kind == "nack" or not asked.is_turned:
            return replace(one, delivered_uc=figure, t_ns=t_ns, trip_ns=trip_ns)
        if one.is_on and (asked.is_off or asked.sent == "stop"):
            return DeviceAnswer("nack", one.lease, True, figure, one.reason or _NOT_OFF, "stop", t_ns, trip_ns)
        return replace(due, delivered_uc=figure, t_ns=t_ns, trip_ns=trip_ns, reason=one.reason or due.reason)

    def _question(self, one: DeviceAnswer) -> _Asked | None:
        """Return what a device's answer is about; those before it were not answered and will not be."""
        if not any(asked.sent == one.command for asked in self._asked):
            return None
        while True:
            asked = self._asked.popleft()
            if asked.sent == one.command:
                return asked

    def _let_shadow(self, asked: _Asked, one: DeviceAnswer) -> DeviceAnswer:
        """Let the shadow do what the gate asked for."""
        shadow = self._shadow
        if asked.lease is not None:
            return shadow.start(asked.lease) if asked.command == "start" else shadow.renew(asked.lease)
        if asked.command == "arm":
            self._counts, self._is_strange = (one.delivered_uc, 0.0), False
            return shadow.arm()
        if asked.command == "disarm":
            return shadow.disarm()
        return shadow.stop() if asked.command == "stop" else shadow.status(asked.command)

    def _figure(self, one: DeviceAnswer, due: DeviceAnswer) -> float:
        """Return the charge that the gate is told: the shadow's, unless the device's own is no error of a meter."""
        said_uc, due_uc = one.delivered_uc, due.delivered_uc
        if not math.isfinite(said_uc):
            return said_uc
        more_said, more_due = said_uc - self._counts[0], due_uc - self._counts[1]
        self._counts = (said_uc, due_uc)
        slack_uc = 2.0 * self._pulse_uc + _EXCESS_UC
        is_much = more_said > (1 + _STRAY) * more_due + slack_uc or said_uc > (1 + _EXCESS) * due_uc + slack_uc
        is_little = self._arm == "real" and more_said < (1 - _STRAY) * more_due - slack_uc
        self._is_strange = self._is_strange or is_much or is_little
        if not self._is_strange:
            return due_uc
        return said_uc if self._arm == "real" else max(said_uc, due_uc)

    def close(self) -> None:
        """Stop, and let go of the device."""
        self._device.close()
        self._phase = "none"
