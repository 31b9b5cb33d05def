"""What the lines of a charge ledger say, taken one after the other, and what a new run must know of it.

A dose is in the ledger from its start to its end. One that never ended, for its process died, counts as long as it
was still granted leases, and one lease more. Lines of the first format have starts alone: their doses are read the
same way.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import Any

LEDGER_FORMAT = 2
"""Raised when lines mean something new; files of lower formats are read, those of higher ones are refused."""
DAY_NS = 86_400 * 10**9
_MINUTE_NS = 60 * 10**9
_LAST_LEASE_NS = 4 * 10**9
"""A lease waits at most the watchdog time for the disk, and lasts as long; that is at most 2 s."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """When an entry was made.

    Parameters
    ----------
    wall_ns : int
        Wall clock, or that of the entry before where the clock went back.
    boot : str
        Which start of the machine.
    boot_ns : int
        Since then, time asleep included.
    """

    wall_ns: int
    boot: str
    boot_ns: int

    def age_ns(self, now: Stamp) -> int:
        """Return how long ago it was, by the clock that says less; never below 0."""
        by_wall = max(0, now.wall_ns - self.wall_ns)
        return min(by_wall, now.boot_ns - self.boot_ns) if self.boot == now.boot else by_wall

    def age_since(self, before: Stamp) -> int:
        """Return how long after another it was, by the clock that says more; never below 0."""
        by_wall = max(0, self.wall_ns - before.wall_ns)
        return max(by_wall, self.boot_ns - before.boot_ns) if self.boot == before.boot else by_wall

    def later(self, ns: int) -> Stamp:
        """Return the moment so long afterwards."""
        return Stamp(self.wall_ns + ns, self.boot, self.boot_ns + ns)

    def is_within_a_day(self, now: Stamp) -> bool:
        """Return whether this may be less than a day ago."""
        return self.age_ns(now) < DAY_NS


@dataclass(frozen=True, slots=True)
class LedgerClock:
    """The clocks of a ledger; replaced in tests."""

    wall_ns: Callable[[], int] = time.time_ns
    boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    boot: Callable[[], str] = lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def now(self) -> Stamp:
        """Return the present moment."""
        return Stamp(self.wall_ns(), self.boot(), self.boot_ns())


Anchor = tuple[int, str]
"""Number and hash of a record of a run's audit log that was on the disk."""


@dataclass
class DoseEntry:
    """A dose as the ledger has it.

    Parameters
    ----------
    run, state : str
    successors : tuple of str or None
        What its row let follow; None for anything.
    knows_successors : bool
        False where an older program wrote the start.
    begun, seen : Stamp
        When it began; when it ended or, while it has no end, when it was last granted a lease.
    on_s : float
    charge_uc : float
        The most that it can have delivered; of a sham dose what it would have as a real one.
    is_ended : bool
    is_rested : bool
        A lockout has begun since.
    """

    run: str
    state: str
    successors: tuple[str, ...] | None
    knows_successors: bool
    begun: Stamp
    seen: Stamp
    on_s: float = 0.0
    charge_uc: float = 0.0
    is_ended: bool = False
    is_rested: bool = False

    def leased(self, stamp: Stamp, charge_uc: float) -> None:
        """Note that it was granted a lease."""
        self.seen = stamp
        self.charge_uc += charge_uc

    def length_s(self) -> float:
        """Return how long it lasted; where it has no end, at the longest."""
        return self.on_s if self.is_ended else (self.seen.age_since(self.begun) + _LAST_LEASE_NS) * 1e-9

    def ended_age_s(self, now: Stamp) -> float:
        """Return how long ago it ended; where it has no end, at the least."""
        return max(0, self.seen.age_ns(now) - (0 if self.is_ended else _LAST_LEASE_NS)) * 1e-9


