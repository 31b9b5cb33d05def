"""A reading process: the hot loop and a bare pylsl loop in turns, on one inlet, one core, with one priority.

Both read through the same inlet in the process that a live run would have: its core, its priority, its threads, the
collector off. What a segment returns is, for each sample, the time from the sender's push to two moments: when its
result was there (the rows numbered, in the ring and through the pipeline; for the bare loop the return of
``pull_chunk``), and when the loop came back to wait for the next sample (events handed out, everything counted).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.sender import pushed_ns
from neuroloop.models.bundle import Bundle
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.live.hot_process import HotLoop, HotPlan
from neuroloop.stream.live.live_lsl import LslOpener
from neuroloop.stream.live.placement import follow_parent, quiet_memory, settle
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.live.warm_up import warm_up
from neuroloop.stream.ring.header import NEXT
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.sources.lsl.network import Network
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.sources.session import LiveMarkers, SourceSession

Kind = Literal["hot", "fuller", "bare"]
_MARKERS_SETTLE_S = 3.0
_MAX_PULL = 1024
_FIND_S = 10.0


@dataclass(frozen=True)
class ReadingPlan:
    """What a reading process is told.

    Parameters
    ----------
    hot : HotPlan
    base_ns : int
        As `benchmarks.sender.SenderPlan`.
    settle_s : float
        Length of the signal at the start of each segment that does not count: the loop begins with the samples that
        the other one read, as missing ones.
    fuller : HotPlan, optional
        A second hot loop on the same inlet, with more to do.
    """

    hot: HotPlan
    base_ns: int
    settle_s: float
    fuller: HotPlan | None = None


@dataclass(frozen=True)
class Segment:
    """One segment's latencies.

    Parameters
    ----------
    result_ns, back_ns : array, shape (n_samples,), int64
        From the push to the result, and until the loop waits again.
    with_event : array, shape (n_samples,), bool
        Whether events left the loop with the sample.
    """

    result_ns: NDArray[np.int64]
    back_ns: NDArray[np.int64]
    with_event: NDArray[np.bool_]


class Moments:
    """What happened when in one segment, in arrays made before it.

    Parameters
    ----------
    n_samples : int
        How many the segment has, those that do not count included.
    """

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self.n = 0
        self.result_ns = 0
        """When the newest block's result was there."""
        size = n_samples + _MAX_PULL
        self._carried = np.zeros(size)
        self._results = np.zeros(size, np.int64)
        self._backs = np.zeros(size, np.int64)
        self._events = np.zeros(size, np.bool_)

    @property
    def is_full(self) -> bool:
        """Whether the segment is over."""
        return self.n >= self.n_samples

    def add(self, carried: NDArray[np.float64], back_ns: int, with_event: bool) -> None:
        """Note a block; ``carried`` is its channel 0."""
        n = min(len(carried), len(self._carried) - self.n)
        part = slice(self.n, self.n + n)
        self._carried[part] = carried[:n]
        self._results[part] = self.result_ns
        self._backs[part] = back_ns
        self._events[part] = with_event
        self.n += n

    def segment(self, n_skipped: int, base_ns: int) -> Segment:
        """Return what counts."""
        part = slice(n_skipped, self.n)
        pushed = pushed_ns(self._carried[part], base_ns)
        return Segment(self._results[part] - pushed, self._backs[part] - pushed, self._events[part].copy())


class ProbedSource(LslSource):
    """The inlet of both loops; notes when the hot loop comes back to it."""

    moments: Moments
    stop: NDArray[np.int64]
    n_events: Callable[[], int]
    _newest: RawBlock | None = None
    _n_before = 0

    @property
    def inlet(self) -> Any:
        """Pylsl's inlet."""
        return self._inlet

    def drain(self) -> None:
        """Throw away what came between two segments."""
        while self.n_waiting and super().read(0.0) is not None:
            pass

    def begin(self, moments: Moments) -> None:
        """Note into these from now on."""
        self.moments = moments
        self._newest = None
        self._n_before = self.n_events()

    def read(self, timeout_s: float) -> RawBlock | None:
        """Note the moment, then read; ends the loop when the segment is over."""
        back = time.perf_counter_ns()
        if self._newest is not None:
            n_events = self.n_events()
            self.moments.add(self._newest.data[:, 0], back, n_events != self._n_before)
            self._n_before = n_events
            if self.moments.is_full:
                self._newest = None
                self.stop[0] = 1
                return None
        self._newest = super().read(timeout_s)
        return self._newest


