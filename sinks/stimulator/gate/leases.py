"""What the device is told to put out: leases, one after the other, along ramps within the slew limit."""

from __future__ import annotations

from dataclasses import dataclass

from neuroloop.sinks.stimulator.envelope.charge import on_grid, train_charge_uc
from neuroloop.sinks.stimulator.envelope.envelope import SHORTEST_RAMP_S, Assessment
from neuroloop.sinks.stimulator.records import Capabilities, Lease, Train


@dataclass
class Issued:
    """A lease on its way or in force.

    Parameters
    ----------
    lease : Lease
        As sent, on the device's grid.
    at_ns, end_ns : int
        When it was issued; when it ends, if the device took it at once.
    from_ma, to_ma : float
        Amplitudes of the line that it follows, which the grid cuts off.
    is_final : bool
        It ends the output and is not renewed.
    is_top : bool
        It holds the full amplitude.
    is_answered : bool
    """

    lease: Lease
    at_ns: int
    end_ns: int
    from_ma: float
    to_ma: float
    is_final: bool
    is_top: bool
    is_answered: bool = False

    def level_ma(self, now_ns: int) -> float:
        """Return the amplitude of the line at a moment."""
        if now_ns >= self.end_ns:
            return self.to_ma
        return self.from_ma + (self.to_ma - self.from_ma) * ((now_ns - self.at_ns) / (self.end_ns - self.at_ns))


class LeaseLine:
    """Plan and number leases for one dose after the other.

    Parameters
    ----------
    capabilities : Capabilities
    lease_ns : int
    heartbeat_s : float
        What is left of a ramp up and takes no longer than it is taken in one step.
    max_slew_ma_s : float
    """

    def __init__(self, capabilities: Capabilities, *, lease_ns: int, heartbeat_s: float, max_slew_ma_s: float) -> None:
        self._capabilities = capabilities
        self._lease_ns = lease_ns
        self._heartbeat_s = heartbeat_s
        self._max_slew_ma_s = max_slew_ma_s
        self._number = 0
        self.current: Issued | None = None
        """The newest lease of the dose, None where the output is to be off."""

    @property
    def newest(self) -> int:
        """Number of the newest lease, 0 before the first."""
        return self._number

    def level_ma(self, now_ns: int) -> float:
        """Return the amplitude that the output is to have now."""
        return 0.0 if self.current is None else self.current.level_ma(now_ns)

    def is_lapsed(self, now_ns: int) -> bool:
        """Return whether the newest lease may be over without having been renewed."""
        return self.current is not None and not self.current.is_final and now_ns >= self.current.end_ns

    def is_due(self, now_ns: int) -> bool:
        """Return whether the newest lease is to be renewed: half of it is over and the device has taken it."""
        one = self.current
        if one is None or one.is_final or 2 * (now_ns - one.at_ns) < one.end_ns - one.at_ns:
            return False
        return one.is_answered or not self._capabilities.acknowledges

    def up(self, plan: Assessment, now_ns: int) -> Issued:
        """Return the next lease towards, or at, the full amplitude; it is not in force before `commit`."""
        top, level, seconds = plan.train.amplitude_ma, self.level_ma(now_ns), self._lease_ns * 1e-9
        if plan.ramp_s == 0 or top - level <= top / plan.ramp_s * self._heartbeat_s:
            return self._make(plan.train, top, top, self._lease_ns, now_ns, is_top=True)
        reached = min(top, level + top / plan.ramp_s * seconds)
        return self._make(plan.train, level, reached, self._lease_ns, now_ns)

    def down(self, plan: Assessment, now_ns: int) -> Issued | None:
        """Return the next lease of the ramp down, ``None`` where the output is to go off now."""
        level, seconds = self.level_ma(now_ns), self._lease_ns * 1e-9
        if plan.ramp_s == 0:
            return None
        slope = plan.train.amplitude_ma / plan.ramp_s
        if level > slope * seconds:
            return self._make(plan.train, level, level - slope * seconds, self._lease_ns, now_ns)
        return self.soft(plan, now_ns, level / slope)

    def soft(self, plan: Assessment, now_ns: int, seconds: float) -> Issued | None:
        """Return the last lease, a ramp to nothing in a time, ``None`` where the output is to go off now."""
        level = self.level_ma(now_ns)
        seconds = min(seconds, self._lease_ns * 1e-9)
        if seconds < SHORTEST_RAMP_S or on_grid(level, self._capabilities.step_ma) == 0:
            return None
        return self._make(plan.train, level, 0.0, round(seconds * 1e9), now_ns, is_final=True)

    def _make(
        self,
        train: Train,
        from_ma: float,
        to_ma: float,
        length_ns: int,
        now_ns: int,
        *,
        is_final: bool = False,
        is_top: bool = False,
    ) -> Issued:
        """Put a line on the grid; where the grid makes a rise steeper than allowed it stays level."""
        step, seconds = self._capabilities.step_ma, length_ns * 1e-9
        start, end = on_grid(from_ma, step), on_grid(to_ma, step)
        if (end - start) > self._max_slew_ma_s * seconds * (1 + 1e-9):
            end = start
        sent = Train(train.frequency_hz, end, train.pulse_width_us, train.waveform)
        charge = train_charge_uc(sent, start, end, seconds)
        lease = Lease(self._number + 1, sent, start, seconds, charge)
        return Issued(lease, now_ns, now_ns + length_ns, from_ma, to_ma, is_final, is_top)

    def commit(self, issued: Issued) -> None:
        """Take a lease as sent."""
        self._number = issued.lease.number
        self.current = issued

    def answer(self, number: int) -> None:
        """Note that the device has taken a lease."""
        if self.current is not None and self.current.lease.number == number:
            self.current.is_answered = True

    def end(self) -> None:
        """The output is to be off."""
        self.current = None
