"""A live source of somebody's own: made once to be described, and again in the hot process."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass

from neuroloop.config.errors import ConfigError, StreamLost
from neuroloop.config.live import MarkerSettings
from neuroloop.config.source import OwnSourceSettings
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.sources.clock_watch import SenderClock
from neuroloop.stream.sources.own_source import OwnSource, check_source
from neuroloop.stream.sources.session import LiveMarkers

_AGAIN_S = 0.5
_CLOCK = "perf_counter"


class SameClock:
    """For stamps that are this machine's ``time.perf_counter``; a `SenderClock`."""

    def measure(self) -> float:
        """Return nothing to add."""
        return 0.0

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class OwnOpener:
    """Makes a source again that another process has made; implements `neuroloop.stream.live.live_source.Opener`.

    Parameters
    ----------
    settings : OwnSourceSettings
    info : StreamInfo
        What it said of its stream.
    """

    settings: OwnSourceSettings
    info: StreamInfo

    def open(self) -> OwnSource:
        """Make it; call it where everything else is ready."""
        return OwnSource(self.settings, self.info)

    def open_markers(self, settings: MarkerSettings) -> LiveMarkers | None:
        """Return nothing: such a source has no markers beside it."""
        return None

    def open_clock(self) -> SenderClock | None:
        """Return the clock that its class declares; None where nothing is known of its stamps."""
        return SameClock() if getattr(check_source(self.settings), "clock", None) == _CLOCK else None


def find_own_source(config: Config) -> SourcePlan:
    """Make the source, again and again until it is there or ``resolve_s`` is over, and take its description.

    Raises
    ------
    StreamLost
        If it cannot be made in time; the message says why.
    StreamMismatch
        If what it says of its stream is no description.
    ConfigError
        If the class is no source.
    """
    settings = config.source
    if not isinstance(settings, OwnSourceSettings):
        raise ConfigError(f"source.kind must be a source of your own, got {settings.kind!r}")
    end = time.perf_counter() + settings.resolve_s
    while True:
        try:
            source = OwnSource(settings)
            break
        except StreamLost:
            if time.perf_counter() + _AGAIN_S >= end:
                raise
        time.sleep(_AGAIN_S)
    source.close()
    return SourcePlan(
        info=source.info,
        host=platform.node(),
        is_played=False,
        n_samples=None,
        reconnect_s=settings.reconnect_s,
        opener=OwnOpener(settings, source.info),
        has_numbers=source.has_numbers,
    )
