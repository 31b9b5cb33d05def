"""A stimulator's firmware as a pure class: leases, own limits, exact charge, its own record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from neuroloop.sinks.stimulator.devices.charge import travelled_uc
from neuroloop.sinks.stimulator.devices.limits import why_not
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, Lease

EndedBy = Literal["lease_over", "renewed", "stop", "disarm", "disconnect", "terminated"]
STUCK = "the output must be off without a lease, got on (the switch is stuck)"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What the model refuses to exceed.

    Parameters
    ----------
    capabilities : Capabilities
    max_charge_per_phase_uc : float
        Of a pulse.
    max_slew_ma_s : float
        No lease may ask for a faster change of the amplitude.
    """

    capabilities: Capabilities
    max_charge_per_phase_uc: float
    max_slew_ma_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """A time with the output on, under one lease or, if the switch is stuck, under none.

    Parameters
    ----------
    on_ns, off_ns : int
    lease : Lease
        The one in force, or the last that was.
    from_ma, to_ma : float
        Amplitude at its two ends.
    reached_ns : int
        From when on the amplitude stood still; ``off_ns`` where it did not come to that.
    charge_uc : float
        Delivered in it, over all phases of one sign.
    ended_by : str
    is_granted : bool
        False where the output stayed on without a lease.
    """

    on_ns: int
    off_ns: int
    lease: Lease
    from_ma: float
    to_ma: float
    charge_uc: float
    ended_by: EndedBy
    is_granted: bool
    reached_ns: int


@dataclass(frozen=True, slots=True)
class Edge:
    """The output went on or off.

    Parameters
    ----------
    t_ns : int
        When it did.
    is_on : bool
    lease : int
    amplitude_ma : float
        Behind the edge.
    ended_by : str
        What switched it off; empty where it went on.
    noticed_ns : int
        When the model was asked; later than ``t_ns`` where a lease ended by itself.
    """

    t_ns: int
    is_on: bool
    lease: int
    amplitude_ma: float
    ended_by: EndedBy | Literal[""]
    noticed_ns: int


@dataclass(slots=True)
class _Output:
    """What comes out since ``on_ns``: from where the output was to where the lease goes, at its rate."""

    lease: Lease
    on_ns: int
    end_ns: int
    from_ma: float
    first_cycle: float
    is_granted: bool

    def reached_ns(self) -> int:
        """Return when the amplitude of the lease is reached, if nothing comes in between."""
        way_ma = abs(self.lease.train.amplitude_ma - self.from_ma)
        return self.on_ns + math.ceil(way_ma / self.lease.slew_ma_s * 1e9)

    def amplitude_ma(self, t_ns: int) -> float:
        target, most = self.lease.train.amplitude_ma, self.lease.slew_ma_s * (t_ns - self.on_ns) * 1e-9
        return min(target, self.from_ma + most) if target > self.from_ma else max(target, self.from_ma - most)

    def charge_uc(self, t_ns: int) -> float:
        duration_s = (t_ns - self.on_ns) * 1e-9
        return travelled_uc(self.lease, from_ma=self.from_ma, duration_s=duration_s, first_cycle=self.first_cycle)

    def cycle(self, t_ns: int) -> float:
        return (self.first_cycle + self.lease.train.frequency_hz * (t_ns - self.on_ns) * 1e-9) % 1.0


@dataclass(slots=True)
class _Kept:
    intervals: list[Interval] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


