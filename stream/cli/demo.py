"""``neuroloop demo``: everything on one machine, no hardware."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from config.loading import load_config
from config.tree import Config
from sinks.terminal import TerminalView
from stream.app import Built, build, load_classifier
from stream.contracts import ConfigError, Event
from stream.engine import Engine
from stream.latency import LatencyTable
from stream.sources.simulator import Simulator

_TICK_S = 0.02


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo``."""
    parser = commands.add_parser("demo", help="everything on one machine, no hardware", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, metavar="N", help="how long (default: %(default)g)")
    parser.add_argument("--config", default="demo", help="preset or YAML file with a simulator (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="keep the last view as a picture")
    parser.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    """Run the simulator through the pipeline in real time and say how often the states were right."""
    if not 0 < options.seconds <= 86400:
        raise ConfigError(f"seconds must be in (0, 86400], got {options.seconds!r}")
    config = load_config(options.config, options.set)
    if config.source.kind != "simulator":
        raise ConfigError(f"source.kind must be 'simulator' for a demo, got {config.source.kind!r}")
    print("warming up (the first time compiles the kernels, about half a minute) ...", file=sys.stderr)
    simulator = Simulator(config.source.simulator)
    bundle = load_classifier(config)
    warm_up(config, simulator)
    latency = LatencyTable(["loop"])
    built = build(config, simulator.info, bundle=bundle)
    view = TerminalView.if_interactive(simulator.info, title="neuroloop demo")
    if view is None and options.picture is not None:
        view = TerminalView(simulator.info, title="neuroloop demo")
    if view is not None:
        view.set_classes(built.classes)
    engine = Engine(config.source, built.pipeline)
    events: list[Event] = []
    with view or nullcontext():
        _run(engine, simulator, options.seconds, latency, view, events)
    if view is not None and options.picture is not None:
        view.save_picture(options.picture)
    _say(engine, built, simulator, latency, events)
    return 0


def warm_up(config: Config, simulator: Simulator) -> None:
    """Run a second of signal through a pipeline of its own, so that nothing compiles in the stream."""
    engine = Engine(config.source, build(config, simulator.info).pipeline)
    n_samples = round(3.0 * simulator.info.sfreq)
    data, timestamps = simulator.generate(0, n_samples)
    for start in range(0, n_samples, 50):
        engine.push(data[start : start + 50], timestamps[start : start + 50])


def _run(
    engine: Engine,
    simulator: Simulator,
    seconds: float,
    latency: LatencyTable,
    view: TerminalView | None,
    events: list[Event],
) -> None:
    """Feed samples as their time comes."""
    sfreq = simulator.info.sfreq
    n_total, n_done = round(seconds * sfreq), 0
    begin = time.perf_counter()
    engine.add_markers(simulator.markers(0, n_total))
    while n_done < n_total:
        due = min(n_total, int((time.perf_counter() - begin) * sfreq))
        if due == n_done:
            time.sleep(_TICK_S)
            continue
        data, timestamps = simulator.generate(n_done, due - n_done)
        start = time.perf_counter_ns()
        new = engine.push(data, timestamps)
        latency.add(0, time.perf_counter_ns() - start)
        n_done = due
        events += new
        if view is not None:
            row = latency.summary()["loop"]
            extra = {"loop": f"p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us, max {row['max_us']:.0f} us"}
            view.update(new, n_done, time.perf_counter() - begin, extra)


def _say(engine: Engine, built: Built, simulator: Simulator, latency: LatencyTable, events: list[Event]) -> None:
    """Print the summary: what came, what was decided, how much of it agrees with the simulator's truth."""
    books = engine.books()
    info = simulator.info
    print(
        f"{books.received} samples of {info.n_channels} channels at {info.sfreq:g} Hz "
        f"({books.received / info.sfreq:.1f} s), {sum(books.missing.values())} missing"
    )
    row = latency.summary()["loop"]
    print(f"loop p50 {row['p50_us']:.0f} us, p99 {row['p99_us']:.0f} us, max {row['max_us']:.0f} us a chunk")
    predictions = [event for event in events if event.type == "prediction"]
    states = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in sorted(engine.state_seconds().items()))
    print(f"{len(predictions)} decisions; {states or 'no states'}")
    half_window = round(built.plan.delay_s * info.sfreq)
    hits = sum(simulator.state_at(max(0, event.sample - half_window)) == event.values["label"] for event in predictions)
    if predictions:
        print(f"{hits / len(predictions):.0%} of the decisions name the simulator's true state")
