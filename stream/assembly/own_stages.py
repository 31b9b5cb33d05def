"""What is known of stages that somebody else has written, and where an unproven one has no place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import code_sha256
from neuroloop.config.stages import StageSettings
from neuroloop.processors.stages.registry import own_stage_class
from neuroloop.processors.stages.verdict import Verdict, prove, recall, remember
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor


def own_code(settings: StageSettings) -> dict[str, Any]:
    """Return what a plan's hash covers of a stage that is not built in; nothing for one that is."""
    stage = own_stage_class(settings)
    return {} if stage is None else {"own_kind": settings.kind, "code_sha256": code_sha256(stage)}


def own_proof(settings: StageSettings, info: StreamInfo) -> dict[str, Any]:
    """Return what was proved of a stage that is not built in."""
    stage = own_stage_class(settings)
    return {} if stage is None else {"proof": asdict(recall(stage, settings, info))}


def prove_stages(settings: Sequence[StageSettings], stages: Sequence[Processor]) -> list[tuple[int, str, Verdict]]:
    """Prove the stages that are not built in, each for what comes into it, and keep the verdicts.

    Returns
    -------
    list of tuple
        Place, name and verdict.
    """
    found = []
    for index, (one, made) in enumerate(zip(settings, stages, strict=False)):
        stage = own_stage_class(one)
        if stage is not None:
            verdict = prove(stage, one, made.info_in)
            remember(verdict, stage, one, made.info_in)
            found.append((index, one.name, verdict))
    return found


def refuse_unproven(settings: Sequence[StageSettings], stages: Sequence[Processor], where: str) -> None:
    """Refuse stages that are not built in and not proven exact, where that is asked for.

    Parameters
    ----------
    settings, stages : sequence
        Those of the pipeline, before any were fused.
    where : str
        Such as ``next to a stimulator``.

    Raises
    ------
    ConfigError
        With one line for each.
    """
    faults = []
    for index, (one, made) in enumerate(zip(settings, stages, strict=False)):
        stage = own_stage_class(one)
        if stage is None:
            continue
        verdict = recall(stage, one, made.info_in)
        if verdict.verdict != "exact":
            faults.append(
                f"stages.{index}.kind must be proven exact {where} (run 'neuroloop check CONFIG --prove --stream "
                f"RECORDING' with such a stream), got {one.kind!r}, which is {verdict}"
            )
    if faults:
        raise ConfigError(*faults)
