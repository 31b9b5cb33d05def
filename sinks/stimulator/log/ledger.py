"""The charge ledger: what an electrode of a subject has received, over all runs, and where their logs stood.

One file per subject and electrode, chained lines that only grow. Charge is reserved before the lease that may deliver
it leaves, and settled with the larger of two: what the device says it has delivered, and the gate's own bound of what
it can have delivered. What was never settled counts as delivered in full: a process that dies, a power cut or a lost
answer can make the ledger say too much, never too little.

Entries carry the wall clock, which never goes back in the file, and the time since the machine's start. A wall clock
behind the newest entry makes more entries count, not fewer.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.log.chain import Chain, ChainFile, read_chain
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile, DiskWriter

DAY_NS = 86_400 * 10**9
_MINUTE_NS = 60 * 10**9
_FOLD_BYTES = 4 << 20


class LedgerError(NeuroloopError):
    """A ledger cannot be opened, is in use, or does not hold."""


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
class LedgerEntries:
    """What the lines of a ledger outputs, taken one after the other.

    Parameters
    ----------
    charges : list of (Stamp, float)
        Settled charge in uC, gathered by the minute.
    open : dict
        What is reserved and not settled, by run and lease.
    anchors : dict
        By run, in their order.
    older_uc : float
        What was folded away.
    starts : list of (Stamp, str)
        When doses began, and for which state.
    lockout : (Stamp, float) or None
        When the last lockout began, and how long it is in seconds.
    newest : Stamp or None
    """

    charges: list[tuple[Stamp, float]] = field(default_factory=list)
    open: dict[tuple[str, int], tuple[Stamp, float]] = field(default_factory=dict)
    anchors: dict[str, list[Anchor]] = field(default_factory=dict)
    older_uc: float = 0.0
    starts: list[tuple[Stamp, str]] = field(default_factory=list)
    lockout: tuple[Stamp, float] | None = None
    newest: Stamp | None = None

    def take(self, record: Mapping[str, Any]) -> None:
        """Take one entry."""
        kind = record["kind"]
        stamp = Stamp(record["wall_ns"], record["boot"], record["boot_ns"])
        self.newest = stamp
        if kind == "fold":
            self.older_uc = record["older_uc"]
            self.anchors = {run: [tuple(one) for one in anchors] for run, anchors in record["anchors"].items()}
        elif kind == "charge":
            self._add(stamp, record["uc"])
        elif kind == "reserve":
            self.open[record["run"], record["lease"]] = (stamp, record["uc"])
        elif kind == "settle":
            for key in [key for key in self.open if key[0] == record["run"] and key[1] <= record["lease"]]:
                del self.open[key]
            self._add(stamp, record["uc"])
        elif kind == "start":
            self.starts.append((stamp, record["state"]))
        elif kind == "lockout":
            self.lockout = (stamp, record["length_s"])
        if "audit_seq" in record:
            self.anchors.setdefault(record["run"], []).append((record["audit_seq"], record["audit_hash"]))

    def _add(self, stamp: Stamp, charge_uc: float) -> None:
        """Count a charge; those of one minute are one, at the time of the last."""
        if self.charges:
            last, before = self.charges[-1]
            if last.boot == stamp.boot and last.wall_ns // _MINUTE_NS == stamp.wall_ns // _MINUTE_NS:
                self.charges[-1] = (stamp, before + charge_uc)
                return
        self.charges.append((stamp, charge_uc))

    def forget_older(self, now: Stamp) -> None:
        """Move what is more than a day old into one sum."""
        young = [one for one in self.charges if one[0].is_within_a_day(now)]
        if len(young) < len(self.charges):
            self.older_uc += math.fsum(uc for stamp, uc in self.charges if not stamp.is_within_a_day(now))
            self.charges = young
        self.starts = [one for one in self.starts[:-1] if one[0].is_within_a_day(now)] + self.starts[-1:]

    def day_uc(self, now: Stamp) -> float:
        """Return the charge that may have been delivered within the last day, what is open in full."""
        open_uc = [uc for stamp, uc in self.open.values() if stamp.is_within_a_day(now)]
        return math.fsum([*(uc for stamp, uc in self.charges if stamp.is_within_a_day(now)), *open_uc])

    def history(self, now: Stamp) -> dict[str, Any]:
        """Return what a gate must know of earlier runs."""
        left_s = 0.0
        if self.lockout is not None:
            begun, length_s = self.lockout
            left_s = max(0.0, length_s - begun.age_ns(now) * 1e-9)
        return {
            "day_charge_uc": self.day_uc(now),
            "lockout_left_s": left_s,
            "start_ages_s": [stamp.age_ns(now) * 1e-9 for stamp, _ in self.starts if stamp.is_within_a_day(now)],
            "last_state": self.starts[-1][1] if self.starts else None,
        }

    def all_uc(self) -> float:
        """Return everything ever, what is open in full."""
        return math.fsum([self.older_uc, *(uc for _, uc in self.charges), *(uc for _, uc in self.open.values())])


def ledger_path(folder: Path, subject: str, electrode: str) -> Path:
    """Return the file of a subject's electrode; both are plain names."""
    return folder / f"{subject}.{electrode}.jsonl"


