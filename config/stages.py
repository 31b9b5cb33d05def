"""Settings of the numeric stages, one class per kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    model_validator,
)

from neuroloop.config.kinds import TRUSTED, CodeRules, Kinds
from neuroloop.config.open_settings import OpenSchema, declared_settings, name_from_kind, validated, write_own
from neuroloop.config.settings import FiniteFloat, Name, NonNegativeFloat, PositiveFloat, PositiveInt, Settings

_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
WHEN_PATTERN = rf"^\s*sfreq\s*(<|<=|>|>=)\s*({_NUMBER})\s*(\*\s*(f0|{_NUMBER}))?\s*$"


class Conditional(Settings):
    """Something that may be left out where the stream's rate does not allow it."""

    when: str | None = Field(default=None, pattern=WHEN_PATTERN)
    """Such as ``sfreq > 2.2 * f0`` (``f0``: the design's own frequency) or ``sfreq >= 200``."""


class NotchDesign(Conditional):
    """Second-order notch at ``freq_hz`` and, on request, at its harmonics below the Nyquist rate."""

    kind: Literal["notch"] = "notch"
    """A notch."""
    freq_hz: PositiveFloat
    """Centre of the notch, such as the mains frequency."""
    q: PositiveFloat = 30.0
    """Quality: ``freq_hz`` divided by the width at -3 dB; higher is narrower, and rings longer."""
    harmonics: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many multiples of ``freq_hz``, the first included; those at or above 0.45 ``sfreq`` are left out."""


class BandpassDesign(Conditional):
    """Butterworth band-pass; ``order`` as in scipy.signal.butter (``order`` sections)."""

    kind: Literal["bandpass"] = "bandpass"
    """A band-pass."""
    low_hz: PositiveFloat
    """Lower edge, at -3 dB."""
    high_hz: PositiveFloat
    """Upper edge, at -3 dB; below half the sampling rate."""
    order: Annotated[int, Field(ge=1, le=12)] = 4
    """Order as scipy.signal.butter counts it; steeper with every one, and slower to settle."""

    @model_validator(mode="after")
    def _edges_are_ordered(self) -> BandpassDesign:
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz must be below high_hz={self.high_hz!r}, got {self.low_hz!r}")
        return self


class HighpassDesign(Conditional):
    """Butterworth high-pass."""

    kind: Literal["highpass"] = "highpass"
    """A high-pass."""
    freq_hz: PositiveFloat
    """Edge, at -3 dB."""
    order: Annotated[int, Field(ge=1, le=12)] = 4
    """Order; steeper with every one, and slower to settle."""


class LowpassDesign(Conditional):
    """Butterworth low-pass."""

    kind: Literal["lowpass"] = "lowpass"
    """A low-pass."""
    freq_hz: PositiveFloat
    """Edge, at -3 dB; below half the sampling rate."""
    order: Annotated[int, Field(ge=1, le=12)] = 4
    """Order; steeper with every one, and slower to settle."""


FilterDesign = Annotated[NotchDesign | BandpassDesign | HighpassDesign | LowpassDesign, Field(discriminator="kind")]


class FilterSettings(Settings):
    """A cascade of designs, run as one pass of second-order sections."""

    kind: Literal["filter"]
    """Filters."""
    name: Name = "filter"
    """Name of the stage, by which dumps, taps and monitors call it."""
    designs: Annotated[tuple[FilterDesign, ...], Field(min_length=1)]
    """The filters, in the order in which they are applied."""


class ReferenceSettings(Settings):
    """Subtract the mean of the reference channels."""

    kind: Literal["reference"]
    """A reference."""
    name: Name = "reference"
    """Name of the stage, by which dumps, taps and monitors call it."""
    channels: tuple[str, ...] | Literal["average"] = "average"
    """Names, or ``average``: over all channels of one type (EEG where there is any), which it changes and no others.

    Named ones, of one unit, are subtracted from all channels of that unit; a single one is not handed on.
    """
    exclude: tuple[str, ...] = ()
    """Channels that neither enter the average nor are changed by it."""


class PickSettings(Settings):
    """Keep some channels, in the given order."""

    kind: Literal["pick"]
    """A choice of channels."""
    name: Name = "pick"
    """Name of the stage, by which dumps, taps and monitors call it."""
    channels: tuple[str, ...] | None = None
    """Names of the channels to keep, in this order; this or ``types``."""
    types: tuple[str, ...] | None = None
    """Types of the channels to keep, such as ``EEG``; this or ``channels``."""
    exclude: tuple[str, ...] = ()
    """Channels that are left out of them."""

    @model_validator(mode="after")
    def _one_way(self) -> PickSettings:
        if (self.channels is None) == (self.types is None):
            raise ValueError("exactly one of channels and types must be given")
        return self


class Windowed(Settings):
    """A window of ``window_s`` every ``hop_s``; both become samples by ``round``."""

    window_s: PositiveFloat | None = None
    """Length of a window; this or ``window_samples``."""
    hop_s: PositiveFloat | None = None
    """Distance between window starts; this or ``hop_samples``."""
    window_samples: PositiveInt | None = None
    """Length of a window in input rows; this or ``window_s``."""
    hop_samples: PositiveInt | None = None
    """Distance between window starts in input rows; this or ``hop_s``."""

    @model_validator(mode="after")
    def _one_unit(self) -> Windowed:
        for label in ("window", "hop"):
            in_s, in_samples = getattr(self, f"{label}_s"), getattr(self, f"{label}_samples")
            if (in_s is None) == (in_samples is None):
                raise ValueError(f"exactly one of {label}_s and {label}_samples must be given")
        return self


class WindowSettings(Windowed):
    """Cut windows; an output row is one window, flattened time-major (``t0:C3, t0:C4, t1:C3, ...``)."""

    kind: Literal["window"]
    """Windows."""
    name: Name = "window"
    """Name of the stage, by which dumps, taps and monitors call it."""


class Band(Settings):
    """Half-open band ``[low_hz, high_hz)``."""

    low_hz: FiniteFloat
    """Lower edge, inside the band."""
    high_hz: PositiveFloat
    """Upper edge, outside the band."""


class BandPowerSettings(Windowed):
    """Power per channel and band: periodic Hann, one-sided density integrated over each band."""

    kind: Literal["bandpower"]
    """Power in bands."""
    name: Name = "bandpower"
    """Name of the stage, by which dumps, taps and monitors call it."""
    bands: dict[str, tuple[FiniteFloat, PositiveFloat]]
    """Half-open bands ``[low, high)`` in Hz, by the name that columns get."""
    log: bool = False
    """Natural logarithm of the power (plus the smallest normal number) in place of the power."""

    @model_validator(mode="after")
    def _bands_are_bands(self) -> BandPowerSettings:
        if not self.bands:
            raise ValueError("bands must have at least one entry, got none")
        for label, (low_hz, high_hz) in self.bands.items():
            if not 0 <= low_hz < high_hz:
                raise ValueError(f"bands.{label} must be [low, high) with 0 <= low < high, got {[low_hz, high_hz]!r}")
        return self


class LogVarianceSettings(Windowed):
    """Natural logarithm of the variance (ddof 0) of each window, per channel."""

    kind: Literal["logvar"]
    """Log-variance."""
    name: Name = "logvar"
    """Name of the stage, by which dumps, taps and monitors call it."""


class ZScoreSettings(Settings):
    """Subtract a frozen mean and divide by a frozen standard deviation."""

    kind: Literal["zscore"]
    """A frozen z-score."""
    name: Name = "zscore"
    """Name of the stage, by which dumps, taps and monitors call it."""
    mean: tuple[FiniteFloat, ...]
    """What is subtracted, in the channels' own units: one value for all channels, or one per channel."""
    std: tuple[PositiveFloat, ...]
    """What it is divided by, in the channels' own units; as many values as ``mean``."""

    @model_validator(mode="after")
    def _same_length(self) -> ZScoreSettings:
        if len(self.mean) != len(self.std):
            raise ValueError(f"std must have as many entries as mean ({len(self.mean)}), got {len(self.std)}")
        return self


