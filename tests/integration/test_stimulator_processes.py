"""The simulated stimulator as a process: what becomes of its output when somebody dies, stops or floods."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pylsl
import pytest

from neuroloop.config.stimulation import DeviceSettings
from neuroloop.sinks.stimulator.devices.opening import open_device
from neuroloop.sinks.stimulator.devices.simulated import SimulatedDevice
from neuroloop.sinks.stimulator.devices.simulator.model import STUCK
from neuroloop.sinks.stimulator.devices.simulator.output_level import STREAM_TYPE, output_stream_name
from neuroloop.sinks.stimulator.records import DeviceAnswer, DeviceError
from tests.conftest import CHECKOUT
from tests.integration.lsl import DEADLINE_S, find, wait_until
from tests.integration.stimulators import read_record, simulated, standalone_process, wait_for
from tests.sinks.stimulator.devices.leases import make_lease

HOST = """
import sys, time
from pathlib import Path
from neuroloop.sinks.stimulator.devices.simulated import SimulatedDevice
from tests.integration.stimulators import wait_for
from tests.sinks.stimulator.devices.leases import make_lease
device = SimulatedDevice(step_ma=0.01, record_path=Path(sys.argv[1]))
device.arm()
device.start(make_lease(duration_s=2.0))
wait_for(device, "ack", "start")
print("on", flush=True)
for number in range(2, 1000):
    time.sleep(0.05)
    device.renew(make_lease(number, duration_s=2.0))
