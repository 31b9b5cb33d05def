"""How much charge is left for this run and this day."""

from __future__ import annotations

from neuroloop.sinks.stimulator.envelope.envelope import Check
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits
from neuroloop.sinks.stimulator.gate.charge_meter import ChargeMeter
from neuroloop.sinks.stimulator.records import Lease


class Budget:
    """Hold what may have been delivered against the limits of the session and of 24 hours.

    A lease counts from the moment it is decided upon. The day is the larger of what the ledger says, with the leases
    since it was asked, and what this run alone has delivered. What a sham dose would have delivered counts in both.

    Parameters
    ----------
    limits : ProfileLimits
    ledger_uc : float
        The ledger's last 24 h when the run began.
    """

    def __init__(self, limits: ProfileLimits, ledger_uc: float) -> None:
        self._limits = limits
        self._ledger_uc = ledger_uc
        self._since_uc = 0.0
        self._nominal_uc = 0.0
        self.meter = ChargeMeter()
        self.withheld_uc = 0.0
        """What the sham dose that is being given would have delivered so far."""

    def read_ledger(self, day_uc: float) -> None:
        """Take what the ledger says now, every lease so far included."""
        self._ledger_uc, self._since_uc = day_uc, 0.0

    def issue(self, lease: Lease, now_ns: int) -> None:
        """Count a lease in full."""
        self.meter.issue(lease, now_ns)
        self._since_uc += lease.charge_uc

    def close_dose(self) -> None:
        """Keep what a sham dose would have delivered."""
        self._nominal_uc += self.withheld_uc
        self.withheld_uc = 0.0

    @property
    def session_uc(self) -> float:
        """Upper bound of the charge of this run."""
        return self.meter.total_uc + self._nominal_uc + self.withheld_uc

    def day_uc(self, now_ns: int) -> float:
        """Return an upper bound of the charge of the last 24 hours, all runs together."""
        known = max(self._ledger_uc + self._since_uc, self.meter.day_uc(now_ns))
        return known + self._nominal_uc + self.withheld_uc

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