@dataclass
class LedgerEntries:
    """What the lines of a ledger say, taken one after the other.

    Parameters
    ----------
    charges : deque of (Stamp, float)
        Settled charge in uC, gathered by the minute.
    open : dict
        What is reserved and not settled, by run and lease; a lease leaves it when it is settled.
    anchors : dict
        By run, in their order.
    older_uc : float
        What was folded away.
    doses : list of DoseEntry
    lockout : (Stamp, float) or None
        When the last lockout began, and how long it is in seconds.
    newest : Stamp or None
    n_folds : int
        How often the file was rewritten.
    was : (int, str) or None
        How many lines the file had, and the hash of the last, before it was rewritten.
    """

    charges: deque[tuple[Stamp, float]] = field(default_factory=deque)
    open: dict[tuple[str, int], tuple[Stamp, float]] = field(default_factory=dict)
    anchors: dict[str, list[Anchor]] = field(default_factory=dict)
    older_uc: float = 0.0
    doses: list[DoseEntry] = field(default_factory=list)
    lockout: tuple[Stamp, float] | None = None
    newest: Stamp | None = None
    n_folds: int = 0
    was: tuple[int, str] | None = None

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one entry."""
        kind = record["kind"]
        stamp = stamp_of(record)
        if record.get("format", 1) not in range(1, LEDGER_FORMAT + 1):
            raise ValueError(f"format must be at most {LEDGER_FORMAT}, got {record['format']!r}")
        if self.newest is None or stamp.wall_ns >= self.newest.wall_ns:
            self.newest = stamp  # lines may be older, in a file that was rewritten
        if kind == "fold":
            self.older_uc = record["older_uc"]
            self.anchors = {run: [_anchor(one) for one in anchors] for run, anchors in record["anchors"].items()}
            self.n_folds = record.get("folds", 1)
            self.was = None if record.get("was") is None else _anchor(record["was"])
        elif kind == "charge":
            self._add(stamp, record["uc"])
            if self.doses and not self.doses[-1].is_ended and self.doses[-1].run == record.get("run"):
                self.doses[-1].leased(stamp, record["uc"])
        elif kind == "reserve":
            self.open[record["run"], record["lease"]] = (stamp, record["uc"])
            if self.doses and not self.doses[-1].is_ended and self.doses[-1].run == record["run"]:
                self.doses[-1].leased(stamp, record["uc"])
        elif kind == "settle":
            self._settle(record["run"], record["lease"])
            self._add(stamp, record["uc"])
        elif kind == "start":
            self.doses.append(_dose_of(record, stamp, stamp))
        elif kind == "dose":
            self.doses.append(_dose_of(record, stamp_of(record["begun"]), stamp))
        elif kind == "end":
            self._end(record, stamp)
        elif kind == "lockout":
            self.lockout = (stamp, record["length_s"])
            for dose in reversed(self.doses):
                if dose.is_rested:
                    break
                dose.is_rested = True
        if "audit_seq" in record:
            found = self.anchors.setdefault(record["run"], [])
            found.append(_anchor((record["audit_seq"], record["audit_hash"])))

    def _settle(self, run: str, up_to: int) -> None:
        """Take the leases of a run up to a number out; they lie in their order."""
        for key in list(self._open_of(run, up_to)):
            del self.open[key]

    def _open_of(self, run: str, up_to: int) -> Iterator[tuple[str, int]]:
        """Yield a run's open leases up to a number, those of dead runs before it passed by."""
        for key in self.open:
            if key[0] == run:
                if key[1] > up_to:
                    return
                yield key

    def _end(self, record: Mapping[str, Any], stamp: Stamp) -> None:
        """Close the newest dose."""
        if not self.doses or self.doses[-1].run != record["run"] or self.doses[-1].is_ended:
            raise ValueError("end must follow a start of the same run, got none")
        dose = self.doses[-1]
        dose.seen, dose.is_ended = stamp, True
        dose.on_s, dose.charge_uc = float(record["on_s"]), float(record["uc"])

    def _add(self, stamp: Stamp, charge_uc: float) -> None:
        """Count a charge; those of one minute are one, at the time of the last."""
        if self.charges:
            last, before = self.charges[-1]
            if last.boot == stamp.boot and last.wall_ns // _MINUTE_NS == stamp.wall_ns // _MINUTE_NS:
                self.charges[-1] = (stamp, before + charge_uc)
                return
        self.charges.append((stamp, charge_uc))

    def forget_older(self, now: Stamp) -> None:
        """Move what is more than a day old into one sum; the oldest come first, by whichever clock."""
        charges = self.charges
        while charges and not charges[0][0].is_within_a_day(now):
            self.older_uc += charges.popleft()[1]
        doses = self.doses
        n_old = next((n for n, one in enumerate(doses) if one.ended_age_s(now) * 1e9 < DAY_NS), len(doses))
        del doses[: min(n_old, max(0, len(doses) - 1))]

    def fold_open(self) -> None:
        """Count the open leases of runs that are over for good: nobody can settle them any more."""
        spent = [*((stamp, uc) for stamp, uc in self.open.values()), *self.charges]
        self.open.clear()
        self.charges.clear()
        for stamp, uc in sorted(spent, key=lambda one: one[0].wall_ns):
            self._add(stamp, uc)

    def day_uc(self, now: Stamp) -> float:
        """Return the charge that may have been delivered within the last day, what is open in full."""
        open_uc = [uc for stamp, uc in self.open.values() if stamp.is_within_a_day(now)]
        young = dropwhile(lambda one: not one[0].is_within_a_day(now), self.charges)
        return math.fsum([*(uc for _, uc in young), *open_uc])

    def all_uc(self) -> float:
        """Return everything ever, what is open in full."""
        return math.fsum([self.older_uc, *(uc for _, uc in self.charges), *(uc for _, uc in self.open.values())])

    def history(self, now: Stamp) -> dict[str, Any]:
        """Return what a gate must know of earlier runs, as JSON values; read by `gate.earlier_runs`."""
        left_s = 0.0
        if self.lockout is not None:
            begun, length_s = self.lockout
            left_s = max(0.0, length_s - begun.age_ns(now) * 1e-9)
        recent = [one for one in self.doses if one.ended_age_s(now) * 1e9 < DAY_NS]
        given: dict[str, dict[str, float]] = {}
        for one in recent:
            if not one.is_rested:
                sums = given.setdefault(one.state, {"on_s": 0.0, "charge_uc": 0.0})
                sums["on_s"] += one.length_s()
                sums["charge_uc"] += one.charge_uc
        found: dict[str, Any] = {
            "day_charge_uc": self.day_uc(now),
            "session_s": math.fsum(one.length_s() for one in recent),
            "session_charge_uc": self.day_uc(now),
            "lockout_left_s": left_s,
            "start_ages_s": [one.begun.age_ns(now) * 1e-9 for one in recent if one.begun.is_within_a_day(now)],
            "given": given,
            "last_state": None,
        }
        if self.doses:
            last = self.doses[-1]
            found["last_state"] = last.state
            found["last_on_s"], found["last_ended_s"] = last.length_s(), last.ended_age_s(now)
            if last.knows_successors:
                found["last_successors"] = None if last.successors is None else list(last.successors)
        return found


