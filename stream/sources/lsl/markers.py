"""Markers of any number of LSL streams that come and go."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pylsl
from pylsl.lib import lib
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeout

from neuroloop.config.plain_text import clean
from neuroloop.stream.contracts.events import MOST_LABEL, Marker
from neuroloop.stream.sources.lsl.description import marker_stream_name
from neuroloop.stream.sources.lsl.network import SETTLE_S, FoundStream, Network, StreamQuery
from neuroloop.stream.sources.lsl.stamps import restore

logger = logging.getLogger("neuroloop.lsl")

# a prototype of our own: 0.3 us a call
_samples_available = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)(("lsl_samples_available", lib))
_AT_ONCE = 256
_ANSWER_S = 2.0
_MOST_BYTES = 4 * MOST_LABEL
"""Of one value that are read as text: no label keeps more characters than `MOST_LABEL`, nor takes one more bytes."""
_MOST_VALUES = 1024
"""Of one marker: a stream of more channels than that marks nothing."""
_PATIENCE_S = (1.0, 60.0)
"""How long a stream that failed is left alone, at first and at most; each time twice as long."""


class MarkerSender:
    """One connected marker stream."""

    def __init__(self, found: FoundStream) -> None:
        self.found = found
        # recover=True would never say that the sender is gone
        self._inlet: Any = pylsl.StreamInlet(found.handle, max_buflen=36, recover=False)
        self.name, stamps = marker_stream_name(self._inlet.info(timeout=_ANSWER_S))
        self._is_played = stamps == "recording"
        self._inlet.open_stream(timeout=_ANSWER_S)
        self._handle: int = self._inlet.obj.value

    def pull(self) -> list[tuple[float, str]]:
        """Return the stamps and labels that have come, without those whose stamp is no finite number; never waits.

        Raises
        ------
        LostError
            If the sender is gone.
        """
        if not _samples_available(self._handle):
            return []
        values, timestamps = self._inlet.pull_chunk(timeout=0.0, max_samples=_AT_ONCE, as_numpy=True)
        if self._is_played:
            restore(timestamps)
        labels = [" ".join(map(marker_text, row[:_MOST_VALUES])) for row in values.tolist()]
        pairs = zip(timestamps.tolist(), labels, strict=True)
        return [(when, label) for when, label in pairs if math.isfinite(when)]

    def n_unread(self) -> int:
        """Count the markers that are lost with a sender that is gone: all but liblsl's sentinel."""
        return max(0, int(_samples_available(self._handle)) - 1)


