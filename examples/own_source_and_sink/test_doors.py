"""What a lab tests of its source, sink and policy: a live run, its replay, and that the checks find nothing."""

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from neuroloop.config.loading import load_config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.own_policy import prove_policy
from neuroloop.stream.contracts.events import canonical
from neuroloop.stream.sources.simulator import Simulator

HERE = Path(__file__).parent


def send(port, over):
    """Send rows as a device does, with a pause that leaves a gap."""
    rows = np.arange(40, dtype="<f4").reshape(10, 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for count in range(10**6):
            if over.wait(0.04):
                return
            if count % 60 < 45:
                sender.sendto(rows.tobytes(), ("127.0.0.1", port))


def neuroloop(*arguments, folder):
    command = [sys.executable, "-m", "neuroloop", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_live_run_its_sink_and_its_replay_say_the_same(tmp_path):
    port, over = free_port(), threading.Event()
    sender = threading.Thread(target=send, args=(port, over))
    sender.start()
    own = ("--set", f"source.port={port}", "--set", f"sinks.0.path={tmp_path / 'events.txt'}")
    try:
        arguments = (HERE / "doors.yaml", *own, "--record", "--seconds", "5", "--out", tmp_path / "live")
        neuroloop("run", *arguments, folder=tmp_path)
    finally:
        over.set()
        sender.join()
    neuroloop("replay", tmp_path / "live", "--config", HERE / "doors.yaml", "--out", "again", folder=tmp_path)
    live = [json.loads(line) for line in (tmp_path / "live" / "events.jsonl").read_text("utf-8").splitlines()]
    again = [json.loads(line) for line in (tmp_path / "again" / "events.jsonl").read_text("utf-8").splitlines()]
    assert [canonical(one) for one in again] == [canonical(one) for one in live]
    assert (tmp_path / "events.txt").read_text("utf-8").splitlines() == [canonical(one) for one in live]
    assert any(one["type"] == "gap" for one in live)
    summary = json.loads((tmp_path / "live" / "summary.json").read_text("utf-8"))
    assert summary["sinks"] == {"lines": {"written": len(live), "lost": 0, "errors": 0}}
    record = json.loads((tmp_path / "live" / "provenance.json").read_text("utf-8"))
    assert record["own_source"]["own_kind"] == "mylab_io.udp:Udp"
    assert len(record["own_sinks"]["lines"]["code_sha256"]) == 64


def test_the_checks_of_every_policy_find_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("neuroloop.processors.stages.verdict.proof_folder", lambda: tmp_path)
    config = load_config(str(HERE / "policy.yaml"))
    rows = build(config, Simulator(config.source.simulator).info).pipeline.stages[-1].info_out
    assert str(prove_policy(config.decision, rows)) == "exact"
