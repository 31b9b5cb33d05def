"""``neuroloop run``, ``neuroloop play`` and ``neuroloop streams``: live, over Lab Streaming Layer."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.stream.assembly.drift_monitors import with_stream_baselines
from neuroloop.stream.cli.recordings import open_selected
from neuroloop.stream.cli.shared_options import live_config, read_speed
from neuroloop.stream.live.process_logs import set_up_logs
from neuroloop.stream.live.supervisor import RunOptions, Supervisor
from neuroloop.stream.live.virtual_amplifier import VirtualAmplifier
from neuroloop.stream.playback.faults.faulty_feed import FaultyFeed
from neuroloop.stream.playback.faults.spec import parse_faults
from neuroloop.stream.playback.faults.truth import FaultLog
from neuroloop.stream.playback.feed import Feed, RecordingFeed, SimulatorFeed
from neuroloop.stream.playback.player import Player
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.sources.lsl.network import list_streams
from neuroloop.stream.sources.simulator import Simulator

_log = logging.getLogger("neuroloop.play")


def run_run(options: argparse.Namespace) -> int:
    """Run until the stream ends, the time is up, or Ctrl-C."""
    quiet_library()
    config = live_config(
        load_config(options.config, options.set), options.metrics_port, record=options.record, log=options.log
    )
    set_up_logs(config.process.log)
    _check_seconds(options.seconds)
    if options.rebaseline:
        config = with_stream_baselines(config)
    run = RunOptions(
        out=options.out,
        seconds=options.seconds,
        show=config.process.log == "human",
        title=f"neuroloop run {config.name}",
        with_host=options.host,
        recorded=config,
    )
    with VirtualAmplifier(config) as amplifier:
        Supervisor(amplifier.config, run).run()
    if options.out is not None:
        print(options.out)
    return 0


def _feed(options: argparse.Namespace) -> Feed:
    """Open what is to be played."""
    if options.recording == "simulator":
        if options.loop or any(value is not None for value in (options.select, options.sfreq, options.adapter)):
            raise ConfigError(
                "--loop, --select, --sfreq and --adapter must be left out for the simulator, they belong to recordings"
            )
        _check_seconds(options.seconds)
        overrides = [f"source.simulator.{pair}" for pair in options.set]
        if options.seconds is not None:
            overrides.append(f"source.simulator.duration_s={options.seconds!r}")
        return SimulatorFeed(Simulator(load_config("demo", overrides).source.simulator))
    if options.set or options.seconds is not None:
        raise ConfigError("--set and --seconds must be left out for a recording, they belong to 'simulator'")
    _, stream, markers = open_selected(Path(options.recording), options)
    return RecordingFeed(stream, markers, loop=options.loop)


def _check_seconds(seconds: float | None) -> None:
    """Refuse a length that is none."""
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ConfigError(f"seconds must be a number above 0, got {seconds!r}")


def run_play(options: argparse.Namespace) -> int:
    """Play until the end, or Ctrl-C."""
    set_up_logs(options.log or "human")
    quiet_library()
    speed = read_speed(options.speed)
    if options.chunk < 1:
        raise ConfigError(f"chunk must be at least 1, got {options.chunk!r}")
    faults = parse_faults(options.fault)
    if options.fault_log is not None and not faults:
        raise ConfigError("fault-log must be left out without --fault, there is nothing to log")
    try:
        feed = _feed(options)
        if faults:
            feed = FaultyFeed(feed, faults, None if options.fault_log is None else _open_log(options.fault_log).write)
        player = Player(
            feed,
            name=options.name,
            chunk_samples=options.chunk,
            speed=speed,
            stamps="clock" if options.restamp else "recording",
            value_format="float32" if options.float32 else "double64",
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: player.stop())
    try:
        _log.info("%s: %d channels at %g Hz", player.name, feed.info.n_channels, feed.info.sfreq)
        if options.wait and not player.wait_for_consumer():
            return 0
        report = player.run()
        _log.info("%d samples and %d markers in %.3f s", report.n_samples, report.n_markers, report.elapsed_s)
    finally:
        player.close()
    return 0


def _open_log(path: Path) -> FaultLog:
    """Make the file of injected faults; every line is flushed, the process's end closes it."""
    try:
        return FaultLog(path)
    except OSError as error:
        raise ConfigError(
            f"fault-log must be a file that can be written ({error.strerror}), got {str(path)!r}"
        ) from error


def run_streams(options: argparse.Namespace) -> int:
    """Print one line per stream."""
    quiet_library()
    if not 0 < options.wait <= 60:
        raise ConfigError(f"wait must be in (0, 60] s, got {options.wait!r}")
    found = list_streams(options.wait)
    for stream in found:
        print(stream)
    if not found:
        print("no stream answers on this network", file=sys.stderr)
    return 0
