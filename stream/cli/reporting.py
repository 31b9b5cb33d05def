"""``neuroloop report``: a run as one self-contained HTML page."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from neuroloop.config.errors import ConfigError, RecordingError, StreamMismatch
from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.page import make_page, write_page
from neuroloop.sinks.report.reading import RunFiles, read_run
from neuroloop.sinks.report.signals import Signals
from neuroloop.sinks.report.text import as_number
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, Recording, select_stream
from neuroloop.stream.sources.recordings.run_parts import SIGNALS_FILE

REPORT_FILE = "report.html"


def run_report(options: argparse.Namespace) -> int:
    """Write the page and print its name."""
    if not 0 < options.around <= 600:
        raise ConfigError(f"around must be in (0, 600] s, got {options.around!r}")
    out = options.out if options.out is not None else options.run_folder / REPORT_FILE
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"out must be a file whose name ends in .html, got {str(out)!r}")
    run = read_run(options.run_folder, EventDigest(options.event))
    faults: list[str] = []
    signals = _find_signals(options, run, faults)
    channels = _channels(options.channels, signals)
    page = make_page(run, signals, wanted=options.event, channels=channels, around_s=options.around, faults=faults)
    write_page(page, out)
    for fault in (*run.faults, *faults):
        print(f"note: {fault}", file=sys.stderr)
    print(out)
    return 0


def _find_signals(options: argparse.Namespace, run: RunFiles, faults: list[str]) -> Signals | None:
    """Open the signals: those named must be good, those of the run folder may be broken, which is said."""
    if options.signals is not None:
        return _signals_of(open_recording(options.signals), options.select or _stream_name(run), run, options.select)
    own = options.run_folder / SIGNALS_FILE
    if not own.is_file():
        if options.select is not None:
            raise ConfigError(f"select must be left out for a run without {SIGNALS_FILE}, got {options.select!r}")
        return None
    try:
        return _signals_of(open_recording(options.run_folder), options.select or _stream_name(run), run, options.select)
    except (RecordingError, StreamMismatch) as error:
        if options.select is not None:
            raise
        faults.append(str(error))
        return None


def _stream_name(run: RunFiles) -> str | None:
    """Return the name of the stream that the events are about."""
    return run.events.streams.names[0] if run.events is not None and run.events.streams.names else None


def _signals_of(recording: Recording, name: str | None, run: RunFiles, asked: str | None) -> Signals:
    """Choose the run's own stream where the recording has one of its name, and number its samples as the run did."""
    if asked is None and name is not None and name not in [one.info.name for one in recording.streams]:
        name = None
    stream = select_stream(recording, name)
    info = stream.info
    origin = f"{recording.path.name}, stream {info.name}"
    return Signals(origin, stream.data, _numbers(stream, run), stream.valid, info.ch_names, info.ch_units, info.sfreq)


def _numbers(stream: RecordedStream, run: RunFiles) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Number the samples as the events do.

    By the file's own numbers where it has them. Otherwise counted from the sample and stamp at which the run's stream
    began; by the stamps, where the run had gaps that a count would not see.
    """
    if stream.sample_numbers is not None:
        return np.asarray(stream.sample_numbers, np.int64)
    start = run.events.start if run.events is not None else None
    first = int(start["sample"]) if start is not None else stream.first_sample
    anchor = as_number(start.get("time")) if start is not None else None
    stamps, sfreq = stream.timestamps, stream.info.sfreq
    is_even = bool(np.isfinite(stamps).all()) and not np.any(np.diff(stamps) < 0)
    if anchor is None or not is_even or sfreq <= 0 or not len(stamps):
        return first + np.arange(len(stamps), dtype=np.int64)
    if run.events is not None and not len(run.events.gaps.start):
        before = int(np.searchsorted(stamps, anchor - 0.5 / sfreq))
        return first - before + np.arange(len(stamps), dtype=np.int64)
    return first + np.round(np.clip((stamps - anchor) * sfreq, -(2.0**52), 2.0**52)).astype(np.int64)


def _channels(text: str | None, signals: Signals | None) -> list[int] | None:
    """Find the named channels."""
    if text is None:
        return None
    if signals is None:
        raise ConfigError(f"channels must be left out for a run without signals, got {text!r}")
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in signals.names]
    if unknown or not wanted:
        known = ", ".join(signals.names[:64])
        raise ConfigError(
            f"channels must be channels of the signals ({known}), got {unknown[0] if unknown else text!r}"
        )
    return [signals.names.index(name) for name in wanted]
