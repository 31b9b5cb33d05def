"""What commands that read a recording have in common: the options, the opening, the choice of the stream."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from config.source import SourceSettings
from config.tree import Config
from stream.contracts import Marker
from stream.sources.recordings.opening import open_recording
from stream.sources.recordings.recording import RecordedStream, Recording, select_stream


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which stream of a file, and how to read it."""
    parser.add_argument("--select", metavar="NAME|TYPE|ID", help="which stream of the recording")
    parser.add_argument("--sfreq", type=float, metavar="HZ", help="rate of a text recording without a time column")
    parser.add_argument("--adapter", metavar="NAME", help="read the file with this named adapter")


def open_selected(
    path: Path, options: argparse.Namespace, config: Config
) -> tuple[Recording, RecordedStream, list[Marker]]:
    """Open a recording and choose one stream of it, with the markers on its clock."""
    recording = open_recording(path, sfreq=options.sfreq, adapter=options.adapter)
    for note in recording.notes:
        print(f"note: {note}", file=sys.stderr)
    stream = select_stream(recording, options.select)
    return recording, stream, list(recording.markers_for(stream))


def as_recording_source(config: Config, path: Path, options: argparse.Namespace) -> Config:
    """Return the configuration with the recording as its source; how samples are numbered stays as it was."""
    old = config.source
    source = SourceSettings(
        kind="recording",
        path=path.name,
        select=options.select,
        csv_sfreq=options.sfreq,
        timing=old.timing,
        gap_tolerance_s=old.gap_tolerance_s,
        fill=old.fill,
        reset_after_s=old.reset_after_s,
    )
    return config.model_copy(update={"source": source})
