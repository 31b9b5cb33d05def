"""Stops at once, leases after the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from neuroloop.sinks.stimulator.actuator import Actuator
from neuroloop.sinks.stimulator.devices.simulator.model import ModelLimits, StimulatorModel
from neuroloop.sinks.stimulator.log.act_check import act_faults
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, read_log
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.records import (
    Capabilities,
    DeviceAnswer,
    DeviceError,
    GateInput,
    GateOutput,
    Lease,
    Train,
)
from tests.sinks.stimulator.rig import CAPABILITIES
from tests.sinks.stimulator.writing import Done, HandClock, writer

TRAIN = Train(20.0, 1.0, 200.0, "biphasic")


class Recorded:
    """A device that is the model, at a time moved by hand; implements `Device`."""

    def __init__(self) -> None:
        self.now_ns = 10**9
        self.model = StimulatorModel(ModelLimits(CAPABILITIES, 1e9), lambda: self.now_ns)
        self.said: list[DeviceAnswer] = []
        self.done: list[str] = []
        self.is_gone = False
        self.is_full = False

    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def fileno(self) -> int:
        return -1

    def validate(self, lease: Lease) -> str | None:
        return None

    def _do(self, name: str, answer: DeviceAnswer) -> None:
        if self.is_gone:
            raise DeviceError(f"device must be connected to {name}, got none")
        self.done.append(name)
        self.said.append(answer)

    def arm(self) -> None:
        self._do("arm", self.model.arm())

    def disarm(self) -> None:
        self._do("disarm", self.model.disarm())

    def start(self, lease: Lease) -> None:
        self._do("start", self.model.start(lease))

    def renew(self, lease: Lease) -> None:
        self._do("renew", self.model.renew(lease))

    def stop(self) -> str | None:
        self.done.append("stop")
        if self.is_full:
            return "the port must take the stop code, got a full one"
        self.said.append(self.model.stop())
        return None

    def status(self) -> None:
        self._do("status", self.model.status())

    def answers(self) -> list[DeviceAnswer]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        self.stop()


def lease(number: int, end_ma: float = 1.0, slew_ma_s: float = 2.0) -> Lease:
    return Lease(number, replace(TRAIN, amplitude_ma=end_ma), slew_ma_s, 0.5, 2.0)


def command(action: str, one: Lease | None = None) -> GateOutput:
    return GateOutput("command", {"action": action, "state": "alpha"}, one)


class Bench:
    """An actuator and all around it."""

    def __init__(self, folder: Path, done: Done, *, seal: Callable[[], str] | None = None) -> None:
        self.device = Recorded()
        self.log = AuditLog(folder / AUDIT_FILE, done.writer)
        self.ledger = Ledger(folder / "ledger", "s", "e", run="r", writer=done.writer, clock=HandClock().clock())
        self.actuator = Actuator(
            self.device, self.log, self.ledger, done.writer, patience_s=0.5, clock_ns=lambda: self.device.now_ns,
            seal=seal,
        )  # fmt: skip
        self._number = 0

    def decide(self, *outputs: GateOutput) -> None:
        one = GateInput(self._number, self.device.now_ns, "event", {})
        self._number += 1
        self.actuator.carry_out(one, outputs)

    def hear(self) -> list[DeviceAnswer]:
        found = self.actuator.answers()
        for one in found:
            self.actuator.settle(one, lambda _: 0.0)
        return found

    def close(self) -> None:
        self.ledger.release()
        self.log.close()


def test_a_stop_that_the_device_does_not_take_is_not_logged_as_handed_over_and_is_a_lost_device(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.device.is_full = True
        bench.decide(command("stop"))
        assert [(one.kind, one.reason) for one in bench.actuator.answers()] == [
            ("lost", "the port must take the stop code, got a full one")
        ]
        done.sync()
        lines = map(json.loads, (tmp_path / AUDIT_FILE).read_text().splitlines())
        (fault,) = [line["fault"] for line in lines if "fault" in line]
        assert fault == "the port must take the stop code, got a full one"
        bench.close()


def test_a_lease_leaves_when_its_record_is_on_the_disk_and_not_before(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.decide(command("arm"))
        bench.decide(command("start", lease(1)))
        assert bench.device.done == ["arm"]
        done.sync()
        written = read_log(tmp_path / AUDIT_FILE).outputs()
        assert written[-1][1].lease == lease(1)
        assert '"kind":"reserve"' in bench.ledger.path.read_text()
        assert bench.actuator.leave() is None
        assert bench.device.done == ["arm", "start"]
        assert not bench.actuator.is_waiting
        bench.close()


def test_a_blinded_runs_coarse_times_never_put_an_act_before_its_decision(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done, seal=lambda: "box")
        bench.device.now_ns += 3_000_000
        bench.decide(command("arm"))
        bench.decide(command("start", lease(1)))
        done.sync()
        bench.device.now_ns += 29_000_000
        assert bench.actuator.leave() is None
        done.sync()
        log = read_log(tmp_path / AUDIT_FILE)
        assert list(act_faults(log, is_open=True)) == []
        assert [link.record["t_ns"] for link in log.records if "act" in link.record] == [1_003_000_000, 1_030_000_000]
        bench.close()


def test_a_stop_leaves_at_once_and_withdraws_what_waits(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.decide(command("arm"))
        bench.decide(command("start", lease(1)))
        bench.decide(command("stop"))
        assert bench.device.done == ["arm", "stop"]
        done.sync()
        assert bench.actuator.leave() is None
        assert bench.device.done == ["arm", "stop"]
        bench.decide(command("start", lease(2)), command("stop"))
        done.sync()
        assert bench.actuator.leave() is None
        assert bench.device.done == ["arm", "stop", "stop"]
        bench.close()


def test_a_stop_does_not_need_a_disk(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.decide(command("arm"))
        done.sync()
        (tmp_path / AUDIT_FILE).unlink()
        bench.decide(command("start", lease(1)))
        assert "removed" in done.fails()
        assert bench.actuator.leave() is None
        bench.decide(command("stop"))
        assert bench.device.done == ["arm", "stop"]
        bench.close()


def test_a_disk_that_is_slower_than_the_watchdog_is_said_and_the_lease_never_leaves(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.decide(command("start", lease(1)))
        done.sync()
        bench.device.now_ns += 600_000_000
        assert bench.actuator.leave() == "the log must take a record within 0.5 s, got a disk that is slower"
        assert bench.device.done == []
        assert not bench.actuator.is_waiting
        bench.close()


def test_a_device_that_cannot_be_told_is_a_lost_one(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)
        bench.device.is_gone = True
        bench.decide(command("arm"))
        answer = bench.hear()[0]
        assert (answer.kind, answer.reason) == ("lost", "device must be connected to arm, got none")
        bench.close()


def test_the_ledger_settles_what_the_device_says_and_nothing_that_is_on_its_way(tmp_path: Path) -> None:
    with writer() as done:
        bench = Bench(tmp_path, done)

        def leave() -> None:
            done.sync()
            assert bench.actuator.leave() is None

        bench.decide(command("arm"))
        bench.decide(command("start", lease(1)))
        leave()
        bench.hear()
        assert bench.ledger.session_uc == 2.0
        bench.device.now_ns += 250_000_000
        bench.decide(command("status"))
        bench.decide(command("renew", lease(2)))
        leave()
        bench.hear()
        after_first = bench.device.model.total_uc
        assert bench.ledger.session_uc == pytest.approx(after_first + 2.0)
        bench.device.now_ns += 100_000_000
        bench.decide(command("stop"))
        bench.hear()
        assert bench.ledger.session_uc == pytest.approx(bench.device.model.total_uc)
        bench.decide(command("start", lease(3)))  # an older "off" must not settle it
        bench.device.said.append(DeviceAnswer("status", 0, False, bench.device.model.total_uc))
        bench.hear()
        assert bench.ledger.session_uc == pytest.approx(bench.device.model.total_uc + 2.0)
        bench.close()
