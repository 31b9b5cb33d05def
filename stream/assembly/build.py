"""Build everything from the configuration: the one place that knows all rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from neuroloop.config.decision import Decision
from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import FilterSettings, StageSettings
from neuroloop.config.tree import Config
from neuroloop.models.accuracy import check_labels
from neuroloop.models.bundle import Bundle, check_stream
from neuroloop.models.classifier import LstmClassifier
from neuroloop.models.own_policy import OwnPolicy, PolicyPlace, build_policy
from neuroloop.models.policy import ThresholdPolicy
from neuroloop.processors.filters.sos_filter import SosFilter
from neuroloop.stream.assembly.bundles import bundle_folder, decision_of, load_classifier
from neuroloop.stream.assembly.drift_monitors import build_monitors, tap_of
from neuroloop.stream.assembly.own_policy import refuse_unproven_policy
from neuroloop.stream.assembly.own_stages import refuse_unproven
from neuroloop.stream.assembly.plan import Plan, make_plan
from neuroloop.stream.assembly.stage_checks import build_stages, check_taps
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.contracts.events import stage_position
from neuroloop.stream.contracts.protocols import Processor, newest_sample
from neuroloop.stream.engine.pipeline import Pipeline, StageTimer, total_delay_s


@dataclass(frozen=True)
class Built:
    """A pipeline ready for its first chunk, and what it is made of."""

    pipeline: Pipeline
    plan: Plan
    classes: tuple[str, ...]
    bundle: Bundle | None


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
    for_worker: bool = False,
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
    for_worker : bool
        Whether it is for a worker of a group: each of them must compute the same bytes.

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
    where = _where_exact(config, for_worker=for_worker)
    if where:
        refuse_unproven(stage_settings, stages, where)
    check_taps(set(taps or {}), [stage.name for stage in stages], config)
    stages = _fuse(stages, stage_settings, {*(taps or {}), *(tap_of(one, config) for one in config.drift)})
    classes: tuple[str, ...] = ()
    policy: ThresholdPolicy | OwnPolicy | None = None
    if bundle is not None and config.classifier is not None:
        feature_info = stages[-1].info_out if stages else info
        classifier = LstmClassifier(bundle, feature_info, mode=config.classifier.mode, name=config.classifier.name)
        stages.append(classifier)
        designed.append(classifier)
        classes = bundle.settings.classes
        if config.accuracy is not None:
            check_labels(config.accuracy, classes)
        decision = decision_of(config, bundle)
        if where:
            refuse_unproven_policy(decision, classifier.info_out, where)
        policy = _policy(decision, classes, info, stages)
    monitors = build_monitors(config, info, stages, bundle, bundle_folder(config))
    pipeline = Pipeline(info, stages, policy, taps=taps, timer=timer, monitors=monitors)
    return Built(pipeline, make_plan(config, info, designed, bundle, monitors), classes, bundle)


def _where_exact(config: Config, *, for_worker: bool) -> str:
    """Return in words why only what is proven exact has a place here; nothing where it need not be."""
    if config.stimulation is not None:
        return "next to a stimulator"
    return "in a worker" if for_worker else ""


def _policy(
    settings: Decision, classes: tuple[str, ...], info: StreamInfo, stages: Sequence[Processor]
) -> ThresholdPolicy | OwnPolicy:
    """Make the policy behind the last stage."""
    place = PolicyPlace(
        classes=classes,
        stream=info.name,
        sfreq=stages[-1].info_out.sfreq,
        delay_s=total_delay_s(stages),
        newest_sample=lambda k: newest_sample(stages, k),
        position=stage_position(len(stages)),
    )
    return build_policy(settings, place)
