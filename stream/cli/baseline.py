"""``neuroloop baseline``: make the baselines of drift monitors from a recording, and look at them."""

from __future__ import annotations

import argparse
import sys

from neuroloop.config.errors import ConfigError, RecordingError, StreamEnded
from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.processors.drift.baseline import (
    COUNT,
    KURTOSIS,
    LOG_RHO,
    LOG_SCALE,
    MEAN,
    MEAN_RHO,
    MEAN_SCALE,
    STD,
    TAU_MEAN,
    TAU_SQUARE,
    Baseline,
    read_baselines,
    write_baselines,
)
from neuroloop.processors.drift.limits import MIN_BLOCKS
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.stream.assembly.build import build
from neuroloop.stream.cli.recordings import open_selected
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.recordings.replay_source import RecordingSource

_SHOWN = 16


def make_baselines(config: Config, stream: RecordedStream) -> dict[str, Baseline]:
    """Run the pipeline over a recording and return the baseline of every monitor, by its name.

    Raises
    ------
    ConfigError
        If the configuration has no monitors.
    RecordingError
        If the recording fills no window of a monitor.
    """
    if not config.drift:
        raise ConfigError("drift must have at least one monitor to make a baseline for, got none")
    seconds = len(stream.timestamps) / stream.info.sfreq if stream.info.sfreq > 0 else 0.0
    monitors = []
    for one in config.drift:
        if seconds < one.window_s:
            raise RecordingError(
                f"recording must be longer than window_s={one.window_s:g} of {one.name!r}, got {seconds:g} s"
            )
        whole = one.baseline.model_copy(update={"source": "stream", "path": None, "minutes": seconds / 60.0})
        monitors.append(one.model_copy(update={"baseline": whole}))
    built = build(config.model_copy(update={"drift": tuple(monitors)}), stream.info)
    engine = Engine(config.source, built.pipeline, first_sample=stream.first_sample)
    source = RecordingSource(stream)
    while True:
        try:
            engine.push_block(source.read(0.0))
        except StreamEnded:
            break
    found: dict[str, Baseline] = {}
    for monitor in built.pipeline.monitors:
        baseline = monitor.collected() if isinstance(monitor, DriftMonitor) else None
        if baseline is None:
            raise RecordingError(f"recording must fill a window of monitor {monitor.name!r} to 80 %, got none")
        found[monitor.name] = baseline
    return found


def run_make(options: argparse.Namespace) -> int:
    """Write the baselines of a recording; an existing file is never replaced."""
    if options.out.exists():
        raise ConfigError(f"out must be a new file, got {str(options.out)!r}, which exists")
    config = load_config(options.config, options.set)
    _, stream, _ = open_selected(options.recording, options, config.source)
    baselines = make_baselines(config, stream)
    write_baselines(options.out, baselines)
    for name, one in baselines.items():
        print(f"{name}: {one.n_windows} windows, {_verdict(one)}; id {one.id}", file=sys.stderr)
    print(options.out)
    return 0


def _verdict(baseline: Baseline) -> str:
    """Say whether the rules that learn from windows can use it."""
    if baseline.n_windows >= MIN_BLOCKS:
        return "enough for every rule"
    return f"too few for the rules empirical, ewma, cusum, adwin and page_hinkley (they need {MIN_BLOCKS})"


def run_show(options: argparse.Namespace) -> int:
    """Print every baseline of a file as a table."""
    for name, one in read_baselines(options.file).items():
        made = one.made_for
        window_s, hop_s = made.window / made.sfreq, made.hop / made.sfreq
        print(
            f"{name}: {made.watch} of tap {made.tap!r}, {made.sfreq:g} rows/s, window {window_s:g} s, hop {hop_s:g} s"
        )
        print(f"  {one.n_windows} windows, {_verdict(one)}")
        print(f"  id {one.id}")
        print(
            f"  {'column':<16}{'rows':>9}{'mean':>13}{'std':>13}{'tau':>7}{'tau^2':>7}{'kurt':>7}"
            f"{'sd(mean)':>12}{'sd(ln std)':>12}{'rho':>6}{'rho':>6}"
        )
        for column, unit, row in list(zip(made.columns, made.units, one.table.T, strict=True))[:_SHOWN]:
            print(
                f"  {f'{column} {unit}'.strip():<16}{row[COUNT]:>9.0f}{row[MEAN]:>13.5g}{row[STD]:>13.5g}"
                f"{row[TAU_MEAN]:>7.1f}{row[TAU_SQUARE]:>7.1f}{row[KURTOSIS]:>7.2f}"
                f"{row[MEAN_SCALE]:>12.4g}{row[LOG_SCALE]:>12.4g}{row[MEAN_RHO]:>6.2f}{row[LOG_RHO]:>6.2f}"
            )
        if len(made.columns) > _SHOWN:
            print(f"  and {len(made.columns) - _SHOWN} columns more")
    return 0
