"""Commands as an LSL stream: for a device that resolves the stream and acts on what it reads.

The stream is of type ``Stimulation``, irregular, one channel of text. Each sample is one JSON object, and each start
and renewal carries its own end: a device must never go on beyond it. Nothing comes back.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from typing import Any

import pylsl

from neuroloop.config.lsl_settings import lsl_settings
from neuroloop.sinks.stimulator.devices.charge import charge_per_phase_uc
from neuroloop.sinks.stimulator.devices.lease_guard import LeaseGuard, one_way_capabilities
from neuroloop.sinks.stimulator.devices.limits import why_not
from neuroloop.sinks.stimulator.devices.messages import VERSION
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, DeviceError, Lease

STREAM_TYPE = "Stimulation"
_MAX_BUFFERED = 1
"""Hundreds of commands that a slow device may be behind; older ones are over anyway."""
_LEAVE_S = 0.2
"""How long closing waits for the last command to leave: an outlet that is destroyed throws away what it holds."""


class LslDevice:
    """Offer commands as the LSL stream ``<name>-stimulation``; implements `neuroloop.sinks.stimulator.records.Device`.

    A command that nobody listens to raises. Whether a listener is the stimulator or a recorder cannot be told.

    Parameters
    ----------
    name : str
        Of the pipeline.
    limits_itself : bool
        Whether the user confirms that the device ends every lease by itself.
    """

    def __init__(self, name: str, *, limits_itself: bool) -> None:
        pylsl.set_config_content(lsl_settings())
        self._name = f"{name}-stimulation"
        self._capabilities = one_way_capabilities(f"LSL stream {self._name}", limits_itself=limits_itself)
        self._guard = LeaseGuard(self._capabilities, time.monotonic_ns)
        self._is_heard = False
        self._outlet: Any = pylsl.StreamOutlet(self._describe(), max_buffered=_MAX_BUFFERED)

    def capabilities(self) -> Capabilities:
        """Return what is known of a device that never answers: next to nothing."""
        return self._capabilities

    def fileno(self) -> int:
        """Return -1: nothing comes back."""
        return -1

    def validate(self, lease: Lease) -> str | None:
        """Return what is wrong with the lease itself; the device's limits are not known."""
        return why_not(lease, self._capabilities)

    def arm(self) -> None:
        """Say that leases will come. Raises `DeviceError` where nobody listens."""
        self._push({"ev": "arm", "v": VERSION, "id": 0})
        self._is_heard = True
        self._guard.arm()

    def disarm(self) -> None:
        """Say that no lease will come and the output must be off. Raises `DeviceError` where nobody listens."""
        self._guard.disarm()
        self._push({"ev": "disarm", "id": 0})
        self._is_heard = False

    def start(self, lease: Lease) -> None:
        """Offer the first lease of a dose. Raises `DeviceError` where it may not pass or nobody listens."""
        self._check_listener("start")
        self._guard.start(lease)
        self._push(self._lease("stim_start", lease))

    def renew(self, lease: Lease) -> None:
        """Offer the next lease. Raises `DeviceError` where it may not pass or nobody listens."""
        self._check_listener("renew")
        self._guard.renew(lease)
        self._push(self._lease("stim_renew", lease))

    def stop(self) -> str | None:
        """Say that the output must be off; that nobody listens matters only once a device was armed."""
        number = self._guard.lease
        self._guard.stop()
        try:
            self._push({"ev": "stim_stop", "id": number})
        except DeviceError as error:
            return str(error) if self._is_heard else None
        return None

    def status(self) -> None:
        """Do nothing: the device cannot be asked."""

    def answers(self) -> list[DeviceAnswer]:
        """Return ``lost`` when the last listener has gone since arming, otherwise nothing."""
        if not self._is_heard or self._has_listener():
            return []
        self._is_heard = False
        self._guard.disarm()
        return [DeviceAnswer("lost", 0, False, math.nan, f"nobody listens to {self._name} any more")]

    def close(self) -> None:
        """Say that the output must be off and take the stream off the network; may be called twice."""
        if self._outlet is not None:
            self.stop()
            if self._has_listener():
                time.sleep(_LEAVE_S)
            self._outlet = None
            self._is_heard = False

    def _describe(self) -> pylsl.StreamInfo:
        # the same after a restart, so that a device finds the stream again; another one on every machine
        digest = hashlib.sha256(f"{platform.node()}\0{self._name}".encode()).hexdigest()[:16]
        info = pylsl.StreamInfo(self._name, STREAM_TYPE, 1, pylsl.IRREGULAR_RATE, "string", f"neuroloop-stim-{digest}")
        channel = info.desc().append_child("channels").append_child("channel")
        channel.append_child_value("label", "command")
        channel.append_child_value("type", STREAM_TYPE)
        about = info.desc().append_child("neuroloop")
        about.append_child_value("purpose", "stimulation")
        about.append_child_value("version", str(VERSION))
        return info

    def _lease(self, event: str, lease: Lease) -> dict[str, Any]:
        train = lease.train
        return {
            "ev": event,
            "v": VERSION,
            "id": lease.number,
            "mA": train.amplitude_ma,
            "slew_mA_s": lease.slew_ma_s,
            "us": train.pulse_width_us,
            "hz": train.frequency_hz,
            "waveform": train.waveform,
            "uC": charge_per_phase_uc(train, train.amplitude_ma),
            "lease_s": lease.duration_s,
        }

    def _has_listener(self) -> bool:
        return self._outlet is not None and bool(self._outlet.have_consumers())

    def _check_listener(self, what: str) -> None:
        if not self._has_listener():
            raise DeviceError(f"a device must listen to the LSL stream {self._name} to {what}, got nobody")

    def _push(self, message: dict[str, Any]) -> None:
        """Offer one command, stamped now; a start or renewal also says when it ends on LSL's clock."""
        self._check_listener(message["ev"].removeprefix("stim_"))
        now = pylsl.local_clock()
        if "lease_s" in message:
            message["end"] = now + message["lease_s"]
        try:
            self._outlet.push_sample([json.dumps(message, allow_nan=False, separators=(",", ":"))], now)
        except (RuntimeError, ValueError) as error:
            raise DeviceError(f"the LSL stream {self._name} must take commands, got {error}") from error
