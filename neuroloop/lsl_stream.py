"""A live LSL stream in the user's own process."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from neuroloop.config.errors import StreamEnded, StreamLost
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event, Position
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.staleness import Staleness

if TYPE_CHECKING:
    from neuroloop.stream.sources.lsl.markers import LslMarkers
    from neuroloop.stream.sources.lsl.source import LslSource

_READ_S = 0.1
_OPEN_S = 10.0
_MARKERS_SETTLE_S = 3.0


def open_stream(
    name: str | None = None,
    *,
    type: str | None = None,  # noqa: A002  # LSL's own word, as in the configuration
    source_id: str | None = None,
    wait_s: float = 10.0,
) -> LslStream:
    """Find an LSL stream and fetch its description.

    Parameters
    ----------
    name, type, source_id : str, optional
        What is given must match; without any, the only stream there is.
    wait_s : float
        How long to wait for it in seconds.

    Raises
    ------
    StreamLost
        If there is none; the message lists what there is.
    StreamMismatch
        If there are several, or only one that carries text.
    """
    from neuroloop.stream.sources.lsl.network import StreamQuery, find_stream
    from neuroloop.stream.sources.lsl.source import LslSource

    return LslStream(LslSource(find_stream(StreamQuery(name, type, source_id), wait_s)))


@contextmanager
def interrupts_held() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C (in a notebook: interrupt) in place of raising it, and say whether it came.

    Raised anywhere, it could leave a block half processed, and what had come would be lost. Outside of the main thread
    no signal arrives, and nothing is changed.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class LslStream:
    """An LSL stream that was found; samples are kept from `Pipeline.run` on. ``with`` closes it.

    Parameters
    ----------
    source : LslSource
    """

    def __init__(self, source: LslSource) -> None:
        self.source = source

    @property
    def info(self) -> StreamInfo:
        """The stream as its sender describes it."""
        return self.source.info

    @property
    def first_sample(self) -> int:
        """Number of the first sample, where a recording that is played says it."""
        return self.source.description.first_sample

    def close(self) -> None:
        """End the subscription; may be called twice."""
        self.source.close()

    def __enter__(self) -> LslStream:
        """Return the stream."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LslStream {self.source.found}>"


class LiveFeed:
    """Samples and markers of a live stream on their way into an engine, in the caller's thread.

    Parameters
    ----------
    stream : LslStream
    config : Config
    """

    def __init__(self, stream: LslStream, config: Config) -> None:
        self._source = stream.source
        self._config = config
        self._markers: LslMarkers | None = None
        self._staleness = Staleness(config.source, stream.info.sfreq)
        self._n_received = 0
        self._newest_stamp = math.nan
        self._is_lost = False
        self.is_subscribed = False

    def subscribe(self) -> None:
        """Connect to the markers, then to the samples: those sent from now on are kept."""
        settings = self._config.markers
        if settings.enabled:
            from neuroloop.stream.sources.lsl.markers import LslMarkers
            from neuroloop.stream.sources.lsl.network import StreamQuery

            queries = tuple(StreamQuery(name=name) for name in settings.names or ())
            self._markers = LslMarkers(queries, data_host=self._source.found.host)
            self._markers.settle(_MARKERS_SETTLE_S)
        self._source.open(_OPEN_S)
        self.is_subscribed = True

    def events(self, engine: Engine, end: float | None, is_stopped: Callable[[], bool]) -> Iterator[list[Event]]:
        """Push what comes, and yield the events of each block; until the deadline, a stop, or the sender is gone.

        Raises
        ------
        StreamLost
            If it was gone before.
        """
        if self._is_lost:
            raise StreamLost(f"source must keep sending, got a stream that stopped: {self._source.found}")
        n_expected = self._source.description.n_samples
        while not is_stopped() and (end is None or time.perf_counter() < end):
            try:
                block = self._source.read(_READ_S)
            except (StreamLost, StreamEnded):
                self._is_lost = True
                if n_expected is None or self._n_received < n_expected:
                    yield [self._lost(engine)]
                return
            if self._markers is not None:
                engine.add_markers(self._markers.read())
            if block is None:
                continue
            n_rows = len(block.timestamps)
            self._newest_stamp = float(block.timestamps[-1])
            skip = self._staleness.decide(self._n_received, n_rows) if n_rows > 1 else None
            self._n_received += n_rows
            yield engine.push_block(block) if skip is None else engine.push_late(block, skip)
            if n_expected is not None and self._n_received >= n_expected:
                self._is_lost = True
                return

    def _lost(self, engine: Engine) -> Event:
        """Say what a run says when its stream is lost."""
        name, sample = engine.pipeline.info.name, max(0, engine.sequencer.next_sample - 1)
        return Event("stream", name, sample, 1, self._newest_stamp, 0.0, {"what": "lost"}, Position.TOLD)

    def close(self) -> None:
        """End the subscriptions; may be called twice."""
        if self._markers is not None:
            self._markers.close()
        self._source.close()
