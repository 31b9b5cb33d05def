"""``neuroloop run``, ``neuroloop play`` and ``neuroloop streams``: live, over Lab Streaming Layer."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from config.errors import ConfigError
from config.loading import load_config
from config.tree import Config
from stream.cli.recordings import add_recording_options, open_selected
from stream.faults.feed import FaultyFeed
from stream.faults.spec import parse_faults
from stream.faults.truth import FaultLog
from stream.logs import LOG_KINDS, LogKind, set_up_logs
from stream.monitors import with_stream_baselines
from stream.player import Player
from stream.runner.amplifier import Amplifier
from stream.runner.supervisor import RunOptions, Supervisor
from stream.sources.feed import Feed, RecordingFeed, SimulatorFeed
from stream.sources.lsl.library import quiet_library
from stream.sources.lsl.network import list_streams
from stream.sources.simulator import Simulator

_log = logging.getLogger("neuroloop.play")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``run``, ``play`` and ``streams``."""
    run = commands.add_parser("run", help="run a pipeline on a live stream", description="Run a pipeline live.")
    run.add_argument("config", metavar="CONFIG", help="preset or YAML file")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    run.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds of stream")
    run.add_argument("--out", type=Path, metavar="DIR", help="new or empty folder for the run")
    run.add_argument("--record", action="store_true", help="keep the signals in DIR/signals.xdf, for an exact replay")
    run.add_argument("--metrics-port", type=int, metavar="P", help="serve Prometheus metrics (usual: 9108)")
    add_log_option(run)
    run.add_argument("--host", action="store_true", help="name this machine in the run's files")
    run.add_argument("--rebaseline", action="store_true", help="drift monitors take new baselines from this stream")
    run.set_defaults(run=run_run)
    play = commands.add_parser("play", help="offer a recording as an LSL stream", description="Play a recording.")
    play.add_argument("recording", metavar="RECORDING", help="a recording, or 'simulator'")
    add_recording_options(play)
    play.add_argument("--name", metavar="N", help="name on the network (default: the stream's own)")
    play.add_argument("--speed", default="1", metavar="max|X", help="multiple of real time (default: 1)")
    play.add_argument("--chunk", type=int, default=1, metavar="N", help="samples pushed at once (default: 1)")
    play.add_argument("--loop", action="store_true", help="begin again at the end")
    play.add_argument("--wait", action="store_true", help="wait for the first consumer")
    play.add_argument("--float32", action="store_true", help="send single precision")
    play.add_argument("--restamp", action="store_true", help="send this machine's clock in place of the recording's")
    play.add_argument("--fault", action="append", default=[], metavar="SPEC", help="KIND@START[+DURATION][:VALUE];...")
    play.add_argument("--fault-log", type=Path, metavar="FILE", help="write the injected truth as JSON lines")
    play.add_argument("--seconds", type=float, metavar="N", help="length of the simulated stream")
    play.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the simulator")
    add_log_option(play)
    play.set_defaults(run=run_play)
    streams = commands.add_parser("streams", help="list what is on the network", description="List LSL streams.")
    streams.add_argument("--wait", type=float, default=1.5, metavar="S", help="how long to listen (default: 1.5)")
    streams.set_defaults(run=run_streams)


def add_log_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--log``."""
    parser.add_argument("--log", choices=LOG_KINDS, help="json: one object a line on standard error (default: human)")


def live_config(
    config: Config, metrics_port: int | None, *, record: bool = False, log: LogKind | None = None
) -> Config:
    """Return the configuration with what the command line says of metrics, the recorder and the log."""
    if log is not None:
        config = config.model_copy(update={"process": config.process.model_copy(update={"log": log})})
    if record:
        recorder = config.recorder.model_copy(update={"enabled": True})
        config = config.model_copy(update={"recorder": recorder})
    if metrics_port is None:
        return config
    if not 0 <= metrics_port <= 65535:
        raise ConfigError(f"metrics-port must be in [0, 65535], got {metrics_port!r}")
    return config.model_copy(update={"metrics": config.metrics.model_copy(update={"port": metrics_port})})


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
    with Amplifier(config) as amplifier:
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
    speed = _speed(options.speed)
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


def _speed(text: str) -> float | None:
    """Read ``max`` or a positive number."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigError(f"speed must be 'max' or a number above 0, got {text!r}")
    return speed


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
