"""Whether a stream's state fits into a snapshot; ``neuroloop check`` asks, and every worker again."""

from __future__ import annotations

from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import Pipeline
from neuroloop.stream.worker.snapshot_state import SnapshotState


def plan_snapshot(config: Config, pipeline: Pipeline) -> dict[str, Any]:
    """Return how large the snapshots of a stream will be, and how much is read again to resume it.

    Parameters
    ----------
    config : Config
    pipeline : Pipeline
        Of the stream.

    Returns
    -------
    dict
        ``bytes`` (at most), ``limit_bytes``, ``refill_s`` (seconds of signal).

    Raises
    ------
    ConfigError
        If they do not fit.
    """
    settings = config.worker or WorkerSettings()
    snapshot_state = SnapshotState(pipeline)
    needed, limit = snapshot_state.fixed_bytes(Engine(config.source, pipeline)), settings.snapshot_kb * 1000
    if needed > limit:
        rule = f"at least {-(-needed // 1000)}, the state of stream {pipeline.info.name!r} in kilobytes"
        cure = "and the brokers must take such messages; or shorten windows, or use fewer channels"
        raise ConfigError(f"worker.snapshot_kb must be {rule} {cure}, got {settings.snapshot_kb!r}")
    sfreq = pipeline.info.sfreq
    return {"bytes": needed, "limit_bytes": limit, "refill_s": snapshot_state.refill_rows / sfreq}
