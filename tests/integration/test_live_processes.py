"""Several runs on one stream: how each ends, and what a dead, a stopped or a muzzled process costs.

All runs start together, once: a start takes seconds, what happens to each of them afterwards does not.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pylsl
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from neuroloop.stream.cli.main import main
from tests.integration.live import (
    FINDING,
    PATIENCE_S,
    SHARING,
    Program,
    canonical_lines,
    end_all,
    scrape,
    starting,
    summary_of,
    wait_for_lines,
)
from tests.integration.lsl import DEADLINE_S, find, wait_until

pytestmark = pytest.mark.usefixtures("lsl_session")

OPTIONS: dict[str, tuple[object, ...]] = {
    "watched": ("--metrics-port", 0),
    "stopped": ("--set", "process.ring_s=1"),
    "muzzled": (),
}


class Stage:
    """One sender, and runs by name."""

    def __init__(self, folder: Path, sender: Program, programs: dict[str, Program]) -> None:
        self.folder = folder
        self.sender = sender
        self.programs = programs

    def __getitem__(self, name: str) -> tuple[Program, Path]:
        """Return a run that has begun to write, and its folder."""
        wait_for_lines(self.folder / name, 5)
        return self.programs[name], self.folder / name


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, lsl_session: str) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with starting(folder) as start:
        sender = start(
            "play", "simulator", "--wait", "--restamp", "--name", "stage", "--chunk", 5, "--set", "block_s=2"
        )
        programs = {
            name: start(
                "run", "demo", "--out", folder / name, *SHARING, *FINDING, "--set", f"name={name}",
                "--set", "source.kind=lsl", "--set", "source.name=stage", "--set", "markers.names=[stage-markers]",
                *options,
            )
            for name, options in OPTIONS.items()
        }  # fmt: skip
        yield Stage(folder, sender, programs)


def test_metrics_can_be_scraped_in_both_formats_on_loopback_only(stage: Stage) -> None:
    program, _ = stage["watched"]
    program.says("metrics: http://127.0.0.1:")
    port = int(program.err.split("metrics: http://127.0.0.1:")[1].split("/")[0])
    families = {family.name: family for family in parse_text(scrape(port))}
    text = scrape(port, "application/openmetrics-text; version=1.0.0")
    assert set(families) == {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    predictions = {
        sample.labels["label"]: sample.value
        for sample in families["model_predictions"].samples
        if sample.name == "model_predictions_total" and sample.labels["model"] == "watched"
    }
    assert set(predictions) == {"rest", "alpha", "seizure", "unknown"}
    assert sum(predictions.values()) > 0
    latency = families["model_prediction_latency_seconds"]
    assert latency.type == "histogram"
    bounds = [float(sample.labels["le"]) for sample in latency.samples if sample.name.endswith("_bucket")]
    assert bounds[0] == 1e-5
    assert bounds[-1] == float("inf")
    counts = [sample.value for sample in latency.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] >= sum(predictions.values()) > 0
    assert not {"model_accuracy", "data_drift_score"} & set(families)
    for name in (
        "samples",
        "samples_processed",
        "samples_missing",
        "gaps",
        "stream_up",
        "loop_seconds",
        "stage_seconds",
    ):
        assert f"neuroloop_{name}" in families
    assert families["neuroloop_stream_up"].samples[0].value == 1
    listening = {
        connection.laddr.ip
        for process in program.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


def test_a_restarted_cold_process_keeps_its_port_and_ctrl_c_finishes_the_files(stage: Stage) -> None:
    program, run = stage["watched"]
    port = int(program.err.split("metrics: http://127.0.0.1:")[1].split("/")[0])
    program.child("cold").kill()

    def answers() -> bool:
        try:
            return "model_predictions_total" in scrape(port)
        except OSError:
            return False

    wait_until(answers, "metrics again", PATIENCE_S)
    family = program.family()
    program.popen.send_signal(signal.SIGINT)
    assert program.ends_well() == f"{run}\n"
    end_all(family)
    summary = summary_of(run)
    assert summary["ended"] == "finished"
    assert summary["events"]["prediction"] == sum('"type":"prediction"' in line for line in canonical_lines(run))
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "provenance.json", "events.jsonl", "latency.json", "summary.json",
    }  # fmt: skip
    latency = json.loads((run / "latency.json").read_text(encoding="utf-8"))
    assert latency["hot"]["cores"]
    assert {"loop", "sample_in_to_event_out", "classifier"} <= set(latency["rows"])
    assert f'"{socket.gethostname()}"' not in (run / "provenance.json").read_text(encoding="utf-8")


def test_states_and_probabilities_are_offered_while_it_runs(stage: Stage) -> None:
    _, run = stage["stopped"]
    states, probabilities = find("stopped-states"), find("stopped-probabilities")
    assert states.source_id.startswith("neuroloop-monitoring-")
    assert probabilities.source_id.startswith("neuroloop-monitoring-")
    assert (states.type, states.format, states.sfreq) == ("Markers", "string", 0.0)
    assert (probabilities.type, probabilities.n_channels) == ("neuroloop-probabilities", 3)
    assert probabilities.sfreq == pytest.approx(250 / 60)
    inlets = [pylsl.StreamInlet(found.handle, recover=False) for found in (states, probabilities)]
    described = inlets[1].info(timeout=DEADLINE_S)
    assert described.desc().child("neuroloop").child_value("purpose") == "monitoring"
    assert described.get_channel_labels() == ["rest", "alpha", "seizure"]
    lines: list[str] = []
    rows: dict[float, list[float]] = {}
    for inlet in inlets:
        inlet.open_stream(timeout=DEADLINE_S)

    def enough() -> bool:
        lines.extend(value[0] for value in inlets[0].pull_chunk(timeout=0.05, min_samples=1)[0])
        values, stamps = inlets[1].pull_chunk(timeout=0.05, min_samples=1)
        rows.update(zip(stamps, values, strict=True))
        return len(lines) >= 1 and len(rows) >= 5

    wait_until(enough, "states and probabilities", PATIENCE_S)
    for inlet in inlets:
        inlet.close_stream()
    wait_until(lambda: set(lines) <= set(canonical_lines(run)), "the same states in the file", PATIENCE_S)

    def predictions() -> dict[float, list[float]]:
        said = (json.loads(line) for line in canonical_lines(run))
        return {one["time"]: one["probabilities"] for one in said if one["type"] == "prediction"}

    wait_until(lambda: max(predictions()) >= max(rows), "the same predictions in the file", PATIENCE_S)
    assert {json.loads(line)["type"] for line in lines} == {"state"}
    of_rows = predictions()
    common = set(of_rows) & set(rows)
    assert len(common) >= 4
    assert all(rows[stamp] == of_rows[stamp] for stamp in common)


def test_a_stopped_cold_process_costs_counted_rows_and_never_the_hot_one(stage: Stage) -> None:
    program, run = stage["stopped"]
    cold, hot = program.child("cold"), program.child("hot")
    _, reference = stage["muzzled"]
    cold.suspend()
    sample = json.loads(canonical_lines(reference)[-1])["sample"]

    def has_gone_on() -> bool:
        return bool(json.loads(canonical_lines(reference)[-1])["sample"] > sample + 1500)

    wait_until(has_gone_on, "more samples than the ring of 1024 rows holds", PATIENCE_S)
    assert hot.status() != psutil.STATUS_STOPPED
    cold.resume()
    program.says("samples were overwritten before they were looked at")
    family = program.family()
    for pid in (program.popen.pid, *(process.pid for process in family)):
        os.kill(pid, signal.SIGTERM)  # to all of them, as a service manager does
    program.ends_well()
    end_all(family)
    summary = summary_of(run)
    assert summary["ended"] == "finished"
    assert summary["rings"]["samples_lost"] > 0
    assert summary["rings"]["events_lost"] == 0
    samples = [event["sample"] for event in map(json.loads, canonical_lines(run)) if event["type"] == "prediction"]
    assert {after - before for before, after in itertools.pairwise(samples)} == {60}


def test_a_full_disk_is_said_once_and_ends_with_a_count_and_a_status(stage: Stage) -> None:
    program, run = stage["muzzled"]
    cold, hot = program.child("cold"), program.child("hot")
    n_lines = len(canonical_lines(run))
    size = (run / "events.jsonl").stat().st_size
    cold.rlimit(resource.RLIMIT_FSIZE, (size, size))
    program.says("out must be a writable folder")
    assert "File too large; events are held, trying again" in program.err
    assert hot.is_running()
    program.popen.terminate()
    err = program.fails()
    assert err.count("events are held") == 1
    assert "neuroloop run: out must be writable to the end, got " in err.splitlines()[-1]
    assert len(canonical_lines(run)) >= n_lines
    assert (run / "events.jsonl").read_bytes().endswith(b"\n")


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "refused"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ["--set", "source.kind=lsl", "--set", "source.name=stage", "--metrics-port", str(port)]
        assert main(["run", "demo", "--out", str(out), *options]) == 1
    assert capsys.readouterr().err == (
        f"neuroloop run: metrics.port must be a free port of this machine, got '127.0.0.1:{port}': "
        "Address already in use\n"
    )
    assert not out.exists()
