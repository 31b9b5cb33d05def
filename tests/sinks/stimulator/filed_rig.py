"""A run of an arm whose files are written as the stimulator process writes them, at a time moved by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from neuroloop.sinks.stimulator.actuator import Actuator
from neuroloop.sinks.stimulator.blinding import LIST_FILE, Assignment
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, Clocks, read_log
from neuroloop.sinks.stimulator.log.disk_writer import AppendFile
from neuroloop.sinks.stimulator.log.events import events_of
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.log.ledger_entries import LedgerClock
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.records import DeviceAnswer, GateInput, GateOutput
from neuroloop.sinks.stimulator.sealed_record import SEALED_FILE, SealedRecord
from neuroloop.sinks.stimulator.sham import ArmFilter
from neuroloop.stream.contracts.events import canonical, encode
from tests.sinks.stimulator.arm_rig import ArmRig
from tests.sinks.stimulator.gate.test_gate import QUICK
from tests.sinks.stimulator.rig import row, settings, setup_of


class NoThread:
    """Writes at once what the process's writer writes from a thread; nothing waits for the disk."""

    def __init__(self) -> None:
        self.done = 0
        self.failures: dict[Path, str] = {}

    def append(self, file: AppendFile, data: bytes) -> None:
        file.write(data)

    def sync(self) -> int:
        return 0


class FiledRig(ArmRig):
    """A blinded run with its files in a folder.

    Parameters
    ----------
    folder : Path
    assignment : Assignment
    seed : int
        Of everything that differs from run to run.
    kind : type
        The filter.
    """

    def __init__(
        self, folder: Path, assignment: Assignment, seed: int, kind: type[ArmFilter] = ArmFilter, **values: Any
    ) -> None:
        self.folder = folder
        self._draw = random.Random(seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LIST_FILE).write_bytes(assignment.list_text)
        disk: Any = NoThread()
        self.seconds = self._draw.uniform(1.0, 6.0)
        one = settings(
            (row("alpha", duration_s=self._draw.uniform(4.0, 6.0), frequency_hz=self._draw.choice([10.0, 50.0])),),
            mode="blinded", gate=QUICK,
        )  # fmt: skip
        self.sealed = SealedRecord(folder / SEALED_FILE, assignment, disk)
        self._log = AuditLog(folder / AUDIT_FILE, disk, Clocks(lambda: self.now_ns, lambda: self.now_ns * 1e-9))
        clock = LedgerClock(lambda: self.now_ns, lambda: self.now_ns, lambda: "boot")
        self._ledger = Ledger(folder, "s", "e", run="r", writer=disk, clock=clock)
        self._disk = disk
        self._actuator: Actuator | None = None
        setup = setup_of(one) | {"assignment": assignment.setup(), "run": "r"}
        super().__init__(setup, assignment.arm, kind=kind, is_blinded=True, note=self.sealed.note, **values)

    def put(self, kind: Any, values: dict[str, Any]) -> list[GateOutput]:
        if self._actuator is None:
            self._actuator = Actuator(
                self.filter, self._log, self._ledger, self._disk,
                patience_s=0.5, clock_ns=lambda: self.now_ns, seal=self.sealed.seal,
            )  # fmt: skip
        entry = GateInput(len(self.inputs), self.now_ns, kind, json.loads(encode(values)))
        self.inputs.append(entry)
        found = self.gate.step(entry)
        self.outputs.append(found)
        self.granted += [(self.now_ns, one.lease.charge_uc) for one in found if one.lease is not None]
        self._actuator.carry_out(entry, found)
        assert self._actuator.leave() is None
        self._deliver()
        return found

    def answer(self, one: DeviceAnswer) -> list[GateOutput]:
        found = super().answer(one)
        for seen in self.told:
            assert self._actuator is not None
            self._actuator.settle(seen, self.gate.bound_up_to_uc)
        return found

    def run(self) -> None:
        """Run a session: times, latencies and decisions drawn; ends the files."""
        draw = self._draw
        self.link.latency_ns = draw.randrange(500_000, 20_000_000)
        self.arm()
        self.move(draw.uniform(0.0, 0.5))
        for label, seconds in (("alpha", self.seconds), ("rest", 1.5), ("alpha", draw.uniform(1.0, 2.0))):
            end = self.now_ns + round(seconds * 1e9)
            while self.now_ns < end:
                self.decide(label, draw.uniform(0.9, 1.0))
                self.move(draw.uniform(0.3, 0.5))
        self.operator("stop")
        self.move(0.5)
        charge = {"session_uc": self._ledger.session_uc, "day_uc": self._ledger.day_uc()}
        self.put("end", {"reason": "the run is over", "charge": charge})
        self._ledger.close((self._log.seq, self._log.head))
        self._ledger.release()
        self._log.close()
        self.sealed.close()
        log = read_log(self.folder / AUDIT_FILE)
        (self.folder / "summary.json").write_text(json.dumps({"stimulation": summary_of(log)}))
        events = events_of(output for _, output in log.outputs())
        (self.folder / "events.jsonl").write_text("".join(canonical(one) + "\n" for one in events))
