"""Which pipeline a worker runs, whatever the stream: what must be the same in all workers of a group."""

from __future__ import annotations

import hashlib
import json

from neuroloop.config.source import TimingSettings
from neuroloop.config.tree import Config
from neuroloop.models.bundle import Bundle
from neuroloop.stream.assembly.own_stages import own_code


def pipeline_hash(config: Config, bundle: Bundle | None) -> str:
    """Return the hash of every setting that changes a number, the bundle's and the code of one's own stages included.

    What follows from the stream is in the hash of its plan, which its snapshots hold.

    Parameters
    ----------
    config : Config
    bundle : Bundle, optional
    """
    stages = bundle.settings.stages if bundle is not None else config.stages
    parts = [
        config.classifier and config.classifier.mode,
        [stage.model_dump_json() for stage in stages],
        [own_code(stage) for stage in stages],
        bundle.bundle_hash if bundle is not None else None,
        bundle.settings.decision.model_dump_json() if bundle is not None else None,
        config.decision.model_dump_json() if config.decision is not None else None,
        config.source.model_dump_json(include={*TimingSettings.model_fields, "units", "channels"}),
        [one.model_dump_json(exclude={"baseline": {"source", "path"}}) for one in config.drift],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
