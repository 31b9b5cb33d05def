"""Proof of a run's stimulation log: nothing changed, nothing missing, nothing decided that the gate would not decide.

What is checked, each by itself, so that one fault does not hide another:

- the chain: every byte of every line, their numbers and order;
- its end: torn lines, a missing end record, and a cut tail, by the anchors in the ledger and in ``summary.json``, and
  by hashes that somebody has noted;
- the ledger: it must be there and know the run, and be the one that the run began with; otherwise nothing is proven;
- the gate: decides again on the logged inputs and must say the same, so that a log whose chain was forged is found;
  the log of another version of the gate cannot be decided again, and is not proven;
- the acts: what was handed to the device is what the gate decided, once each, in order and in time;
- the device: a simulated one's own record holds nothing that was not granted;
- the events: commands and refusals of ``events.jsonl`` are those of the log;
- of a blinded run the list of assignments, and the sealed boxes that the log names.

Whatever stands in the files, it ends as a finding of one line.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroloop.config.errors import RecordingError
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, SUMMARY_FILE
from neuroloop.sinks.stimulator.gate.setup import GATE_VERSION
from neuroloop.sinks.stimulator.log.act_check import act_faults
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, LogFile, output_record, read_log
from neuroloop.sinks.stimulator.log.device_check import device_faults, unreadable
from neuroloop.sinks.stimulator.log.event_check import event_faults
from neuroloop.sinks.stimulator.log.events import replayed
from neuroloop.sinks.stimulator.log.ledger_check import check_ledger
from neuroloop.sinks.stimulator.log.plain_file import read_plain
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.plain_text import plain_text
from neuroloop.sinks.stimulator.unblinding import sealed_faults
from neuroloop.stream.contracts.events import encode

_MOST_CHARACTERS = 600
_LEAST_HEAD = 16


@dataclass(frozen=True)
class Verdict:
    """What became of a check.

    Parameters
    ----------
    findings : tuple of str
        What is wrong, one line each; empty for a run that is proven.
    open_end : str or None
        Said when the log simply stops, as a killed process leaves it: also one of ``findings``, for a cut tail can look
        the same.
    notes : tuple of str
        What could not be checked, and why.
    counts : dict
    head : str
    unproven : tuple of str
        What could not be checked and must be, for a run to count as proven.
    program : mapping
        ``version``, ``python`` and ``code_sha256`` of the program that wrote the log, as it says.
    """

    findings: tuple[str, ...]
    open_end: str | None
    notes: tuple[str, ...]
    counts: dict[str, int]
    head: str
    unproven: tuple[str, ...] = ()
    program: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong and everything was checked."""
        return not self.findings and not self.unproven

    @property
    def is_whole_but_for_its_end(self) -> bool:
        """Whether the only thing that is wrong is that the log stops."""
        return all(finding == self.open_end for finding in self.findings)

    def line(self) -> str:
        """Say a clean run in one line."""
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items())
        beside = f"; {'; '.join(self.notes)}" if self.notes else ""
        return f"{AUDIT_FILE}: {counts}, head {self.head}{beside}"


