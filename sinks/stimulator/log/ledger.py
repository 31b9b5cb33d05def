"""The charge ledger: what an electrode of a subject has received, over all runs, and where their logs stood.

One file per subject and electrode, chained lines that only grow. Charge is reserved before the lease that may deliver
it leaves, and settled with the larger of two: what the device says it has delivered, and the gate's own bound of what
it can have delivered. What was never settled counts as delivered in full: a process that dies, a power cut or a lost
answer can make the ledger say too much, never too little. Doses are kept with begin, end, length and charge, so that
what must lie between them, and what a session and a row may give, holds over restarts.

Beside it lies a file of marks, ``.marks``: how many lines the ledger had, and the hash of the last. A ledger that is
not there any more, or is shorter or another than its marks say, is refused.

Entries carry the wall clock, which never goes back in the file, and the time since the machine's start. A wall clock
behind the newest entry makes more entries count, not fewer.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.log.chain import Chain, ChainFile, read_chain
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile, DiskWriter
from neuroloop.sinks.stimulator.log.ledger_entries import (
    LEDGER_FORMAT,
    Anchor,
    LedgerClock,
    LedgerEntries,
    Stamp,
    dose_fields,
    fields_of,
)
from neuroloop.sinks.stimulator.log.plain_file import read_plain, reason_of

_FOLD_BYTES = 4 << 20
_HOUR_NS = 3600 * 10**9


class LedgerError(NeuroloopError):
    """A ledger cannot be opened, is in use, or does not hold."""


def ledger_path(folder: Path, subject: str, electrode: str) -> Path:
    """Return the file of a subject's electrode; both are plain names."""
    return folder / f"{subject}.{electrode}.jsonl"


def marks_path(ledger: Path) -> Path:
    """Return the file of a ledger's marks."""
    return ledger.with_suffix(".marks")


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
        raise LedgerError(f"ledger must be a readable file, got {str(path)!r}: {reason_of(error)}") from error
    if chain.fault is not None:
        raise LedgerError(f"ledger must hold from its first line on, got {str(path)!r}: {chain.fault}")
    entries = LedgerEntries()
    try:
        for link in chain.links:
            entries.take(link.record)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise LedgerError(f"ledger must hold entries of its own kinds, got {str(path)!r}: {error!r}") from error
    return entries, chain


def read_mark(path: Path) -> Anchor | None:
    """Return the newest mark of a ledger, None where there is none; what a half-written last line says does not count.

    Raises
    ------
    LedgerError
        If the marks cannot be read.
    """
    marks = marks_path(path)
    try:
        data = read_plain(marks) if marks.exists() else b""
        lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
        newest = (int(lines[-1]["lines"]), str(lines[-1]["head"])) if lines else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LedgerError(f"ledger marks must be a readable file of this program, got {str(marks)!r}") from error
    return newest


