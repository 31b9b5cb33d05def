"""Signals as frames, and the events of an engine that never stopped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroloop.config.loading import parse
from neuroloop.config.tree import Config
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Event, Marker, canonical
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.wire.frames import Frame, frames_of_block, last_frame
from neuroloop.stream.wire.messages import StreamDescription
from neuroloop.stream.worker.snapshot import Snapshot
from neuroloop.stream.worker.stream_session import StreamSession

SFREQ = 250.0
DEMO_CHANNELS = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4")
WINDOWED = {
    "name": "windowed",
    "source": {"kind": "simulator", "timing": "auto", "reset_after_s": 0.5},
    "stages": [
        {"kind": "filter", "name": "filter", "designs": [{"kind": "bandpass", "low_hz": 1, "high_hz": 40, "order": 4}]},
        {"kind": "artifacts", "name": "artifacts", "flat": {"limit": 1e-3, "flat_s": 0.2}, "amplitude": {"limit": 60}},
        {"kind": "bandpower", "name": "power", "window_s": 1.0, "hop_s": 0.2, "bands": {"alpha": [8, 13]}},
        {"kind": "window", "name": "window", "window_samples": 4, "hop_samples": 2},
    ],
    "drift": [],
}


def demo_config(*, extra: dict[str, object] | None = None) -> Config:
    """Return the demo's pipeline, whose shipped LSTM decides several times a second."""
    values = {"name": "demo", "source": {"kind": "simulator"}, "classifier": {"bundle": "demo"}, **(extra or {})}
    return parse(values)


def windowed_config() -> Config:
    """Return stages with windows, artifact episodes and no classifier."""
    return parse(WINDOWED)


def stream_info(name: str = "eeg", channels: Sequence[str] = DEMO_CHANNELS, sfreq: float = SFREQ) -> StreamInfo:
    n = len(channels)
    return StreamInfo(name, "EEG", f"id-{name}", sfreq, tuple(channels), ("EEG",) * n, ("uV",) * n)


def signal(n_samples: int, seed: int, n_channels: int = 8, *, gaps: bool = True) -> RawBlock:
    """Return rows with rhythm, noise, a flat stretch and, with ``gaps``, stamps that jump."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / SFREQ
    data = rng.standard_normal((n_samples, n_channels)) * 8
    data += 40 * np.sin(2 * np.pi * 10 * t)[:, None] * (np.sin(2 * np.pi * 0.2 * t) > 0)[:, None]
    data[n_samples // 3 : n_samples // 3 + 100] = 1.5
    stamps = 1000.0 + t
    if gaps:
        stamps[n_samples // 2 :] += 0.3
        stamps[3 * n_samples // 4 :] += 2.0
    return RawBlock(data, stamps)


def markers_of(block: RawBlock, n: int) -> list[Marker]:
    first, last = float(block.timestamps[0]), float(block.timestamps[-1])
    return [Marker(first + (last + 1.0 - first) * (i + 0.5) / n, f"m{i}", "marks") for i in range(n)]


def described(info: StreamInfo, session: int = 1) -> StreamDescription:
    return StreamDescription(info.source_id, info, session)


def frames(block: RawBlock, info: StreamInfo, *, rows: int, session: int = 1) -> list[Frame]:
    """Cut rows into frames and end the stream."""
    n = len(block.timestamps)
    made = []
    for start in range(0, n, rows):
        part = block.rows(start, start + rows)
        made += list(
            frames_of_block(
                part, stream=info.source_id, first_sample=start, counts="received", sfreq=info.sfreq, session=session
            )
        )
    made.append(
        last_frame(
            stream=info.source_id, first_sample=n, counts="received", sfreq=info.sfreq,
            n_channels=info.n_channels, session=session,
        )
    )  # fmt: skip
    return made


def uninterrupted(config: Config, info: StreamInfo, block: RawBlock, markers: Sequence[Marker] = ()) -> list[str]:
    """Return the canonical lines of an engine that sees everything at once, as a replay does; sorted."""
    engine = Engine(config.source, build(config, info).pipeline)
    engine.add_markers(markers)
    events = engine.push_block(block) + engine.finish()
    return sorted(canonical(event) for event in events)


def lines(events: Sequence[Event]) -> list[str]:
    """Return the canonical lines, each once, sorted."""
    return sorted({canonical(event) for event in events})


def make_session(
    config: Config, description: StreamDescription, snapshot: Snapshot | None = None, **options: int
) -> StreamSession:
    settings: dict[str, int] = {"reorder_frames": 8, "snapshot_bytes": 900_000, **options}
    return StreamSession(description, description.session, config, None, snapshot=snapshot, **settings)
