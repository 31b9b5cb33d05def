"""Whoever shares the network with a run cannot end it, nor make it say what was not."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import Any

import pylsl
import pytest

from neuroloop.stream.contracts.events import MOST_LABEL
from neuroloop.stream.sources.lsl.network import list_streams
from tests.integration import lsl
from tests.integration.live import FINDING, SHARING, canonical_lines, starting, summary_of
from tests.integration.stimulating import Sender
from tests.integration.test_recorder import assert_replays, recorder_of

pytestmark = pytest.mark.usefixtures("lsl_session")


def hostile_outlets() -> list[tuple[Any, str]]:
    """Return senders of markers and what each has to say."""
    nested = pylsl.StreamInfo("nested", "Markers", 1, 0.0, "string", "nested")
    nested.desc().append_child("neuroloop").append_child_value("info", "[" * 50_000)
    long_name = pylsl.StreamInfo("n" * 5000, "Markers", 1, 0.0, "string", "long")
    escapes = pylsl.StreamInfo("escapes", "Markers\nneuroloop run: FAKE", 1, 0.0, "string", "\x1b[2J")
    texts = ["deep", "long", "\x1b[2J[/]\nneuroloop run: FAKE"]
    made = [(pylsl.StreamOutlet(info), text) for info, text in zip((nested, long_name, escapes), texts, strict=True)]
    return [*made, (lsl.make_outlet("huge", n_channels=1, sfreq=0.0, value_format="string"), "x" * 3_000_000)]


def test_hostile_names_descriptions_and_markers_leave_a_run_as_it_is(tmp_path: Path) -> None:
    sender, run = Sender("[/]"), tmp_path / "run"
    outlets = hostile_outlets()
    good = lsl.make_outlet("good", n_channels=1, sfreq=0.0, value_format="string")
    try:
        with starting(tmp_path) as start:
            named = ("--set", "source.kind=lsl", "--set", "source.name='[/]'")
            program = start("run", "demo", *named, "--record", *FINDING, *SHARING, "--out", run)
            for outlet, text in outlets:
                assert outlet.wait_for_consumers(120.0)
                outlet.push_sample([text])

            def labels() -> set[str]:
                assert program.popen.poll() is None, program.err
                good.push_sample(["left"])
                events = map(json.loads, canonical_lines(run)) if (run / "events.jsonl").exists() else ()
                return {event["label"] for event in events if event["type"] == "marker"}

            wanted = {"deep", "long", "\x1b[2J[/]\nneuroloop run: FAKE", "x" * (MOST_LABEL - 1) + "…", "left"}
            lsl.wait_until(lambda: labels() >= wanted, "every marker among the events", 120.0)
            program.popen.send_signal(signal.SIGINT)
            program.ends_well()
            said = program.err
    finally:
        sender.close()
    assert "\x1b" not in said
    assert "\nneuroloop run: FAKE" not in said
    summary = summary_of(run)
    assert summary["markers"] == {"cut": 2, "errors": 0}, "one label, one stream's name"
    assert summary["samples"]["balanced"]
    assert recorder_of(run)["lost_beside"]["markers"] == 0
    assert_replays(run)
    modes = {path.name: path.stat().st_mode & 0o777 for path in run.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert run.stat().st_mode & 0o777 == 0o700


def test_what_is_listed_of_the_network_is_one_line_a_stream() -> None:
    outlets = hostile_outlets()
    lines = [str(found) for found in lsl.wait_until(lambda: list_streams(1.0) or None, "streams")]
    assert len(lines) >= len(outlets)
    assert all(line.isprintable() for line in lines)


def test_too_few_open_files_are_one_line_and_no_wait(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with starting(tmp_path) as start:
        said = start("run", "demo", "--out", tmp_path / "run", preexec_fn=few).fails()
    assert said.splitlines()[-1] == "neuroloop run: open files (ulimit -n) must be at least 128, got 48"
