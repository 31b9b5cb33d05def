"""What a run's record says of the code at its two ends, sources and sinks, which changes no number of the plan."""

from __future__ import annotations

from typing import Any

from neuroloop.config.kinds import code_sha256
from neuroloop.config.sinks import SINK_KINDS
from neuroloop.config.source import SOURCE_KINDS, OwnSourceSettings
from neuroloop.config.tree import Config


def own_ends(config: Config) -> dict[str, Any]:
    """Return kind and hash of the code of a source and sinks that are not built in; nothing where all is."""
    record: dict[str, Any] = {}
    if config.sinks:
        record["own_sinks"] = {one.name: _code(one.kind, SINK_KINDS.class_of(one)) for one in config.sinks}
    if isinstance(config.source, OwnSourceSettings):
        record["own_source"] = _code(config.source.kind, SOURCE_KINDS.class_of(config.source))
    return record


def _code(kind: str, made: type[Any] | None) -> dict[str, str]:
    return {"own_kind": kind} if made is None else {"own_kind": kind, "code_sha256": code_sha256(made)}