def mark_fault(entries: LedgerEntries, chain: ChainFile, mark: Anchor | None) -> str | None:
    """Return why a ledger is not the one that its mark is of, None where it is."""
    if mark is None or mark[0] == 0 or entries.was == mark:
        return None
    n_lines, head = mark
    if n_lines > len(chain.links):
        return f"{n_lines} lines, as its marks say, got {len(chain.links)}"
    if chain.links[n_lines - 1].hash != head:
        return f"line {n_lines} as its marks say, {head[:16]}, got {chain.links[n_lines - 1].hash[:16]}"
    return None


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
        If another run has it open, it cannot be read or written, or it is not the one that its marks are of.
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
        self._is_final = False
        self.notes: list[str] = []
        """What a user should be told; it stands in the log of the run too."""
        self._lock = _lock(self.path)
        try:
            self._entries, chain = read_ledger(self.path)
            fault = mark_fault(self._entries, chain, read_mark(self.path))
            if fault is not None:
                raise LedgerError(
                    f"ledger must have {fault} in {str(self.path)!r}: put it back; who removes {marks_path(self.path)} "
                    "begins anew, and nothing earlier counts"
                )
            now = self._clock.now()
            self._note(chain, now)
            self._entries.fold_open()
            self._chain = Chain(len(chain.links), chain.head)
            self._before: Anchor = (len(chain.links), chain.head)
            self._n_folds = self._entries.n_folds
            _replace(marks_path(self.path), _mark_line(self._before))  # a file that is rewritten names it too
            self._file = self._open(chain, fold_bytes, now)
            self._marks = AppendFile(marks_path(self.path))
            self._settled_uc = self._said_uc = 0.0
            self._history = self._entries.history(now)
            self._write("open", format=LEDGER_FORMAT)
            self._mark()
        except OSError as error:
            os.close(self._lock)
            raise LedgerError(f"ledger must be a writable file, got {str(self.path)!r}: {error.strerror}") from error
        except BaseException:
            os.close(self._lock)
            raise

    def _note(self, chain: ChainFile, now: Stamp) -> None:
        """Say what a user should know of what was found."""
        entries, notes = self._entries, self.notes
        if not chain.links:
            notes.append("ledger: it is new, nothing is known of earlier doses")
        if chain.torn_bytes:
            notes.append(
                f"ledger: {chain.torn_bytes} bytes of a half-written entry were cut off, no lease left with it"
            )
        if entries.open:
            notes.append(f"ledger: {len(entries.open)} leases were never settled and count as delivered in full")
        n_cut = sum(not one.is_ended for one in entries.doses)
        if n_cut:
            notes.append(f"ledger: {n_cut} doses have no end and count as long as they had leases, and one more")
        newest = entries.newest
        if newest is None:
            return
        passed_ns = now.wall_ns - newest.wall_ns
        if passed_ns < 0:
            notes.append(
                f"ledger: the wall clock is {-passed_ns * 1e-9:.1f} s behind the newest entry, which counts until it "
                "is a day old by this clock"
            )
        elif newest.boot != now.boot:
            notes.append(
                f"ledger: the machine was started anew; that the newest entry is {passed_ns * 1e-9:.0f} s old is by "
                "the wall clock alone"
            )
        elif passed_ns - (now.boot_ns - newest.boot_ns) > _HOUR_NS:
            notes.append(
                f"ledger: the wall clock says {passed_ns * 1e-9:.0f} s since the newest entry, the machine "
                f"{(now.boot_ns - newest.boot_ns) * 1e-9:.0f} s, which counts"
            )

    def _open(self, chain: ChainFile, fold_bytes: int, now: Stamp) -> AppendFile:
        """Open the file behind its last whole line, rewritten where it has grown long."""
        if chain.n_bytes <= fold_bytes:
            return AppendFile(self.path, chain.n_bytes)
        entries = self._entries
        entries.forget_older(now)
        anchors = {run: found[-1:] for run, found in entries.anchors.items()}
        newest = entries.newest or now
        self._chain = Chain()
        fold = {"kind": "fold", "format": LEDGER_FORMAT, "folds": entries.n_folds + 1, "was": list(self._before),
                "older_uc": entries.older_uc, "anchors": anchors}  # fmt: skip
        lines = [
            self._chain.add({**fold, **fields_of(newest)}),
            *(self._chain.add({"kind": "charge", "uc": uc, **fields_of(stamp)}) for stamp, uc in entries.charges),
        ]
        if entries.lockout is not None:
            begun, length_s = entries.lockout
            lines.append(self._chain.add({"kind": "lockout", "length_s": length_s, **fields_of(begun)}))
        lines += [self._chain.add(dose_fields(dose)) for dose in entries.doses]  # a lockout rests what is before it
        _replace(self.path, b"".join(lines))
        self._entries, chain = read_ledger(self.path)
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
        """Return what the gate must know of earlier runs, as it was when this one opened the ledger.

        Beside it: ``notes``, and where the ledger stood, ``lines``, ``head`` and ``folds``, for a check of the log.
        """
        n_lines, head = self._before
        stood = {"lines": n_lines, "head": head, "folds": self._n_folds}
        return {**self._history, "notes": list(self.notes), **stood}

    def note_start(self, state: str, successors: Sequence[str] | None = None) -> None:
        """Write down that a dose begins, and what may follow it."""
        self._write("start", state=state, successors=None if successors is None else list(successors))

    def note_end(self, on_s: float, charge_uc: float) -> None:
        """Write down that the dose is over.

        Parameters
        ----------
        on_s : float
        charge_uc : float
            The most that it can have delivered; of a sham dose what it would have as a real one.
        """
        newest = self._entries.doses[-1] if self._entries.doses else None
        if newest is not None and newest.run == self._run and not newest.is_ended:  # one that never left has no start
            self._write("end", on_s=on_s, uc=charge_uc)

    def note_lockout(self, length_s: float) -> None:
        """Write down that nothing may begin for so long."""
        self._write("lockout", length_s=length_s)

    def armed(self, delivered_uc: float) -> None:
        """Note from where on the device counts its charge: what it says when it has been armed."""
        if math.isfinite(delivered_uc):
            self._base_uc = delivered_uc
        self._mark()

    def never_settles(self) -> None:
        """Count every lease as delivered in full from when it is reserved: the device answers nothing."""
        self._is_final = True

    def reserve(self, lease: int, charge_uc: float, *, audit: Anchor) -> None:
        """Write down what a lease may deliver; take a ticket and let it leave when that is done.

        Parameters
        ----------
        lease : int
        charge_uc : float
        audit : Anchor
            Last record of the audit log.
        """
        kind = "charge" if self._is_final else "reserve"
        self._settled_uc += charge_uc if self._is_final else 0.0
        self._write(kind, lease=lease, uc=charge_uc, audit_seq=audit[0], audit_hash=audit[1])

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
        record = {"kind": kind, "run": self._run, **values, **fields_of(now)}
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
        self._mark()

    def _mark(self) -> None:
        """Write down how long the ledger is; the writer puts it on the disk behind the ledger's own lines."""
        self._writer.append(self._marks, _mark_line((self._chain.seq, self._chain.head)))

    def release(self) -> None:
        """Let others open it, after the writer is closed; may be called twice."""
        self._file.close()
        self._marks.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _mark_line(mark: Anchor) -> bytes:
    return json.dumps({"lines": mark[0], "head": mark[1]}).encode() + b"\n"


def _replace(path: Path, data: bytes) -> None:
    """Write a file anew, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    file = AppendFile(partial)
    file.write(data)
    file.sync()
    failure = file.failure
    file.close()
    if failure is not None:
        raise LedgerError(f"ledger must be a writable file, got {str(path)!r}: {failure}")
    partial.replace(path)


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