class AmplitudeLimit(Settings):
    """Faulty where a channel is further than ``limit`` from its slow baseline."""

    limit: PositiveFloat
    """In the channel's own unit, as every limit of this stage."""
    baseline_s: PositiveFloat = 2.0
    """Time constant of the baseline."""


class GradientLimit(Settings):
    """Faulty where a channel steps by more than ``limit``."""

    limit: PositiveFloat
    """Largest step, in the channel's own unit per ``per``."""
    per: Literal["sample", "ms"] = "sample"
    """What the step is divided by; ``ms`` gives one limit for every sampling rate."""


class FlatLimit(Settings):
    """Faulty where a channel has stayed within less than ``limit``, peak to peak, for ``flat_s``."""

    limit: PositiveFloat
    """Smallest peak-to-peak range of a live channel, in its own unit."""
    flat_s: PositiveFloat = 1.0
    """How long a channel must have stayed within the limit."""


class RailLimit(Settings):
    """Faulty at the end of the converter's range, which is given or recognised by its repetition."""

    low: FiniteFloat | None = None
    """A value at or below it is faulty, in the channel's own unit."""
    high: FiniteFloat | None = None
    """A value at or above it is faulty, in the channel's own unit."""
    repeats: Annotated[int, Field(ge=2)] | None = None
    """So many equal values in a row, at the highest or lowest value of the run so far, are faulty from there on."""

    @model_validator(mode="after")
    def _something_is_given(self) -> RailLimit:
        if self.low is None and self.high is None and self.repeats is None:
            raise ValueError("at least one of low, high and repeats must be given")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must be below high={self.high!r}, got {self.low!r}")
        return self


