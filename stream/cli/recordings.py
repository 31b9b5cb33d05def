"""What commands that read a recording have in common: the options, the opening, the choice of the stream."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from neuroloop.config.source import SourceSettings, TimingSettings, built_in
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, Recording, select_stream
from neuroloop.stream.sources.recordings.run_script import RunScript
from neuroloop.stream.sources.units import assume_unit


def open_selected(
    path: Path, options: argparse.Namespace, source: SourceSettings | None = None
) -> tuple[Recording, RecordedStream, list[Marker]]:
    """Open a recording and choose one stream of it, with the markers on its clock.

    What the command line leaves open follows from ``source``: its ``select`` and ``csv_sfreq``, or, where it is of kind
    ``lsl``, the streams that answer to its name, type and id; if the recording has none such, any.
    """
    source = None if source is None else built_in(source)
    sfreq = options.sfreq if options.sfreq is not None or source is None else source.csv_sfreq
    recording = open_recording(path, sfreq=sfreq, adapter=options.adapter)
    for note in recording.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.select is None and source is not None and recording.script is None:
        stream = select_stream(_asked_for(recording, source), source.select)
    else:
        stream = select_stream(recording, options.select)  # of a run: what it ran on, whatever it was called live
    markers = list(recording.markers_for(stream))
    info = assume_unit(stream.info, source.units if source is not None else None)
    return recording, dataclasses.replace(stream, info=info), markers


def script_for(recording: Recording, stream: RecordedStream) -> RunScript | None:
    """Return what a recorded run was told, if ``stream`` is what it ran on."""
    script = recording.script
    return script if script is not None and script.stream == stream.info.name else None


def _asked_for(recording: Recording, source: SourceSettings) -> Recording:
    """Return the recording with those streams only that the live source would take, or as it is if there are none."""
    wanted = {"name": source.name, "type": source.type, "source_id": source.source_id}
    given = {key: text.lower() for key, text in wanted.items() if text is not None}
    streams = tuple(
        stream
        for stream in recording.streams
        if stream.n_samples and all(getattr(stream.info, key).lower() == text for key, text in given.items())
    )
    if streams or not given:
        return recording if not given else dataclasses.replace(recording, streams=streams)
    asked = ", ".join(f"{key} {wanted[key]!r}" for key in given)
    print(f"note: {recording.path.name} has no stream of {asked}, which the configuration asks for", file=sys.stderr)
    return recording


def as_recording_source(config: Config, path: Path, options: argparse.Namespace) -> Config:
    """Return the configuration with the recording as its source; how samples are numbered stays as it was."""
    old = built_in(config.source)
    source = SourceSettings(
        kind="recording",
        path=path.name,
        select=options.select if options.select is not None else old.select,
        csv_sfreq=options.sfreq if options.sfreq is not None else old.csv_sfreq,
        channels=old.channels,
        units=old.units,
        staleness=old.staleness,
        max_backlog_s=old.max_backlog_s,
        **old.model_dump(include=set(TimingSettings.model_fields)),
    )
    return config.model_copy(update={"source": source})
