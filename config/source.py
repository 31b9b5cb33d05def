"""Settings of the source and of how its samples are numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    model_validator,
)

from neuroloop.config.open_settings import OpenKinds, OpenSchema, own_fields, write_own
from neuroloop.config.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Settings


class TimingSettings(Settings):
    """How sample numbers follow from stamps, and what happens where samples are missing."""

    timing: Literal["auto", "counter", "regular", "bursty"] = "auto"
    """How samples are numbered: by the sender's own count (``counter``), by stamps that are regular (``regular``) or
    come in packets (``bursty``); ``auto`` takes the count where there is one, and otherwise judges by the first two
    seconds."""
    gap_tolerance_s: PositiveFloat = 0.25
    """``bursty``: a stamp this far ahead of the line at the effective rate is a gap."""
    fill: Literal["hold", "zero", "interpolate", "nan"] = "hold"
    """What stands in for missing samples; the rows are flagged whatever it is."""
    reset_after_s: PositiveFloat = 1.0
    """A longer gap is not filled: the sample number jumps and every stage starts anew."""
    rate_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """An effective rate that is off the nominal one by more than this share is said in an event."""
    dejitter: Literal["none", "linear"] = "none"
    """``linear``: stamps are smoothed as liblsl does it. Not for latency: a smoothed stamp is no time of arrival."""


class SimulatorSettings(Settings):
    """A seeded EEG-like signal with a known truth."""

    seed: Annotated[int, Field(ge=0)] = 0
    """The same seed gives the same signal."""
    n_channels: Annotated[int, Field(ge=1, le=1024)] = 8
    """Channels of the signal."""
    sfreq: PositiveFloat = 250.0
    """Sampling rate in Hz."""
    duration_s: PositiveFloat | None = None
    """Without it the stream never ends."""
    line_hz: NonNegativeFloat = 50.0
    """Mains frequency; 0 leaves line noise out."""
    block_s: PositiveFloat = 30.0
    """Mean length of a state (``rest``, ``alpha``, ``seizure``)."""


KIND_KEYS = {
    "lsl": frozenset({"name", "type", "source_id", "resolve_s", "reconnect_s"}),
    "simulator": frozenset({"simulator"}),
    "recording": frozenset({"path", "select", "csv_sfreq"}),
    "kafka": frozenset({"stream_id", "start", "resolve_s", "reconnect_s"}),
}
"""Which settings belong to some kinds of source only."""
OF_ANY_LIVE = frozenset({"resolve_s", "reconnect_s"})
"""Those of them that a source of somebody's own has too."""


class SourceSettings(TimingSettings):
    """Which stream to process."""

    kind: Literal["lsl", "simulator", "recording", "kafka"] = "lsl"
    """Where samples come from: Lab Streaming Layer, the simulator, a file, or Kafka; or a class of your own,
    ``package.module:Class``."""
    name: str | None = None
    """Name of the LSL stream; what is given of ``name``, ``type`` and ``source_id`` must match."""
    type: str | None = None
    """Type of the LSL stream, such as ``EEG``."""
    source_id: str | None = None
    """``source_id`` of the LSL stream, which tells devices of one name apart."""
    resolve_s: PositiveFloat = 30.0
    """How long to wait at the start for the stream to appear."""
    reconnect_s: PositiveFloat = 600.0
    """How long to wait for a lost LSL stream with the same ``source_id``, or for brokers that are away, before the run
    ends."""
    path: str | None = None
    """The file of kind ``recording``."""
    select: str | None = None
    """Which stream of the file: name, type or id."""
    csv_sfreq: PositiveFloat | None = None
    """Rate of a text recording without a time column, in Hz."""
    stream_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Which stream of kind ``kafka``; may be left out where there is only one. ``kafka`` names the brokers."""
    start: Annotated[str, Field(pattern=r"^(latest|earliest|(offset|sample):\d{1,18})$")] = "latest"
    """Where a ``kafka`` source begins: with what comes next, with the oldest message that the brokers keep, at an
    offset, or at the row with this index. A consumer group that has read before goes on where it was."""
    units: str | None = Field(default=None, max_length=32)
    """Unit of the channels whose unit the sender or the file does not say; what it does say is never changed."""
    staleness: Literal["process_all", "skip_to_newest", "refuse"] = "process_all"
    """What happens to samples that waited unread too long: they are processed, left out, or processed and flagged."""
    max_backlog_s: PositiveFloat = 0.5
    """How much signal may wait unread, in seconds; without effect under ``process_all``."""
    channels: PositiveInt | None = None
    """If given, the number of channels the stream must have."""
    simulator: SimulatorSettings = SimulatorSettings()
    """The signal of kind ``simulator``."""

    @model_validator(mode="after")
    def _only_what_the_kind_uses(self) -> SourceSettings:
        given = self.model_fields_set
        for kind, keys in KIND_KEYS.items():
            for key in sorted(keys & given):
                if key not in KIND_KEYS[self.kind] and getattr(self, key) is not None:
                    raise ValueError(f"{key} must be left out for kind {self.kind!r}, it belongs to kind {kind!r}")
        if self.kind == "recording" and not self.path:
            raise ValueError("path must be given for kind 'recording'")
        return self


_FOREIGN = frozenset[str]().union(*KIND_KEYS.values()) - OF_ANY_LIVE


class OwnSourceSettings(SourceSettings):
    """Base of the settings of a source that somebody else has written; a subclass adds its own fields.

    It may have fields that belong to a kind that is built in, such as ``name`` or ``path``, with a meaning of its own.
    """

    kind: str  # type: ignore[assignment]  # any name, where those that are built in are four
    """A name that is registered or that an installed package offers, or ``package.module:Class``."""

    @model_validator(mode="after")
    def _only_what_the_kind_uses(self) -> OwnSourceSettings:
        foreign = _FOREIGN - own_fields(type(self), OwnSourceSettings)
        for kind, keys in KIND_KEYS.items():
            for key in sorted(keys & foreign & self.model_fields_set):
                raise ValueError(f"{key} must be left out for kind {self.kind!r}, it belongs to kind {kind!r}")
        return self


class UnreadSourceSettings(OwnSourceSettings):
    """Settings of a source whose code was not asked: kept as they were written, and never opened."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _only_what_the_kind_uses(self) -> UnreadSourceSettings:
        return self


SOURCE_KINDS = OpenKinds(
    "source",
    "neuroloop.sources",
    tuple(KIND_KEYS),
    base=OwnSourceSettings,
    unread=UnreadSourceSettings,
    hidden=_FOREIGN,
)
"""Which kinds of source there are."""


def built_in(settings: SourceSettings) -> SourceSettings:
    """Return the settings that all sources share, as those of a source that is built in."""
    if not isinstance(settings, OwnSourceSettings):
        return settings
    shared = set(SourceSettings.model_fields) - _FOREIGN - {"kind"}
    return SourceSettings(**{key: getattr(settings, key) for key in shared & settings.model_fields_set})


def _write(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    """Write what is not built in by its own class."""
    return write_own(value, handler, info) if isinstance(value, OwnSourceSettings) else handler(value)


if TYPE_CHECKING:
    AnySource = SourceSettings
else:
    AnySource = Annotated[SourceSettings, WrapValidator(SOURCE_KINDS.open), WrapSerializer(_write), OpenSchema()]