def read_ledger(path: Path) -> tuple[LedgerEntries, ChainFile]:
    """Read a ledger; one that is not there is empty.

    Raises
    ------
    LedgerError
        If it cannot be read, or its chain does not hold.
    """
    try:
        chain = read_chain(path) if path.exists() else ChainFile()
    except OSError as error:
        raise LedgerError(f"ledger must be a readable file, got {str(path)!r}: {error.strerror}") from error
    if chain.fault is not None:
        raise LedgerError(f"ledger must hold from its first line on, got {str(path)!r}: {chain.fault}")
    entries = LedgerEntries()
    try:
        for link in chain.links:
            entries.take(link.record)
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"ledger must hold entries of its own kinds, got {str(path)!r}: {error!r}") from error
    return entries, chain


class Ledger:
    """The ledger of one electrode, open for one run; nobody else can open it meanwhile.

    Parameters
    ----------
    folder : Path
        Made with mode 0700 where it is not there.
    subject, electrode : str
    run : str
        Id of the run.
    writer : DiskWriter
        Writes the lines; what was reserved is safe when a ticket taken afterwards is done.
    clock : LedgerClock
    fold_bytes : int
        A longer file is rewritten at opening, without what is older than a day.

    Raises
    ------
    LedgerError
        If another run has it open, or it cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        subject: str,
        electrode: str,
        *,
        run: str,
        writer: DiskWriter,
        clock: LedgerClock | None = None,
        fold_bytes: int = _FOLD_BYTES,
    ) -> None:
        self.path = ledger_path(folder, subject, electrode)
        self._run = run
        self._writer = writer
        self._clock = clock or LedgerClock()
        self._base_uc = 0.0
        self._cached: tuple[int, float] | None = None
        self.notes: list[str] = []
        """What a user should be told."""
        self._lock = _lock(self.path)
        try:
            self._entries, chain = read_ledger(self.path)
            if chain.torn_bytes:
                self.notes.append(
                    f"ledger: {chain.torn_bytes} bytes of a half-written entry were cut off, no lease left with it"
                )
            n_open = len(self._entries.open)
            if n_open:
                self.notes.append(f"ledger: {n_open} leases were never settled and count as delivered in full")
            now = self._clock.now()
            newest = self._entries.newest
            if newest is not None and newest.wall_ns > now.wall_ns:
                behind_s = (newest.wall_ns - now.wall_ns) * 1e-9
                self.notes.append(
                    f"ledger: the wall clock is {behind_s:.1f} s behind the newest entry, which counts until it is a "
                    "day old by this clock"
                )
            self._chain = Chain(len(chain.links), chain.head)
            self._file = self._open(chain, fold_bytes, now)
            self._settled_uc = self._said_uc = 0.0
            self._write("open")
        except OSError as error:
            os.close(self._lock)
            raise LedgerError(f"ledger must be a writable file, got {str(self.path)!r}: {error.strerror}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, chain: ChainFile, fold_bytes: int, now: Stamp) -> AppendFile:
        """Open the file behind its last whole line, rewritten where it has grown long."""
        if chain.n_bytes <= fold_bytes:
            return AppendFile(self.path, chain.n_bytes)
        entries = self._entries
        entries.forget_older(now)
        anchors = {run: found[-1:] for run, found in entries.anchors.items()}
        newest = entries.newest or now
        self._chain = Chain()
        lines = [
            self._chain.add({"kind": "fold", "older_uc": entries.older_uc, "anchors": anchors, **_fields(newest)}),
            *(self._chain.add({"kind": "charge", "uc": uc, **_fields(stamp)}) for stamp, uc in entries.charges),
            *(
                self._chain.add({"kind": "reserve", "run": run, "lease": lease, "uc": uc, **_fields(stamp)})
                for (run, lease), (stamp, uc) in entries.open.items()
            ),
            *(self._chain.add({"kind": "start", "state": state, **_fields(stamp)}) for stamp, state in entries.starts),
        ]
        if entries.lockout is not None:
            begun, length_s = entries.lockout
            lines.append(self._chain.add({"kind": "lockout", "length_s": length_s, **_fields(begun)}))
        entries.anchors = {run: list(found) for run, found in anchors.items()}
        partial = self.path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        file = AppendFile(partial)
        file.write(b"".join(lines))
        file.sync()
        failure = file.failure
        file.close()
        if failure is not None:
            raise LedgerError(f"ledger must be a writable file, got {str(self.path)!r}: {failure}")
        partial.replace(self.path)
        return AppendFile(self.path)

    @property
    def failure(self) -> str | None:
        """Why nothing is written any more."""
        return self._writer.failures.get(self.path)

    @property
    def session_uc(self) -> float:
        """Charge of this run in uC: what is settled, and in full what is not."""
        mine = (uc for (run, _), (_, uc) in self._entries.open.items() if run == self._run)
        return math.fsum([self._settled_uc, *mine])

    def day_uc(self) -> float:
        """Return the charge of the last 24 h in uC, over all runs, what is not settled in full."""
        now = self._clock.now()
        if self._cached is None or now.wall_ns // 10**9 != self._cached[0]:
            self._entries.forget_older(now)
            self._cached = (now.wall_ns // 10**9, self._entries.day_uc(now))
        return self._cached[1]

    def history(self) -> dict[str, Any]:
        """Return what the gate must know of earlier runs: charge, starts and lockout; at the begin of a run."""
        return self._entries.history(self._clock.now())

    def note_start(self, state: str) -> None:
        """Write down that a dose begins."""
        self._write("start", state=state)

    def note_lockout(self, length_s: float) -> None:
        """Write down that nothing may begin for so long."""
        self._write("lockout", length_s=length_s)

    def armed(self, delivered_uc: float) -> None:
        """Note from where on the device counts its charge: what it says when it has been armed."""
        if math.isfinite(delivered_uc):
            self._base_uc = delivered_uc

    def reserve(self, lease: int, charge_uc: float, *, audit: Anchor) -> None:
        """Write down what a lease may deliver; take a ticket and let it leave when that is done.

        Parameters
        ----------
        lease : int
        charge_uc : float
        audit : Anchor
            Last record of the audit log.
        """
        self._write("reserve", lease=lease, uc=charge_uc, audit_seq=audit[0], audit_hash=audit[1])

    def settle(self, up_to: int, delivered_uc: float, *, bound_uc: float) -> None:
        """Write down what the leases up to this number have delivered.

        Parameters
        ----------
        up_to : int
            They are over.
        delivered_uc : float
            Since `armed`, as the device says; a number that is none, or falls, settles nothing.
        bound_uc : float
            The most that all leases of this run up to that number can have delivered. A device that names less has a
            meter that is wrong, or is not believed.
        """
        spent_uc = delivered_uc - self._base_uc
        is_any = any(run == self._run and lease <= up_to for run, lease in self._entries.open)
        if not spent_uc >= 0 or not (spent_uc > 0 or is_any):
            return
        self._base_uc = delivered_uc
        self._said_uc += spent_uc
        more_uc = max(0.0, max(self._said_uc, bound_uc) - self._settled_uc)
        if not (more_uc > 0 or is_any):
            return
        self._settled_uc += more_uc
        self._write("settle", lease=up_to, uc=more_uc)

    def _write(self, kind: str, **values: Any) -> None:
        now, newest = self._clock.now(), self._entries.newest
        if newest is not None and newest.wall_ns > now.wall_ns:
            now = Stamp(newest.wall_ns, now.boot, now.boot_ns)
        record = {"kind": kind, "run": self._run, **values, **_fields(now)}
        self._entries.take(record)
        self._cached = None
        self._writer.append(self._file, self._chain.add(record))

    def close(self, audit: Anchor) -> None:
        """Write down where the audit log ends; call it before the writer is closed.

        Parameters
        ----------
        audit : Anchor
        """
        self._write("close", audit_seq=audit[0], audit_hash=audit[1])

    def release(self) -> None:
        """Let others open it, after the writer is closed; may be called twice."""
        self._file.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _fields(stamp: Stamp) -> dict[str, Any]:
    return {"wall_ns": stamp.wall_ns, "boot": stamp.boot, "boot_ns": stamp.boot_ns}


def _lock(path: Path) -> int:
    """Take the ledger's lock; the system gives it back when the process is gone."""
    try:
        import fcntl  # absent on Windows, where nothing stimulates but everything else is to work
    except ImportError as error:
        raise LedgerError(f"stimulation must run where files can be locked, got {sys.platform}") from error
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
        fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"ledger must be in a writable folder, got {str(path.parent)!r}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LedgerError(f"ledger must be free, got {str(path)!r}, which another run has open") from error
    return fd
