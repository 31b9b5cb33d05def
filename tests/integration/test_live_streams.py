"""Streams that are not there, twice there, or lost and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuroloop.stream.sources.lsl.network import Network
from tests.integration.live import (
    FINDING,
    SHARING,
    Program,
    Start,
    canonical_lines,
    end_all,
    summary_of,
    wait_for_lines,
)
from tests.integration.lsl import wait_until
from tests.integration.playing import Play, simulated

SENDER: dict[str, Any] = {"stamps": "clock", "chunk_samples": 5}
pytestmark = pytest.mark.usefixtures("lsl_session")


def run(start: Start, name: str, out: Path, *options: object, **environment: object) -> Program:
    return start(
        "run", "demo", "--out", out, *SHARING, *FINDING, "--set", "source.kind=lsl", "--set", f"source.name={name}",
        "--set", "markers.enabled=false", "--set", f"name={out.name}", *options, **environment,
    )  # fmt: skip


def listed(name: str, n: int) -> None:
    """Wait until so many senders of a name answer."""
    network = Network()
    wait_until(lambda: len([one for one in network.streams() if one.name == name]) == n, f"{n} senders of {name}")


def test_a_lost_stream_is_found_again_or_given_up(start: Start, play: Play, tmp_path: Path) -> None:
    sender = play(simulated(None), **SENDER, name="mortal")
    listed("mortal", 1)
    patient = run(start, "mortal", tmp_path / "patient", "--set", "source.reconnect_s=60")
    hasty = run(start, "mortal", tmp_path / "hasty", "--set", "source.reconnect_s=0.5")
    for name in ("patient", "hasty"):
        wait_for_lines(tmp_path / name, 3)
    sender.close()
    hasty.ends_well()
    assert "stream 'simulator' did not come back" in hasty.err
    assert summary_of(tmp_path / "hasty")["events"]["stream"] == 2
    play(simulated(None), **SENDER, name="mortal")
    patient.says("found again")
    n_lines = len(canonical_lines(tmp_path / "patient"))
    wait_for_lines(tmp_path / "patient", n_lines + 5)
    patient.popen.terminate()
    patient.ends_well()
    summary = summary_of(tmp_path / "patient")
    assert summary["samples"]["missing"]["jumped"] > 100
    assert summary["quality"]["gaps"] == 1
    events = [json.loads(line) for line in canonical_lines(tmp_path / "patient")]
    assert [event["what"] for event in events if event["type"] == "stream"] == ["start", "lost", "found"]
    (gap,) = [event for event in events if event["type"] == "gap"]
    assert gap["missing"] == summary["samples"]["missing"]["jumped"]
    assert max(event["sample"] for event in events if event["type"] == "prediction") > gap["sample"]
    assert [event["sample"] for event in events] == sorted(event["sample"] for event in events)


def test_a_stream_that_is_missing_or_there_twice_is_refused_in_one_line(
    start: Start, play: Play, tmp_path: Path
) -> None:
    for _ in range(2):
        play(simulated(None), **SENDER, name="twin")
    listed("twin", 2)
    missing = run(start, "nobody", tmp_path / "missing", "--set", "source.resolve_s=4")
    twice = run(start, "twin", tmp_path / "twice")
    err = missing.fails()
    assert err.startswith(
        "neuroloop run: source must be a stream on the network with name 'nobody', got none within 4 s; "
        "on the network: "
    )
    assert err.count("'twin' (type EEG") == 2
    assert err.count("\n") == 1
    err = twice.fails()
    assert err.startswith("neuroloop run: source must be one stream, got 2 with name 'twin': 'twin' (type EEG")
    assert err.count("'twin' (type EEG") == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "missing").exists()
    assert not (tmp_path / "twice").exists()


def test_a_demo_says_how_it_went_and_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    demo = start("demo", "--seconds", 3, "--out", tmp_path / "demo", "--set", "name=short-demo", *SHARING)
    amplifier = demo.child("amplifier")
    lines = demo.ends_well().splitlines()
    assert lines[0].endswith(" 0 missing")
    assert lines[1].startswith("loop: p50 ")
    assert summary_of(tmp_path / "demo")["ended"] == "finished"
    assert "kind: simulator" in (tmp_path / "demo" / "config.yaml").read_text(encoding="utf-8")
    end_all([amplifier])
