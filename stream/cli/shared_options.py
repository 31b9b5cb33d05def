"""What options that several commands share mean."""

from __future__ import annotations

import math

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.stream.live.process_logs import LogKind


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


def read_speed(text: str) -> float | None:
    """Read ``max`` (None) or a positive number."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise ConfigError(f"speed must be 'max' or a number above 0, got {text!r}")
    return speed