class LslMarkers:
    """Read markers of text or number streams; implements `neuroloop.stream.contracts.protocols.MarkerSource`.

    Streams may appear and disappear at any time: a thread looks for them and connects, and hands them over when they
    are ready. What a sender says before it is connected (a fraction of a second after it appears) is not received.

    Whoever is on the network may offer such a stream, so that nothing that one does ends more than its own connection:
    a failure is logged once for its stream, counted, and the stream tried again with growing pauses.

    Parameters
    ----------
    queries : sequence of StreamQuery
        Which streams; without any, every stream of text and every irregular one whose type says that it marks events.
        Monitoring outlets are taken only where they are asked for by name or ``source_id``.
    data_host : str
        Name of the computer that sends the samples: markers of the same computer share its clock.
    shift_s : callable, optional
        Takes the sender of another computer and returns the seconds to add to its stamps: its clock offset minus that
        of the data's sender. Called from `read`, must not wait.
    look_every_s : float
        Pause between two looks at the network in seconds.
    """

    def __init__(
        self,
        queries: Sequence[StreamQuery] = (),
        *,
        data_host: str = "",
        shift_s: Callable[[FoundStream], float] | None = None,
        look_every_s: float = 0.25,
    ) -> None:
        self._queries = tuple(queries)
        self._data_host = data_host
        self._shift_s = shift_s
        self._look_every_s = look_every_s
        self._senders: tuple[MarkerSender, ...] = ()
        self._lock = threading.Lock()
        self._reported: set[str] = set()
        self._failed: dict[str, tuple[float, float]] = {}
        self.n_errors = 0
        """Failures so far, of single streams and of the search."""
        self._settled = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="neuroloop-markers", daemon=True)
        self._thread.start()

    @property
    def senders(self) -> tuple[FoundStream, ...]:
        """The streams that are connected now."""
        return tuple(sender.found for sender in self._senders)

    def read(self) -> list[Marker]:
        """Return what came since the last call, in order of time; never waits, and raises nothing."""
        markers: list[Marker] = []
        for sender in self._senders:
            try:
                pulled = sender.pull()
            except LostError:
                self._forget(sender)
                continue
            except Exception as error:  # noqa: BLE001 - a side channel: whatever a sender does, the samples go on
                self._failed_with(sender.found, error)
                self._forget(sender)
                continue
            if pulled:
                shift_s = self._shift_of(sender.found)
                markers.extend(Marker(when + shift_s, label, sender.name) for when, label in pulled)
        if len(markers) > 1:
            markers.sort(key=lambda marker: marker.time)
        return markers

    def settle(self, timeout_s: float) -> bool:
        """Wait until every wanted stream that has had time to answer is connected; say whether that is so.

        Call it before the samples are subscribed to: what a marker sender says before it is connected is lost.
        """
        return self._settled.wait(timeout_s)

    def close(self) -> None:
        """End the search and all connections; may be called twice."""
        self._stopped.set()
        self._thread.join()
        with self._lock:
            self._senders = ()

    def _shift_of(self, found: FoundStream) -> float:
        if self._shift_s is None or found.host == self._data_host:
            return 0.0
        return self._shift_s(found)

    def _is_wanted(self, found: FoundStream) -> bool:
        if not self._queries:
            return found.is_markers and not found.is_monitoring
        return any(query.matches(found) for query in self._queries)

    def _look(self) -> None:
        """Run in the thread: connect to what is wanted and not yet connected."""
        network: Network | None = None
        begin = time.perf_counter()
        while not self._stopped.wait(self._look_every_s):
            try:
                if network is None:
                    network = Network(forget_after_s=2.0)
                is_all = self._look_once(network)
            except Exception:  # the top of a thread
                self.n_errors += 1
                network = None
                if "" not in self._reported:
                    self._reported.add("")
                    logger.exception("the search for marker streams failed, and begins anew")
                self._stopped.wait(_PATIENCE_S[0])
                continue
            if is_all and time.perf_counter() - begin >= SETTLE_S:
                self._settled.set()

    def _look_once(self, network: Network) -> bool:
        """Connect to what is new; say whether nothing that is wanted was still missing."""
        connected = {sender.found.uid for sender in self._senders}
        now = time.perf_counter()
        missing = [
            one
            for one in network.streams()
            if one.uid not in connected and self._is_wanted(one) and self._failed.get(one.uid, (0.0, 0.0))[0] <= now
        ]
        for found in missing:
            if not self._stopped.is_set():
                self._connect(found)
        return not missing

    def _connect(self, found: FoundStream) -> None:
        try:
            sender = MarkerSender(found)
        except (LostError, LslTimeout):
            # Mostly one that has just gone and is still listed; it is tried again as long as it is.
            if found.uid not in self._reported:
                self._reported.add(found.uid)
                logger.info("marker stream %s: does not answer", found)
            return
        except Exception as error:  # noqa: BLE001 - what one stream says must not end the search for others
            self._failed_with(found, error)
            return
        with self._lock:
            self._senders = (*self._senders, sender)
        logger.info("marker stream %s: connected", found)

    def _failed_with(self, found: FoundStream, error: Exception) -> None:
        """Count a failure of a stream, say the first, and leave the stream alone for a while."""
        self.n_errors += 1
        first_s, most_s = _PATIENCE_S
        if found.uid not in self._failed:
            logger.warning("marker stream %s: left out for now: %s", found, clean(repr(error)))
        patience_s = min(most_s, 2 * self._failed.get(found.uid, (0.0, first_s / 2))[1])
        self._failed[found.uid] = (time.perf_counter() + patience_s, patience_s)

    def _forget(self, lost: MarkerSender) -> None:
        with self._lock:
            self._senders = tuple(sender for sender in self._senders if sender is not lost)
        n_unread = lost.n_unread()
        unread = f", {n_unread} received markers could not be read" if n_unread else ""
        self._reported.add(lost.found.uid)
        logger.warning("marker stream %s: gone%s", lost.found, unread)


def marker_text(value: Any) -> str:
    """Write one value of a marker: text as it is, a whole number without a point; the same as from an XDF file."""
    if isinstance(value, bytes):
        return value[:_MOST_BYTES].decode("utf-8", "replace")
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return str(int(value))
