"""Every numeric stage by kind: how it is built, and settings that show it at work; stages of others too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuroloop.config.kinds import TRUSTED
from neuroloop.config.settings import Settings
from neuroloop.config.stages import (
    STAGE_KINDS,
    AmplitudeLimit,
    ArtifactSettings,
    BandpassDesign,
    BandPowerSettings,
    FilterSettings,
    FlatLimit,
    GradientLimit,
    HighpassDesign,
    LogVarianceSettings,
    LowpassDesign,
    MuscleLimit,
    NotchDesign,
    PickSettings,
    RailLimit,
    ReferenceSettings,
    UnreadStageSettings,
    WindowSettings,
    ZScoreSettings,
)
from neuroloop.processors.artifacts.stage import Artifacts
from neuroloop.processors.channels.pick import Pick
from neuroloop.processors.channels.reference import Reference
from neuroloop.processors.features.bandpower import BandPower
from neuroloop.processors.features.logvar import LogVariance
from neuroloop.processors.features.window import Window
from neuroloop.processors.features.zscore import ZScore
from neuroloop.processors.filters.sos_filter import SosFilter
from neuroloop.processors.stages.own_stage import build_own_stage
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor


def _keeps_channels(_: Settings) -> bool:
    return True


def _may_change_channels(_: Settings) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class StageKind:
    """One kind of stage.

    Parameters
    ----------
    settings : type
        Its settings class.
    build : callable
        Makes a stage from settings and the stream that comes in.
    examples : tuple of settings
        For a stream with the channels ``C3, C4, Cz, EOG`` (the last of type ``EOG``) at 100 Hz; the property tests run
        over them.
    keeps_channels : callable, optional
        Says of some settings whether the channels that go in come out; if none is given, they need not.
    """

    settings: type[Settings]
    build: Callable[[Any, StreamInfo], Processor]
    examples: tuple[Settings, ...] = ()
    keeps_channels: Callable[[Any], bool] = _may_change_channels


STAGES: dict[str, StageKind] = {}
"""All kinds, by the ``kind`` of their settings."""


def register(kind: str, stage: StageKind | type[Any]) -> None:
    """Add a kind of stage.

    Parameters
    ----------
    kind : str
    stage : StageKind or type
        One of the program's own, which the property tests include from then on; or a class of yours, which a
        configuration may name by the kind in this process.

    Raises
    ------
    ValueError
        If the kind is taken.
    """
    if kind in STAGES:
        raise ValueError(f"kind must be new, got {kind!r}")
    if isinstance(stage, StageKind):
        STAGES[kind] = stage
    else:
        STAGE_KINDS.register(kind, stage)


def keeps_channels(settings: Settings) -> bool:
    """Say whether what goes into a stage comes out, so far as its settings alone tell."""
    own = own_stage_class(settings)
    if own is not None:
        return getattr(own, "keeps_channels", False) is True
    return any(stage.keeps_channels(settings) for stage in STAGES.values() if type(settings) is stage.settings)


def own_stage_class(settings: Settings) -> type[Any] | None:
    """Return the class of a stage that is not built in; ``None`` for one that is.

    Settings were checked when they were made: who may name code was settled there.
    """
    if any(type(settings) is stage.settings for stage in STAGES.values()):
        return None
    kind = getattr(settings, "kind", None)
    if isinstance(settings, UnreadStageSettings):
        raise STAGE_KINDS.closed(settings.kind)
    return STAGE_KINDS.resolve(kind, TRUSTED) if isinstance(kind, str) else None


def build_stage(settings: Settings, info: StreamInfo) -> Processor:
    """Make the stage that the settings describe, for a stream.

    Raises
    ------
    TypeError
        If no kind has such settings.
    ConfigError
        If the stream does not allow the settings; the message begins with the field.
    """
    for stage in STAGES.values():
        if type(settings) is stage.settings:
            return stage.build(settings, info)
    own = own_stage_class(settings)
    if own is not None:
        return build_own_stage(own, settings, info)
    raise TypeError(f"settings must be of a registered stage ({', '.join(STAGES)}), got {type(settings).__name__}")


_BANDS = {"low": (1.0, 8.0), "alpha": (8.0, 13.0), "top": (30.0, 50.0)}

register(
    "filter",
    StageKind(
        FilterSettings,
        SosFilter,
        (
            FilterSettings(kind="filter", designs=(NotchDesign(freq_hz=25, q=5), BandpassDesign(low_hz=2, high_hz=40))),
            FilterSettings(kind="filter", designs=(HighpassDesign(freq_hz=5, order=3), LowpassDesign(freq_hz=30))),
            FilterSettings(kind="filter", designs=(NotchDesign(freq_hz=50, when="sfreq > 2.2 * f0"),)),
        ),
        _keeps_channels,
    ),
)
register(
    "reference",
    StageKind(
        ReferenceSettings,
        Reference,
        (
            ReferenceSettings(kind="reference", exclude=("EOG",)),
            ReferenceSettings(kind="reference", channels=("Cz", "C3")),
            ReferenceSettings(kind="reference", channels=("C4",)),
            ReferenceSettings(kind="reference", exclude=("C3", "C4")),
        ),
        lambda settings: settings.channels == "average" or len(settings.channels) > 1,
    ),
)
register("pick", StageKind(PickSettings, Pick, (PickSettings(kind="pick", channels=("Cz", "C3")),)))
register(
    "window",
    StageKind(
        WindowSettings,
        Window,
        (
            WindowSettings(kind="window", window_samples=12, hop_samples=5),
            WindowSettings(kind="window", window_samples=3, hop_samples=7),
        ),
    ),
)
register(
    "bandpower",
    StageKind(
        BandPowerSettings,
        BandPower,
        (
            BandPowerSettings(kind="bandpower", window_s=0.5, hop_s=0.1, bands=_BANDS),
            BandPowerSettings(kind="bandpower", window_samples=50, hop_samples=7, bands=_BANDS, log=True),
        ),
    ),
)
register(
    "logvar",
    StageKind(LogVarianceSettings, LogVariance, (LogVarianceSettings(kind="logvar", window_s=0.2, hop_s=0.05),)),
)
register(
    "zscore",
    StageKind(ZScoreSettings, ZScore, (ZScoreSettings(kind="zscore", mean=(1.5,), std=(2.0,)),), _keeps_channels),
)
register(
    "artifacts",
    StageKind(
        ArtifactSettings,
        Artifacts,
        (
            ArtifactSettings(
                kind="artifacts",
                amplitude=AmplitudeLimit(limit=400),
                gradient=GradientLimit(limit=60, per="ms"),
                flat=FlatLimit(limit=0.5, flat_s=0.4),
                rail=RailLimit(low=-500, high=500, repeats=4),
                muscle=MuscleLimit(limit=200),
            ),
            ArtifactSettings(
                kind="artifacts",
                channels=("C4", "EOG"),
                amplitude=AmplitudeLimit(limit=60, baseline_s=0.3),
                gradient=GradientLimit(limit=90),
                rail=RailLimit(high=85),
                muscle=MuscleLimit(limit=14, low_hz=20, average_s=0.05),
                onset_s=0.02,
                recover_s=0.1,
                max_bad_channels=4,
                bad_channels="hold",
            ),
        ),
        _keeps_channels,
    ),
)
