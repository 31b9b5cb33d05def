"""The stimulator process with a device that lies, a disk that fills, a clock that runs out: off, and said."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import platform
import re
import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from neuroloop.sinks.stimulator.blinding import DELIVERY_KEY_FILE, LIST_FILE, draw_arms, make_list
from neuroloop.sinks.stimulator.envelope.profiles import file_sha256
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.ledger import read_ledger
from neuroloop.sinks.stimulator.log.verification import verify_run
from neuroloop.sinks.stimulator.sealing import PrivateKey
from neuroloop.sinks.stimulator.unblinding import unblind
from neuroloop.stream.assembly.provenance import code_hash
from neuroloop.stream.live.child_process import RunFailed
from tests.integration.live import PATIENCE_S
from tests.integration.lsl import wait_until
from tests.integration.stimulating import HEARTBEAT_S, MARGIN_S, WATCHDOG_S, edges_of
from tests.integration.stimulator_bench import Bench

pytestmark = pytest.mark.usefixtures("lsl_session")

MOST_S = WATCHDOG_S + HEARTBEAT_S + MARGIN_S
Make = Callable[..., Bench]
_PIDFD_GETFD = 438
"""Number of the system call on every 64-bit Linux."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    benches: list[Bench] = []

    def start(*overrides: str, name: str = "run") -> Bench:
        benches.append(Bench(tmp_path, *overrides, name=name))
        return benches[-1]

    yield start
    for bench in benches:
        bench.close()


def test_a_log_whose_folder_is_gone_and_arming_that_expires(make: Make, tmp_path: Path) -> None:
    bench = make("stimulation.gate.arming_s=1.0")
    shown = bench.ask("show")
    assert shown["text"].startswith("electrode unnamed of unnamed: implanted, 0.06 cm2 (6 mm2), into 500 ohm; ")
    assert shown["text"].endswith(f"limits.yaml (sha256 {file_sha256(tmp_path / 'limits.yaml')})")
    assert shown["needs_area"] is False
    bench.gets_on()
    assert bench.ask("arm")["text"].startswith(f"{shown['text']}; tried, and work: ")

    def has_expired() -> bool:
        return any(one.values.get("reason") == "arming expired" for _, one in bench.log().outputs())

    def expires() -> bool:
        """A busy machine may disarm it before its time."""
        if not bench.is_on() and not has_expired():
            bench.gets_on()
        return has_expired()

    wait_until(expires, "off when the arming expires", PATIENCE_S)
    wait_until(lambda: not bench.is_on(), "off when the arming expires", PATIENCE_S)
    edges = edges_of(bench.out)
    on_for_ns = [after - at for (at, is_on), (after, _) in itertools.pairwise(edges) if is_on]
    assert max(on_for_ns) <= (1.0 + MOST_S) * 1e9
    bench.gets_on()
    moved = bench.out.with_name("moved")

    def move() -> None:
        bench.out.rename(moved)
        bench.out = moved

    assert bench.off_after_s(move) <= MOST_S
    wait_until(lambda: bench.state == "FAULT", "a fault", PATIENCE_S)
    assert bench.ends() == 0
    assert int(bench.link.numbers("log_failed")[0]) == 1
    verdict = verify_run(moved, tmp_path / "ledger")
    assert verdict.open_end is not None
    assert verdict.findings == (verdict.open_end,)