class MuscleLimit(Conditional):
    """Faulty where the effective value in a high band exceeds ``limit``; ``f0`` of ``when`` is ``low_hz``."""

    limit: PositiveFloat
    """Largest effective value in the band, in the channel's own unit."""
    low_hz: PositiveFloat = 30.0
    """Lower edge of the band."""
    high_hz: PositiveFloat | None = None
    """0.45 ``sfreq`` if not given."""
    average_s: PositiveFloat = 0.2
    """Time constant of the mean square."""


class ArtifactSettings(Settings):
    """Mark faulty channels, and the rows where too many of them are faulty."""

    kind: Literal["artifacts"]
    """A search for faulty channels."""
    name: Name = "artifacts"
    """Name of the stage, by which dumps, taps and monitors call it."""
    channels: tuple[str, ...] | None = None
    """Which ones are watched; all if neither this nor ``types`` is given."""
    types: tuple[str, ...] | None = None
    """Types of the channels that are watched, such as ``EEG``; all if neither this nor ``channels`` is given."""
    amplitude: AmplitudeLimit | None = None
    """Limit of the distance from a slow baseline."""
    gradient: GradientLimit | None = None
    """Limit of steps."""
    flat: FlatLimit | None = None
    """Limit below which a channel is dead."""
    rail: RailLimit | None = None
    """End of the converter's range."""
    muscle: MuscleLimit | None = None
    """Limit of power in a high band."""
    onset_s: NonNegativeFloat = 0.1
    """Faulty time within one second after which a channel is bad; amplitude, gradient and flat make it bad at once."""
    recover_s: PositiveFloat = 0.5
    """Time without a fault after which a bad channel is good again."""
    max_bad_channels: Annotated[int, Field(ge=0)] = 0
    """Rows with more bad channels than this are flagged."""
    bad_channels: Literal["keep", "hold", "zero"] = "keep"
    """What a bad channel hands on: its values, the last one before it became bad, or 0."""

    @model_validator(mode="after")
    def _something_is_looked_for(self) -> ArtifactSettings:
        if all(getattr(self, kind) is None for kind in ("amplitude", "gradient", "flat", "rail", "muscle")):
            raise ValueError("at least one of amplitude, gradient, flat, rail and muscle must be given")
        if self.channels is not None and self.types is not None:
            raise ValueError("at most one of channels and types must be given")
        if self.onset_s > 1:
            raise ValueError(f"onset_s must be at most 1, got {self.onset_s!r}")
        return self


