"""What was handed to the device, held against what the gate decided: one act for each command, in order and in time.

A stop is handed over at once, and withdraws every lease that still waits for the disk; a lease leaves later, in its
turn, once. Whatever else the log says was done, or does not say, is a finding. So is an answer of the device to a
lease that was never handed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, LogFile

_STOPS = frozenset({"stop", "disarm"})
_LEASES = frozenset({"start", "renew"})


class _Acts:
    """What is still to be done, as the records go by."""

    def __init__(self) -> None:
        self.expected: deque[str] = deque()
        """Acts of the newest input that are due at once."""
        self.waiting: deque[tuple[str, int, int, int]] = deque()
        """Leases on their way to the disk: action, number, input, its time."""
        self.handed: set[int] = set()
        self.input = -1
        self.t_ns = self.newest_ns = 0
        self.n_unblinded = 0
        self.is_over = False

    def take_input(self, record: Mapping[str, Any]) -> str | None:
        """Take an input; return what is wrong at it."""
        if self.expected:
            return f"must follow an act {self.expected[0]!r} of input {self.input}, got none"
        if self.is_over:
            return "must not be behind the end, got an input"
        if record["t_ns"] < self.newest_ns:
            return f"must not be before the act in front of it, {self.newest_ns} ns, got {record['t_ns']}"
        self.input, self.t_ns = record["in"], record["t_ns"]
        self.is_over = record["kind"] == "end"
        values = record["values"]
        if record["kind"] == "device" and values.get("kind") == "ack" and values.get("command") in _LEASES:
            number = values.get("lease")
            if number not in self.handed:
                return f"must answer a lease that was handed over, got lease {number!r}"
        return None

    def take_output(self, record: Mapping[str, Any]) -> None:
        """Take what the gate decided."""
        values = record["values"]
        if record["kind"] == "note" and values.get("what") == "unblind":
            self.n_unblinded += 1
        if record["kind"] != "command":
            return
        action = str(values["action"])
        if action in _LEASES:
            self.waiting.append((action, int(record["lease"]["number"]), self.input, self.t_ns))
            return
        if action in _STOPS:
            self.waiting.clear()
        self.expected.append(action)

    def take_act(self, record: Mapping[str, Any]) -> str | None:
        """Take what was done; return what is wrong about it."""
        action, of, t_ns = record["act"], record["of"], record["t_ns"]
        decided_ns = self.t_ns
        if action == "unblind":
            self.n_unblinded -= 1
            if self.n_unblinded < 0:
                return "must follow an unblinding that the gate let pass, got none"
        elif action in _LEASES:
            number = record.get("lease")
            if not self.waiting or self.waiting[0][:3] != (action, number, of):
                due = f"{self.waiting[0][0]} of lease {self.waiting[0][1]}" if self.waiting else "no lease"
                return f"must be what the gate decided and nothing withdrew, {due}, got {action} of lease {number!r}"
            _, lease, _, decided_ns = self.waiting.popleft()
            self.handed.add(lease)
        elif not self.expected or (self.expected[0], self.input) != (action, of):
            due = f"{self.expected[0]!r} of input {self.input}" if self.expected else "nothing"
            return f"must be what the gate decided, {due}, got {action!r} of input {of}"
        else:
            self.expected.popleft()
        if t_ns < max(decided_ns, self.newest_ns):
            return f"must not be before {max(decided_ns, self.newest_ns)} ns, got {t_ns}"
        self.newest_ns = t_ns
        return None


def act_faults(log: LogFile, *, is_open: bool) -> Iterator[str]:
    """Check the acts of a log; say the first thing that is wrong, for the rest follows from it.

    Parameters
    ----------
    log : LogFile
    is_open : bool
        The log simply stops: what its last input asked for may be missing.
    """
    acts = _Acts()
    for link in log.records:
        record = link.record
        fault = None
        if "in" in record:
            fault = acts.take_input(record)
        elif "out" in record:
            acts.take_output(record)
        else:
            fault = acts.take_act(record)
        if fault is not None:
            yield f"{AUDIT_FILE}: seq {link.seq} {fault}"
            return
    if acts.expected and not is_open:
        yield f"{AUDIT_FILE} must end with an act {acts.expected[0]!r} of input {acts.input}, got none"
