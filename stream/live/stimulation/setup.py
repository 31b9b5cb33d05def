"""Everything the stimulator process works with, opened in the order in which it can fail harmlessly."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.places import ledger_folder
from neuroloop.config.recommendations import rows_of
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import CONFIG_FILE
from neuroloop.sinks.stimulator.blinding import Assignment, draw_assignment
from neuroloop.sinks.stimulator.devices.opening import open_device
from neuroloop.sinks.stimulator.envelope.charge import on_grid
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import hard_limits_path, load_hard_limits
from neuroloop.sinks.stimulator.envelope.trigger_box import refuse_what_no_box_can
from neuroloop.sinks.stimulator.gate.setup import make_setup
from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.records import Device
from neuroloop.sinks.stimulator.sham import ShamDevice
from neuroloop.stream.assembly.bundles import find_bundle
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.stimulation.file_watch import FileWatch

DEVICE_FILE = "device.jsonl"
"""What a simulated device itself says it did."""


@dataclass(frozen=True)
class StimulationPlan:
    """What the stimulator process is told at its start.

    Parameters
    ----------
    config : Config
        With ``stimulation``.
    source : SourcePlan
    out : Path
        Folder of the run.
    cores : frozenset of int
    run_id : str
        Names the run in the ledger.
    token_sha256 : str
        Of the token that arms.
    plan_sha256, bundle_sha256 : str
    delay_s : float
        The pipeline's algorithmic delay.
    decision_s : float
        Seconds between two decisions.
    """

    config: Config
    source: SourcePlan
    out: Path
    cores: frozenset[int]
    run_id: str
    token_sha256: str
    plan_sha256: str
    bundle_sha256: str | None
    delay_s: float
    decision_s: float

    @property
    def settings(self) -> StimulationSettings:
        """Those of stimulation."""
        if self.config.stimulation is None:
            raise ValueError("stimulation must be configured, got None")
        return self.config.stimulation


@dataclass(frozen=True)
class Equipment:
    """What was opened.

    Parameters
    ----------
    device : Device
    ledger : Ledger
    setup : dict
        Values of the first input.
    limits, config : FileWatch
        Files that must stay as they are.
    assignment : Assignment or None
        Of a blinded run.
    """

    device: Device
    ledger: Ledger
    setup: dict[str, Any]
    limits: FileWatch
    config: FileWatch
    assignment: Assignment | None


def equip(plan: StimulationPlan, writer: DiskWriter, stack: ExitStack) -> Equipment:
    """Open what stimulation needs.

    Parameters
    ----------
    plan : StimulationPlan
    writer : DiskWriter
        Writes the ledger.
    stack : ExitStack
        Closes the device and the ledger.

    Raises
    ------
    NeuroloopError
        If the device cannot be opened or cannot do what is configured, the ledger is in use, or a setting is wrong.
    """
    settings = plan.settings
    hard, limits_sha256 = load_hard_limits(settings.hard_limits_file)
    rows = rows_of(settings)
    refuse_what_no_box_can(settings, rows, session_limits(settings, hard))  # before a code goes to the box
    limits = FileWatch([hard_limits_path(settings.hard_limits_file)], limits_sha256)
    config = _watch_config(plan)
    ledger = Ledger(
        ledger_folder(settings.ledger), settings.subject, settings.electrode, run=plan.run_id, writer=writer
    )
    stack.callback(ledger.release)
    assignment = draw_assignment(plan.out) if settings.mode == "blinded" else None
    device = open_device(
        settings.device, name=plan.config.name, record_path=plan.out / DEVICE_FILE, off_s=settings.gate.watchdog_s
    )
    stack.callback(device.close)
    capabilities = device.capabilities()
    if assignment is not None and assignment.arm == "sham":
        tops = frozenset(on_grid(row.amplitude_ma, capabilities.step_ma) for row in rows)
        device = ShamDevice(device, tops)
    setup = make_setup(
        settings,
        rows,
        hard=hard,
        limits_sha256=limits_sha256,
        capabilities=capabilities,
        stream=plan.source.info.name,
        delay_s=plan.delay_s,
        decision_s=plan.decision_s,
        plan_hash=plan.plan_sha256,
        bundle_hash=plan.bundle_sha256,
        config_sha256=config.now,
        is_sham=settings.mode == "sham",
        ledger=ledger.history(),
    )
    setup["run"] = plan.run_id
    if assignment is not None:
        setup["assignment_sha256"] = assignment.commitment
    return Equipment(device, ledger, setup, limits, config, assignment)


def _watch_config(plan: StimulationPlan) -> FileWatch:
    """Watch the run's configuration, and the files that it names."""
    paths = [plan.out / CONFIG_FILE]
    settings = plan.settings
    if settings.table_file is not None and Path(settings.table_file).is_file():
        paths.append(Path(settings.table_file))
    classifier = plan.config.classifier
    if classifier is not None and classifier.bundle is not None:
        paths += sorted(path for path in find_bundle(classifier.bundle).iterdir() if path.is_file())
    try:
        return FileWatch(paths)
    except OSError as error:
        raise ConfigError(f"config must be in readable files, got {error.filename!r}: {error.strerror}") from error
