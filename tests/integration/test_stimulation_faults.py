"""Whatever dies, hangs, lies or goes silent: the output is off within the watchdog time and a heartbeat.

Off-times are the device's own: its record says when its output went off, the test when it did the harm. A start takes
seconds, so all that only interrupts stimulation happens to one run in turn.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.ledger import read_ledger
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.log.verification import Verdict, verify_run
from tests.integration.live import PATIENCE_S, starting
from tests.integration.lsl import make_outlet, wait_until
from tests.integration.stimulating import HEARTBEAT_S, MARGIN_S, WATCHDOG_S, Sender, StimulatingRun

pytestmark = pytest.mark.usefixtures("lsl_session")

MOST_S = WATCHDOG_S + HEARTBEAT_S + MARGIN_S


class Theatre:
    """One sender, one run that stimulates, and how long its output stayed on after each harm."""

    def __init__(self, run: StimulatingRun, sender: Sender, limits: Path) -> None:
        self.run = run
        self.sender = sender
        self.limits = limits
        self.took_s: dict[str, float] = {}

    def harm(self, name: str, harm: Callable[[], object]) -> None:
        """Get the output on, do the harm, and see how long the output stays on."""
        self.run.gets_on()
        t_ns = time.monotonic_ns()
        harm()
        took_s = self.took_s[name] = self.run.off_after_s(t_ns)
        assert took_s <= MOST_S, f"{name}: off after {took_s:.3f} s"

    def fault(self, name: str, **faults: object) -> None:
        """Let the sender do something wrong, until the output is off."""
        before = {key: getattr(self.sender, key) for key in faults}

        def put(values: dict[str, Any]) -> None:
            for key, value in values.items():
                setattr(self.sender, key, value)

        self.harm(name, lambda: put(dict(faults)))
        put(before)

    def stands_still(self, name: str, process: psutil.Process) -> None:
        """Stop a process until the output is off."""
        try:
            self.harm(f"{name} stopped", process.suspend)
        finally:
            process.resume()

    def device_stands_still(self, device: psutil.Process) -> None:
        """Stop the device until that is a fault; its record goes on afterwards."""

        def harm() -> None:
            device.suspend()
            wait_until(lambda: self.run.ask("status")["state"] == "FAULT", "a fault", PATIENCE_S)
            device.resume()

        self.harm("device stopped", harm)

    def verdict(self) -> Verdict:
        return verify_run(self.run.folder, self.run.folder.parent / "ledger")


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    sender = Sender(f"stimulated-{os.getpid()}")
    try:
        with starting(tmp_path) as start:
            run = StimulatingRun(start, tmp_path / "run", sender.name)
            theatre = Theatre(run, sender, tmp_path / "limits.yaml")
            yield theatre
            for name, took_s in theatre.took_s.items():
                print(f"{name}: off after {took_s * 1e3:.1f} ms")
    finally:
        sender.close()


def test_a_killed_stimulator_process_ends_stimulation_and_not_the_recording(theatre: Theatre) -> None:
    run = theatre.run
    theatre.harm("stimulator killed", lambda: run.program.child("stimulator").kill())
    run.program.says("the stimulator process must stay alive, got its death with exit code -9")
    n_lines = (run.folder / "events.jsonl").read_bytes().count(b"\n")
    wait_until(lambda: (run.folder / "events.jsonl").read_bytes().count(b"\n") > n_lines + 2, "the run going on")
    run.program.popen.terminate()
    assert "the stimulator process must stay alive" in run.program.fails().splitlines()[-1]
    verdict = theatre.verdict()
    assert verdict.is_whole_but_for_its_end, verdict.findings
    assert verdict.open_end is not None
    assert not run.is_on()
    device = [json.loads(line) for line in (run.folder / "device.jsonl").read_text().splitlines()]
    delivered_uc = max(record.get("total_uc", 0.0) for record in device)
    books, _ = read_ledger(run.folder.parent / "ledger" / "simulated" / "unnamed.run.jsonl")
    assert books.all_uc() >= delivered_uc > 0


def test_a_killed_supervisor_switches_off_and_leaves_a_whole_log(theatre: Theatre) -> None:
    run = theatre.run
    run.gets_on()
    family = run.program.family()
    theatre.harm("supervisor killed", run.program.popen.kill)
    _, alive = psutil.wait_procs(family, PATIENCE_S)
    assert not alive
    verdict = theatre.verdict()
    assert verdict.is_clean, verdict.findings


def test_whatever_interrupts_a_run_switches_off_and_a_killed_hot_process_ends_it(theatre: Theatre) -> None:
    run, sender = theatre.run, theatre.sender
    run.gets_on()
    _operator_stops(theatre)
    for name in ("hot", "cold", "stimulator"):
        theatre.stands_still(name, run.program.child(name))
    theatre.stands_still("supervisor", psutil.Process(run.program.popen.pid))
    theatre.device_stands_still(_device_of(run))
    wait_until(lambda: run.ask("status")["state"] == "FAULT", "a fault that stays", PATIENCE_S)
    theatre.harm("cold killed", run.program.child("cold").kill)
    theatre.fault("not a number", is_nan=True)
    theatre.fault("clock step", shift_s=-3.5)
    theatre.fault("silent", is_silent=True)
    theatre.harm("stream cut", sender.cut)
    sender.mend()
    run.gets_on()
    text = theatre.limits.read_text()
    theatre.harm("limits changed", lambda: theatre.limits.write_text(text + "# looser\n"))
    assert not run.ask("reset")["accepted"]
    theatre.limits.write_text(text)
    theatre.harm("hot killed", run.program.child("hot").kill)
    assert "the hot process must stay alive" in run.program.fails().splitlines()[-1]
    assert not run.is_on()
    verdict = theatre.verdict()
    assert verdict.is_clean, verdict.findings
    books = json.loads((run.folder / "summary.json").read_text())["stimulation"]
    assert books == summary_of(read_log(run.folder / AUDIT_FILE))
    assert books["doses"] >= 15


def test_a_device_that_grows_slow_in_mid_dose_is_off_in_time_with_everything_before_it_stopped(tmp_path: Path) -> None:
    sender = Sender(f"slow-{os.getpid()}")
    try:
        with starting(tmp_path) as start:
            fault = "stimulation.device.fault=latency=400ms,late=after:8"
            run = StimulatingRun(start, tmp_path / "run", sender.name, "--set", fault)
            run.gets_on()
            wait_until(lambda: _commands(run) >= 8, "a slow device", PATIENCE_S)
            for name in ("stimulator", "hot", "cold"):
                run.program.child(name).suspend()
            # from here on nobody can say anything to the device; what is on its way comes 0.4 s late
            assert run.off_after_s(time.monotonic_ns()) <= WATCHDOG_S + HEARTBEAT_S
            for process in run.program.family():
                process.resume()
    finally:
        sender.close()


def _commands(run: StimulatingRun) -> int:
    """Return how many commands the device has carried out, by its own record, status not counted."""
    lines = map(json.loads, (run.folder / "device.jsonl").read_text().splitlines())
    return sum(one["what"] == "command" and one["command"] != "status" for one in lines)


def _operator_stops(theatre: Theatre) -> None:
    """Stop by every channel; nothing arms without the token, or as long as the stop file is there."""
    run = theatre.run
    stimulator = run.program.child("stimulator")
    stop_file = run.folder / "STOP"
    buttons = make_outlet(
        f"buttons-{os.getpid()}", n_channels=1, sfreq=0.0, value_format="string", stream_type="Markers"
    )
    theatre.harm("stop by socket", lambda: run.ask("stop"))
    theatre.harm("stop by signal", lambda: stimulator.send_signal(signal.SIGUSR1))
    theatre.harm("stop by supervisor", lambda: os.kill(run.program.popen.pid, signal.SIGUSR1))
    theatre.harm("stop by file", stop_file.touch)
    run.ask("arm")
    wait_until(lambda: run.ask("status")["state"] == "DISARMED", "disarmed as long as the file is there", PATIENCE_S)
    stop_file.unlink()
    wait_until(buttons.have_consumers, "listening to markers", PATIENCE_S)
    theatre.harm("stop by marker", lambda: buttons.push_sample(["stim_stop"]))

    def are_logged() -> bool:
        given = [one for one in read_log(run.folder / AUDIT_FILE).inputs() if one.kind == "operator"]
        stops = {one.values["channel"] for one in given if one.values["action"] == "stop"}
        return {"socket", "signal", "file", "marker"} <= stops

    wait_until(are_logged, "every channel in the log, which is behind", PATIENCE_S)
    wait_until(lambda: run.ask("status")["state"] == "DISARMED", "disarmed", PATIENCE_S)
    assert not run.ask("arm", token="guess")["accepted"]
    assert run.ask("status")["state"] == "DISARMED"
    assert not (run.folder / "operator.token").exists()
    assert run.token() not in (run.folder / AUDIT_FILE).read_text()


def _device_of(run: StimulatingRun) -> psutil.Process:
    """Return the simulated device's process."""
    children = run.program.child("stimulator").children()
    return next(child for child in children if "devices.simulator.process" in " ".join(child.cmdline()))
