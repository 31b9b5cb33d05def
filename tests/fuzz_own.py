"""Our own recordings, edited by somebody who knows the format: ``python -m tests.fuzz_own --n 30000 --seed 0``.

A recorded run is made once. Each try puts values that no recorder writes into the header of a stream, into a field of a
recorded event, or exchanges a part of the run; then the run is read and replayed through the engine, or refused in one
line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.live import RecorderSettings
from neuroloop.config.source import SourceSettings
from neuroloop.sinks.xdf.recorder import ReceivedMarker, RecordedRun, Recorder
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.event_lines import check_event
from neuroloop.stream.contracts.events import Event, encode
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import Pipeline
from neuroloop.stream.replay.scripted_engine import ScriptedEngine
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import select_stream
from neuroloop.stream.sources.recordings.replay_source import RecordingSource
from tests.fuzz import _chunks

_INFO = StreamInfo("amp", "EEG", "amp-1", 100.0, ("a", "b"), ("EEG", "EEG"), ("uV", "uV"))
_TEXTS = (
    *("", "-1", "0", "1", "1e308", "1e-320", "nan", "inf", "9" * 5000, "9" * 17, "[" * 50_000, "{}", "null"),
    "x" * 100_000,
    *('{"name": 5}', '{"name": "a", "sfreq": 1e308}', "data", "tap", "arrivals", "events", "channel", "stamps"),
    *("recording", "\u202e", "neuroloop-monitoring-x", "²"),
)
_VALUES: tuple[Any, ...] = (
    *(None, 5, -1, 1.5, 1e308, 10**400, 2**63, "abc", "", [], {}, True, "x" * 100_000, [[]] * 3),
    *("a/²", "a/" + "9" * 5000),
)
_EVENTS = (
    Event("stream", "amp", 0, 0, 50.0, 0.0, {"what": "start", "sfreq": 100.0, "channels": ["a", "b"]}),
    Event("skip", "amp", 21, 0, 50.2, 0.0, {"policy": "refuse", "n": 9, "first_arrival": 11, "first_skipped": 12}),
    Event("stream", "amp", 25, 1, 50.25, 0.0, {"what": "lost"}),
    Event("marker", "amp", 26, 0, 50.26, 0.0, {"label": "left"}),
)


def _record(folder: Path, info: StreamInfo, lines: list[str], first: int = 0) -> bytes:
    recorder = Recorder(folder, RecordedRun("pipe", info, True, {}, host="lab"), RecorderSettings(enabled=True))
    numbers = np.arange(first, first + 40)
    data = np.zeros((40, info.n_channels + 1))
    data[:, -1] = 10_000 + numbers
    recorder.add_rows(data, 50.0 + numbers / 100.0, first)
    recorder.add_markers([ReceivedMarker(0, 0, 50.1, "left", "keys"), ReceivedMarker(1, 12, 50.2, "right", "box")])
    recorder.add_events(lines, [50.0] * len(lines))
    recorder.close()
    content = (folder / "signals.xdf").read_bytes()
    (folder / "signals.xdf").unlink()
    return content


@cache
def _whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _record(Path(folder), _INFO, [encode(event.identity()) for event in _EVENTS])


def _edit_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Put another text into one element of a stream's header."""
    chunks = _chunks(content)
    headers = [i for i, one in enumerate(chunks) if one[1 + one[0] : 3 + one[0]] == b"\x02\x00"]
    which = headers[int(rng.integers(len(headers)))]
    chunk = chunks[which]
    at = 3 + chunk[0]
    root = ElementTree.fromstring(chunk[at + 4 :])
    elements = [one for one in root.iter() if one.text and not len(one)]
    elements[int(rng.integers(len(elements)))].text = _TEXTS[int(rng.integers(len(_TEXTS)))]
    body = chunk[at - 2 : at + 4] + ElementTree.tostring(root)
    chunks[which] = b"\x08" + len(body).to_bytes(8, "little") + body
    return content[:4] + b"".join(chunks)


def _edit_event(folder: Path, rng: np.random.Generator) -> bytes:
    """Record events of which one holds, in one field or in place of itself, what no event holds."""
    lines = [encode(event.identity()) for event in _EVENTS]
    which = int(rng.integers(len(lines)))
    record = json.loads(lines[which])
    value = _VALUES[int(rng.integers(len(_VALUES)))]
    names = [*record, ""]
    name = names[int(rng.integers(len(names)))]
    if not name:
        lines[which] = "[" * 50_000 if rng.random() < 0.3 else json.dumps(value)
    else:
        record[name] = value
        if rng.random() < 0.2:
            del record[name]
        lines[which] = json.dumps(record)
    return _record(folder, _INFO, lines)


def _write(folder: Path, rng: np.random.Generator) -> None:
    """Write one edited run."""
    choice = rng.random()
    content = _whole()
    if choice < 0.45:
        content = _edit_event(folder, rng)
    else:
        for _ in range(int(rng.integers(1, 4))):
            content = _edit_header(content, rng)
    (folder / "signals.xdf").write_bytes(content)
    if rng.random() < 0.1:
        channels = ("a", "b", "c", "d")[: int(rng.integers(1, 5))]
        other = StreamInfo("amp", "EEG", "amp-1", 100.0, channels)
        signals = content
        part = _record(folder, other, [], first=40)
        (folder / "signals.xdf").write_bytes(signals)
        (folder / "signals-0002.xdf").write_bytes(part)


def read_and_replay(folder: Path) -> int:
    """Read a run and push it through the engine; return the number of events."""
    recording = open_recording(folder)
    stream = select_stream(recording)
    engine = Engine(SourceSettings(), Pipeline(stream.info, ()), first_sample=stream.first_sample)
    source = RecordingSource(stream, chunking="7")
    events: list[Event] = []
    scripted = None if recording.script is None else ScriptedEngine(engine, recording.script)
    if scripted is None:
        engine.add_markers(recording.markers)
    while source.n_left:
        block = source.read()
        events += engine.push_block(block) if scripted is None else scripted.push(block)
    events += engine.finish() if scripted is None else scripted.finish()
    for event in events:
        check_event(json.loads(encode(event.identity())))
    return len(events)


def run(n: int, seed: int, folder: Path, judge: Callable[[Path], int] = read_and_replay) -> Counter[str]:
    """Try so many edits; return how often what came of it.

    Raises
    ------
    AssertionError
        At the first that is neither read nor refused in one line; its files stay in ``folder``.
    """
    rng = np.random.default_rng(seed)
    outcomes: Counter[str] = Counter()
    for number in range(n):
        for path in folder.glob("signals*"):
            path.unlink()
        _write(folder, rng)
        try:
            judge(folder)
        except NeuroloopError as error:
            outcomes["refused" if len(error.lines()) == 1 else "refused in several lines"] += 1
        except Exception as error:
            raise AssertionError(f"edit {number} of seed {seed} in {folder}: {error!r}") from error
        else:
            outcomes["read"] += 1
    return outcomes


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = run(options.n, options.seed, Path(tempfile.mkdtemp(prefix="fuzz-own-")))
    sys.stdout.write(f"{dict(outcomes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