def verify_run(run: Path, ledgers: Path | None = None, *, heads: Sequence[str] = ()) -> Verdict:
    """Check a run's log.

    Parameters
    ----------
    run : Path
        Its folder.
    ledgers : Path, optional
        Folder of the ledgers; otherwise the one that the run used. Without a ledger that knows the run, as on another
        machine, nothing is proven.
    heads : sequence of str
        Hashes of records that somebody has noted, or their first 16 characters or more: the log must have them.

    Raises
    ------
    RecordingError
        If the folder has no stimulation log.
    """
    path = run / AUDIT_FILE
    if not path.is_file():
        raise RecordingError(f"run must be the folder of a run that stimulates, got {str(run)!r} without {AUDIT_FILE}")
    for head in heads:
        if len(head.strip()) < _LEAST_HEAD:
            raise RecordingError(f"head must be at least {_LEAST_HEAD} characters of a hash, got {head!r}")
    log = read_log(path)
    findings: list[str] = []
    notes: list[str] = []
    unproven: list[str] = []
    if log.chain.fault is not None:
        findings.append(f"{AUDIT_FILE}: {log.chain.fault}")
    open_end = _open_end(log)
    if open_end is not None:
        open_end = _one_line(open_end)
        findings.append(open_end)
    setup = _setup(log)
    findings += _held("records", lambda: _order_faults(log))
    findings += _held("heads", lambda: _head_faults(log, heads))
    n_before = len(findings) + len(unproven)
    findings += _held("ledger", lambda: check_ledger(log, setup, ledgers, unproven=unproven, notes=notes))
    is_anchored = len(findings) + len(unproven) == n_before
    findings += _held("summary", lambda: _summary_faults(log, run, notes, is_anchored=is_anchored))
    version = setup.get("gate", 1)
    if setup and version != GATE_VERSION:
        unproven.append(f"decisions not replayed: the log is of gate {version!r}, this program has gate {GATE_VERSION}")
    else:
        findings += _held("decisions", lambda: _gate_faults(log))
        findings += _held("device record", lambda: _device_faults(log, run, setup, unproven))
    if log.chain.fault is None:
        findings += _held("acts", lambda: act_faults(log, is_open=open_end is not None))
    findings += _held("events", lambda: event_faults(log, run, notes if open_end is not None else None))
    findings += _held("files", lambda: _file_faults(log, run))
    findings += _held("sealed record", lambda: sealed_faults(log, run))
    counts = Counter("inputs" if "in" in one.record else "outputs" if "out" in one.record else "acts" for one in
                     log.records)  # fmt: skip
    names = {"records": len(log.records), **{name: counts[name] for name in ("inputs", "outputs", "acts")}}
    said = (tuple(_one_line(one) for one in some) for some in (findings, notes, unproven))
    found, noted, not_proven = said
    return Verdict(found, open_end, noted, names, log.chain.head, not_proven, _program(setup))


def _held(what: str, check: Callable[[], Iterable[str]]) -> list[str]:
    """Return what a check finds; records of another kind than this program writes are a finding, wherever met."""
    found: list[str] = []
    try:
        found.extend(check())
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        found.append(f"{AUDIT_FILE} must hold what this program writes, got, for its {what}, {reason}")
    return found


def _one_line(text: str) -> str:
    return plain_text(text, _MOST_CHARACTERS)


def _program(setup: Mapping[str, Any]) -> dict[str, str]:
    """Return which program the log says it is of."""
    program = setup.get("program")
    return {str(key): str(value) for key, value in program.items()} if isinstance(program, dict) else {}


def _head_faults(log: LogFile, heads: Sequence[str]) -> Iterator[str]:
    """Check that the log has the records that somebody noted."""
    for head in heads:
        wanted = head.strip().lower()
        if not any(link.hash.startswith(wanted) for link in log.records):
            yield f"{AUDIT_FILE} must have a record with the hash that was noted, {wanted[:16]}, got none"


def _device_faults(log: LogFile, run: Path, setup: Mapping[str, Any], unproven: list[str]) -> Iterator[str]:
    """Check the device's own record, where the device was a simulated one."""
    settings = setup.get("settings", {})
    if settings.get("device", {}).get("kind", "simulated") != "simulated" or not setup:
        return
    try:
        yield from device_faults(log, run)
    except OSError as error:
        unproven.append(unreadable(error))


def _open_end(log: LogFile) -> str | None:
    """Say it where the log stops without its last record."""
    if log.chain.fault is not None or (log.is_ended and not log.chain.torn_bytes):
        return None
    last = log.records[-1].seq if log.records else "none"
    torn = f" and {log.chain.torn_bytes} bytes of a torn one" if log.chain.torn_bytes else ""
    return f"{AUDIT_FILE} must end with its end record, got seq {last} as the last whole one{torn}: cut off, or killed"


