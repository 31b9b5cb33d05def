"""How much charge may have left the device, an upper bound whatever was lost on the way, and how much is left."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.envelope.envelope import Check
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits
from neuroloop.sinks.stimulator.records import Lease

_DAY_NS = 86_400 * 10**9
_MINUTE_NS = 60 * 10**9
_OVER_NS = 5 * 10**9
"""A device that answers, and has not done so for so long, has tripped its watchdog, which is at most 2 s."""


@dataclass
class _Open:
    """A lease whose end is not known; its charge is counted from ``from_ns``."""

    lease: Lease
    most_ma: float
    from_ns: int
    issued_ns: int


class ChargeMeter:
    """Count leases: in full when they are issued, less when the device says that they ended early.

    A lease that the device has replaced or switched off was in force from its issue to that answer at the longest.
    Where two leases may have been in force, between the issue of the second and the device's answer to it, the larger
    amplitude is counted. Each lease counts one pulse more than its time holds, for a device may begin every lease with
    one. A lease that is never answered counts in full for good. All charges are in uC, over the phases of one sign.

    A lease whose time has long passed is settled in full when the next one is issued. So few are open at any time, also
    on a device that answers nothing, and a sum takes no longer in its 12th hour than in its first minute.
    """

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._minutes: deque[tuple[int, float]] = deque()
        self._minutes_uc = 0.0
        self._settled_uc = 0.0
        self._armed_uc = 0.0
        self.said_uc = 0.0
        """What the device says it has delivered since the begin, over all times that it was armed."""

    @property
    def n_open(self) -> int:
        """How many leases have no known end."""
        return len(self._open)

    @property
    def bound_uc(self) -> float:
        """The most that can have been delivered of what was granted since the begin, what is open in full."""
        return self._settled_uc + self._open_uc()

    @property
    def total_uc(self) -> float:
        """What counts since the begin: the larger of the bound and of what the device says."""
        return max(self.bound_uc, self.said_uc)

    @property
    def bound_since_armed_uc(self) -> float:
        """The bound since the device began to count, what is open in full."""
        return self.bound_uc - self._armed_uc

    def bound_up_to_uc(self, number: int) -> float:
        """Return the bound without the open leases behind one."""
        total = self._settled_uc
        for one in self._open:
            if one.lease.number <= number:
                total += one.lease.charge_uc
        return total

    def day_uc(self, now_ns: int) -> float:
        """Return the same for the last 24 hours, to the minute, never too little."""
        minutes = self._minutes
        if minutes and now_ns - minutes[0][0] >= _DAY_NS:
            while minutes and now_ns - minutes[0][0] >= _DAY_NS:
                minutes.popleft()
            self._minutes_uc = sum(charge for _, charge in minutes)
        return self._open_uc() + self._minutes_uc

    def _open_uc(self) -> float:
        total = 0.0
        for one in self._open:
            total += one.lease.charge_uc
        return total

    def armed(self) -> None:
        """Begin `bound_since_armed_uc` anew: the device has begun its own count."""
        self._armed_uc = self._settled_uc

    def issue(self, lease: Lease, now_ns: int, *, most_ma: float) -> None:
        """Count a lease in full; ``most_ma`` is the highest amplitude that it may reach."""
        for one in [one for one in self._open if now_ns - one.from_ns >= one.lease.duration_s * 1e9 + _OVER_NS]:
            self._count(one, one.lease.charge_uc, now_ns)
        self._open.append(_Open(lease, most_ma, now_ns, now_ns))

    def answer(self, number: int, now_ns: int) -> None:
        """Take the device's word that a lease is in force: those before it are over."""
        new = next((one for one in self._open if one.lease.number == number), None)
        if new is None:
            return
        before = [one for one in self._open if one.lease.number < number]
        if not before:
            return
        is_more = any(old.most_ma < new.most_ma for old in before)
        for old in before:
            self._settle(old, new.issued_ns if old.most_ma < new.most_ma else now_ns, now_ns)
        new.from_ns = new.issued_ns if is_more else now_ns

    def off(self, now_ns: int) -> None:
        """Take the device's word that nothing is in force any more."""
        for one in list(self._open):
            self._settle(one, now_ns, now_ns)

    def _settle(self, one: _Open, until_ns: int, now_ns: int) -> None:
        lease = one.lease
        seconds = max(1, until_ns - one.from_ns) * 1e-9
        self._count(one, min(lease.charge_uc, train_charge_uc(lease.train, one.most_ma, one.most_ma, seconds)), now_ns)

    def _count(self, one: _Open, charge: float, now_ns: int) -> None:
        """Put what a lease has delivered at the most into the sums."""
        self._open.remove(one)
        self._settled_uc += charge
        self._minutes_uc += charge
        minute = now_ns - now_ns % _MINUTE_NS + _MINUTE_NS
        if self._minutes and self._minutes[-1][0] == minute:
            self._minutes[-1] = (minute, self._minutes[-1][1] + charge)
        else:
            self._minutes.append((minute, charge))


class ChargeBudget:
    """Hold what may have been delivered against the limits of the session and of 24 hours.

    A lease counts from the moment it is decided upon. The day is the larger of what the ledger says, with the leases
    since it was asked, and what this run alone has delivered.

    Parameters
    ----------
    limits : ProfileLimits
    ledger_uc : float
        The ledger's last 24 h when the run began.
    session_uc : float
        What of it counts for the session.
    """

    def __init__(self, limits: ProfileLimits, ledger_uc: float, *, session_uc: float = 0.0) -> None:
        self._limits = limits
        self._ledger_uc = ledger_uc
        self._earlier_uc = session_uc
        self._dose_from_uc = session_uc
        self._since_uc = 0.0
        self.meter = ChargeMeter()

    def read_ledger(self, day_uc: float) -> None:
        """Take what the ledger says now, every lease so far included."""
        self._ledger_uc, self._since_uc = day_uc, 0.0

    def issue(self, lease: Lease, now_ns: int, *, most_ma: float) -> None:
        """Count a lease in full; ``most_ma`` is the highest amplitude that it may reach."""
        self.meter.issue(lease, now_ns, most_ma=most_ma)
        self._since_uc += lease.charge_uc

    def open_dose(self) -> None:
        """Count a dose from here on."""
        self._dose_from_uc = self.session_uc

    def close_dose(self) -> float:
        """Return the most that the dose can have delivered."""
        return max(0.0, self.session_uc - self._dose_from_uc)

    @property
    def session_uc(self) -> float:
        """Upper bound of the charge of the session: of this run, and of the 24 h before it."""
        return self._earlier_uc + self.meter.total_uc

    def day_uc(self, now_ns: int) -> float:
        """Return an upper bound of the charge of the last 24 hours, all runs together."""
        return max(self._ledger_uc + self._since_uc, self.meter.day_uc(now_ns))

    def checks(self, more_uc: float, now_ns: int) -> list[Check]:
        """Return the charge rules with so much more."""
        found = []
        for rule, used, most in (
            ("session_charge_mc", self.session_uc, self._limits.max_session_charge_mc),
            ("day_charge_mc", self.day_uc(now_ns), self._limits.max_day_charge_mc),
        ):
            value = (used + more_uc) / 1000.0
            found.append(Check(rule, value, most, value <= most))
        return found

    def exceeded(self, more_uc: float, now_ns: int) -> str | None:
        """Return the charge rule that would not hold with so much more, None if all would."""
        return next((check.rule for check in self.checks(more_uc, now_ns) if not check.ok), None)
