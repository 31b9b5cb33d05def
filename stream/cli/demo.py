"""``neuroloop demo``: everything on one machine, no hardware.

A process plays an amplifier over Lab Streaming Layer, the run's processes recognise its states and show them.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.sinks.run_folder.folder import EVENTS_FILE, LATENCY_FILE, SUMMARY_FILE
from neuroloop.stream.cli.demo_stimulation import PRESET, SECONDS, StimulationDemo
from neuroloop.stream.cli.shared_options import live_config
from neuroloop.stream.live.process_logs import set_up_logs
from neuroloop.stream.live.supervisor import RunOptions, Supervisor
from neuroloop.stream.live.virtual_amplifier import VirtualAmplifier
from neuroloop.stream.sources.lsl.library import quiet_library

_log = logging.getLogger("neuroloop.demo")
_KAFKA_SECONDS = 30.0


def run_kafka_demo(options: argparse.Namespace) -> int:
    """Run simulated streams through a small cluster and say whether anything was lost or changed."""
    from neuroloop.stream.tools.kafka_demo import run_demo as run_cluster  # Kafka takes half a second to import

    for name in ("stimulation", "metrics_port", "out", "picture", "log"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} must be left out with --kafka, got it")
    seconds = options.seconds if options.seconds is not None else _KAFKA_SECONDS
    if not 2 <= seconds <= 3600:
        raise ConfigError(f"seconds must be in [2, 3600] with --kafka, got {seconds!r}")
    config = load_config(options.config or "demo", options.set)
    with tempfile.TemporaryDirectory(prefix="neuroloop-demo-") as scratch:
        print(run_cluster(config, seconds, Path(scratch)))
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Run the simulator through the live pipeline and say how often the states were right."""
    if options.kafka and options.stimulation:
        raise ConfigError("stimulation must be left out with --kafka (a demo of its own), got both")
    if options.kafka:
        return run_kafka_demo(options)
    seconds = options.seconds if options.seconds is not None else SECONDS if options.stimulation else 20.0
    if not 0 < seconds <= 86400:
        raise ConfigError(f"seconds must be in (0, 86400], got {seconds!r}")
    quiet_library()
    name = options.config or (PRESET if options.stimulation else "demo")
    config = live_config(load_config(name, options.set), options.metrics_port, log=options.log)
    set_up_logs(config.process.log)
    if config.source.kind != "simulator":
        raise ConfigError(f"source.kind must be 'simulator' for a demo, got {config.source.kind!r}")
    _log.info("starting the simulated amplifier; the first time kernels are compiled, half a minute")
    with tempfile.TemporaryDirectory(prefix="neuroloop-demo-") as scratch:
        out = options.out or Path(scratch) / "run"
        stimulation = StimulationDemo(config, out, seconds) if options.stimulation else None
        if stimulation is not None:
            config = stimulation.config
        run = RunOptions(
            out=out,
            seconds=seconds,
            show=config.process.log == "human",
            title="neuroloop demo",
            picture=options.picture,
            recorded=config,
        )
        with VirtualAmplifier(config) as amplifier:
            try:
                Supervisor(amplifier.config, run).run(
                    on_ready=None if stimulation is None else lambda: stimulation.begin(out)
                )
            finally:
                if stimulation is not None:
                    stimulation.end()
        for line in summary_lines(out):
            print(line)
        if stimulation is not None:
            print(stimulation.proof(out))
    return 0


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def summary_lines(out: Path) -> list[str]:
    """Say what a run's files hold: what came, how fast it was, what was decided, how much of it was right."""
    summary, rows = _read(out / SUMMARY_FILE), _read(out / LATENCY_FILE)["rows"]
    events = [json.loads(line) for line in (out / EVENTS_FILE).read_text(encoding="utf-8").splitlines()]
    stream, samples = summary["stream"], summary["samples"]
    lines = [
        f"{samples['in']} samples of {stream['n_channels']} channels at {stream['sfreq']:g} Hz "
        f"({samples['in'] / stream['sfreq']:.1f} s), {sum(samples['missing'].values())} missing"
    ]
    for name, text in (("loop", "loop"), ("sample_in_to_event_out", "sample in to decision out")):
        if name in rows:
            row = rows[name]
            lines.append(
                f"{text}: p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us, p99.9 {row['p99.9_us']:.0f} us"
            )
    states = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in summary["states"].items())
    predictions = [event for event in events if event["type"] == "prediction"]
    lines.append(f"{len(predictions)} decisions; {states or 'no states'}")
    if predictions:
        lines.append(f"{agreement(events, stream['sfreq']):.0%} of the decisions name the simulator's true state")
    return lines


def agreement(events: list[dict[str, Any]], sfreq: float) -> float:
    """Return the share of decisions that name the state in the middle of their window, by the simulator's markers."""
    truth = [(event["sample"], event["label"]) for event in events if event["type"] == "marker"]
    hits = n = 0
    for event in events:
        if event["type"] == "prediction":
            middle = event["sample"] - round(event["delay_s"] * sfreq)
            before = [label for sample, label in truth if sample <= middle]
            n += 1
            hits += bool(before) and before[-1] == event["label"]
    return hits / n if n else 0.0