def _order_faults(log: LogFile) -> Iterator[str]:
    """Check what stands in which order, apart from the chain."""
    expected, newest_ns = 0, -1
    for link in log.records:
        record, where = link.record, f"{AUDIT_FILE}: seq {link.seq}"
        if "in" in record:
            if record["in"] != expected:
                yield f"{where} must be input {expected}, got {record['in']!r}"
                return
            if (record["kind"] == "setup") != (expected == 0):
                yield f"{where} must be {'the setup' if expected == 0 else 'no further setup'}, got {record['kind']!r}"
                return
            if record["t_ns"] < newest_ns:
                yield f"{where} must not be before {newest_ns} ns, got {record['t_ns']}"
                return
            expected, newest_ns = expected + 1, record["t_ns"]
        elif record.get("out", record.get("of", -1)) not in range(expected):
            yield f"{where} must follow its input, got one that is not there"
            return
        elif "out" in record and record["out"] != expected - 1:
            yield f"{where} must be of input {expected - 1}, got {record['out']!r}"
            return


def _setup(log: LogFile) -> Mapping[str, Any]:
    first = log.records[0].record if log.records else {}
    values = first.get("values")
    return values if first.get("kind") == "setup" and isinstance(values, dict) else {}


def _summary_faults(log: LogFile, run: Path, notes: list[str], *, is_anchored: bool) -> Iterator[str]:
    """Check head and books that the run's summary keeps; without an anchor in the ledger the head must be there."""
    try:
        summary = json.loads(read_plain(run / SUMMARY_FILE))
        kept = summary["stimulation"]["log"]
        head, n_records = kept["head"], kept["records"]
    except (ValueError, TypeError, RecursionError):
        yield f"{SUMMARY_FILE} must be an object with the books of stimulation, got something else"
        return
    except (OSError, KeyError):
        if is_anchored or not log.is_ended:
            notes.append(f"no head in {SUMMARY_FILE}")
        else:
            yield f"{SUMMARY_FILE} must hold the head of the log where no ledger knows the run, got none"
        return
    if head != log.chain.head:
        yield (
            f"{AUDIT_FILE} must have {n_records!r} records and head {str(head)[:16]}, as {SUMMARY_FILE} says, "
            f"got {len(log.records)} and {log.chain.head[:16]}"
        )
        return
    books = json.loads(encode(summary_of(log)))
    for key, value in summary["stimulation"].items():
        if key in books and key != "log" and value != books[key]:
            yield f"{SUMMARY_FILE} must have the books of the log, {key} {books[key]!r}, got {value!r}"


def _gate_faults(log: LogFile) -> Iterator[str]:
    """Let the gate decide again."""
    logged: dict[int, list[tuple[int, str]]] = {}
    for link in log.records:
        if "out" in link.record:
            logged.setdefault(link.record["out"], []).append((link.seq, encode(link.record)))
    try:
        again = replayed(log)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        yield f"{AUDIT_FILE}: seq 0 must be a setup that a gate can be made from, got: {error}"
        return
    for one, outputs in again:
        was = logged.get(one.number, [])
        wanted = [encode(output_record(one.number, output)) for output in outputs]
        is_last = one.number == again[-1][0].number and _open_end(log) is not None
        for (seq, line), now in zip(was, wanted, strict=False):
            if line != now:
                yield f"{AUDIT_FILE}: seq {seq} must be what the gate decides, {now[:160]}, got {line[:160]}"
                return
        if len(was) > len(wanted) or (len(was) < len(wanted) and not is_last):
            yield (
                f"{AUDIT_FILE}: input {one.number} ({one.kind}) must have {len(wanted)} outputs, as the gate decides, "
                f"got {len(was)}"
            )
            return


def _file_faults(log: LogFile, run: Path) -> Iterator[str]:
    """Check the files that the first record names by their hashes."""
    setup = _setup(log)
    wanted = setup.get("config_sha256")
    try:
        found = hashlib.sha256(read_plain(run / CONFIG_FILE)).hexdigest()
    except OSError:
        found = "no file"
    if setup and wanted != found:
        yield f"{CONFIG_FILE} must be the one of the log, {str(wanted)[:16]}, got {found[:16]}"
