"""What ``summary.json`` says of every shared recording: the table of ``docs/data-quality.md``.

``python -m tests.stream.sources.recordings.recording_table`` prints it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.loading import load_config
from neuroloop.config.tree import Config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.engine.engine import Books, Engine
from neuroloop.stream.replay.replay import Replay
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, Recording
from neuroloop.stream.sources.recordings.replay_source import RecordingSource
from tests.conftest import SHARED_DATA

CONFIG = """
name: rows
source: {kind: lsl, timing: auto}
stages:
  - {kind: logvar, name: logvar, window_samples: 64, hop_samples: 16}
"""
SUFFIXES = (".xdf", ".edf", ".vhdr", ".set", ".npz", ".csv", ".csv.gz", ".txt", ".txt.gz")
HEAD = (
    "| recording | stream | Hz | samples in | filled | jumped | timing | effective Hz | counted |",
    "|---|---|---|---|---|---|---|---|---|",
)
REFUSED = {
    "edf/SC4001EC-Hypnogram.edf": "it has annotations but no signals",
    "ppg-ecg/nstdb/118e12.csv": "it has no time column: give its rate with --sfreq",
    "ppg-ecg/nstdb/118e12_ann.csv": "it has no time column: give its rate with --sfreq",
    "ppg-ecg/nstdb/118e24.csv": "it has no time column: give its rate with --sfreq",
    "ppg-ecg/nstdb/118e24_ann.csv": "it has no time column: give its rate with --sfreq",
    "seizure-scalp/chb01-summary.txt": "must be numbers, a time or a marker column",
    "uci-epileptic/id_map_shared.csv": "must be numbers, a time or a marker column",
    "uci-epileptic/uci_epileptic_shared.csv": "must be numbers, a time or a marker column",
    "xdf/malformed/chunk_length_lie.xdf": "XDF file without a readable stream",
    "xdf/malformed/out_of_order_clock_offsets.xdf": "must be a recording with a data stream that has samples",
    "xdf/malformed/out_of_order_sample_chunk.xdf": "sfreq must be above 0 Hz for processing",
    "xdf/openbci-emg/handFive.xdf": "must be a recording with a data stream that has samples",
    "xdf/openbci-emg/justMarkers.xdf": "must be a recording with a data stream that has samples",
}
"""Files that a replay refuses, and what its one line says."""


def all_files(root: Path) -> list[str]:
    """Return every file that has the name of a recording, by its path below the folder."""
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    return [name for name in names if name.endswith(SUFFIXES)]


def table_config(folder: Path) -> Config:
    """Return the configuration of the table: a window stage that any rate and any channel suits."""
    path = folder / "rows.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return load_config(str(path), [])


def streams_of(recording: Recording, most: int = 4) -> Iterator[RecordedStream]:
    """Return the streams with samples, the first few of a file that has many."""
    filled = [stream for stream in recording.streams if stream.n_samples and stream.info.sfreq > 0]
    yield from filled[:most]


def first_part(stream: RecordedStream, n: int) -> RecordedStream:
    """Return the first samples of a stream."""
    numbers = None if stream.sample_numbers is None else stream.sample_numbers[:n]
    valid = None if stream.valid is None else stream.valid[:n]
    return RecordedStream(
        stream.info, stream.data[:n], stream.timestamps[:n], numbers, valid, first_sample=stream.first_sample
    )


def few_channels(stream: RecordedStream, most: int = 2) -> RecordedStream:
    """Return the stream with its first channels only; what is counted depends on one channel's NaN at most."""
    info = stream.info
    if info.n_channels <= most or not np.isfinite(stream.data).all():
        return stream
    picked = StreamInfo(
        info.name,
        info.type,
        info.source_id,
        info.sfreq,
        info.ch_names[:most],
        info.ch_types[:most],
        info.ch_units[:most],
    )
    return RecordedStream(
        picked,
        np.ascontiguousarray(stream.data[:, :most]),
        stream.timestamps,
        stream.sample_numbers,
        stream.valid,
        first_sample=stream.first_sample,
    )


def replay(
    config: Config, stream: RecordedStream, markers: list[Marker], out: Path, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Replay a stream; return its ``summary.json`` as it was written."""
    Replay(config=config, stream=stream, markers=markers, out=out, notes=notes).run()
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


def events_and_books(
    config: Config, stream: RecordedStream, markers: list[Marker], chunking: str | None
) -> tuple[list[str], Books]:
    """Push a stream through the engine of a replay; return its events as lines, and its books."""
    engine = Engine(config.source, build(config, stream.info).pipeline, first_sample=stream.first_sample)
    engine.add_markers(markers)
    source = RecordingSource(stream, chunking=chunking)
    events: list[Event] = []
    while source.n_left:
        events.extend(engine.push_block(source.read()))
    events.extend(engine.finish())
    return [canonical(event) for event in events], engine.books()


def row_of(name: str, summary: dict[str, Any]) -> str:
    """Write one row of the table."""
    stream, samples = summary["stream"], summary["samples"]
    counted = {**samples["counted"], **summary["quality"]}
    said = ", ".join(f"{key} {n}" for key, n in sorted(counted.items()) if isinstance(n, int) and n) or "-"
    cells = [
        name,
        f"{stream['name'].replace('|', '/')} ({stream['type'] or '-'}, {stream['n_channels']})",
        f"{stream['sfreq']:.6g}",
        f"{samples['in']}",
        f"{samples['missing']['filled']}",
        f"{samples['missing']['jumped']}",
        stream["timing"],
        f"{stream['effective_sfreq']:.5g}",
        said,
    ]
    return "| " + " | ".join(cells) + " |"


def rows_of(name: str, root: Path, config: Config, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Replay every stream of a file; return its row and its summary."""
    recording = open_recording(root / name)
    rows = []
    for number, stream in enumerate(streams_of(recording)):
        markers = list(recording.markers_for(stream))
        picked = few_channels(stream)
        summary = replay(config, picked, markers, folder / f"{number}", recording.notes)
        summary["stream"]["n_channels"] = stream.info.n_channels
        rows.append((row_of(name, summary), summary))
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        config = table_config(Path(scratch))
        print(*HEAD, sep="\n")
        for index, name in enumerate(all_files(SHARED_DATA)):
            if name not in REFUSED:
                for row, _ in rows_of(name, SHARED_DATA, config, Path(scratch) / f"{index}"):
                    print(row)


if __name__ == "__main__":
    main()
