"""The audit log: every input and output of the gate, and what was done with it, as a chain of lines that only grows.

``stimulation.jsonl`` holds three kinds of records beside ``seq`` and ``prev`` (the SHA-256 of the line before):

- ``in``: one `GateInput` by its number, with monotonic, wall and LSL time. The first is ``setup``, the last ``end``.
- ``out``: one `GateOutput` of that input.
- ``act``: what was handed to the device, and when the call returned.

The loop makes the lines, the `DiskWriter` writes them. What must not leave before it is on the disk waits for a ticket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.log.chain import Chain, ChainFile, Link, read_chain
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile, DiskWriter
from neuroloop.sinks.stimulator.records import GateInput, GateOutput, Lease, Train

AUDIT_FILE = "stimulation.jsonl"


class AuditError(NeuroloopError):
    """The log of a run cannot be made, or cannot be read as one."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a record beside the monotonic one; replaced in tests."""

    wall_ns: Callable[[], int] = time.time_ns
    lsl_s: Callable[[], float] = time.monotonic
    """liblsl's clock; on Linux it is the monotonic one."""


class AuditLog:
    """Log one run; made by the process that owns the gate, used from one thread.

    Parameters
    ----------
    path : Path
        A new file.
    writer : DiskWriter
    clocks : Clocks

    Raises
    ------
    AuditError
        If the file is there or cannot be made.
    """

    def __init__(self, path: Path, writer: DiskWriter, clocks: Clocks = Clocks()) -> None:
        if path.exists():
            raise AuditError(f"log must be a new file, got {str(path)!r}, which is there")
        try:
            self._file = AppendFile(path, leads=True)
        except OSError as error:
            raise AuditError(f"log must be a file that can be made, got {str(path)!r}: {error.strerror}") from error
        self._writer = writer
        self._clocks = clocks
        self._chain = Chain()

    @property
    def seq(self) -> int:
        """Number of the last record."""
        return self._chain.seq - 1

    @property
    def head(self) -> str:
        """Hash of the last record's line."""
        return self._chain.head

    @property
    def failure(self) -> str | None:
        """Why nothing is written any more."""
        return self._writer.failures.get(self._file.path)

    def take_input(self, one: GateInput) -> None:
        """Log what the gate is about to be told."""
        record = {
            "in": one.number,
            "kind": one.kind,
            "t_ns": one.t_ns,
            "wall_ns": self._clocks.wall_ns(),
            "lsl_s": self._clocks.lsl_s(),
            "values": one.values,
        }
        self._add(record)

    def take_output(self, of: GateInput, one: GateOutput) -> None:
        """Log what the gate decided at an input."""
        self._add(output_record(of.number, one))

    def take_act(self, action: str, number: int, t_ns: int, **values: Any) -> None:
        """Log what was handed to the device.

        Parameters
        ----------
        action : str
        number : int
            Of the input that it follows from.
        t_ns : int
            Monotonic, when the call had returned.
        """
        self._add({"act": action, "of": number, "t_ns": t_ns, **values})

    def _add(self, record: Mapping[str, Any]) -> None:
        self._writer.append(self._file, self._chain.add(record))

    def close(self) -> None:
        """Let go of the file, after the writer is closed; may be called twice."""
        self._file.close()


def output_record(number: int, one: GateOutput) -> dict[str, Any]:
    """Return an output as it is logged; equal records say equal decisions.

    Parameters
    ----------
    number : int
        Of the input.
    """
    record: dict[str, Any] = {"out": number, "kind": one.kind, "values": dict(one.values)}
    if one.lease is not None:
        record["lease"] = asdict(one.lease)
    if one.event:
        record["event"] = dict(one.event)
    if one.is_event:
        record["is_event"] = True
    return record


def input_of(record: Mapping[str, Any]) -> GateInput:
    """Return the input of an ``in`` record."""
    return GateInput(record["in"], record["t_ns"], record["kind"], record["values"])


def output_of(record: Mapping[str, Any]) -> GateOutput:
    """Return the output of an ``out`` record."""
    lease = record.get("lease")
    return GateOutput(
        record["kind"],
        record["values"],
        _lease_of(lease),
        record.get("is_event", False),
        record.get("event", {}),
    )


def _lease_of(values: Any) -> Lease | None:
    """Return a lease, None where there is none or another version of the gate has written it."""
    try:
        return Lease(**{**values, "train": Train(**values["train"])})
    except (TypeError, KeyError):
        return None


@dataclass(frozen=True)
class LogFile:
    """What an audit log holds, as far as its chain holds."""

    chain: ChainFile

    @property
    def records(self) -> list[Link]:
        """All records."""
        return self.chain.links

    @property
    def is_ended(self) -> bool:
        """Whether the last input is ``end``: the process that wrote it was not cut off."""
        return any(link.record.get("kind") == "end" and "in" in link.record for link in self.chain.links[-64:])

    def inputs(self) -> list[GateInput]:
        """Return all inputs."""
        return [input_of(link.record) for link in self.chain.links if "in" in link.record]

    def outputs(self) -> list[tuple[int, GateOutput]]:
        """Return all outputs with the numbers of their inputs."""
        return [(link.record["out"], output_of(link.record)) for link in self.chain.links if "out" in link.record]


def read_log(path: Path) -> LogFile:
    """Read an audit log as far as its chain holds.

    Raises
    ------
    AuditError
        If it cannot be read.
    """
    try:
        chain = read_chain(path)
    except OSError as error:
        raise AuditError(f"log must be a readable file, got {str(path)!r}: {error.strerror}") from error
    for index, link in enumerate(chain.links):
        if not _is_record(link.record):
            fault = f"line {index + 1} must be a record of an input, output or act, got other keys or values"
            return LogFile(ChainFile(chain.links[:index], fault, 0))
    return LogFile(chain)


_KEYS: dict[str, dict[str, type]] = {
    "in": {"in": int, "kind": str, "t_ns": int, "values": dict},
    "out": {"out": int, "kind": str, "values": dict},
    "act": {"act": str, "of": int, "t_ns": int},
}


def _is_record(record: Mapping[str, Any]) -> bool:
    """Return whether a line has what a record of its kind must have."""
    kinds = [kind for kind in _KEYS if kind in record]
    return len(kinds) == 1 and all(isinstance(record.get(key), kind) for key, kind in _KEYS[kinds[0]].items())
