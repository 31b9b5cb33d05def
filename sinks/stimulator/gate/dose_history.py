"""The course of a run: doses begun and ended, and what that means for the next one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroloop.config.stimulation import GateSettings, RecommendationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check
from neuroloop.sinks.stimulator.envelope.profiles import ProfileLimits
from neuroloop.sinks.stimulator.gate.earlier_runs import EarlierRuns, Given

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
    is_look : bool
        It is a part of its row's dose, and a look ends it.
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
    is_look: bool = False

    def on_s(self, now_ns: int) -> float:
        """Return how long it has lasted."""
        return (now_ns - self.start_ns) * 1e-9


class DoseHistory:
    """Remember doses, those of earlier runs too, and judge by them.

    A row may give as much as one dose of its own, in one piece or in several; then all is locked out for
    ``lockout_s``, and every row may begin anew. It is locked out as soon as what is left has no room for a dose.

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
        self._last_state: str | None = None
        self._successors: tuple[str, ...] | None = None
        self._given: dict[str, Given] = {}
        self.on_s = 0.0
        """Time with the output on in the session, all doses that have ended."""

    def begin(
        self,
        now_ns: int,
        earlier: EarlierRuns,
        *,
        rows: Mapping[str, RecommendationSettings],
        plans: Mapping[str, Assessment],
    ) -> None:
        """Take what earlier runs left.

        Parameters
        ----------
        now_ns : int
        earlier : EarlierRuns
        rows, plans : mapping
            By state. What may follow a row is as they say now; of one that is no longer there, as it was.
        """
        self.on_s = earlier.session_s
        self._starts = sorted(now_ns - round(age * 1e9) for age in earlier.start_ages_s)
        self._given = dict(earlier.given)
        if earlier.lockout_left_s > 0:
            self._lockout_ns = now_ns + round(earlier.lockout_left_s * 1e9)
        if earlier.last_ended_s is not None:
            ended_ns = now_ns - round(earlier.last_ended_s * 1e9)
            self._wait_from(ended_ns, earlier.last_on_s or 0.0)
            if any(self._is_spent(plan) for plan in plans.values()):
                self._lock_out(ended_ns)
        self._last_state, self._successors = earlier.last_state, earlier.successors
        row = rows.get(earlier.last_state or "")
        if row is not None:
            self._follow(row)

    def _follow(self, row: RecommendationSettings) -> None:
        """Take the row that was given last."""
        self._last_state = row.state
        self._successors = None if row.successors is None else tuple(row.successors)

    def started(self, dose: Dose) -> None:
        """Note a start."""
        del self._starts[: bisect_right(self._starts, dose.start_ns - _DAY_NS)]
        self._starts.append(dose.start_ns)
        self._follow(dose.row)

    def ended(self, dose: Dose, now_ns: int, *, charge_uc: float = 0.0) -> dict[str, Any]:
        """Note the end of a dose and what it can have delivered; return it as JSON values."""
        on_s, state = dose.on_s(now_ns), dose.row.state
        self.on_s += on_s
        self._wait_from(now_ns, on_s)
        before = self._given.get(state, Given(0.0, 0.0))
        self._given[state] = Given(before.on_s + on_s, before.charge_uc + charge_uc)
        is_spent = dose.is_full or self._is_spent(dose.plan)
        if is_spent:
            self._lock_out(now_ns)
        return {
            "what": "dose",
            "state": state,
            "on_s": on_s,
            "charge_uc": charge_uc,
            "is_full": dose.is_full,
            "lockout_s": self._gate.lockout_s if is_spent else 0.0,
        }

    def _wait_from(self, ended_ns: int, on_s: float) -> None:
        """Let nothing begin too soon behind a dose."""
        self._free_ns = ended_ns + round(self._gate.refractory_s * 1e9)
        if self._limits.min_off_ratio > 0:
            self._off_ns = ended_ns + round(self._limits.min_off_ratio * on_s * 1e9)

    def _lock_out(self, ended_ns: int) -> None:
        """Let nothing begin for the lockout; every row has its whole dose again behind it."""
        self._lockout_ns = max(self._lockout_ns or 0, ended_ns + round(self._gate.lockout_s * 1e9))
        self._given.clear()

    def _is_spent(self, plan: Assessment) -> bool:
        """Return whether a row has given its dose, or has no room for another piece of it."""
        given = self._given.get(plan.state)
        if given is None or self._gate.lockout_s == 0:
            return False
        is_no_room = given.on_s + self.least_s(plan) > plan.duration_s
        return is_no_room or given.charge_uc >= plan.numbers["dose_charge_mc"] * 1000.0

    def _left_s(self, row: RecommendationSettings) -> float:
        """Return how much of its dose a row has left."""
        given = self._given.get(row.state)
        return row.duration_s if given is None or self._gate.lockout_s == 0 else row.duration_s - given.on_s

    @property
    def _late_s(self) -> float:
        """How late a ramp that is due may begin: two heartbeats, and as long as a lease may wait for the disk."""
        return 2.0 * self._gate.heartbeat_s + self._gate.watchdog_s

    def wait_until_ns(self) -> int:
        """Return the moment before which nothing starts, 0 for none."""
        return max(self._free_ns or 0, self._lockout_ns or 0, self._off_ns or 0)

    def judge(self, row: RecommendationSettings, plan: Assessment, now_ns: int, since_ns: int) -> list[Check]:
        """Return the rules about earlier doses, in the order of judging."""
        limits, last, checks = self._limits, self._last_state, []
        if last is not None and last != row.state:
            if self._successors is not None:
                allowed = [last, *self._successors]
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
        """Return a dose that begins now and ends within what is left of its own time and of the session's."""
        left_s, own_s = self._limits.max_session_s - self.on_s, self._left_s(row)
        end_ns = now_ns + round(min(own_s, left_s) * 1e9)
        down_ns = end_ns - round((plan.ramp_s + self._late_s) * 1e9)
        return Dose(row, plan, now_ns, down_ns, end_ns, left_s < own_s)
