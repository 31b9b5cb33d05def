"""The course of a run: doses begun and ended, and what that means for the next one."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from neuroloop.config.stimulation import GateSettings, RecommendationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits

_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS


@dataclass
class Dose:
    """One dose from its start command to its stop command.

    Parameters
    ----------
    row : RecommendationSettings
    plan : Assessment
    start_ns : int
    down_ns : int
        When its ramp down begins at the latest.
    end_ns : int
        When it is off at the latest.
    is_cut_by_session : bool
        The time of the session ends it before its own.
    top_ns : int, optional
        When it reached its full amplitude.
    off_ns : int, optional
        When its ramp down ends.
    is_full : bool
        It was given as long as its row says.
    is_soft : bool
        In its last ramp, whether of a soft stop.
    """

    row: RecommendationSettings
    plan: Assessment
    start_ns: int
    down_ns: int
    end_ns: int
    is_cut_by_session: bool
    top_ns: int | None = None
    off_ns: int | None = None
    is_full: bool = False

    def on_s(self, now_ns: int) -> float:
        """Return how long it has lasted."""
        return (now_ns - self.start_ns) * 1e-9


class DoseHistory:
    """Remember doses and judge by them.

    Parameters
    ----------
    gate : GateSettings
    limits : ProfileLimits
    """

    def __init__(self, gate: GateSettings, limits: ProfileLimits) -> None:
        self._gate = gate
        self._limits = limits
        self._starts: list[int] = []
        self._free_ns: int | None = None
        self._lockout_ns: int | None = None
        self._off_ns: int | None = None
        self._last: RecommendationSettings | None = None
        self.on_s = 0.0
        """Time with the output on, all doses that have ended."""

    def begin(self, now_ns: int, *, lockout_left_s: float, start_ages_s: tuple[float, ...]) -> None:
        """Take what earlier runs left."""
        if lockout_left_s > 0:
            self._lockout_ns = now_ns + round(lockout_left_s * 1e9)
        self._starts = sorted(now_ns - round(age * 1e9) for age in start_ages_s)

    def follow(self, row: RecommendationSettings | None) -> None:
        """Take the row that was given last, by an earlier run too."""
        self._last = row

    def started(self, dose: Dose) -> None:
        """Note a start."""
        del self._starts[: bisect_right(self._starts, dose.start_ns - _DAY_NS)]
        self._starts.append(dose.start_ns)
        self._last = dose.row

    def ended(self, dose: Dose, now_ns: int) -> dict[str, Any]:
        """Note the end of a dose; return it as JSON values."""
        on_s = dose.on_s(now_ns)
        self.on_s += on_s
        self._free_ns = now_ns + round(self._gate.refractory_s * 1e9)
        if self._limits.min_off_ratio > 0:
            self._off_ns = now_ns + round(self._limits.min_off_ratio * on_s * 1e9)
        if dose.is_full:
            self._lockout_ns = now_ns + round(self._gate.lockout_s * 1e9)
        return {
            "what": "dose",
            "state": dose.row.state,
            "on_s": on_s,
            "is_full": dose.is_full,
            "lockout_s": self._gate.lockout_s if dose.is_full else 0.0,
        }

    @property
    def _late_s(self) -> float:
        """How late a ramp that is due may begin: two heartbeats, and as long as a lease may wait for the disk."""
        return 2.0 * self._gate.heartbeat_s + self._gate.watchdog_s

    def wait_until_ns(self) -> int:
        """Return the moment before which nothing starts, 0 for none."""
        return max(self._free_ns or 0, self._lockout_ns or 0, self._off_ns or 0)

    def judge(self, row: RecommendationSettings, plan: Assessment, now_ns: int, since_ns: int) -> list[Check]:
        """Return the rules about earlier doses, in the order of judging."""
        limits, last, checks = self._limits, self._last, []
        if last is not None and last.state != row.state:
            if last.successors is not None:
                allowed = [last.state, *last.successors]
                checks.append(Check("successor", row.state, allowed, row.state in allowed, "one of"))
            lasted = (now_ns - since_ns) * 1e-9
            checks.append(Check("dwell_s", lasted, self._gate.dwell_s, lasted >= self._gate.dwell_s, "at least"))
        for rule, until in (
            ("refractory_left_s", self._free_ns),
            ("lockout_left_s", self._lockout_ns),
            ("off_left_s", self._off_ns),
        ):
            left = max(0.0, ((until or now_ns) - now_ns) * 1e-9)
            if until is not None:
                checks.append(Check(rule, left, 0.0, until <= now_ns))
        for rule, most, span in (
            ("starts_per_h", limits.max_starts_per_h, _HOUR_NS),
            ("starts_per_day", limits.max_starts_per_day, _DAY_NS),
        ):
            if most is not None:
                n = 1 + len(self._starts) - bisect_right(self._starts, now_ns - span)
                checks.append(Check(rule, n, most, n <= most))
        least_s = self.on_s + self.least_s(plan)
        checks.append(Check("session_s", least_s, limits.max_session_s, least_s <= limits.max_session_s))
        return checks

    def least_s(self, plan: Assessment) -> float:
        """Return the shortest dose: both ramps, each as late as the disk allows, and a heartbeat or two to notice."""
        return 2.0 * (plan.ramp_s + self._late_s)

    def plan(self, row: RecommendationSettings, plan: Assessment, now_ns: int) -> Dose:
        """Return a dose that begins now and ends within its own time and the session's."""
        left_s = self._limits.max_session_s - self.on_s
        end_ns = now_ns + round(min(row.duration_s, left_s) * 1e9)
        down_ns = end_ns - round((plan.ramp_s + self._late_s) * 1e9)
        return Dose(row, plan, now_ns, down_ns, end_ns, left_s < row.duration_s)