class OwnStageSettings(Settings):
    """Base of the settings of a stage that somebody else has written; a subclass adds its own fields."""

    kind: str
    """A name that is registered or that an installed package offers, or ``package.module:Class``."""
    name: Name
    """The name of the class in small letters unless given."""

    @model_validator(mode="before")
    @classmethod
    def _name_follows_from_the_kind(cls, values: Any) -> Any:
        return name_from_kind(cls, values)


class UnreadStageSettings(OwnStageSettings):
    """Settings of a stage whose code was not asked: kept as they were written, and never built."""

    model_config = ConfigDict(extra="allow")


_BuiltIn = Annotated[
    FilterSettings
    | ReferenceSettings
    | PickSettings
    | WindowSettings
    | BandPowerSettings
    | LogVarianceSettings
    | ZScoreSettings
    | ArtifactSettings,
    Field(discriminator="kind"),
]
_BUILT_IN: tuple[type[Settings], ...] = get_args(get_args(_BuiltIn)[0])
STAGE_KINDS = Kinds(
    "stage", "neuroloop.stages", (get_args(one.model_fields["kind"].annotation)[0] for one in _BUILT_IN)
)
"""Which kinds of stage there are."""


def stage_settings_type(stage: type[Any], kind: str) -> type[Settings]:
    """Return the settings class that a stage's class declares as ``Settings`` or ``settings_type``.

    One without ``kind`` and ``name`` is given both; a stage without any has these two alone.

    Raises
    ------
    ConfigError
        If what it declares is no settings class.
    """
    return declared_settings(stage, kind, OwnStageSettings)


def _open(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Validate what is not built in by the settings class that its kind declares."""
    if isinstance(value, UnreadStageSettings):
        return value
    if isinstance(value, Settings) and not isinstance(value, _BUILT_IN):
        kind = getattr(value, "kind", None)
        if not isinstance(kind, str) or not isinstance(getattr(value, "name", None), str):
            raise ValueError(f"settings must have a kind and a name, got {type(value).__name__}")
        _must_fit(value, kind)
        return value
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in STAGE_KINDS.builtin:
        return handler(value)
    rules = CodeRules.of(info.context)
    if rules.unread:
        return UnreadStageSettings.model_validate(value)
    settings = stage_settings_type(STAGE_KINDS.resolve(kind, rules), kind)
    return validated(settings, value, info.context)


def _must_fit(settings: Settings, kind: str) -> None:
    """Refuse settings whose kind is that of another class: the stage would be built with what it does not know."""
    wanted = stage_settings_type(STAGE_KINDS.resolve(kind, TRUSTED), kind)
    if not isinstance(settings, wanted):
        raise ValueError(f"settings must be {wanted.__name__} for kind {kind!r}, got {type(settings).__name__}")


def _write(value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    """Write what is not built in by its own class."""
    return handler(value) if isinstance(value, _BUILT_IN) else write_own(value, handler, info)


_NAMED = "That of its tap; the class's in small letters unless given."
if TYPE_CHECKING:
    StageSettings = (
        FilterSettings
        | ReferenceSettings
        | PickSettings
        | WindowSettings
        | BandPowerSettings
        | LogVarianceSettings
        | ZScoreSettings
        | ArtifactSettings
        | OwnStageSettings
    )
else:
    StageSettings = Annotated[_BuiltIn, WrapValidator(_open), WrapSerializer(_write), OpenSchema(_NAMED)]
