"""Settings that only a live run uses: markers, outlets, processes, metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neuroloop.config.settings import Name, PositiveFloat, Settings


class MarkerSettings(Settings):
    """Which marker streams of the network are merged into the events."""

    enabled: bool = True
    """Whether marker streams are looked for."""
    names: tuple[str, ...] | None = None
    """Names of marker streams; without it, every stream of type ``Markers`` that is no monitoring outlet."""


class OutletSettings(Settings):
    """What a live run offers on the network for monitoring; nothing a device may act on."""

    states: bool = True
    """Whether the state is offered, as a stream of markers."""
    probabilities: bool = True
    """Whether the probabilities of the classes are offered, as a signal stream."""
    taps: tuple[Name, ...] = ()
    """Stages whose output is offered as a signal stream."""


class ProcessSettings(Settings):
    """How the processes share the machine."""

    hot_core: Literal["auto", "any"] | Annotated[int, Field(ge=0)] = "auto"
    """Core that the hot process has for itself; ``auto``: the last usable one where there are two or more."""
    priority: Literal["auto", "normal"] = "auto"
    """``auto``: real-time priority for the hot process where the system allows it."""
    ring_s: PositiveFloat = 30.0
    """Seconds of signal that a cold process may be behind, or dead, before anything is lost."""
    log: Literal["human", "json"] = "human"
    """``json``: every line on standard error is one JSON object."""


class MetricsSettings(Settings):
    """Where Prometheus may scrape."""

    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Without it nothing is served; 0 takes any free port, 9108 is the usual one."""
    host: str = "127.0.0.1"
    """Loopback unless told otherwise."""
    ready_s: PositiveFloat = 2.0
    """How old the newest sample may be for ``/readyz`` to answer 200."""


class RecorderSettings(Settings):
    """What a live run keeps of its signals: the rows as the source handed them over, markers and events, as XDF."""

    enabled: bool = False
    """Whether signals are kept; ``--record`` asks for it too."""
    taps: tuple[Name, ...] = ()
    """Stages whose output is recorded too; ``input`` for the numbered samples."""
    format: Literal["double64", "float32"] = "double64"
    """``float32`` halves the file where the sender's values are single precision. Streams that carry sample numbers are
    always kept in double precision."""
    rotate_s: PositiveFloat | None = None
    """A new file begins after so much signal; without it and ``rotate_mb`` the run is one file."""
    rotate_mb: PositiveFloat | None = None
    """A new file begins after so many megabytes; without it and ``rotate_s`` the run is one file."""
    fsync_s: PositiveFloat = 5.0
    """How much a loss of power may cost; a killed process costs nothing that was written."""
