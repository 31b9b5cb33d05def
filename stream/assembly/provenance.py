"""What a run was made of: hashes of configuration, plan, bundle and code, and the versions."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

from neuroloop.config.loading import dump_config
from neuroloop.config.tree import Config
from neuroloop.stream.assembly.machine import package_versions
from neuroloop.stream.assembly.own_ends import own_ends
from neuroloop.stream.assembly.plan import Plan

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("config", "stream", "processors", "models", "sinks")


def code_hash() -> str:
    """Hash every source and preset file of the program, by name and content."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((_ROOT / room).rglob("*")):
            if path.suffix in (".py", ".yaml") and path.is_file():
                digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
    return digest.hexdigest()


def provenance(config: Config, plan: Plan, *, with_host: bool = False) -> dict[str, Any]:
    """Return the record that lies beside a run.

    Parameters
    ----------
    config : Config
    plan : Plan
    with_host : bool
        Whether to name the machine.
    """
    record: dict[str, Any] = {
        "config_sha256": hashlib.sha256(dump_config(config).encode()).hexdigest(),
        "plan_sha256": plan.hash,
        "bundle_sha256": plan.bundle,
        "code_sha256": code_hash(),
        "own_stages": plan.own_stages,
        **({"own_policy": plan.own_policy} if plan.own_policy else {}),
        **own_ends(config),
        "versions": package_versions(),
        "plan": plan.as_dict(),
    }
    if with_host:
        record["host"] = platform.node()
    return record
