"""Build the stages of a configuration one after the other, and name the faults of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import StageSettings
from neuroloop.config.tree import Config
from neuroloop.processors.stages.registry import build_stage, keeps_channels
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor
from neuroloop.stream.engine.pipeline import INPUT_TAP


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
            if not keeps_channels(stage):
                break
        else:
            info = stages[-1].info_out
    if faults:
        raise ConfigError(*faults)
    return stages


def check_taps(wanted: set[str], names: list[str], config: Config) -> None:
    """Refuse a tap on a stage that is not there."""
    known = [INPUT_TAP, *names, *([config.classifier.name] if config.classifier else [])]
    for name in sorted(wanted - set(known)):
        raise ConfigError(f"dump must name a stage ({', '.join(known)}), got {name!r}")
