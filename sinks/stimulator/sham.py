"""Sham stimulation: the sensation of a start, then nothing, with every sign that the gate and its log see unchanged.

The device ramps up as for a real dose. When the ramp is over it ramps down over one lease and stays off; from then on
this wrapper answers in its place, as a device that delivers what the leases say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from neuroloop.sinks.stimulator.records import Capabilities, Device, DeviceAnswer, Lease


class ShamDevice:
    """A device that only pretends; implements `neuroloop.sinks.stimulator.records.Device`.

    Parameters
    ----------
    device : Device
        Receives the ramps, and every stop.
    tops : frozenset of float
        Amplitudes in mA at which a ramp up is over.
    clock_ns : callable
        ``CLOCK_MONOTONIC``.
    """

    def __init__(self, device: Device, tops: frozenset[float], clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._device = device
        self._tops = tops
        self._clock_ns = clock_ns
        self._lease: Lease | None = None
        self._since_ns = 0
        self._begun_ns = 0
        """When the ramp of the dose began."""
        self._before_uc = 0.0
        self._own_answers: list[DeviceAnswer] = []
        self._first_own = 0

    def capabilities(self) -> Capabilities:
        """Return what the device can do."""
        return self._device.capabilities()

    def fileno(self) -> int:
        """Return the device's descriptor."""
        return self._device.fileno()

    def validate(self, lease: Lease) -> str | None:
        """Return why the device would not deliver this."""
        return self._device.validate(lease)

    def arm(self) -> None:
        """Make it ready."""
        self._device.arm()

    def disarm(self) -> None:
        """Make it deaf; charge is counted anew."""
        self._end()
        self._before_uc = 0.0
        self._device.disarm()

    def start(self, lease: Lease) -> None:
        """Begin the ramp of a dose."""
        self._device.start(lease)
        self._end()
        self._lease, self._since_ns, self._first_own = lease, self._clock_ns(), 0
        self._begun_ns = self._since_ns

    def renew(self, lease: Lease) -> None:
        """Go on with the ramp, turn it round at its top, or only say so."""
        top_ma = lease.train.amplitude_ma
        risen_s = (self._clock_ns() - self._begun_ns) * 1e-9
        is_top = top_ma in self._tops and risen_s * lease.slew_ma_s >= top_ma
        if not self._first_own and not is_top:
            self._device.renew(lease)
        else:
            if not self._first_own:  # the top: one lease down, which ends by itself
                step_ma = self._device.capabilities().step_ma
                bottom = replace(lease.train, amplitude_ma=min(step_ma, top_ma))
                slew = max(lease.slew_ma_s, top_ma / lease.duration_s)
                self._device.renew(replace(lease, train=bottom, slew_ma_s=slew))
                self._first_own = lease.number
            self._answer(lease)
        is_over = self._is_over()
        self._end()
        if not is_over:
            self._lease, self._since_ns = lease, self._clock_ns()

    def _answer(self, lease: Lease) -> None:
        """Say what a device says that delivers."""
        now, is_over = self._clock_ns(), self._is_over()
        reason = "a lease must be in force at a renewal, got none" if is_over else ""
        kind: Literal["ack", "nack"] = "nack" if is_over else "ack"
        self._own_answers.append(
            DeviceAnswer(kind, lease.number, not is_over, self._delivered_uc(now), reason, "renew", now)
        )

    def stop(self) -> str | None:
        """Switch off now."""
        fault = self._device.stop()
        self._end()
        return fault

    def status(self) -> None:
        """Ask the device."""
        self._device.status()

    def answers(self) -> list[DeviceAnswer]:
        """Return what a device would have said that delivers; what is wrong with the real one shows through."""
        found, self._own_answers = self._own_answers, []
        now = self._clock_ns()
        for one in self._device.answers():
            is_hidden = self._first_own and (
                (one.command == "renew" and one.lease >= self._first_own) or (not one.command and not one.reason)
            )
            if one.kind == "lost":
                found.append(one)
            elif not is_hidden:
                is_on = one.is_on or not self._is_over()
                found.append(replace(one, is_on=is_on, delivered_uc=max(one.delivered_uc, self._delivered_uc(now))))
        return found

    def close(self) -> None:
        """Stop, and let go of the device."""
        self._device.close()
        self._end()

    def _is_over(self) -> bool:
        """Whether a device that delivers would be off."""
        lease = self._lease
        return lease is None or self._clock_ns() - self._since_ns >= lease.duration_s * 1e9

    def _delivered_uc(self, now: int) -> float:
        """Return what it would have delivered since it was armed."""
        lease = self._lease
        if lease is None:
            return self._before_uc
        share = min(1.0, (now - self._since_ns) * 1e-9 / lease.duration_s)
        return self._before_uc + share * lease.charge_uc

    def _end(self) -> None:
        """Put the lease in force into the books."""
        self._before_uc, self._lease = self._delivered_uc(self._clock_ns()), None