class ProbedEngine(Engine):
    """An engine that notes when it has its result."""

    source: ProbedSource

    def push_block(self, block: RawBlock) -> list[Event]:
        """As the engine does."""
        events = super().push_block(block)
        self.source.moments.result_ns = time.perf_counter_ns()
        return events


class ProbedLoop(HotLoop):
    """The hot loop as it is, with an engine that says when it was done."""

    def __init__(self, plan: HotPlan, shared: Shared, bundle: Bundle | None, source: ProbedSource) -> None:
        super().__init__(plan, shared, bundle)
        self._words = shared.events.header.words
        self._stop = shared.numbers("stop")
        engine = ProbedEngine(plan.config.source, self._engine.pipeline, self._take_numbered)
        engine.source = source
        self._engine = engine

    def take_turn(self, source: ProbedSource, markers: LiveMarkers | None, moments: Moments) -> None:
        """Run one segment."""
        source.stop = self._stop
        source.n_events = lambda: self._words[NEXT]
        source.begin(moments)
        source.stop[0] = 0
        self.run(SourceSession(source, markers, reconnect_s=0.0, is_stopped=lambda: bool(source.stop[0])))


def run_reading(plan: ReadingPlan, shared: Shared, pipe: Connection, fuller_shared: Shared | None = None) -> None:
    """Be the reading process: answer each ``(kind, seconds)`` with a `Segment`, until None."""
    follow_parent()
    quiet_library()
    config = plan.hot.config
    reached = settle(plan.hot.placement.hot, realtime=config.process.priority == "auto")
    markers = plan.hot.source.opener.open_markers(config.markers)
    bundle = load_classifier(config)
    warm_up(config, plan.hot.source.info, bundle)
    opener = plan.hot.source.opener
    if not isinstance(opener, LslOpener):
        raise TypeError(f"source must be one on LSL, got {type(opener).__name__}")
    source = _subscribe(opener.uid)
    loops = {"hot": ProbedLoop(plan.hot, shared, bundle, source)}
    if plan.fuller is not None and fuller_shared is not None:
        warm_up(plan.fuller.config, plan.fuller.source.info, None)
        loops["fuller"] = ProbedLoop(plan.fuller, fuller_shared, None, source)
    if markers is not None:
        markers.settle(_MARKERS_SETTLE_S)
    sfreq = plan.hot.source.info.sfreq
    n_skipped = round(plan.settle_s * sfreq)
    data = np.zeros((_MAX_PULL, plan.hot.source.info.n_channels))
    source.open()
    pipe.send(reached)
    quiet_memory()
    while (order := pipe.recv()) is not None:
        kind, seconds = order
        moments = Moments(n_skipped + round(seconds * sfreq))
        source.drain()
        if kind in loops:
            loops[kind].take_turn(source, markers, moments)
        else:
            _read_bare(source.inlet, data, moments)
        pipe.send(moments.segment(n_skipped, plan.base_ns))
    source.close()
    for loop in loops.values():
        loop.close()
    if markers is not None:
        markers.close()


def _subscribe(uid: str) -> ProbedSource:
    network = Network()
    end = time.perf_counter() + _FIND_S
    while time.perf_counter() < end:
        for found in network.streams():
            if found.uid == uid:
                return ProbedSource(found)
        time.sleep(0.01)
    raise RuntimeError("the sender must stay on the network, got no answer from it")


def _read_bare(inlet: Any, data: NDArray[np.float64], moments: Moments) -> None:
    """Do what a careful user of pylsl does: wait for a sample, take all there is, into an array of one's own."""
    now = time.perf_counter_ns
    while not moments.is_full:
        _, stamps = inlet.pull_chunk(timeout=0.2, max_samples=_MAX_PULL, dest_obj=data, min_samples=1)
        moments.result_ns = done = now()
        moments.add(data[: len(stamps), 0], done, False)
