"""What will be computed for one stream, and the hash of everything designed for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neuroloop.config.source import TimingSettings
from neuroloop.config.stages import StageSettings
from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.stream.assembly.bundles import decision_of
from neuroloop.stream.assembly.drift_monitors import describe
from neuroloop.stream.assembly.own_policy import own_policy_code, own_policy_proof
from neuroloop.stream.assembly.own_stages import own_code, own_proof
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.protocols import Processor
from neuroloop.stream.engine.pipeline import total_delay_s


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
    own_policy: dict[str, Any] = field(default_factory=dict)
    """Kind, hash of the code and proof of a policy that is not built in; empty for the one that is."""

    @property
    def own_stages(self) -> dict[str, dict[str, Any]]:
        """Kind, hash of the code and proof of every stage that is not built in, by its name."""
        keys = ("own_kind", "code_sha256", "proof")
        return {row["name"]: {key: row[key] for key in keys} for row in self.stages if "own_kind" in row}

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
            **({"own_policy": self.own_policy} if self.own_policy else {}),
        }


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

    Filters that run as one fused cascade are listed one by one: fusing changes no number. The hash covers the code of
    stages that are not built in; what was proved of them is said beside, for it changes no number either.
    """
    digest = hashlib.sha256()
    header = [info.sfreq, list(info.ch_names), list(info.ch_units), config.classifier and config.classifier.mode]
    digest.update(json.dumps(header).encode())
    rows: list[dict[str, Any]] = []
    settings = bundle.settings.stages if bundle is not None else config.stages
    kinds: list[StageSettings | None] = [*settings, *([None] * (len(stages) - len(settings)))]
    for stage, kind in zip(stages, kinds, strict=True):
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
        own = own_code(kind) if kind is not None else {}
        digest.update(json.dumps(row | own, sort_keys=True).encode())
        rows.append(row | own | (own_proof(kind, stage.info_in) if own and kind is not None else {}))
    own_policy: dict[str, Any] = {}
    for one in settings:
        digest.update(one.model_dump_json().encode())
    if bundle is not None:
        digest.update(bundle.bundle_hash.encode())
        decision = decision_of(config, bundle)
        digest.update(decision.model_dump_json().encode())
        own_policy = own_policy_code(decision)
        if own_policy:
            digest.update(json.dumps(own_policy, sort_keys=True).encode())
            own_policy |= own_policy_proof(decision, stages[-1].info_out)
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
        own_policy=own_policy,
    )
