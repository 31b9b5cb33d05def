"""A sender for latencies: one sample a push, on a fixed grid of times, each carrying the moment of its push.

Channel 0 holds nanoseconds since ``base_ns`` times 2**-30: exact in a float64, and of the size of a signal, so that
what the pipeline computes from it stays ordinary. The other channels are noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import pylsl
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.live.placement import follow_parent, quiet_memory, settle
from neuroloop.stream.sources.lsl.description import make_lsl_info
from neuroloop.stream.sources.lsl.library import quiet_library

SCALE = 2.0**-30


@dataclass(frozen=True)
class SenderPlan:
    """What a sender is told.

    Parameters
    ----------
    info : StreamInfo
    base_ns : int
        Where ``time.perf_counter_ns`` begins to count for both ends.
    cores : frozenset of int
    """

    info: StreamInfo
    base_ns: int
    cores: frozenset[int]


def pushed_ns(values: FloatArray, base_ns: int) -> NDArray[np.int64]:
    """Return the moments of the pushes that channel 0 carries, as ``time.perf_counter_ns`` gave them.

    Parameters
    ----------
    values : array, shape (n_samples,)
    base_ns : int
    """
    return np.rint(values / SCALE).astype(np.int64) + base_ns


def run_sender(plan: SenderPlan, pipe: Connection) -> None:
    """Be the sender until the other end of the pipe says something or goes."""
    follow_parent()
    quiet_library()
    settle(plan.cores, realtime=True)
    info = plan.info
    outlet = pylsl.StreamOutlet(
        make_lsl_info(
            info,
            name=info.name,
            source_id=info.source_id,
            value_format="double64",
            stamps="clock",
            counter="none",
            n_samples=None,
        )
    )
    noise = np.random.default_rng(5).standard_normal((4096, info.n_channels)) * 20.0
    sample = np.zeros((1, info.n_channels))
    period_ns = 1e9 / info.sfreq
    pipe.send("ready")
    quiet_memory()
    now, sleep = time.perf_counter_ns, time.sleep
    begin, stamp0, row = now(), pylsl.local_clock(), 0
    while row % 64 or not pipe.poll():
        sample[0] = noise[row & 4095]
        stamp = stamp0 + row / info.sfreq
        left_ns = begin + round(row * period_ns) - now()
        if left_ns > 0:
            sleep(left_ns * 1e-9)
        sample[0, 0] = (now() - plan.base_ns) * SCALE
        outlet.push_chunk(sample, stamp)
        row += 1
