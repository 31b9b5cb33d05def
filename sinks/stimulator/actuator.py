"""What the gate decided, carried out: stops at once, leases when their record is on the disk, all of it logged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from neuroloop.sinks.stimulator.log.audit import AuditLog
from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.records import Device, DeviceAnswer, DeviceError, GateInput, GateOutput, Lease
from neuroloop.sinks.stimulator.sham import GRID_NS

_STOPS = frozenset({"stop", "disarm"})
_LEASES = frozenset({"start", "renew"})


class _Waiting(NamedTuple):
    """A lease whose record is on its way to the disk."""

    ticket: int
    action: str
    lease: Lease
    number: int
    since_ns: int


class Actuator:
    """Carry out the gate's outputs.

    A stop is handed to the device before anything is written, and withdraws every lease that still waits. A lease is
    written into the ledger and the log, and leaves when both lie on the disk. One that has waited too long never
    leaves.

    Parameters
    ----------
    device : Device
    log : AuditLog
    ledger : Ledger
    writer : DiskWriter
        Writes for both.
    patience_s : float
        How long a lease may wait for the disk.
    successors : mapping
        By state, what its row lets follow; for the ledger.
    clock_ns : callable
        ``CLOCK_MONOTONIC``.
    seal : callable, optional
        Of a blinded run: seals what really was handed over and returns the hash that the log names. Times of handing
        over are then logged on a coarse grid.
    """

    def __init__(
        self,
        device: Device,
        log: AuditLog,
        ledger: Ledger,
        writer: DiskWriter,
        *,
        patience_s: float,
        successors: Mapping[str, Sequence[str] | None] = MappingProxyType({}),
        clock_ns: Callable[[], int] = time.monotonic_ns,
        seal: Callable[[], str] | None = None,
    ) -> None:
        self._device = device
        self._log = log
        self._ledger = ledger
        self._writer = writer
        self._patience_ns = round(patience_s * 1e9)
        self._successors = successors
        self._clock_ns = clock_ns
        self._seal = seal
        self._waiting: deque[_Waiting] = deque()
        self._problems: list[DeviceAnswer] = []
        self._answered_lease = 0
        self._input_ns = 0
        self._waits_ns: list[int] = []
        self.stopped_ns = 0
        """When the newest stop had been handed over."""
        self.started_ns = 0
        """When the newest start had been handed over."""

    @property
    def is_waiting(self) -> bool:
        """Whether a lease waits for the disk."""
        return bool(self._waiting)

    def carry_out(self, of: GateInput, outputs: Sequence[GateOutput]) -> None:
        """Do what the gate decided at an input, and log both.

        Parameters
        ----------
        of : GateInput
        outputs : sequence of GateOutput
            In order.
        """
        self._input_ns = of.t_ns
        acts: list[tuple[str, int, str]] = []
        leases: list[GateOutput] = []
        for one in outputs:
            if one.kind != "command":
                continue
            action = str(one.values["action"])
            if action in _STOPS:
                self._waiting.clear()
                leases.clear()
                acts.append(self._hand_over(action))
                self.stopped_ns = acts[-1][1]
            elif action in _LEASES:
                leases.append(one)
            else:
                acts.append(self._hand_over(action))
        self._log.take_input(of)
        for one in outputs:
            self._log.take_output(of, one)
        for action, t_ns, fault in acts:
            self._note(action, of.number, t_ns, fault)
        for one in leases:
            if one.lease is not None:
                if one.values["action"] == "start":
                    state = str(one.values["state"])
                    self._ledger.note_start(state, self._successors.get(state))
                self._reserve(str(one.values["action"]), one.lease, of.number)

    def _reserve(self, action: str, lease: Lease, number: int) -> None:
        """Write a lease down; it waits for the disk."""
        self._ledger.reserve(lease.number, lease.charge_uc, audit=(self._log.seq, self._log.head))
        self._waiting.append(_Waiting(self._writer.sync(), action, lease, number, self._clock_ns()))

    def leave(self) -> str | None:
        """Let leases go whose record is on the disk; return why one cannot, if so."""
        waiting, done = self._waiting, self._writer.done
        while waiting:
            one = waiting[0]
            if one.ticket <= done and not self._writer.failures:
                waiting.popleft()
                if self._clock_ns() - one.since_ns > self._patience_ns:
                    waiting.clear()
                    return self._too_slow()
                waited_ns = self._clock_ns() - one.since_ns
                action, t_ns, fault = self._hand_over(one.action, one.lease)
                if action == "start":
                    self._waits_ns.append(waited_ns)
                    self.started_ns = t_ns
                self._note(action, one.number, t_ns, fault, lease=one.lease.number, waited_ns=waited_ns)
                continue
            if self._clock_ns() - one.since_ns > self._patience_ns:
                waiting.clear()
                return self._too_slow()
            break
        return None

    def take_waits_ns(self) -> list[int]:
        """Return how long starts that have left waited for the disk, since the last call."""
        waits, self._waits_ns = self._waits_ns, []
        return waits

    def _too_slow(self) -> str:
        return f"the log must take a record within {self._patience_ns * 1e-9:g} s, got a disk that is slower"

    def _hand_over(self, action: str, lease: Lease | None = None) -> tuple[str, int, str]:
        """Tell the device; a fault becomes an answer of its own."""
        device, fault = self._device, ""
        try:
            if action in _STOPS:
                untold = device.stop()
                if action == "disarm":
                    device.disarm()
                if untold is not None:
                    raise DeviceError(untold)
            elif action == "arm":
                device.arm()
            elif action == "status":
                device.status()
            elif lease is not None and action == "start":
                device.start(lease)
            elif lease is not None:
                device.renew(lease)
        except DeviceError as error:
            fault = str(error)
            self._problems.append(DeviceAnswer("lost", 0, False, float("nan"), fault, action))
        return action, self._clock_ns(), fault

    def _note(self, action: str, number: int, t_ns: int, fault: str, **numbers: int) -> None:
        said: dict[str, str] = {"fault": fault} if fault else {}
        if self._seal is not None:
            t_ns = max(t_ns - t_ns % GRID_NS, self._input_ns)  # nothing is done before it was decided
            said["box"] = self._seal()
        self._log.take_act(action, number, t_ns, **numbers, **said)

    def answers(self) -> list[DeviceAnswer]:
        """Return what the device has said, faults of handing over included; each is to be settled."""
        found, self._problems = [*self._problems, *self._device.answers()], []
        return found

    def settle(self, one: DeviceAnswer, bound_up_to_uc: Callable[[int], float]) -> None:
        """Tell the ledger which leases are over and what they delivered, by the device or by the bound if that is more.

        Only what the device has answered to is known to have reached it: an answer that says ``off`` may be older than
        a lease that is still on its way.

        Parameters
        ----------
        one : DeviceAnswer
            The gate must have been told of it.
        bound_up_to_uc : callable
            The most that this run's leases up to a number can have delivered.
        """
        if one.kind == "lost":
            return
        if one.command == "arm" and one.kind == "ack":
            self._ledger.armed(one.delivered_uc)
            return
        if one.command in _LEASES:
            self._answered_lease = max(self._answered_lease, one.lease)
        over = self._answered_lease - one.is_on
        self._ledger.settle(over, one.delivered_uc, bound_uc=bound_up_to_uc(over))