class StimulatorModel:
    """Behave as a careful stimulator does.

    It is disarmed at first. A lease switches the output on, which goes off by itself when the lease is over, however
    late the model is asked, and by the moment of its own clock that the lease may name, however late that came. A
    renewal replaces the lease in force at once: its time begins when it comes, and the amplitude goes on from where it
    is, at the rate of the new lease. It never jumps.
    The output is therefore never on for longer than one lease after the last command. A renewal that comes too late is
    refused, so that nothing but a start switches the output on. Pulses keep their rhythm over a renewal.

    Parameters
    ----------
    limits : ModelLimits
    clock_ns : callable
        As ``time.monotonic_ns``.
    """

    def __init__(self, limits: ModelLimits, clock_ns: Callable[[], int]) -> None:
        self.limits = limits
        self.is_stuck = False
        """Set it, and the output no longer goes off once it is on."""
        self.total_uc = 0.0
        """Delivered in all that has ended, over all phases of one sign."""
        self.is_armed = False
        self._clock_ns = clock_ns
        self._output: _Output | None = None
        self._armed_uc = 0.0
        self._last_lease = 0
        self._kept = _Kept()

    @property
    def is_on(self) -> bool:
        """Whether the output was on when the model was last asked something."""
        return self._output is not None

    @property
    def end_ns(self) -> int | None:
        """When the output will go off by itself; ``None`` where it is off, or stuck without a lease."""
        return self._output.end_ns if self._output is not None and self._output.is_granted else None

    def arm(self) -> DeviceAnswer:
        """Listen to leases; charge is counted anew unless it was armed before."""
        now = self.advance()
        if self._output is not None and not self._output.is_granted:
            return self._answer("nack", "arm", now, reason=STUCK)
        if not self.is_armed:
            self.is_armed = True
            self._armed_uc = 0.0
        return self._answer("ack", "arm", now)

    def disarm(self) -> DeviceAnswer:
        """Switch off and take no lease until armed again."""
        return self._switch_off("disarm", "disarm")

    def stop(self) -> DeviceAnswer:
        """Switch off; it stays armed."""
        return self._switch_off("stop", "stop")

    def disconnect(self) -> None:
        """Switch off and disarm: whoever gave the commands is gone. Lease numbers begin anew."""
        self._switch_off("disarm", "disconnect")
        self._last_lease = 0

    def terminate(self) -> None:
        """Switch off for good; a stuck output ends here too."""
        self.is_stuck = False
        self._switch_off("disarm", "terminated")

    def start(self, lease: Lease, not_after_ns: int | None = None) -> DeviceAnswer:
        """Switch on for one lease, or refuse; off by ``not_after_ns`` on its clock, however late the lease comes."""
        now = self.advance()
        is_on = self._output is not None
        reason = "the output must be off at a start, got on" if is_on else self._refusal(lease, now, not_after_ns)
        if reason is not None:
            return self._answer("nack", "start", now, lease.number, reason)
        self._begin(lease, now, not_after_ns, first_cycle=0.0)
        self._kept.edges.append(Edge(now, True, lease.number, 0.0, "", now))
        return self._answer("ack", "start", now, lease.number)

    def renew(self, lease: Lease, not_after_ns: int | None = None) -> DeviceAnswer:
        """Replace the lease in force, or refuse and let it go on to its end; ``not_after_ns`` as for `start`."""
        now = self.advance()
        output = self._output
        if output is None or not output.is_granted:
            found = "none" if output is None else "a stuck output"
            reason: str | None = f"a lease must be in force at a renewal, got {found}"
        else:
            reason = self._refusal(lease, now, not_after_ns)
        if output is None or reason is not None:
            return self._answer("nack", "renew", now, lease.number, reason or "")
        self._finish(output, now, "renewed")
        self._begin(lease, now, not_after_ns, first_cycle=output.cycle(now), from_ma=output.amplitude_ma(now))
        return self._answer("ack", "renew", now, lease.number)

    def status(self, command: str = "status") -> DeviceAnswer:
        """Say how it is; ``command`` is empty where nobody asked."""
        now = self.advance()
        return self._answer("status", command, now, reason=self._complaint())

    def refuse(self, command: str, lease: int, reason: str) -> DeviceAnswer:
        """Say no, and change nothing."""
        return self._answer("nack", command, self.advance(), lease, reason)

    def advance(self) -> int:
        """Let the lease end if its time is over; return the time."""
        now = self._clock_ns()
        output = self._output
        if output is not None and output.is_granted and now >= output.end_ns:
            self._end(output, output.end_ns, "lease_over", now)
        return now

    def take_intervals(self) -> list[Interval]:
        """Return the intervals that ended since the last call, in order."""
        taken, self._kept.intervals = self._kept.intervals, []
        return taken

    def take_edges(self) -> list[Edge]:
        """Return the edges of the output since the last call, in order."""
        taken, self._kept.edges = self._kept.edges, []
        return taken

    def _refusal(self, lease: Lease, now: int, not_after_ns: int | None) -> str | None:
        if not self.is_armed:
            return "the device must be armed, got disarmed"
        if not_after_ns is not None and now >= not_after_ns:
            return f"lease.not_after_ns must be ahead, got a lease that comes {(now - not_after_ns) * 1e-9:.3f} s late"
        if lease.number <= self._last_lease:
            return f"lease.number must be above the last one, {self._last_lease}, got {lease.number!r}"
        if lease.slew_ma_s > self.limits.max_slew_ma_s:
            return f"lease.slew_ma_s must be at most {self.limits.max_slew_ma_s!r}, got {lease.slew_ma_s!r}"
        output = self._output
        from_ma = 0.0 if output is None else output.amplitude_ma(self._clock_ns())
        return why_not(lease, self.limits.capabilities, self.limits.max_charge_per_phase_uc, from_ma=from_ma)

    def _begin(
        self, lease: Lease, now: int, not_after_ns: int | None, *, first_cycle: float, from_ma: float = 0.0
    ) -> None:
        end_ns = now + round(lease.duration_s * 1e9)
        if not_after_ns is not None:
            end_ns = min(end_ns, not_after_ns)
        self._output = _Output(lease, now, end_ns, from_ma, first_cycle, is_granted=True)
        self._last_lease = lease.number

    def _switch_off(self, command: str, why: EndedBy) -> DeviceAnswer:
        now = self.advance()
        output = self._output
        if output is not None and (output.is_granted or not self.is_stuck):
            self._end(output, now, why, now)
        if command == "disarm":
            self.is_armed = False
        number = 0 if output is None else output.lease.number
        complaint = self._complaint()
        return self._answer("nack" if complaint else "ack", command, now, number, complaint)

    def _end(self, output: _Output, t_ns: int, why: EndedBy, noticed_ns: int) -> None:
        """End an interval; the output goes off unless it is stuck."""
        self._finish(output, t_ns, why)
        if self.is_stuck:
            level = output.amplitude_ma(t_ns)
            held = replace(output.lease, train=replace(output.lease.train, amplitude_ma=level))
            self._output = _Output(held, t_ns, t_ns, level, output.cycle(t_ns), is_granted=False)
            return
        self._output = None
        self._kept.edges.append(Edge(t_ns, False, output.lease.number, 0.0, why, noticed_ns))

    def _finish(self, output: _Output, t_ns: int, why: EndedBy) -> None:
        """Put an interval into the record and its charge into the books."""
        charge_uc = output.charge_uc(t_ns)
        self.total_uc += charge_uc
        self._armed_uc += charge_uc
        self._kept.intervals.append(
            Interval(
                output.on_ns,
                t_ns,
                output.lease,
                output.from_ma,
                output.amplitude_ma(t_ns),
                charge_uc,
                why,
                output.is_granted,
                min(t_ns, output.reached_ns()),
            )
        )

    def _complaint(self) -> str:
        return STUCK if self._output is not None and not self._output.is_granted else ""

    def _answer(
        self, kind: Literal["ack", "nack", "status"], command: str, now: int, lease: int = 0, reason: str = ""
    ) -> DeviceAnswer:
        output = self._output
        if output is None:
            return DeviceAnswer(kind, lease, False, self._armed_uc, reason, command, now)
        delivered = self._armed_uc + output.charge_uc(now)
        return DeviceAnswer(kind, lease or output.lease.number, True, delivered, reason, command, now)
