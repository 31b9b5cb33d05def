"""What stands between a caller and a device that never answers: arming, lease numbers, late renewals."""

from __future__ import annotations

from collections.abc import Callable

from neuroloop.sinks.stimulator.devices.limits import why_not
from neuroloop.sinks.stimulator.records import Capabilities, DeviceError, Lease

_MOST_TIMEOUT_S = 2.0
"""Longest watchdog time that a configuration may name."""
_UNKNOWN = 1e6
"""A limit that only the device knows; the gate's own limits are far below."""


def one_way_capabilities(name: str, *, limits_itself: bool) -> Capabilities:
    """Return what can be said of a device that is only spoken to.

    Parameters
    ----------
    name : str
    limits_itself : bool
        Whether the user confirms that what one command starts ends by itself within the lease.
    """
    return Capabilities(
        name=name,
        max_amplitude_ma=_UNKNOWN,
        max_frequency_hz=_UNKNOWN,
        max_pulse_width_us=_UNKNOWN,
        step_ma=0.0,
        step_us=0.0,
        step_hz=0.0,
        waveforms=("biphasic", "monophasic", "direct", "sine"),
        timeout_s=_MOST_TIMEOUT_S,
        ends_by_itself=limits_itself,
        acknowledges=False,
    )


class LeaseGuard:
    """Refuse in the device's place what a device that answers would refuse.

    Parameters
    ----------
    capabilities : Capabilities
    clock_ns : callable
        As ``time.monotonic_ns``.
    """

    def __init__(self, capabilities: Capabilities, clock_ns: Callable[[], int]) -> None:
        self._capabilities = capabilities
        self._clock_ns = clock_ns
        self._is_armed = False
        self._last_lease = 0
        self._end_ns: int | None = None

    def arm(self) -> None:
        """Let leases pass from now on."""
        self._is_armed = True

    def disarm(self) -> None:
        """Let no lease pass until armed again."""
        self._is_armed = False
        self._end_ns = None

    def stop(self) -> None:
        """Note that no lease is in force."""
        self._end_ns = None

    @property
    def lease(self) -> int:
        """Number of the lease in force, 0 where there is none."""
        return self._last_lease if self._end_ns is not None and self._clock_ns() < self._end_ns else 0

    def start(self, lease: Lease) -> None:
        """Take the first lease of a dose. Raises `DeviceError` where it must not pass."""
        if self.lease:
            raise DeviceError(f"the output must be off at a start, got lease {self.lease} in force")
        self._take(lease)

    def renew(self, lease: Lease) -> None:
        """Take the next lease. Raises `DeviceError` where it must not pass."""
        if not self.lease:
            raise DeviceError("a lease must be in force at a renewal, got none")
        self._take(lease)

    def _take(self, lease: Lease) -> None:
        if not self._is_armed:
            raise DeviceError("the device must be armed, got disarmed")
        if lease.number <= self._last_lease:
            raise DeviceError(f"lease.number must be above the last one, {self._last_lease}, got {lease.number!r}")
        fault = why_not(lease, self._capabilities)
        if fault is not None:
            raise DeviceError(fault)
        self._last_lease = lease.number
        self._end_ns = self._clock_ns() + round(lease.duration_s * 1e9)
