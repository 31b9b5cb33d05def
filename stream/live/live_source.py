"""Live sources: found by the supervisor, opened by the processes; what they all have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from neuroloop.config.live import MarkerSettings
from neuroloop.config.source import OwnSourceSettings, SourceSettings
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.clock_watch import SenderClock
from neuroloop.stream.sources.session import LiveMarkers, LiveSource


class Opener(Protocol):
    """Opens what was found, in a process that was not there when it was found; survives pickling."""

    def open(self) -> LiveSource:
        """Subscribe; call it where everything else is ready, samples are kept from then on."""
        ...

    def open_markers(self, settings: MarkerSettings) -> LiveMarkers | None:
        """Connect to the markers that belong to the stream; None where none are wanted."""
        ...

    def open_clock(self) -> SenderClock | None:
        """Measure the sender's clock; None where the stamps have nothing to do with one."""
        ...


@dataclass(frozen=True)
class SourcePlan:
    """Which stream to open, for a process that was not there when it was found.

    Parameters
    ----------
    info : StreamInfo
    host : str
        Who sends it.
    is_played : bool
        Whether the stamps are a recording's own, which have nothing to do with the clock.
    n_samples : int or None
        How many samples the sender will send in all, where it says so.
    reconnect_s : float
        How long to wait for a lost stream.
    opener : Opener
    first_sample : int
        Number of the first sample, where a recording that is played says it.
    has_numbers : bool
        Whether the source numbers its samples itself.
    stream_id : str, optional
        What Kafka calls the stream, where it comes from there.
    """

    info: StreamInfo
    host: str
    is_played: bool
    n_samples: int | None
    reconnect_s: float
    opener: Opener
    first_sample: int = 0
    has_numbers: bool = False
    stream_id: str | None = None

    def open_clock(self) -> SenderClock | None:
        """Measure the sender's clock; None where the stamps have nothing to do with one."""
        return None if self.is_played else self.opener.open_clock()


FINDERS = {
    "lsl": "neuroloop.stream.live.live_lsl:find_lsl_source",
    "kafka": "neuroloop.stream.live.live_kafka:find_kafka_source",
}
"""Who finds a live source, by its kind; imported when it is asked for."""


_OWN = "neuroloop.stream.live.live_own:find_own_source"


def is_live(source: SourceSettings) -> bool:
    """Return whether a live run can open such a source as it is."""
    return source.kind in FINDERS or isinstance(source, OwnSourceSettings)


def find_source(config: Config) -> SourcePlan:
    """Wait for the stream that the configuration describes and fetch its description.

    Raises
    ------
    StreamLost
        If it does not appear in time; the message lists what there is.
    StreamMismatch
        If several streams match, all of which are listed.
    """
    own = _OWN if isinstance(config.source, OwnSourceSettings) else ""
    module, _, name = (own or FINDERS[config.source.kind]).partition(":")
    find: Callable[[Config], SourcePlan] = getattr(import_module(module), name)
    return find(config)
