"""A live source on Lab Streaming Layer: found by the supervisor, opened by the hot process."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.config.live import MarkerSettings
from neuroloop.config.source import SourceSettings
from neuroloop.config.tree import Config
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.sources.lsl.clock_offset import ClockOffset
from neuroloop.stream.sources.lsl.markers import LslMarkers
from neuroloop.stream.sources.lsl.network import FoundStream, Network, StreamQuery, find_stream
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.sources.units import assume_unit

_log = logging.getLogger("neuroloop.source")
_FIND_AGAIN_S = 10.0
_SAME_S = 2.0
_POLL_S = 0.01


@dataclass(frozen=True)
class LslOpener:
    """Opens a sender that another process has found; implements `neuroloop.stream.live.live_source.Opener`.

    Parameters
    ----------
    uid : str
        LSL's id of this very sender.
    host : str
    is_played : bool
        Whether the stamps are a recording's own.
    query : StreamQuery
        What the sender is called, also after it has started anew.
    """

    uid: str
    host: str
    is_played: bool
    query: StreamQuery

    def open(self) -> LslSource:
        """Subscribe; call it where everything else is ready, samples are kept from then on."""
        source = LslSource(self._find_again(or_successor=False))
        source.open()
        return source

    def open_markers(self, settings: MarkerSettings) -> LslMarkers | None:
        """Connect to marker streams as they appear."""
        if not settings.enabled:
            return None
        queries = tuple(StreamQuery(name=name) for name in settings.names or ())
        return LslMarkers(queries, data_host=self.host)

    def open_clock(self) -> ClockOffset | None:
        """Measure the sender's clock, for streams that carry it."""
        return None if self.is_played else ClockOffset(self._find_again(or_successor=True))

    def _find_again(self, *, or_successor: bool) -> FoundStream:
        """Find the very sender again that another process has found, or the one that has taken its place."""
        network = Network()
        begin = time.perf_counter()
        while (waited_s := time.perf_counter() - begin) < _FIND_AGAIN_S:
            streams = network.streams()
            same = [found for found in streams if found.uid == self.uid]
            if not same and or_successor and waited_s > _SAME_S:
                same = [found for found in streams if self.query.matches(found)]
            if same:
                return max(same, key=lambda found: found.created_at)
            time.sleep(_POLL_S)
        raise StreamLost(f"source must stay on the network, got no answer any more from the one with {self.query}")


def find_lsl_source(config: Config) -> SourcePlan:
    """Wait for the stream that the settings describe and fetch its description.

    Raises
    ------
    StreamLost
        If it does not appear in time; the message lists what there is.
    StreamMismatch
        If several streams match, all of which are listed.
    """
    settings = config.source
    found = _find(settings)
    source = LslSource(found)
    try:
        description = source.description
        is_played = description.stamps == "recording"
        query = StreamQuery(found.name, found.type, found.source_id or None)
        return SourcePlan(
            info=assume_unit(source.info, settings.units),
            host=found.host,
            is_played=is_played,
            n_samples=description.n_samples,
            reconnect_s=settings.reconnect_s,
            opener=LslOpener(found.uid, found.host, is_played, query),
            first_sample=description.first_sample,
            has_numbers=description.counter != "none",
        )
    finally:
        source.close()


def _find(settings: SourceSettings) -> FoundStream:
    """Find the stream; of several that match without a type asked for, the only one of type EEG."""
    query = StreamQuery(settings.name, settings.type, settings.source_id)
    try:
        return find_stream(query, settings.resolve_s)
    except StreamMismatch as several:
        if settings.type is not None:
            raise
        try:
            found = find_stream(StreamQuery(settings.name, "EEG", settings.source_id), _FIND_AGAIN_S / 10)
        except (StreamMismatch, StreamLost):
            raise several from None
        _log.info("source: several streams match, taking the only one of type EEG: %s", found)
        return found
