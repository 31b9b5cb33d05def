"""Build everything from the configuration: the one place that knows all rooms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.decision import DecisionSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.source import TimingSettings
from neuroloop.config.stages import ArtifactSettings, FilterSettings, ReferenceSettings, StageSettings, ZScoreSettings
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import check_labels
from neuroloop.models.bundle import Bundle, check_stream, load_bundle
from neuroloop.models.classifier import LstmClassifier
from neuroloop.models.policy import ThresholdPolicy
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.processors.filters.sos_filter import SosFilter
from neuroloop.processors.stages.registry import build_stage
from neuroloop.stream.assembly.drift_monitors import build_monitors, describe, tap_of
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.contracts.events import stage_position
from neuroloop.stream.contracts.protocols import Processor, newest_sample
from neuroloop.stream.engine.pipeline import INPUT_TAP, Pipeline, StageTimer, total_delay_s

_SAME_CHANNELS = (FilterSettings, ZScoreSettings, ArtifactSettings)
"""Stages that hand on the channels they get, whatever their settings."""
SHIPPED_BUNDLES = Path(__file__).resolve().parents[2] / "models" / "bundles"


@dataclass(frozen=True)
class Plan:
    """What will be computed for one stream, stage by stage, and the hash of everything designed for it."""

    stream: StreamInfo
    stages: tuple[dict[str, Any], ...]
    delay_s: float
    warmup_s: float
    memory_bytes: int
    bundle: str | None
    hash: str
    monitors: tuple[dict[str, Any], ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def left_out(self) -> dict[str, list[str]]:
        """What stages do not do for this stream, by the stage's name."""
        return {row["name"]: list(row["left_out"]) for row in self.stages if row["left_out"]}

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "stream": {
                "name": self.stream.name,
                "type": self.stream.type,
                "sfreq": self.stream.sfreq,
                "n_channels": self.stream.n_channels,
                "channels": list(self.stream.ch_names),
                "units": list(self.stream.ch_units),
            },
            "stages": list(self.stages),
            "monitors": list(self.monitors),
            "classes": list(self.classes),
            "delay_s": self.delay_s,
            "warmup_s": self.warmup_s,
            "memory_bytes": self.memory_bytes,
            "bundle": self.bundle,
            "hash": self.hash,
        }


@dataclass(frozen=True)
class Built:
    """A pipeline ready for its first chunk, and what it is made of."""

    pipeline: Pipeline
    plan: Plan
    classes: tuple[str, ...]
    bundle: Bundle | None


def find_bundle(name_or_path: str) -> Path:
    """Return the folder of a shipped bundle's name or of a path."""
    shipped = SHIPPED_BUNDLES / name_or_path
    if "/" not in name_or_path and shipped.is_dir():
        return shipped
    return Path(name_or_path)


def load_classifier(config: Config) -> Bundle | None:
    """Load the bundle that the configuration names and check that the two agree.

    Raises
    ------
    ConfigError
        If the configuration needs a bundle and names none, or repeats one of its settings differently.
    BundleError
        If the bundle is missing or altered.
    """
    if config.classifier is None:
        return None
    if config.classifier.bundle is None:
        rule = (
            "the folder of a trained bundle (make one with 'neuroloop train', name it with --set classifier.bundle=...)"
        )
        raise ConfigError(f"classifier.bundle must be {rule}, got nothing")
    bundle = load_bundle(find_bundle(config.classifier.bundle))
    settings = bundle.settings
    faults = []
    for key in ("window_samples", "hop_samples"):
        wanted = getattr(config.classifier, key)
        owned = getattr(settings, key)
        if wanted is not None and wanted != owned:
            faults.append(f"classifier.{key} must agree with the bundle ({owned}), got {wanted!r}")
    if config.stages and config.stages != settings.stages:
        faults.append("stages must agree with the bundle's own preprocessing or be left out, got other stages")
    if config.decision is not None:
        for key in sorted(config.decision.model_fields_set):
            wanted, owned = getattr(config.decision, key), getattr(settings.decision, key)
            if wanted != owned:
                rule = f"decision.{key} must agree with the bundle's own ({owned}) or be left out"
                faults.append(f"{rule}, got {wanted!r}")
    if faults:
        raise ConfigError(*faults)
    return bundle


