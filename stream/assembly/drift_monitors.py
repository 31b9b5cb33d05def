"""Build the drift monitors that a configuration names, each with the baseline that it shall use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.tree import Config
from neuroloop.models.bundle import BASELINE_FILE, Bundle
from neuroloop.processors.drift.baseline import Baseline, BaselineError, read_baselines
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor
from neuroloop.stream.engine.pipeline import INPUT_TAP


def tap_of(settings: DriftMonitorSettings, config: Config) -> str:
    """Return the tap of a monitor."""
    if settings.tap is not None:
        return settings.tap
    return config.classifier.name if settings.watch == "model" and config.classifier is not None else INPUT_TAP


def build_monitors(
    config: Config, info: StreamInfo, stages: Sequence[Processor], bundle: Bundle | None, bundle_folder: Path | None
) -> list[DriftMonitor]:
    """Build every monitor for what its tap gives out.

    Raises
    ------
    ConfigError
        With the faults of all monitors.
    """
    infos = {INPUT_TAP: info} | {stage.name: stage.info_out for stage in stages}
    # a policy of somebody's own has no threshold: no decision counts as doubtful then
    threshold = float(getattr(bundle.settings.decision, "threshold", 0.0)) if bundle is not None else 0.0
    monitors: list[DriftMonitor] = []
    faults: list[str] = []
    for index, settings in enumerate(config.drift):
        tap = tap_of(settings, config)
        if tap not in infos:
            faults.append(f"drift.{index}.tap must be one of {', '.join(infos)}, got {tap!r}")
            continue
        try:
            baseline = _baseline(settings, bundle_folder)
            filled_in = settings.model_copy(update={"tap": tap})
            monitors.append(DriftMonitor(filled_in, infos[tap], baseline, threshold=threshold))
        except NeuroloopError as error:
            faults.extend(f"drift.{index} ({settings.name}): {line}" for line in str(error).splitlines())
    if faults:
        raise ConfigError(*faults)
    return monitors


def _baseline(settings: DriftMonitorSettings, bundle_folder: Path | None) -> Baseline | None:
    """Return the baseline to start with; nothing where the stream shall give it."""
    source = settings.baseline.source
    if source == "stream":
        return None
    if source == "file":
        path = Path(str(settings.baseline.path))
    elif bundle_folder is not None and (bundle_folder / BASELINE_FILE).is_file():
        path = bundle_folder / BASELINE_FILE
    elif source == "bundle":
        raise BaselineError(
            f"baseline.source must not be 'bundle' where the bundle has no {BASELINE_FILE}, got 'bundle'"
        )
    else:
        return None
    found = read_baselines(path)
    if settings.name not in found:
        if source == "auto":
            return None
        raise BaselineError(
            f"baseline must hold one for this monitor, got {path.name} with {', '.join(found) or 'none'}"
        )
    return found[settings.name]


def with_stream_baselines(config: Config) -> Config:
    """Return the configuration with every monitor taking a new baseline from the stream (``--rebaseline``)."""
    monitors = tuple(
        one.model_copy(
            update={"baseline": one.baseline.model_copy(update={"source": "stream", "path": None})},
        )
        for one in config.drift
    )
    return config.model_copy(update={"drift": monitors})


def describe(monitor: DriftMonitor) -> dict[str, Any]:
    """Return what the plan says of a monitor, as JSON values."""
    made, baseline = monitor.made_for, monitor.baseline
    return {
        "name": monitor.name,
        "tap": monitor.tap,
        "watch": made.watch,
        "rule": monitor.settings.rule,
        "window_s": made.window / made.sfreq,
        "hop_s": made.hop / made.sfreq,
        "n_columns": len(made.columns),
        "effect": monitor.settings.effect,
        "baseline": baseline.id if baseline is not None else f"the first {monitor.settings.baseline.minutes:g} minutes",
        "armed": monitor.is_armed,
    }
