"""``neuroloop latency``: close the loop on this machine and say how long it takes, from sample in to output on."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import put_json
from neuroloop.stream.assembly.machine import machine_settings, package_versions
from neuroloop.stream.cli.shared_options import live_config
from neuroloop.stream.live.process_logs import set_up_logs
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.tools.latency.measure import Measured, check, measure
from neuroloop.stream.tools.latency.picture import check_pictures, save_histogram
from neuroloop.stream.tools.latency.wired import measure_wired

REPORT_FILE = "latency.json"
PICTURE_FILE = "latency.png"
VALUES_FILE = "latency.npz"
"""What the picture shows, in nanoseconds, every value."""
_ROWS = {
    "system": "system: newest sample's push to output edge",
    "system_without_log": "the same without the wait for the log",
    "command": "to the return of the device's write, log apart",
    "to_gate": "  push to gate",
    "gate": "  gate",
    "log": "  log on the disk (fsync)",
    "device": "  device",
    "decision": "every decision: push to gate",
    "onset_to_output": "onset to output (with the algorithmic delay)",
    "stop": "operator's stop: request to output off",
}


def run_latency(options: argparse.Namespace) -> int:
    """Measure, print the table, keep the figures."""
    for name in ("events", "stops", "null"):
        value = getattr(options, name)
        least = 1 if name == "events" else 0
        if value is not None and not least <= value <= 1_000_000:
            raise ConfigError(f"{name} must be in [{least}, 1000000], got {value!r}")
    picture = options.picture or (options.out / PICTURE_FILE if options.out is not None else None)
    if picture is not None:
        check_pictures()
    quiet_library()
    config = live_config(load_config(options.config, options.set), None, log=options.log or "human")
    set_up_logs(config.process.log)
    with ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroloop-latency-")))
        _make_empty(folder)
        if options.loopback_channel is not None:
            record, series = measure_wired(config, folder, channel=options.loopback_channel, n_events=options.events)
            _show_wired(record)
        else:
            record, series = _measure_here(config, folder, options)
        record = {"config": config.name, "machine": machine_settings(), "versions": package_versions(), **record}
        if options.out is not None:
            put_json(folder / REPORT_FILE, record)
            values: dict[str, Any] = {name.replace(" ", "_"): one for name, one in series.items()}
            np.savez_compressed(folder / VALUES_FILE, **values)
        if picture is not None:
            title = f"Closed loop, {config.name}: newest sample's push to output edge"
            save_histogram(picture, series, title=title, note=_note(record))
            print(picture)
    return 0


def _measure_here(
    config: Config, folder: Path, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """Measure the pipeline, then the null pipeline, each against the simulated device."""
    check(config)
    n_null = options.events if options.null is None else options.null
    full = measure(config, folder / "pipeline", kind="pipeline", n_events=options.events, n_stops=options.stops,
                   seed=options.seed)  # fmt: skip
    null: Measured | None = None
    if n_null:
        null = measure(config, folder / "null", kind="null", n_events=n_null, n_stops=0, seed=options.seed + 1)
    simulator = config.source.simulator
    record: dict[str, Any] = {
        "signal": {
            "channels": simulator.n_channels,
            "sfreq": simulator.sfreq,
            "chunk_samples": 1,
            "seed": options.seed,
        },
        "definition": "system latency: from the push of the newest sample that a decision used to the edge of the "
        "stimulator's output, both on this machine's monotonic clock; the algorithmic delay is not in it",
        "pipeline": full.record(),
        "null": None if null is None else null.record(),
    }
    series = {"system": full.series()["system"], "without the log": full.series()["system_without_log"]}
    if null is not None:
        series["null pipeline"] = null.series()["system"]
    series["operator's stop"] = full.stops_ns
    _show("pipeline", record["pipeline"])
    if record["null"] is not None:
        _show("null pipeline", record["null"])
    return record, series


def _show(name: str, record: Mapping[str, Any]) -> None:
    """Print the table of one measurement."""
    parts = record["algorithmic_delay_s"]
    print(
        f"{name}: algorithmic delay {parts['total'] * 1e3:.1f} ms; {record['answered']} of {record['onsets']} onsets "
        f"answered, {record['false']} doses without an onset"
    )
    for reason, n in record["interruptions"].items():
        print(f"interrupted {n} times: {reason}")
    table = Table(box=None, pad_edge=False)
    for column in ("microseconds", "n", "p50", "p95", "p99", "p99.9", "max", "IQR", "jitter"):
        table.add_column(column, justify="left" if column == "microseconds" else "right", no_wrap=True)
    for key, text in _ROWS.items():
        one = record["latency"].get(key, {"n": 0})
        if one["n"]:
            cells = (one[f"{cell}_us"] for cell in ("p50", "p95", "p99", "p99.9", "max", "iqr", "jitter"))
            table.add_row(text, f"{one['n']}", *(f"{cell:.0f}" for cell in cells))
    Console(width=140).print(table)


def _show_wired(record: Mapping[str, Any]) -> None:
    """Print the figures of a wired loop."""
    one = record["latency"]["wired"]
    seen = f"wired loop: {one['n']} of {record['doses']} doses seen on {record['channel']}"
    if one["n"]:
        seen += (
            f"; p50 {one['p50_us'] / 1e3:.2f} ms, p99 {one['p99_us'] / 1e3:.2f} ms, max {one['max_us'] / 1e3:.2f} ms"
        )
    print(f"{seen}; resolution {record['resolution_us'] / 1e3:.2f} ms")


def _make_empty(folder: Path) -> None:
    """Make the folder, or see that it is empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigError(f"out must be a folder that can be made, got {str(folder)!r}: {error.strerror}") from error
    if held is not None:
        raise ConfigError(f"out must be a new or empty folder, got {str(folder)!r}, which holds {held.name!r}")


def _note(record: Mapping[str, Any]) -> str:
    """Say under what conditions the figures hold."""
    machine = record["machine"]
    return f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['system']} {machine['kernel']}"
