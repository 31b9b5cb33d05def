"""``neuroloop replay``: the same pipeline over a recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import code_is_allowed
from neuroloop.config.loading import load_config
from neuroloop.sinks.run_folder.folder import CONFIG_FILE
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.assembly.drift_monitors import with_stream_baselines
from neuroloop.stream.cli.recordings import as_recording_source, open_selected, script_for
from neuroloop.stream.cli.shared_options import read_speed
from neuroloop.stream.replay.gate_replay import gate_events, replay_gate_alone
from neuroloop.stream.replay.replay import Listener, Replay
from neuroloop.stream.sources.recordings.run_parts import part_paths


def _dumps(texts: list[str]) -> dict[str, Path]:
    """Read ``STAGE=FILE`` pairs."""
    dumps: dict[str, Path] = {}
    for text in texts:
        stage, found, file = text.partition("=")
        if not found or not stage or not file:
            raise ConfigError(f"dump must be STAGE=FILE.npz, got {text!r}")
        if stage in dumps:
            raise ConfigError(f"dump must name each stage once, got {stage!r} again")
        if Path(file) in dumps.values():
            raise ConfigError(f"dump must name each file once, got {file!r} again")
        dumps[stage] = Path(file)
    return dumps


def _config_name(options: argparse.Namespace) -> str:
    """Return the configuration that was named, or the one of the run."""
    if options.config is not None:
        return str(options.config)
    own = options.recording / CONFIG_FILE
    if not own.is_file():
        raise ConfigError(f"config must be given for a recording that is no run folder, got {str(options.recording)!r}")
    return str(own)


def run_replay(options: argparse.Namespace) -> int:
    """Replay one recording into a run folder."""
    speed, dumps = read_speed(options.speed), _dumps(options.dump)
    allow_code = None if options.config is not None else code_is_allowed()  # nobody has named what lies in the folder
    config = load_config(_config_name(options), options.set, allow_code=allow_code)
    if options.rebaseline:
        config = with_stream_baselines(config)
    if (options.recording / AUDIT_FILE).is_file() and not part_paths(options.recording):
        summary = replay_gate_alone(options.recording, config, options.out)
        print(f"{sum(summary['events'].values())} commands and refusals; {summary['notes'][0]}", file=sys.stderr)
        print(options.out)
        return 0
    recording, stream, markers = open_selected(options.recording, options, config.source)
    listeners: list[Listener] = []
    view = TerminalView.if_interactive(stream.info, title=f"{config.name} over {options.recording.name}")
    if view is not None:
        listeners.append(lambda events, at: view.update(events, at.n_samples, at.elapsed_s))
    replay = Replay(
        config=as_recording_source(config, options.recording, options),
        stream=stream,
        markers=markers,
        out=options.out,
        chunking=options.chunk,
        speed=speed,
        dumps=dumps,
        notes=recording.notes,
        listeners=listeners,
        script=script_for(recording, stream),
        commands=gate_events(options.recording) if options.recording.is_dir() else (),
        tells_sinks=options.sinks,
    )
    if view is not None:
        with view:
            summary = replay.run()
    else:
        summary = replay.run()
    samples = summary["samples"]
    states = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in summary["states"].items())
    print(
        f"{samples['in']} samples in, {samples['processed']} processed, "
        f"{sum(samples['missing'].values())} missing; {summary['times_real_time']:.0f} x real time"
        + (f"; {states}" if states else ""),
        file=sys.stderr,
    )
    print(options.out)
    return 0
