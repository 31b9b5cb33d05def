"""A recorded run that stimulates says the same once more: its pipeline, its gate, its requests; and proves its log."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from neuroloop.stream.cli.main import main
from tests.integration.live import canonical_lines, starting, summary_of, wait_for_lines
from tests.integration.stimulating import Sender, StimulatingRun

pytestmark = pytest.mark.usefixtures("lsl_session")


def test_a_replay_gives_the_same_commands_refusals_and_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sender = Sender(f"recorded-{os.getpid()}")
    try:
        with starting(tmp_path) as start:
            run = StimulatingRun(start, tmp_path / "run", sender.name, "--record")
            assert not run.ask_when_ready("arm", token="guess")["accepted"]
            run.gets_on()
            run.ask("stop")
            run.gets_on()
            wait_for_lines(run.folder, 40)
            run.program.popen.terminate()
            run.program.ends_well()
            again = tmp_path / "again"
            assert main(["replay", str(run.folder), "--out", str(again)]) == 0
            capsys.readouterr()
            assert main(["verify", str(run.folder), "--ledger", str(tmp_path / "ledger")]) == 0
            proof = capsys.readouterr().out
            (run.folder / "signals.xdf").unlink()
            alone = tmp_path / "alone"
            assert main(["replay", str(run.folder), "--out", str(alone)]) == 0
    finally:
        sender.close()
    lines = canonical_lines(run.folder)
    said = [line for line in lines if json.loads(line)["type"] in ("command", "refusal")]
    actions = [json.loads(line).get("action") for line in said]
    assert actions.count("start") >= 2
    assert "refusal" in {json.loads(line)["type"] for line in said}
    assert canonical_lines(again) == lines
    assert canonical_lines(alone) == said
    requests = (run.folder / "requests.jsonl").read_bytes()
    assert requests == (again / "requests.jsonl").read_bytes()
    assert requests.count(b"\n") == sum(json.loads(line)["type"] == "state" for line in lines) > 0
    assert proof.startswith("stimulation.jsonl: ")
    summary = summary_of(run.folder)
    assert summary["events"]["command"] == sum(json.loads(line)["type"] == "command" for line in said)
    assert summary["stimulation"]["doses"] == actions.count("start")
    assert summary["stimulation"]["log"]["head"] in proof
