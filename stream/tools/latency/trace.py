"""What became of every decision and every onset: the sender's times, the gate's log and the device's own record as one.

All three are on this machine's monotonic clock. A dose is followed from the push of the newest sample that its
decision used, over the moment the gate took the decision and the return of the call that handed the lease over, to the
edge of the output that the device itself noted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.stream.tools.latency.onsets import OnsetSignal
from neuroloop.stream.tools.latency.sender import SentRows

_ASKED = ("operator: socket", "operator: run", "end:")


class LoopbackError(NeuroloopError):
    """A closed-loop measurement cannot be made, or its files say something impossible."""


@dataclass(frozen=True, slots=True)
class Dose:
    """One start, from sample to output.

    Parameters
    ----------
    lease : int
    row : int
        Row of the newest sample that its decision used.
    taken_ns : int
        When the gate took the decision.
    logged_ns : int
        How long it waited for its record to be on the disk.
    handed_ns : int
        When the call that handed the lease to the device had returned.
    edge_ns : int
        When the output went on, by the device's record; 0 where it did not.
    """

    lease: int
    row: int
    taken_ns: int
    logged_ns: int
    handed_ns: int
    edge_ns: int


@dataclass
class Trace:
    """A measured run.

    Parameters
    ----------
    decision_rows, decision_ns : list of int
        Row of the newest sample of each decision that the gate took, and when it did.
    doses : list of Dose
    on_edges_ns, off_edges_ns : list of int
        When the output went on, and off for whatever reason, by the device's record.
    interruptions : Counter
        Safe stops and faults that nobody asked for, by their reason.
    """

    decision_rows: list[int] = field(default_factory=list)
    decision_ns: list[int] = field(default_factory=list)
    doses: list[Dose] = field(default_factory=list)
    on_edges_ns: list[int] = field(default_factory=list)
    off_edges_ns: list[int] = field(default_factory=list)
    interruptions: Counter[str] = field(default_factory=Counter)

    def decision_latency_ns(self, sent: SentRows) -> NDArray[np.int64]:
        """Return the time from the push of the newest sample to the gate, of each decision."""
        return np.asarray(self.decision_ns, np.int64) - sent.pushed_ns[self.decision_rows]


@dataclass(frozen=True)
class Responses:
    """Onsets and what answered them.

    Parameters
    ----------
    onsets : array, shape (n_onsets,)
        Row of each.
    doses : dict of int to Dose
        The first dose after an onset and before the next one, by the number of the onset.
    n_false : int
        Doses that no onset explains: further ones of the same onset, or before the first.
    """

    onsets: NDArray[np.int64]
    doses: dict[int, Dose]
    n_false: int

    @property
    def n_missed(self) -> int:
        """Onsets without an answer."""
        return len(self.onsets) - len(self.doses)


def answer(signal: OnsetSignal, doses: Iterable[Dose], n_onsets: int | None = None) -> Responses:
    """Give each onset the dose that answered it; doses whose output did not go on answer nothing.

    Parameters
    ----------
    signal : OnsetSignal
    doses : iterable of Dose
        In the order of their rows.
    n_onsets : int, optional
        How many of the first onsets count; all otherwise.
    """
    found: dict[int, Dose] = {}
    n_false = 0
    for dose in doses:
        onset = signal.onset_before(dose.row)
        if onset < 0 or onset in found or not dose.edge_ns:
            n_false += 1
            continue
        found[onset] = dose
    return Responses(signal.onsets[:n_onsets], found, n_false)


def read_edges(path: Path) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """Read the edges out of a device's own record.

    Returns
    -------
    on : dict of int to int
        When the output went on, by lease.
    off : list of tuple
        When it went off, and what ended it.

    Raises
    ------
    LoopbackError
        If the file cannot be read.
    """
    on: dict[int, int] = {}
    off: list[tuple[int, str]] = []
    try:
        with path.open("rb") as file:
            for line in file:
                record = json.loads(line)
                if record["what"] != "edge":
                    continue
                if record["is_on"]:
                    on.setdefault(int(record["lease"]), int(record["t_ns"]))
                else:
                    off.append((int(record["t_ns"]), str(record["ended_by"])))
    except (OSError, ValueError, KeyError) as error:
        raise LoopbackError(f"device record must be readable lines of JSON, got {path.name!r}: {error}") from error
    return on, off


def read_trace(run: Path, device_record: Path, sent: SentRows) -> Trace:
    """Read what a run left.

    Parameters
    ----------
    run : Path
        Its folder.
    device_record : Path
    sent : SentRows
    """
    on, off = read_edges(device_record)
    trace = Trace()
    taken: dict[int, Mapping[str, Any]] = {}
    started: dict[int, int] = {}
    for link in read_log(run / AUDIT_FILE).records:
        record = link.record
        if "in" in record:
            _take_input(record, trace, taken, sent)
        elif record.get("kind") == "transition":
            to, reason = record["values"]["to"], str(record["values"]["reason"])
            if to in ("SAFE_STOP", "FAULT") and not reason.startswith(_ASKED):
                trace.interruptions[reason] += 1
        elif "out" in record and record["values"].get("action") == "start":
            started[int(record["out"])] = int(record["lease"]["number"])
        elif record.get("act") == "start":
            number = int(record["of"])
            lease = started.get(number)
            if lease is None or number not in taken:
                continue
            row = sent.row_of(float(taken[number]["values"]["time"]))
            trace.doses.append(
                Dose(
                    lease,
                    row,
                    int(taken[number]["t_ns"]),
                    int(record.get("waited_ns", 0)),
                    int(record["t_ns"]),
                    on.get(lease, 0),
                )
            )
    trace.on_edges_ns, trace.off_edges_ns = sorted(on.values()), [t_ns for t_ns, _ in off]
    return trace


def _take_input(record: Mapping[str, Any], trace: Trace, taken: dict[int, Mapping[str, Any]], sent: SentRows) -> None:
    """Keep decisions."""
    if record["kind"] == "event":
        taken[int(record["in"])] = record
        if record["values"].get("type") == "prediction":
            trace.decision_rows.append(sent.row_of(float(record["values"]["time"])))
            trace.decision_ns.append(int(record["t_ns"]))
