"""Everything the stimulator process works with, opened in the order in which it can fail harmlessly."""

from __future__ import annotations

import platform
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.places import ledger_folder, ledgers_of
from neuroloop.config.recommendations import rows_of
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import CONFIG_FILE
from neuroloop.sinks.stimulator.blinding import LIST_FILE, Assignment, take_assignment
from neuroloop.sinks.stimulator.devices.opening import open_device
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import hard_limits_path, load_hard_limits
from neuroloop.sinks.stimulator.envelope.trigger_box import refuse_what_no_box_can
from neuroloop.sinks.stimulator.gate.setup import make_setup
from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.records import Device
from neuroloop.sinks.stimulator.sealed_record import SEALED_FILE, SealedRecord
from neuroloop.sinks.stimulator.sealing import write_private
from neuroloop.sinks.stimulator.sham import ArmFilter
from neuroloop.stream.assembly.bundles import find_bundle
from neuroloop.stream.assembly.provenance import code_hash
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.stimulation.coarse_clocks import coarse_ledger_clock
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
    window_s : float
        How far back a decision looks.
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
    window_s: float

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
    sealed : SealedRecord or None
        Of a blinded run: what really reaches its device.
    """

    device: Device
    ledger: Ledger
    setup: dict[str, Any]
    limits: FileWatch
    config: FileWatch
    assignment: Assignment | None
    sealed: SealedRecord | None = None


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
    hard, limits_sha256 = load_hard_limits(settings.hard_limits_file, settings.hard_limits_sha256)
    rows = rows_of(settings)
    refuse_what_no_box_can(settings, rows, session_limits(settings, hard))  # before a code goes to the box
    limits = FileWatch([hard_limits_path(settings.hard_limits_file)], limits_sha256)
    config = _watch_config(plan)
    is_blinded = settings.mode == "blinded"
    ledgers = ledgers_of(ledger_folder(settings.ledger), settings.device.kind)
    clock = coarse_ledger_clock() if is_blinded else None
    ledger = Ledger(ledgers, settings.subject, settings.electrode, run=plan.run_id, writer=writer, clock=clock)
    stack.callback(ledger.release)
    assignment = take_assignment(settings.blinding, settings.subject, memory=ledgers) if is_blinded else None
    sealed = None if assignment is None else _seal(plan.out, assignment, writer, stack)
    record_path = None if is_blinded else plan.out / DEVICE_FILE  # it would tell
    device = open_device(
        settings.device, name=plan.config.name, rows=rows, record_path=record_path, off_s=settings.gate.watchdog_s
    )
    stack.callback(device.close)
    capabilities = device.capabilities()
    if not capabilities.acknowledges:
        ledger.never_settles()
    if assignment is not None and sealed is not None:
        device = ArmFilter(device, assignment.arm, is_blinded=True, note=sealed.note)
    elif settings.mode == "sham":
        device = ArmFilter(device, "sham")
    setup = make_setup(
        settings,
        rows,
        hard=hard,
        limits_sha256=limits_sha256,
        capabilities=capabilities,
        stream=plan.source.info.name,
        delay_s=plan.delay_s,
        decision_s=plan.decision_s,
        window_s=plan.window_s,
        plan_hash=plan.plan_sha256,
        bundle_hash=plan.bundle_sha256,
        config_sha256=config.now,
        ledger=ledger.history(),
    )
    setup["run"] = plan.run_id
    setup["program"] = {"version": _version(), "python": platform.python_version(), "code_sha256": code_hash()}
    if assignment is not None:
        setup["assignment"] = assignment.setup()
    return Equipment(device, ledger, setup, limits, config, assignment, sealed)


def _seal(out: Path, assignment: Assignment, writer: DiskWriter, stack: ExitStack) -> SealedRecord:
    """Open the sealed record of a run, and keep a copy of the list beside it."""
    write_private(out / LIST_FILE, assignment.list_text)
    try:
        sealed = SealedRecord(out / SEALED_FILE, assignment, writer)
    except OSError as error:
        raise ConfigError(f"out must be a folder to write in, got {str(out)!r}: {error.strerror}") from error
    stack.callback(sealed.close)
    return sealed


def _version() -> str | None:
    """Return the version of the program, None where it runs without being installed."""
    try:
        return version("neuroloop")
    except PackageNotFoundError:
        return None


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
