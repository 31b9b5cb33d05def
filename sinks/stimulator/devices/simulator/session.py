"""One host's time with the simulated stimulator: its commands in order, with their faults, and what is said back."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from neuroloop.sinks.stimulator.devices.messages import (
    COMMANDS,
    VERSION,
    LineSplitter,
    answer_message,
    capabilities_message,
    decode_line,
    encode_line,
    read_deadline,
    read_lease,
)
from neuroloop.sinks.stimulator.devices.simulator.device_record import DeviceRecord
from neuroloop.sinks.stimulator.devices.simulator.faults import Faults
from neuroloop.sinks.stimulator.devices.simulator.model import Edge, StimulatorModel
from neuroloop.sinks.stimulator.records import DeviceAnswer

_MOST_QUEUED = 1024
"""Commands that may wait for their latency; a host that sends more is cut off."""


class EdgeWatcher(Protocol):
    """Is shown each edge of the output."""

    def show(self, edge: Edge) -> None:
        """Take one edge."""
        ...


def write_down(model: StimulatorModel, record: DeviceRecord, watcher: EdgeWatcher | None) -> None:
    """Show what the output did since the last call, and put it into the record."""
    edges = model.take_edges()
    if watcher is not None:
        for edge in edges:
            watcher.show(edge)
    for edge in edges:
        record.write_edge(edge)
    record.write_intervals(model.take_intervals())


class _Queued(NamedTuple):
    due_ns: int
    received_ns: int
    message: dict[str, Any]


class SimulatorSession:
    """Carry out what one host asks, until it is gone.

    Parameters
    ----------
    link : socket
        To the host; not closed here.
    model : StimulatorModel
    faults : Faults
    record : DeviceRecord
    watcher : EdgeWatcher, optional
    """

    def __init__(
        self,
        link: socket.socket,
        model: StimulatorModel,
        faults: Faults,
        record: DeviceRecord,
        watcher: EdgeWatcher | None = None,
    ) -> None:
        link.setblocking(False)
        self._link = link
        self._model = model
        self._faults = faults
        self._record = record
        self._watcher = watcher
        self._splitter = LineSplitter()
        self._queue: deque[_Queued] = deque()
        self._is_gone = False

    def run(self, others: list[socket.socket], on_ready: Callable[[list[socket.socket]], bool]) -> None:
        """Serve until the host is gone; then the output is off and the model disarmed.

        Parameters
        ----------
        others : list of socket
            Watched besides.
        on_ready : callable
            Is given those of them that are readable; True ends the session, and the output is left as it is.
        """
        link = self._link
        watched = [link, *others]
        while not self._is_gone:
            readable, _, _ = select.select(watched, [], [], self._wait_s())
            if link in readable:
                self._receive()
            self._carry_out()
            write_down(self._model, self._record, self._watcher)
            ready = [one for one in readable if one is not link]
            if ready and on_ready(ready):
                return
        self._model.disconnect()
        write_down(self._model, self._record, self._watcher)

    def _wait_s(self) -> float | None:
        """Return how long nothing is to be done unless the host speaks."""
        moments = [
            one for one in (self._model.end_ns, self._queue[0].due_ns if self._queue else None) if one is not None
        ]
        return max(0, min(moments) - time.monotonic_ns()) * 1e-9 if moments else None

    def _receive(self) -> None:
        """Queue the commands that have come in."""
        try:
            data = self._link.recv(65_536)
            lines = self._splitter.split(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._is_gone = True
            return
        now = time.monotonic_ns()
        for line in lines:
            try:
                message = decode_line(line)
            except ValueError as error:
                message = {"command": "", "fault": str(error)}
            self._queue.append(_Queued(now + self._faults.delay_ns(), now, message))
        if not data or len(self._queue) > _MOST_QUEUED:
            self._is_gone = True

    def _carry_out(self) -> None:
        """Let the lease end if it is over, and carry out the commands whose time has come."""
        self._notice_end()
        while self._queue and not self._is_gone and self._queue[0].due_ns <= time.monotonic_ns():
            self._notice_end()
            self._obey(self._queue.popleft())

    def _notice_end(self) -> None:
        """Say so, unasked, when a lease is over."""
        end_ns = self._model.end_ns
        if end_ns is not None and time.monotonic_ns() >= end_ns:
            self._say(answer_message(self._model.status(""), None))

    def _obey(self, queued: _Queued) -> None:
        """Carry out one command, answer it and write it down."""
        message, faults = queued.message, self._faults
        command, seq = message.get("command"), message.get("seq")
        if command == "hello":
            self._greet(message, seq)
            return
        name = command if isinstance(command, str) and command in COMMANDS else ""
        if faults.is_dead():
            self._is_gone = True
            return
        answer = None if faults.is_dropped() else self._answer(name, message)
        if answer is not None:
            self._say(answer_message(answer, seq if isinstance(seq, int) else None))
        faults.count(name)
        self._model.is_stuck = faults.is_stuck()
        self._write_command(name, queued, answer)
        if faults.is_dead() and name != "status":
            self._is_gone = True

    def _answer(self, name: str, message: dict[str, Any]) -> DeviceAnswer:
        """Let the model, or a fault in its place, answer."""
        model = self._model
        if name in ("start", "renew"):
            try:
                lease, not_after_ns = read_lease(message.get("lease")), read_deadline(message.get("lease"))
            except ValueError as error:
                return model.refuse(name, 0, str(error))
            if self._faults.is_refused(name):
                return model.refuse(name, lease.number, "refused on demand (device.fault nack)")
            return model.start(lease, not_after_ns) if name == "start" else model.renew(lease, not_after_ns)
        if not name:
            reason = (
                message.get("fault") or f"command must be one of {', '.join(COMMANDS)}, got {message.get('command')!r}"
            )
            return model.refuse("", 0, reason)
        if self._faults.is_refused(name):
            return model.refuse(name, 0, "refused on demand (device.fault nack)")
        if name == "arm":
            return model.arm()
        if name == "disarm":
            return model.disarm()
        return model.stop() if name == "stop" else model.status()

    def _greet(self, message: dict[str, Any], seq: Any) -> None:
        """Say what the device can do, or that it speaks another version."""
        limits = self._model.limits
        if message.get("version") == VERSION:
            now = time.monotonic_ns()
            dose = message.get("known_dose")
            can = capabilities_message(limits.capabilities, limits.max_charge_per_phase_uc, now, dose)
            self._say({**can, "seq": seq})
            return
        reason = f"version must be {VERSION}, got {message.get('version')!r}"
        self._say({**answer_message(self._model.refuse("hello", 0, reason), None), "seq": seq})

    def _write_command(self, name: str, queued: _Queued, answer: DeviceAnswer | None) -> None:
        values: dict[str, Any] = {"command": name, "received_ns": queued.received_ns}
        if "lease" in queued.message:
            values["lease"] = queued.message["lease"]
        if answer is None:
            self._record.write("command", time.monotonic_ns(), {**values, "answer": None})
            return
        values |= {"answer": answer.kind, "is_on": answer.is_on, "delivered_uc": answer.delivered_uc}
        self._record.write("command", answer.t_ns, {**values, "reason": answer.reason})

    def _say(self, message: dict[str, Any]) -> None:
        """Hand a line to the host; one that does not listen is taken for gone."""
        line = encode_line(message)
        n_sent = 0
        with suppress(OSError):
            n_sent = self._link.send(line)
        if n_sent < len(line):
            self._is_gone = True