def test_a_full_disk_is_a_fault(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.gets_on()
    size = (bench.out / "stimulation.jsonl").stat().st_size
    took_s = bench.off_after_s(lambda: bench.process.rlimit(resource.RLIMIT_FSIZE, (size + 1, size + 1)))
    assert took_s <= MOST_S
    wait_until(lambda: bench.state == "FAULT", "a fault", PATIENCE_S)
    assert not bench.ask("reset")["accepted"]
    bench.ends()
    verdict = verify_run(bench.out, tmp_path / "ledger")
    assert verdict.findings == (verdict.open_end,)


def test_a_killed_device_is_a_fault_that_stays(make: Make) -> None:
    bench = make()
    bench.gets_on()
    bench.device.kill()
    wait_until(lambda: bench.state == "FAULT", "a fault", PATIENCE_S)
    wait_until(lambda: "device_lost" in bench.trips(), "its reason in the log, which is behind", PATIENCE_S)
    assert not bench.ask("arm")["accepted"]
    assert bench.ends() == 0


@pytest.mark.parametrize(("fault", "trip"), [("nack=1.0", "device_nack"), ("drop=1.0", None)])
def test_a_device_that_refuses_or_does_not_answer_never_goes_on(make: Make, fault: str, trip: str | None) -> None:
    bench = make(f"stimulation.device.fault={fault}")
    wait_until(lambda: len(bench.log().inputs()) > 30, "a few heartbeats", PATIENCE_S)

    def arms() -> bool:
        """A busy machine may be refused for its own reasons, and then the device is asked nothing."""
        bench.ask("arm")
        return trip is None or trip in bench.trips()

    wait_until(arms, "the reason in the log, which is behind", PATIENCE_S)
    n = len(bench.log().inputs())
    wait_until(lambda: len(bench.log().inputs()) > n + 30, "a few more", PATIENCE_S)
    assert not bench.is_on()
    assert bench.state in ("FAULT", "DISARMED")


def test_a_device_that_is_stuck_on_is_a_fault_and_is_told_to_stop_again_and_again(make: Make) -> None:
    bench = make("stimulation.device.fault=stuck_on")
    bench.gets_on()
    bench.ask("stop")
    wait_until(lambda: bench.state == "FAULT", "a fault", PATIENCE_S)
    wait_until(lambda: "device_still_on" in bench.trips(), "its reason in the log, which is behind", PATIENCE_S)

    def n_stops() -> int:
        return sum(one.values.get("action") == "stop" for _, one in bench.log().outputs())

    before = n_stops()
    wait_until(lambda: n_stops() > before + 3, "stop after stop", PATIENCE_S)
    assert bench.ask("reset")["accepted"] is False


def test_charge_survives_a_killed_process_and_a_torn_log_is_said(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.gets_on()
    assert bench.off_after_s(bench.process.kill) <= MOST_S
    delivered_uc = max(
        json.loads(line)["total_uc"]
        for line in (bench.out / "device.jsonl").read_text().splitlines()
        if '"what":"interval"' in line
    )
    bench.close()
    books, chain = read_ledger(tmp_path / "ledger" / "simulated" / "unnamed.unnamed.jsonl")
    assert not list((tmp_path / "ledger").glob("*.jsonl"))
    assert chain.fault is None
    assert books.all_uc() >= delivered_uc > 0
    assert books.open
    verdict = verify_run(bench.out, tmp_path / "ledger")
    assert verdict.open_end is not None
    assert verdict.findings == (verdict.open_end,)
    again = make(name="again")
    wait_until(lambda: len(again.log().inputs()) > 3, "a log", PATIENCE_S)
    assert again.log().inputs()[0].values["ledger"]["day_charge_uc"] >= delivered_uc


def sealed_list(folder: Path) -> tuple[Path, list[str]]:
    """Make a list for one subject; return the third party's key and the settings of a blinded run."""
    key = PrivateKey.make()
    key.write(folder / "third-party.key", "a key")
    make_list(folder, key, draw_arms({"unnamed": ""}, ["first"], seed="a seed"), seed="a seed")
    files = {"list_file": folder / LIST_FILE, "key_file": folder / DELIVERY_KEY_FILE, "visit": "first"}
    settings = [f"stimulation.blinding.{name}={value}" for name, value in files.items()]
    return folder / "third-party.key", ["stimulation.mode=blinded", *settings]


def gives(bench: Bench) -> None:
    """Arm until a dose is given; a blinded run leaves no device's record to look at."""

    def turn() -> bool:
        state = bench.state
        verb = {"FAULT": "reset", "DISARMED": "arm"}.get(state)
        if verb is not None:
            bench.ask(verb)
        return state == "STIMULATING"

    wait_until(turn, "a dose", PATIENCE_S)


def test_a_blinded_run_hides_its_arm_until_it_is_unblinded_and_a_crash_does_not_change_it(
    make: Make, tmp_path: Path
) -> None:
    key_file, blinded = sealed_list(tmp_path)
    bench = make(*blinded, name="crashed")
    gives(bench)
    bench.process.kill()
    bench.child.process.join(PATIENCE_S)
    bench.close()
    bench = make(*blinded, "stimulation.gate.hold_off_s=0.5")
    gives(bench)
    assert not (bench.out / "device.jsonl").exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in bench.out.glob("*.sealed"))
    wait_until(lambda: len(bench.log().records) > 60, "records", PATIENCE_S)
    assert not re.search(r"\bsham\b|\"real\"", (bench.out / "stimulation.jsonl").read_text())
    refused = [bench.ask("unblind", token="guess") for _ in range(9)]
    assert not any(one["accepted"] for one in refused)
    assert refused[-1]["text"].startswith("token must not be tried again for ")
    wait_until(lambda: bench.ask("unblind")["accepted"], "a token that is judged", PATIENCE_S)
    answer = bench.ask("unblind")
    assert answer["accepted"]
    assert bench.ends() == 0
    tries = [one.values for one in bench.log().inputs() if one.values.get("action") == "unblind"]
    assert sum(not one["authorised"] for one in tries) < 9
    assert len(tries) + sum(one.get("unjudged_tokens", 0) for one in tries) >= 10
    opened = {name: unblind(read_log(tmp_path / name / AUDIT_FILE), tmp_path / name, key_file) for name in
              ("crashed", "run")}  # fmt: skip
    arms = {name: one.line.split(";")[0].rpartition(" ")[2] for name, one in opened.items()}
    assert answer["text"] == f"the run is {arms['run']}"
    assert arms["crashed"] == arms["run"]
    assert opened["run"].findings == ()
    findings = verify_run(bench.out, tmp_path / "ledger").findings
    assert findings
    assert [one for one in findings if not one.startswith("events.jsonl must have the log's commands")] == []


def test_no_line_ends_the_process_and_a_stop_with_any_reason_is_in_the_log(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.gets_on()
    with ExitStack() as stack:
        for line in (b'{"verb": []}', b'{"verb": "arm", "token": "\\ud800"}', b"[" * 4000, *[b""] * 30):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(bench.out / "operator.sock"))
            client.sendall(line + b"\n" if line else b"")
        assert bench.off_after_s(lambda: bench.ask("stop", reason="elektrode \udcfc")) <= MOST_S
    assert bench.ends() == 0
    findings = verify_run(bench.out, tmp_path / "ledger").findings
    assert all(finding.startswith("events.jsonl must have the log's commands") for finding in findings)


def test_the_log_says_which_program_and_who_and_its_head_is_told_at_arming(make: Make, tmp_path: Path) -> None:
    bench = make()
    wait_until(lambda: len(bench.log().inputs()) > 30, "a few heartbeats", PATIENCE_S)
    told: list[str] = []

    def arms() -> bool:
        answer = bench.ask("arm")
        told.append(answer["text"])
        return bool(answer["accepted"])

    wait_until(arms, "armed", PATIENCE_S)
    assert bench.ends() == 0
    setup = bench.log().inputs()[0].values
    assert setup["program"]["python"] == platform.python_version()
    assert setup["program"]["code_sha256"] == code_hash()
    asked = [one.values for one in bench.log().inputs() if one.values.get("channel") == "socket"]
    assert {(one["uid"], one["pid"]) for one in asked} == {(os.getuid(), os.getpid())}
    head = told[-1].rpartition("; log head ")[2]
    verdict = verify_run(bench.out, tmp_path / "ledger", heads=[head])
    assert not any("was noted" in finding for finding in verdict.findings)
    assert not verdict.unproven
    assert verdict.program["code_sha256"] == code_hash()


def test_a_file_beside_the_stop_file_does_not_keep_a_disarmed_process_awake(make: Make) -> None:
    bench = make()
    (number,) = [
        int(one.name)
        for one in Path(f"/proc/{bench.process.pid}/fd").iterdir()
        if os.readlink(one) == "anon_inode:inotify"
    ]
    process = os.pidfd_open(bench.process.pid)
    watch = int(ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0))
    os.close(process)
    assert watch >= 0, os.strerror(ctypes.get_errno())
    (bench.out / "STOP.tried").touch()
    wait_until(lambda: not select.select([watch], [], [], 0.0)[0], "that it is read", PATIENCE_S)
    os.close(watch)
    assert bench.state == "DISARMED"


def test_two_runs_cannot_stimulate_one_electrode(make: Make) -> None:
    first = make()
    with pytest.raises(RunFailed, match=r"ledger must be free, got .* which another run has open"):
        make(name="second")
    assert first.state == "DISARMED"