def fields_of(stamp: Stamp) -> dict[str, Any]:
    """Return a stamp as it stands in a line."""
    return {"wall_ns": stamp.wall_ns, "boot": stamp.boot, "boot_ns": stamp.boot_ns}


def stamp_of(record: Mapping[str, Any]) -> Stamp:
    """Return the stamp of a line."""
    wall_ns, boot, boot_ns = record["wall_ns"], record["boot"], record["boot_ns"]
    if not (isinstance(wall_ns, int) and isinstance(boot, str) and isinstance(boot_ns, int)):
        raise TypeError(f"stamp must be two whole numbers and a text, got {(wall_ns, boot, boot_ns)!r}")
    return Stamp(wall_ns, boot, boot_ns)


def dose_fields(dose: DoseEntry) -> dict[str, Any]:
    """Return a dose as one line has it in a file that was rewritten; one without an end has it there."""
    return {
        "kind": "dose",
        "run": dose.run,
        "state": dose.state,
        **({"successors": dose.successors} if dose.knows_successors else {}),
        "begun": fields_of(dose.begun),
        "on_s": dose.length_s(),
        "uc": dose.charge_uc,
        "is_rested": dose.is_rested,
        **fields_of(dose.seen if dose.is_ended else dose.seen.later(_LAST_LEASE_NS)),
    }


def _dose_of(record: Mapping[str, Any], begun: Stamp, seen: Stamp) -> DoseEntry:
    successors = record.get("successors")
    return DoseEntry(
        run=str(record.get("run")),
        state=str(record["state"]),
        successors=None if successors is None else tuple(map(str, successors)),
        knows_successors="successors" in record,
        begun=begun,
        seen=seen,
        on_s=float(record.get("on_s", 0.0)),
        charge_uc=float(record.get("uc", 0.0)),
        is_ended=record["kind"] == "dose",
        is_rested=record.get("is_rested") is True,
    )


def _anchor(values: Any) -> Anchor:
    """Return number and hash of a record."""
    seq, head = values
    if not isinstance(seq, int) or not isinstance(head, str):
        raise TypeError(f"anchor must be a number and a hash, got {values!r}")
    return seq, head
