"""What the device is told to put out: leases, one after the other, each a place to go to and a rate.

A lease says where to go and how fast at most; from where the output is then, the device knows and the gate does not: a
lease leaves when its record is on the disk, and acts when the device takes it. So the gate keeps two bounds. The device
cannot be *higher* than on a line that begins with the decision to start; it is not *lower* than on one that begins
with the device's answer to the start. Charge and ramps down are reckoned from the first, the full amplitude from the
second.

A device that is slow to act is granted less: a lease and two round trips fit into the watchdog time. It is renewed so
early that the next one comes in time though it is noticed a heartbeat late and waits for the disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuroloop.config.stimulation import GateSettings
from neuroloop.sinks.stimulator.envelope.charge import on_grid, ramp_charge_uc
from neuroloop.sinks.stimulator.envelope.envelope import SHORTEST_RAMP_S, Assessment
from neuroloop.sinks.stimulator.records import Capabilities, Lease, Train

_DISK_SHARE = 0.2
"""Of the watchdog time: so long, at least, a renewal may wait for the disk."""
_LEAST_BEATS = 0.5
"""A lease is renewed no earlier than so many heartbeats after it was issued."""


@dataclass
class Issued:
    """A lease on its way or in force.

    Parameters
    ----------
    lease : Lease
        As sent, on the device's grid.
    at_ns, end_ns : int
        When it was issued; when it ends, if the device took it at once.
    from_ma : float
        The device is not higher than this when it takes it.
    is_final : bool
        It ends the output and is not renewed.
    answered_ns : int, optional
        When the device said that it is in force.
    """

    lease: Lease
    at_ns: int
    end_ns: int
    from_ma: float
    is_final: bool
    answered_ns: int | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the device has taken it."""
        return self.answered_ns is not None

    @property
    def most_ma(self) -> float:
        """The highest amplitude that it may reach."""
        target = self.lease.train.amplitude_ma
        if target <= self.from_ma:
            return self.from_ma
        return min(target, self.from_ma + self.lease.slew_ma_s * self.lease.duration_s)


