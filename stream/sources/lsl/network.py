"""Which streams are on the network, and choosing one of them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pylsl
from pylsl.lib import fmt2string

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.config.plain_text import clean
from neuroloop.stream.contracts.chunks import MONITORING_ID

SETTLE_S = 0.75
"""After the first answer others are waited for this long: a little more than the half second between two questions."""
_POLL_S = 0.01
_MARKER_TYPE = re.compile(r"marker|event|trigger|stim|annotation", re.IGNORECASE)


@dataclass(frozen=True)
class FoundStream:
    """One stream that answered, as far as its short description goes (no channels, no units).

    Parameters
    ----------
    name, type, source_id, uid, host : str
        As the sender says; ``uid`` changes with every start of the sender, ``source_id`` should not.
    n_channels : int
    sfreq : float
        In Hz; 0 for an irregular stream.
    format : str
        LSL's name of the value type, such as ``float32``.
    created_at : float
        On the sender's clock, in seconds.
    handle : pylsl.StreamInfo
    """

    name: str
    type: str
    source_id: str
    uid: str
    host: str
    n_channels: int
    sfreq: float
    format: str
    created_at: float
    handle: Any = field(repr=False, compare=False)

    @classmethod
    def of(cls, handle: Any) -> FoundStream:
        """Take over what a ``pylsl.StreamInfo`` says."""
        return cls(
            name=handle.name(),
            type=handle.type(),
            source_id=handle.source_id(),
            uid=handle.uid(),
            host=handle.hostname(),
            n_channels=handle.channel_count(),
            sfreq=handle.nominal_srate(),
            format=fmt2string[handle.channel_format()],
            created_at=handle.created_at(),
            handle=handle,
        )

    @property
    def is_monitoring(self) -> bool:
        """Whether a pipeline sends it to be looked at, not to be acted on."""
        return self.source_id.startswith(MONITORING_ID)

    @property
    def is_markers(self) -> bool:
        """Text, or numbers at no fixed rate whose type says that they mark events; the same rule as for XDF files."""
        return self.format == "string" or (self.sfreq == 0 and bool(_MARKER_TYPE.search(self.type)))

    def __str__(self) -> str:
        kind, source_id, host = (clean(text) or "-" for text in (self.type, self.source_id, self.host))
        return (
            f"{clean(self.name)!r} (type {kind}, source_id {source_id}, host {host}, "
            f"{self.n_channels} channels, {self.sfreq:g} Hz, {self.format})"
        )


@dataclass(frozen=True)
class StreamQuery:
    """What a stream must be; all that is given must match exactly."""

    name: str | None = None
    type: str | None = None
    source_id: str | None = None

    def matches(self, found: FoundStream) -> bool:
        """Say whether a stream is what is asked for.

        Monitoring outlets match only where they are asked for by name or ``source_id``: a pipeline that looks for just
        any stream must not find its own output.
        """
        if found.is_monitoring and self.name is None and self.source_id is None:
            return False
        return (
            self.name in (None, found.name)
            and self.type in (None, found.type)
            and self.source_id in (None, found.source_id)
        )

    def __str__(self) -> str:
        given = (("name", self.name), ("type", self.type), ("source_id", self.source_id))
        return " and ".join(f"{key} {value!r}" for key, value in given if value is not None) or "any name"


class Network:
    """A look at the network that stays open; every sender is listed once.

    Parameters
    ----------
    forget_after_s : float
        How long a sender that no longer answers stays listed.
    """

    def __init__(self, forget_after_s: float = 5.0) -> None:
        self._resolver = pylsl.ContinuousResolver(forget_after=forget_after_s)

    def streams(self) -> list[FoundStream]:
        """Return the streams that have answered so far, by name; several answers of one sender (uid) are one."""
        by_uid = {found.uid: found for found in map(FoundStream.of, self._resolver.results())}
        return sorted(
            by_uid.values(), key=lambda found: (found.name, found.type, found.host, found.source_id, found.uid)
        )


def list_streams(wait_s: float = 1.0) -> list[FoundStream]:
    """Return what is on the network, by name.

    Parameters
    ----------
    wait_s : float
        How long to wait for answers; below half a second streams of other computers may be missed.
    """
    network = Network()
    time.sleep(wait_s)
    return network.streams()


def find_stream(query: StreamQuery, timeout_s: float, *, settle_s: float = SETTLE_S) -> FoundStream:
    """Find the one data stream that a query describes.

    Parameters
    ----------
    query : StreamQuery
    timeout_s : float
        How long to wait for it in seconds.
    settle_s : float
        How long to look on for a second one.

    Raises
    ------
    StreamLost
        If there is none; the message lists what there is.
    StreamMismatch
        If there are several, all of which are listed, or only ones that carry text.
    """
    network = Network()
    end = time.perf_counter() + timeout_s
    found: list[FoundStream] = []
    while not found and time.perf_counter() < end:
        time.sleep(_POLL_S)
        found = [one for one in network.streams() if query.matches(one)]
    if not found:
        raise StreamLost(
            f"source must be a stream on the network with {query}, got none within {timeout_s:g} s"
            f"{_listing(network.streams())}"
        )
    if settle_s > 0:
        time.sleep(settle_s)
    found = [one for one in network.streams() if query.matches(one)] or found
    numeric = [one for one in found if one.format != "string"]
    if not numeric:
        raise StreamMismatch(f"source must be a stream of numbers, got {found[0]}")
    if len(numeric) > 1:
        listed = ", ".join(map(str, numeric))
        raise StreamMismatch(f"source must be one stream, got {len(numeric)} with {query}: {listed}")
    return numeric[0]


def _listing(streams: Sequence[FoundStream], most: int = 20) -> str:
    """Say what is on the network, for the end of a one-line message."""
    if not streams:
        return "; no stream answers on this network (sender running? firewall? LSL session id?)"
    rows = [str(one) for one in streams[:most]]
    if len(streams) > most:
        rows.append(f"and {len(streams) - most} more")
    return "; on the network: " + ", ".join(rows)
