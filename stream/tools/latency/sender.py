"""The sender of a closed-loop measurement: one sample a push on a fixed grid of times, every push timed."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.live.child_process import signals_held
from neuroloop.stream.live.placement import follow_parent, quiet_memory, settle
from neuroloop.stream.sources.lsl.description import make_lsl_info
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.tools.latency.onsets import OnsetSignal

_START_S = 60.0
_SLICE_S = 0.2
_LINGER_S = 1.0


@dataclass(frozen=True)
class SentRows:
    """What was sent, and when.

    Parameters
    ----------
    pushed_ns : array, shape (n_rows,), int64
        ``time.perf_counter_ns`` right before each push; 0 for what was not sent.
    stamp0 : float
        Stamp of the first row; row ``i`` has ``stamp0 + i / sfreq``.
    sfreq : float
    """

    pushed_ns: NDArray[np.int64]
    stamp0: float
    sfreq: float

    def row_of(self, stamp: float) -> int:
        """Return the row that carries a stamp."""
        return round((stamp - self.stamp0) * self.sfreq)


class LoopbackSender:
    """Offer the signal from a process of its own; it begins with its first consumer.

    Parameters
    ----------
    signal : OnsetSignal
        Its ``info`` says the stream's name.
    cores : frozenset of int
        Where the process may run.
    """

    def __init__(self, signal: OnsetSignal, cores: frozenset[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._signal = signal
        self._pushed: Any = context.RawArray("q", signal.n_rows)
        self._stamp0: Any = context.RawValue("d", 0.0)
        receiver, sender = context.Pipe(duplex=False)
        self._process: SpawnProcess = context.Process(
            target=_send, args=(signal, cores, self._pushed, self._stamp0, sender), name="neuroloop-sender", daemon=True
        )
        with signals_held():
            self._process.start()
        sender.close()
        try:
            self.scheduler = str(receiver.recv()) if receiver.poll(_START_S) else ""
        except EOFError:
            self.scheduler = ""
        receiver.close()
        if not self.scheduler:
            self.close()
            raise NeuroloopError("the sender must start, got no answer")

    def has_sent(self, row: int) -> bool:
        """Return whether a row was pushed."""
        return bool(self._pushed[row])

    def sent(self) -> SentRows:
        """Return what was sent so far; a copy."""
        pushed = np.frombuffer(self._pushed, np.int64).copy()
        return SentRows(pushed, float(self._stamp0.value), self._signal.info.sfreq)

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(2.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    def __enter__(self) -> LoopbackSender:
        """Return the running sender."""
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _send(signal: OnsetSignal, cores: frozenset[int], pushed: Any, stamp0: Any, ready: Connection) -> None:
    """Be the sender."""
    follow_parent()
    quiet_library()
    reached = settle(cores, realtime=True)  # without it the tail of any receiver is the sender's own
    info = signal.info
    outlet = pylsl.StreamOutlet(
        make_lsl_info(info, name=info.name, source_id=info.source_id, value_format="double64", stamps="clock",
                      n_samples=signal.n_rows)
    )  # fmt: skip
    ready.send(reached["scheduler"])
    while not outlet.wait_for_consumers(_SLICE_S):
        pass
    times = np.frombuffer(pushed, np.int64)
    sample: FloatArray = np.zeros((1, info.n_channels))
    period_ns = 1e9 / info.sfreq
    quiet_memory()
    now, sleep = time.perf_counter_ns, time.sleep
    begin, start = now(), pylsl.local_clock()
    stamp0.value = start
    for row in range(signal.n_rows):
        signal.row(row, sample[0])
        left_ns = begin + round(row * period_ns) - now()
        if left_ns > 0:
            sleep(left_ns * 1e-9)
        times[row] = now()
        outlet.push_chunk(sample, start + row / info.sfreq)
    end = time.perf_counter() + _LINGER_S
    while outlet.have_consumers() and time.perf_counter() < end:
        time.sleep(0.05)
