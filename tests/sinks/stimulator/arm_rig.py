"""A rig whose commands go through the filter of the arms, as in a sham or blinded run."""

from __future__ import annotations

from typing import Any

from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, GateOutput, Lease
from neuroloop.sinks.stimulator.sham import Arm, ArmFilter
from tests.sinks.stimulator.rig import Rig


class Wire:
    """The rig's own line to its device; implements `Device`."""

    def __init__(self, rig: ArmRig) -> None:
        self._rig = rig
        self.said: list[DeviceAnswer] = []
        self.sent: list[str] = []

    def capabilities(self) -> Capabilities:
        return self._rig.capabilities

    def fileno(self) -> int:
        return -1

    def validate(self, lease: Lease) -> str | None:
        return None

    def _put(self, action: str, lease: Lease | None = None) -> None:
        self.sent.append(action)
        self._rig.send(GateOutput("command", {"action": action}, lease))

    def arm(self) -> None:
        self._put("arm")

    def disarm(self) -> None:
        self._put("disarm")

    def start(self, lease: Lease) -> None:
        self._put("start", lease)

    def renew(self, lease: Lease) -> None:
        self._put("renew", lease)

    def stop(self) -> None:
        self._put("stop")

    def status(self) -> None:
        self._put("status")

    def answers(self) -> list[DeviceAnswer]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        self.stop()


class ArmRig(Rig):
    """A rig in one of the arms."""

    def __init__(self, setup: dict[str, Any], arm: Arm, *, kind: type[ArmFilter] = ArmFilter, **values: Any) -> None:
        self._arm = arm
        self._kind = kind
        self.told: list[DeviceAnswer] = []
        self._values = values
        super().__init__(setup)

    def __post_init__(self) -> None:
        known = dict(self.setup["capabilities"])
        self.capabilities = Capabilities(**known | {"waveforms": tuple(known["waveforms"])})
        self.wire = Wire(self)
        self.filter = self._kind(self.wire, self._arm, clock_ns=lambda: self.now_ns, **self._values)
        super().__post_init__()

    def send(self, one: GateOutput) -> None:
        """Put a command on the way to the device."""
        super()._leave(one)

    def _leave(self, one: GateOutput) -> None:
        action = one.values["action"]
        if one.lease is not None:
            getattr(self.filter, action)(one.lease)
        elif action == "disarm":
            self.filter.disarm()  # the rig's device stops by itself before it disarms
        else:
            getattr(self.filter, action)()

    def answer(self, one: DeviceAnswer) -> list[GateOutput]:
        """Hand what the filter makes of a device's answer to the gate."""
        self.wire.said.append(one)
        found: list[GateOutput] = []
        self.told = self.filter.answers()
        for seen in self.told:
            found = super().answer(seen)
        return found
