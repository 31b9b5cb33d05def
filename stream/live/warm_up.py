"""Compile, load and touch everything before the source opens."""

from __future__ import annotations

import numpy as np

from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle
from neuroloop.stream.assembly.build import build
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.engine.engine import Engine

_CHUNKS = (1, 1, 2, 7, 32)
_MAX_SAMPLES = 200_000


def warm_up(config: Config, info: StreamInfo, bundle: Bundle | None) -> None:
    """Run a made-up signal through a pipeline of its own until every stage has given rows.

    The supervisor builds one too, for the plan and the sizes of the rings, before it makes anything that would have to
    be taken back. Neither is handed on: this one's state is that of the made-up signal, the other is elsewhere.
    A build takes 1 to 2 ms of a start of seconds (32 channels, or the demo's network).

    Parameters
    ----------
    config : Config
    info : StreamInfo
        The stream that will come.
    bundle : Bundle, optional
    """
    built = build(config, info, bundle=bundle)
    engine = Engine(config.source, built.pipeline)
    needed = round((built.plan.warmup_s + 1.0) * info.sfreq) + 2
    n_samples = min(max(needed, 64), _MAX_SAMPLES)
    rows = np.arange(n_samples, dtype=np.float64)
    data = np.repeat((rows % 17)[:, None], info.n_channels, axis=1)
    stamps = rows / info.sfreq
    start = 0
    for size in _CHUNKS:
        engine.push(data[start : start + size], stamps[start : start + size])
        start += size
    for begin in range(start, n_samples, 64):
        engine.push(data[begin : begin + 64], stamps[begin : begin + 64])
