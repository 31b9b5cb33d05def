"""A stretch of the simulator as arrays, with its truth."""

from __future__ import annotations

from typing import NamedTuple

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.simulator import Simulator


class Simulated(NamedTuple):
    info: StreamInfo
    data: FloatArray
    timestamps: FloatArray
    markers: list[Marker]


def simulated_rows(simulator: Simulator, seconds: float) -> Simulated:
    """Return the first seconds with the state changes."""
    n = round(seconds * simulator.settings.sfreq)
    return Simulated(simulator.info, *simulator.generate(0, n), simulator.markers(0, n))