class LeaseLine:
    """Plan and number leases for one dose after the other: up, at the top, down; never up again in a dose.

    Parameters
    ----------
    capabilities : Capabilities
    lease_ns : int
        The longest one.
    gate : GateSettings
        A lease may wait its watchdog time for the disk before it leaves.
    max_slew_ma_s : float
    """

    def __init__(
        self,
        capabilities: Capabilities,
        *,
        lease_ns: int,
        gate: GateSettings,
        max_slew_ma_s: float,
    ) -> None:
        self._capabilities = capabilities
        self._longest_ns = self._lease_ns = lease_ns
        self._watchdog_ns = round(gate.watchdog_s * 1e9)
        self._heartbeat_ns = round(gate.heartbeat_s * 1e9)
        self._least_ns = round(gate.least_lease_s * 1e9)
        self._trip_ns = 0
        self._max_slew_ma_s = max_slew_ma_s
        self._number = 0
        self._rise: Issued | None = None
        self._fall: Issued | None = None
        self.current: Issued | None = None
        """The newest lease of the dose, None where the output is to be off."""

    @property
    def newest(self) -> int:
        """Number of the newest lease, 0 before the first."""
        return self._number

    @property
    def begun_ns(self) -> int | None:
        """When the device said that the dose in force began, None where it has not or there is none."""
        rise = self._rise
        if rise is None:
            return None
        return rise.answered_ns if self._capabilities.acknowledges else rise.at_ns

    def most_ma(self, now_ns: int) -> float:
        """Return the highest amplitude that the device may have when it takes a lease that is issued now."""
        current, rise, fall = self.current, self._rise, self._fall
        if current is None or rise is None:
            return 0.0
        if fall is not None:
            since_ns = self._taken_ns(fall)
            fallen_s = 0.0 if since_ns is None else max(0, now_ns - since_ns) * 1e-9
            return max(0.0, fall.from_ma - fall.lease.slew_ma_s * fallen_s)
        most = current.most_ma
        if current.answered_ns is not None:
            latest_s = (current.answered_ns - rise.at_ns) * 1e-9 + current.lease.duration_s
            most = min(most, rise.lease.slew_ma_s * latest_s)
        return most

    def _taken_ns(self, one: Issued) -> int | None:
        """Return a moment by which the device has taken a lease, None where that is not known."""
        if self._capabilities.acknowledges:
            return one.answered_ns
        return one.at_ns + self._watchdog_ns

    def is_at_top(self, plan: Assessment, now_ns: int) -> bool:
        """Return whether the device has had the time, since it said that it began, to reach the full amplitude."""
        rise = self._rise
        if rise is None or self.current is None:
            return False
        since_ns = self.begun_ns
        return since_ns is not None and (now_ns - since_ns) * 1e-9 * rise.lease.slew_ma_s >= plan.train.amplitude_ma

    @property
    def lease_ns(self) -> int:
        """How long a lease is now."""
        return self._lease_ns

    def renew_ns(self, lease_ns: int) -> int:
        """Return how long after its issue a lease of this length is renewed."""
        ahead = self._heartbeat_ns + round(_DISK_SHARE * self._watchdog_ns) + self._trip_ns
        return max(round(_LEAST_BEATS * self._heartbeat_ns), min(lease_ns // 2, lease_ns - ahead))

    def least_lease_ns(self, trip_ns: int) -> int:
        """Return the shortest lease that can be renewed in time by a device with this round trip."""
        return self._least_ns + trip_ns

    def fits(self, trip_ns: int) -> bool:
        """Return whether a lease that can be renewed in time, and two round trips, fit into the watchdog time."""
        return self.least_lease_ns(trip_ns) <= min(self._longest_ns, self._watchdog_ns - 2 * trip_ns)

    def slowed(self, trip_ns: int, usual_ns: int) -> None:
        """Grant what the device's round trip leaves.

        Parameters
        ----------
        trip_ns, usual_ns : int
            The longest that is known, and the longest but for one.
        """
        left_ns = min(self._longest_ns, self._watchdog_ns - 2 * trip_ns)
        self._trip_ns = usual_ns
        self._lease_ns = min(self._longest_ns, max(left_ns, self.least_lease_ns(usual_ns)))

    def is_lapsed(self, now_ns: int) -> bool:
        """Return whether the newest lease may be over without having been renewed."""
        return self.current is not None and not self.current.is_final and now_ns >= self.current.end_ns

    def is_due(self, now_ns: int) -> bool:
        """Return whether the newest lease is to be renewed: it is time, and the device has taken it."""
        one = self.current
        if one is None or one.is_final or now_ns - one.at_ns < self.renew_ns(one.end_ns - one.at_ns):
            return False
        return one.is_answered or not self._capabilities.acknowledges

    def up(self, plan: Assessment, now_ns: int) -> Issued:
        """Return the next lease towards, or at, the full amplitude; it is not in force before `commit`."""
        return self._make(plan.train, plan.train.amplitude_ma, self._slope(plan), self._lease_ns, now_ns)

    def down(self, plan: Assessment, now_ns: int) -> Issued | None:
        """Return the next lease of the ramp down, ``None`` where the output is to go off now."""
        level, slope = self.most_ma(now_ns), self._slope(plan)
        if level > slope * self._lease_ns * 1e-9:
            return self._make(plan.train, 0.0, slope, self._lease_ns, now_ns)
        return self.soft(now_ns, level / slope, plan)

    def soft(self, now_ns: int, seconds: float, plan: Assessment) -> Issued | None:
        """Return the last lease, a ramp to nothing in a time, ``None`` where the output is to go off now."""
        level = self.most_ma(now_ns)
        seconds = min(seconds, self._lease_ns * 1e-9)
        if seconds < SHORTEST_RAMP_S or on_grid(level, self._capabilities.step_ma) == 0:
            return None
        length_ns = round(seconds * 1e9)
        return self._make(plan.train, 0.0, level / (length_ns * 1e-9), length_ns, now_ns, is_final=True)

    def _slope(self, plan: Assessment) -> float:
        """Return the rate of the planned ramp; a quotient of floats must not be above the limit by its last bit."""
        return min(plan.train.amplitude_ma / plan.ramp_s, self._max_slew_ma_s)

    def _make(
        self, train: Train, to_ma: float, slew_ma_s: float, length_ns: int, now_ns: int, *, is_final: bool = False
    ) -> Issued:
        """Put a lease together, with the most that it can deliver."""
        from_ma, seconds = self.most_ma(now_ns), length_ns * 1e-9
        sent = Train(train.frequency_hz, to_ma, train.pulse_width_us, train.waveform)
        charge = ramp_charge_uc(sent, from_ma, slew_ma_s, seconds)
        lease = Lease(self._number + 1, sent, slew_ma_s, seconds, charge)
        return Issued(lease, now_ns, now_ns + length_ns, from_ma, is_final)

    def commit(self, issued: Issued) -> None:
        """Take a lease as sent."""
        self._number = issued.lease.number
        if self.current is None:
            self._rise, self._fall = issued, None
        elif self._fall is None and issued.lease.train.amplitude_ma < self.current.lease.train.amplitude_ma:
            self._fall = issued
        elif self._fall is not None and issued.lease.slew_ma_s != self._fall.lease.slew_ma_s:
            self._fall = issued  # a soft stop in the middle of a ramp down falls faster from here on
        self.current = issued

    def answer(self, number: int, now_ns: int) -> None:
        """Note that the device has taken a lease."""
        if self.current is not None and self.current.lease.number == number and not self.current.is_answered:
            self.current.answered_ns = now_ns

    def end(self) -> None:
        """The output is to be off."""
        self.current = self._rise = self._fall = None