"""


def lines_of(path: Path, what: str) -> list[dict[str, Any]]:
    return [line for line in read_record(path) if line["what"] == what]


def wait_for_line(path: Path, what: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = wait_until(lambda: lines_of(path, what), f"a line {what!r} in the device's record")
    return found[0]


def start(device: SimulatedDevice, duration_s: float = 2.0) -> int:
    """Arm and start; return when the output went on."""
    device.arm()
    device.start(make_lease(duration_s=duration_s))
    answer = wait_for(device, "ack", "start")
    assert answer.is_on
    return answer.t_ns


def test_a_host_that_is_killed_leaves_the_output_off_and_the_record_closed(tmp_path: Path) -> None:
    record = tmp_path / "device.jsonl"
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(record)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    with host:
        assert host.stdout is not None
        assert host.stdout.readline() == "on\n"
        host.kill()
    closed = wait_for_line(record, "closed")
    assert closed["is_on"] is False
    ended_by = [one["ended_by"] for one in lines_of(record, "interval")]
    assert ended_by == ["renewed"] * (len(ended_by) - 1) + ["disconnect"]
    assert [edge["is_on"] for edge in lines_of(record, "edge")] == [True, False]
    pid = lines_of(record, "opened")[0]["pid"]
    wait_until(lambda: not _is_running(pid), "the device's process is over")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_device_that_is_asked_to_end_switches_off_first_and_says_so(tmp_path: Path) -> None:
    record = tmp_path / "device.jsonl"
    with simulated(tmp_path) as rig:
        assert isinstance(rig.device, SimulatedDevice)
        start(rig.device)
        os.kill(rig.device.pid, signal.SIGTERM)
        wait_for(rig.device, "lost")
        wait_for_line(record, "closed")
    (interval,) = lines_of(record, "interval")
    assert interval["ended_by"] == "terminated"
    assert [line["what"] for line in read_record(record)][-2:] == ["disconnected", "closed"]


def test_a_device_that_stood_still_says_when_the_lease_ended_and_takes_no_late_renewal(tmp_path: Path) -> None:
    record = tmp_path / "device.jsonl"
    with simulated(tmp_path) as rig:
        assert isinstance(rig.device, SimulatedDevice)
        on_ns = start(rig.device, duration_s=1.0)
        os.kill(rig.device.pid, signal.SIGSTOP)
        rig.device.renew(make_lease(2))
        wait_until(lambda: time.monotonic_ns() > on_ns + 1_100_000_000, "the lease is over")
        os.kill(rig.device.pid, signal.SIGCONT)
        assert wait_for(rig.device, "nack", "renew").is_on is False
    off = lines_of(record, "edge")[1]
    assert (off["is_on"], off["t_ns"], off["ended_by"]) == (False, on_ns + 1_000_000_000, "lease_over")
    assert off["noticed_ns"] >= on_ns + 1_100_000_000
    (interval,) = lines_of(record, "interval")
    assert interval["off_ns"] - interval["on_ns"] == 1_000_000_000


def test_a_lease_ends_in_the_device_while_the_host_does_nothing(tmp_path: Path) -> None:
    with simulated(tmp_path) as rig:
        assert isinstance(rig.device, SimulatedDevice)
        on_ns = start(rig.device, duration_s=0.2)
        select.select([rig.device], [], [], DEADLINE_S)
        answer = wait_for(rig.device, "status", "")
        assert not answer.is_on
        assert answer.delivered_uc == pytest.approx(4 * 0.5)
    (interval,) = lines_of(tmp_path / "device.jsonl", "interval")
    assert interval["ended_by"] == "lease_over"
    assert interval["off_ns"] == on_ns + 200_000_000
    assert interval["total_uc"] == pytest.approx(4 * 0.5)


def test_a_device_that_does_not_read_is_cut_off_and_the_call_does_not_wait(tmp_path: Path) -> None:
    with simulated(tmp_path) as rig:
        assert isinstance(rig.device, SimulatedDevice)
        start(rig.device)
        os.kill(rig.device.pid, signal.SIGSTOP)
        with pytest.raises(DeviceError, match=r"must read its commands, got a full buffer at status; it was cut off"):
            _ask_forever(rig.device)
        rig.device.stop()
        (lost,) = [one for one in rig.device.answers() if one.kind == "lost"]
        assert lost.reason == "it does not read its commands"
        os.kill(rig.device.pid, signal.SIGCONT)
        assert wait_for_line(tmp_path / "device.jsonl", "closed")["is_on"] is False


def _ask_forever(device: SimulatedDevice) -> None:
    for _ in range(100_000):
        device.status()


def test_a_stuck_output_is_seen_in_every_answer_and_in_the_record(tmp_path: Path) -> None:
    with simulated(tmp_path, fault="stuck_on=after:2") as rig:
        assert isinstance(rig.device, SimulatedDevice)
        start(rig.device)
        rig.device.stop()
        answer = wait_for(rig.device, "nack", "stop")
        assert (answer.is_on, answer.reason) == (True, STUCK)
        rig.device.status()
        assert wait_for(rig.device, "status", "status").is_on
    intervals = lines_of(tmp_path / "device.jsonl", "interval")
    assert [one["is_granted"] for one in intervals] == [True, False]


def test_a_dead_device_is_lost_and_off(tmp_path: Path) -> None:
    with simulated(tmp_path, fault="dead=after:2") as rig:
        rig.device.arm()
        rig.device.start(make_lease(duration_s=2.0))
        answers: list[DeviceAnswer] = []

        def is_lost() -> bool:
            answers.extend(rig.device.answers())
            return bool(answers) and answers[-1].kind == "lost"

        wait_until(is_lost, "lost")
        assert [(one.kind, one.command) for one in answers] == [("ack", "arm"), ("ack", "start"), ("lost", "")]
        assert answers[-1].reason == "the device closed the connection"
        assert wait_for_line(tmp_path / "device.jsonl", "interval")["ended_by"] == "disconnect"


def test_a_mute_device_answers_nothing_and_its_lease_still_ends(tmp_path: Path) -> None:
    with simulated(tmp_path, fault="mute=after:2") as rig:
        assert isinstance(rig.device, SimulatedDevice)
        start(rig.device, duration_s=0.2)
        rig.device.renew(make_lease(2))
        rig.device.stop()
        answer = wait_for(rig.device, "status")
        assert (answer.command, answer.is_on) == ("", False)
    assert [line["answer"] for line in lines_of(tmp_path / "device.jsonl", "command")][2:4] == [None, None]


def test_refusals_and_drops_happen_on_demand(tmp_path: Path) -> None:
    with simulated(tmp_path, fault="nack=1") as rig:
        rig.device.arm()
        answer = wait_for(rig.device, "nack", "arm")
        assert answer.reason == "refused on demand (device.fault nack)"
    (tmp_path / "device.jsonl").unlink()
    with simulated(tmp_path, fault="drop=1") as rig:
        rig.device.arm()
        rig.device.stop()
        wait_until(lambda: len(lines_of(tmp_path / "device.jsonl", "command")) >= 2, "both were dropped")
        assert rig.device.answers() == []
    assert [line["answer"] for line in lines_of(tmp_path / "device.jsonl", "command")][:2] == [None, None]


def test_latency_delays_commands_and_keeps_their_order(tmp_path: Path) -> None:
    record = tmp_path / "device.jsonl"
    with simulated(tmp_path, fault="latency=30ms,jitter=20ms,seed=3") as rig:
        rig.device.arm()
        for _ in range(10):
            rig.device.status()
        rig.device.disarm()
        wait_for(rig.device, "ack", "disarm")
        wait_until(lambda: len(lines_of(record, "command")) >= 12, "all are written down")
    commands = lines_of(record, "command")[:12]
    assert [line["command"] for line in commands] == ["arm", *["status"] * 10, "disarm"]
    assert all(line["t_ns"] - line["received_ns"] >= 10_000_000 for line in commands)


def test_a_second_host_is_turned_away_and_the_first_one_keeps_the_device(tmp_path: Path) -> None:
    with standalone_process(tmp_path / "device.jsonl") as (_, port):
        settings = DeviceSettings(kind="tcp", port=port)
        first = open_device(settings, name="first")
        try:
            with pytest.raises(DeviceError, match=r"must be free to be opened: another host is served"):
                open_device(settings, name="second")
            first.status()
            wait_for(first, "status")
        finally:
            first.close()
        wait_for_line(tmp_path / "device.jsonl", "disconnected")
        again = open_device(settings, name="again")
        again.close()


def test_a_program_folder_of_the_same_name_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "__init__.py").write_text("raise SystemExit('not ours')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with simulated(tmp_path) as rig:
        rig.device.status()
        wait_for(rig.device, "status")


def test_a_record_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"must be free to be opened: .*No such file or directory"):
        open_device(DeviceSettings(), name="x", record_path=tmp_path / "nowhere" / "device.jsonl")


def test_the_output_is_shown_as_a_measurement_with_the_times_of_its_edges(tmp_path: Path, lsl_session: str) -> None:
    assert lsl_session
    record = tmp_path / "device.jsonl"
    device = open_device(DeviceSettings(), name="shown", record_path=record, has_output_stream=True)
    try:
        found = find(output_stream_name("shown"))
        assert (found.type, found.sfreq, found.n_channels) == (STREAM_TYPE, 0.0, 3)
        inlet = pylsl.StreamInlet(found.handle)
        inlet.open_stream(DEADLINE_S)
        device.arm()
        wait_for(device, "ack", "arm")
        samples: list[tuple[list[float], float]] = []

        def pull() -> bool:
            sample, stamp = inlet.pull_sample(timeout=0.0)
            if sample is not None:
                samples.append((sample, stamp))
            return len(samples) >= 2

        device.start(make_lease(4, duration_s=2.0))
        wait_for(device, "ack", "start")
        device.stop()
        wait_until(pull, "two edges")
        inlet.close_stream()
    finally:
        device.close()
    edges = lines_of(record, "edge")
    # a dose begins at 0 mA, from where the rate of its lease leads up
    assert [sample for sample, _ in samples] == [[1.0, 0.0, 4.0], [0.0, 0.0, 4.0]]
    assert [stamp for _, stamp in samples] == pytest.approx([edge["t_ns"] / 1e9 for edge in edges], abs=1e-6)
