"""Streams and monitors that the tests of this folder share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import signal

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Finding

SFREQ = 20.0
MINUTES = 2.0
"""Length of the baselines: 24 windows of 5 s."""


def info(n_channels: int, sfreq: float = SFREQ) -> StreamInfo:
    names = tuple(f"E{c}" for c in range(n_channels))
    return StreamInfo("amp", "EEG", "amp-1", sfreq, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def settings(**changes: Any) -> DriftMonitorSettings:
    return DriftMonitorSettings.model_validate({"window_s": 5.0, "baseline": {"minutes": MINUTES}, **changes})


def monitor(n_channels: int = 2, sfreq: float = SFREQ, **changes: Any) -> DriftMonitor:
    return DriftMonitor(settings(**changes), info(n_channels, sfreq))


def noise(seed: int, seconds: float, n_channels: int = 2, a: float = 0.6) -> FloatArray:
    """Return a first-order autoregressive process of unit variance."""
    white = np.random.default_rng(seed).standard_normal((round(seconds * SFREQ) + 200, n_channels))
    x: FloatArray = signal.lfilter([np.sqrt(1 - a * a)], [1.0, -a], white, axis=0)[200:]
    return np.ascontiguousarray(x)


def feed(
    made: DriftMonitor,
    x: FloatArray,
    *,
    first: int = 0,
    valid: BoolArray | None = None,
    cuts: Sequence[int] | None = None,
) -> list[Finding]:
    """Show rows to a monitor, cut at local rows (every 64 otherwise)."""
    edges = [0, *(sorted(cuts) if cuts is not None else range(64, len(x), 64)), len(x)]
    valid = np.ones(len(x), np.bool_) if valid is None else valid
    found: list[Finding] = []
    for a, b in itertools.pairwise(edges):
        stamps = np.arange(first + a, first + b) / made.info.sfreq
        found += made.observe(make_chunk(x[a:b].copy(), stamps, first + a, valid[a:b].copy(), made.info))
    return found


def what(findings: Sequence[Finding]) -> list[str]:
    return [f"{one.values['what']} {one.values.get('arm', '')}".strip() for one in findings]