def build_stages(settings: Sequence[StageSettings], info: StreamInfo) -> list[Processor]:
    """Build stages one after the other, each for what the one before gives out.

    Raises
    ------
    ConfigError
        With the faults of all stages up to the first faulty one behind which the channels are not known.
    """
    stages: list[Processor] = []
    faults: list[str] = []
    for index, stage in enumerate(settings):
        try:
            stages.append(build_stage(stage, info))
        except ConfigError as error:
            faults.extend(f"stages.{index} ({stage.name}): {fault}" for fault in error.faults)
            if not _hands_on_channels(stage):
                break
        else:
            info = stages[-1].info_out
    if faults:
        raise ConfigError(*faults)
    return stages


def _hands_on_channels(stage: StageSettings) -> bool:
    """Say whether what goes into a stage comes out, so far as its settings alone tell: a single reference does not."""
    if isinstance(stage, ReferenceSettings):
        return stage.channels == "average" or len(stage.channels) > 1
    return isinstance(stage, _SAME_CHANNELS)


def _fuse(stages: list[Processor], settings: Sequence[StageSettings], tapped: set[str]) -> list[Processor]:
    """Make one cascade of adjacent filters, unless someone wants to see what is between them."""
    fused: list[Processor] = []
    for stage, one in zip(stages, settings, strict=True):
        before = fused[-1] if fused else None
        both = isinstance(stage, SosFilter) and isinstance(before, SosFilter) and isinstance(one, FilterSettings)
        if both and isinstance(before, SosFilter) and isinstance(stage, SosFilter) and before.name not in tapped:
            fused[-1] = SosFilter.fused(before, stage)
        else:
            fused.append(stage)
    return fused


def build(
    config: Config,
    info: StreamInfo,
    *,
    bundle: Bundle | None = None,
    taps: Mapping[str, Callable[[Chunk], None]] | None = None,
    timer: StageTimer | None = None,
) -> Built:
    """Build the pipeline of a configuration for one stream.

    Parameters
    ----------
    config : Config
    info : StreamInfo
    bundle : Bundle, optional
        What `load_classifier` returned; loaded here otherwise.
    taps, timer
        As `Pipeline` takes them.

    Raises
    ------
    StreamMismatch, ConfigError, BundleError
        If the stream, the configuration and the bundle do not fit each other.
    """
    bundle = bundle or load_classifier(config)
    stage_settings = config.stages
    if bundle is not None:
        check_stream(bundle, info)
        stage_settings = bundle.settings.stages
    if not info.sfreq > 0:
        raise ConfigError(f"sfreq must be above 0 Hz for processing, got {info.sfreq!r} (an irregular stream)")
    stages = build_stages(stage_settings, info)
    designed = list(stages)
    _check_taps(set(taps or {}), [stage.name for stage in stages], config)
    stages = _fuse(stages, stage_settings, {*(taps or {}), *(tap_of(one, config) for one in config.drift)})
    classes: tuple[str, ...] = ()
    policy: ThresholdPolicy | None = None
    if bundle is not None and config.classifier is not None:
        feature_info = stages[-1].info_out if stages else info
        classifier = LstmClassifier(bundle, feature_info, mode=config.classifier.mode, name=config.classifier.name)
        stages.append(classifier)
        designed.append(classifier)
        classes = bundle.settings.classes
        if config.accuracy is not None:
            check_labels(config.accuracy, classes)
        policy = _policy(bundle.settings.decision, classes, info, stages)
    monitors = build_monitors(config, info, stages, bundle, _bundle_folder(config))
    pipeline = Pipeline(info, stages, policy, taps=taps, timer=timer, monitors=monitors)
    return Built(pipeline, make_plan(config, info, designed, bundle, monitors), classes, bundle)


def _bundle_folder(config: Config) -> Path | None:
    """Return the folder of the configured bundle."""
    named = config.classifier is not None and config.classifier.bundle is not None
    return find_bundle(str(config.classifier.bundle)) if named and config.classifier is not None else None


def _check_taps(wanted: set[str], names: list[str], config: Config) -> None:
    """Refuse a tap on a stage that is not there."""
    known = [INPUT_TAP, *names, *([config.classifier.name] if config.classifier else [])]
    for name in sorted(wanted - set(known)):
        raise ConfigError(f"dump must name a stage ({', '.join(known)}), got {name!r}")


def _policy(
    settings: DecisionSettings, classes: tuple[str, ...], info: StreamInfo, stages: Sequence[Processor]
) -> ThresholdPolicy:
    """Make the policy behind the last stage."""
    return ThresholdPolicy(
        settings,
        classes=classes,
        stream=info.name,
        sfreq=stages[-1].info_out.sfreq,
        delay_s=total_delay_s(stages),
        newest_sample=lambda k: newest_sample(stages, k),
        position=stage_position(len(stages)),
    )


def _first_row_newest(stages: Sequence[Processor]) -> int:
    """Return the raw samples that the first valid row behind these stages needs, from a start at sample 0."""
    needed = 0
    rates: list[float] = []
    for stage in stages:
        rates.append(stage.info_in.sfreq)
        needed += round(stage.warmup_samples * (rates[0] / stage.info_in.sfreq))
    return needed


def make_plan(
    config: Config,
    info: StreamInfo,
    stages: Sequence[Processor],
    bundle: Bundle | None,
    monitors: Sequence[DriftMonitor] = (),
) -> Plan:
    """Describe what will be computed; the hash covers every setting, rate and designed array.

    Filters that run as one fused cascade are listed one by one: fusing changes no number.
    """
    digest = hashlib.sha256()
    header = [info.sfreq, list(info.ch_names), list(info.ch_units), config.classifier and config.classifier.mode]
    digest.update(json.dumps(header).encode())
    rows: list[dict[str, Any]] = []
    for stage in stages:
        arrays = stage.plan_arrays()
        for key in sorted(arrays):
            digest.update(f"{stage.name}/{key}/{arrays[key].dtype.str}/{arrays[key].shape}".encode())
            digest.update(arrays[key].tobytes())
        row = {
            "name": stage.name,
            "kind": type(stage).__name__,
            "sfreq": stage.info_out.sfreq,
            "n_channels": stage.info_out.n_channels,
            "units": sorted(set(stage.info_out.ch_units)),
            "delay_s": stage.delay_s,
            "warmup_samples": stage.warmup_samples,
            "memory_bytes": sum(array.nbytes for array in (*stage.get_state().values(), *arrays.values())),
            "left_out": list(getattr(stage, "left_out", ())),
        }
        digest.update(json.dumps(row, sort_keys=True).encode())
        rows.append(row)
    settings = bundle.settings.stages if bundle is not None else config.stages
    for one in settings:
        digest.update(one.model_dump_json().encode())
    if bundle is not None:
        digest.update(bundle.bundle_hash.encode())
        digest.update(bundle.settings.decision.model_dump_json().encode())
    digest.update(config.source.model_dump_json(include=set(TimingSettings.model_fields)).encode())
    for monitor in monitors:
        digest.update(monitor.settings.model_dump_json(exclude={"baseline": {"source", "path"}}).encode())
        for key, array in sorted(monitor.plan_arrays().items()):
            digest.update(f"{monitor.name}/{key}/{array.dtype.str}/{array.shape}".encode())
            digest.update(array.tobytes())
    return Plan(
        stream=info,
        stages=tuple(rows),
        delay_s=total_delay_s(stages),
        warmup_s=_first_row_newest(stages) / info.sfreq,
        memory_bytes=sum(row["memory_bytes"] for row in rows) + sum(one.memory_bytes for one in monitors),
        bundle=bundle.bundle_hash if bundle is not None else None,
        hash=digest.hexdigest(),
        monitors=tuple(describe(one) for one in monitors),
        classes=bundle.settings.classes if bundle is not None else (),
    )
