"""A run's events as BIDS: ``*_events.tsv`` with its data dictionary, and the sidecar that tells of stimulation.

Rows are what happened in the run: doses with their parameters, refusals, arming, states, markers, artifacts, gaps.
Onsets count from the stamp of the run's first sample, so that the table lies beside the same recording converted to
BIDS. What was only simulated, sham or blinded has a trial type of its own: nobody who counts ``electrical_stimulation``
shall count a dose that was none.

References
----------
.. [1] Brain Imaging Data Structure, tabular files, task events and electrical stimulation,
   https://bids-specification.readthedocs.io
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.loading import read_without_code
from neuroloop.config.recommendations import rows_of
from neuroloop.config.tree import Config
from neuroloop.sinks.bids.rows import COLUMNS, EventRows, describe_columns, stimulation_kind
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, put_json
from neuroloop.stream.contracts.event_lines import parse_event

BIDS_VERSION = "1.10.0"
_LABEL = re.compile(r"[0-9a-zA-Z]+")
_INDEX = re.compile(r"[0-9]+")
Datatype = Literal["eeg", "ieeg", "beh"]


class ExportError(NeuroloopError):
    """A run cannot be exported."""


@dataclass(frozen=True)
class BidsName:
    """Where the files of one run belong in a dataset.

    Parameters
    ----------
    subject, task : str
        Labels: letters and digits.
    session : str, optional
        A label.
    run : str, optional
        Digits.
    datatype : {'eeg', 'ieeg', 'beh'}

    Raises
    ------
    ExportError
        If one of them is no label.
    """

    subject: str
    task: str
    session: str | None = None
    run: str | None = None
    datatype: Datatype = "eeg"

    def __post_init__(self) -> None:
        for name in ("subject", "task", "session"):
            value = getattr(self, name)
            if value is not None and not _LABEL.fullmatch(value):
                raise ExportError(f"{name} must be letters and digits only, got {value!r}")
        if self.run is not None and not _INDEX.fullmatch(self.run):
            raise ExportError(f"run must be digits only, got {self.run!r}")

    @property
    def folder(self) -> Path:
        """The folder, from the root of the dataset."""
        session = () if self.session is None else (f"ses-{self.session}",)
        return Path(f"sub-{self.subject}", *session, self.datatype)

    @property
    def stem(self) -> str:
        """What the names of all files begin with."""
        parts = [f"sub-{self.subject}"]
        if self.session is not None:
            parts.append(f"ses-{self.session}")
        parts.append(f"task-{self.task}")
        if self.run is not None:
            parts.append(f"run-{self.run}")
        return "_".join(parts)


def label_of(text: str) -> str:
    """Return the letters and digits of a name, as a label; ``x`` where it has none."""
    return "".join(re.findall(r"[0-9a-zA-Z]", text)) or "x"


def default_name(run: Path) -> BidsName:
    """Return the name that a run's configuration suggests: its subject, its own name as the task.

    Raises
    ------
    ExportError, ConfigError
        If it is no run folder.
    """
    config = _read_config(run)
    stimulation = config.stimulation
    subject = "unnamed" if stimulation is None else stimulation.subject
    is_implanted = stimulation is not None and stimulation.route == "implanted"
    return BidsName(label_of(subject), label_of(config.name), datatype="ieeg" if is_implanted else "eeg")


def export_bids(run: Path, root: Path, name: BidsName) -> list[Path]:
    """Write the events of a run into a dataset.

    Parameters
    ----------
    run : Path
        A run folder.
    root : Path
        Of the dataset; made with its ``dataset_description.json`` where it is not one yet.
    name : BidsName

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ExportError
        If the run has no events, or a file of that name is already there.
    """
    config = _read_config(run)
    rows = EventRows(config.stimulation, () if config.stimulation is None else rows_of(config.stimulation))
    for record in read_events(run):
        rows.add(record)
    if rows.start is None:
        raise ExportError(f"{EVENTS_FILE} must say what the stream is (a 'stream' event), got none")
    folder = root / name.folder
    table, dictionary = folder / f"{name.stem}_events.tsv", folder / f"{name.stem}_events.json"
    sidecar = folder / f"{name.stem}_{name.datatype}.json"
    targets = [table, dictionary] if name.datatype == "beh" else [table, dictionary, sidecar]
    for path in targets:
        if path.exists():
            raise ExportError(f"bids must be a dataset without this run, got one with {str(path)!r}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        finished = rows.finish()
        lines = ["\t".join(COLUMNS), *("\t".join(one.cells()) for one in finished)]
        table.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ExportError(f"bids must be a writable folder, got {str(root)!r}: {error.strerror}") from error
    put_json(dictionary, describe_columns(config.stimulation, {one.trial_type for one in finished}))
    if name.datatype != "beh":
        put_json(sidecar, _sidecar(config, rows.start, name))
    description = root / "dataset_description.json"
    if not description.exists():
        put_json(description, _dataset(config))
        targets.append(description)
    return targets


def read_events(run: Path) -> Iterator[dict[str, Any]]:
    """Return the lines of a run's events, one after the other.

    Raises
    ------
    ExportError
        If the file is missing, or a line is no event.
    """
    path = run / EVENTS_FILE
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = parse_event(line)
                except ValueError as error:
                    raise ExportError(
                        f"{EVENTS_FILE}:{number}: line must be one event, got one whose {error}"
                    ) from error
                yield record
    except OSError as error:
        raise ExportError(f"run must be a folder with {EVENTS_FILE}, got {str(run)!r}: {error.strerror}") from error


def _read_config(run: Path) -> Config:
    path = run / CONFIG_FILE
    if not path.is_file():
        raise ExportError(f"run must be a folder with {CONFIG_FILE}, got {str(run)!r}")
    try:
        return read_without_code(str(path))
    except ConfigError as error:
        where = f"run must have settings that this version still takes, got {str(run)!r}"
        cure = "export it with the version that recorded it"
        raise ExportError(f"{where}: {'; '.join(error.faults)} ({cure})") from error


def _sidecar(config: Config, start: Mapping[str, Any], name: BidsName) -> dict[str, Any]:
    """Return the sidecar: what BIDS requires of one, ``n/a`` where a run does not know it, and the stimulation."""
    sfreq = start.get("sfreq")
    known = isinstance(sfreq, (int, float)) and math.isfinite(sfreq) and sfreq > 0
    reference = "iEEGReference" if name.datatype == "ieeg" else "EEGReference"
    record: dict[str, Any] = {
        "TaskName": name.task,
        reference: "n/a",
        "SamplingFrequency": sfreq if known else "n/a",
        "PowerLineFrequency": "n/a",
        "SoftwareFilters": "n/a",
    }
    stimulation = config.stimulation
    if stimulation is None:
        return {**record, "ElectricalStimulation": False}
    is_real = stimulation_kind(stimulation) == "electrical_stimulation"
    what = {
        "electrical_stimulation": "current was commanded to a device",
        "electrical_stimulation_sham": "sham: ramps only",
        "electrical_stimulation_blinded": "real or sham, as a sealed assignment says that this file does not hold",
        "electrical_stimulation_simulated": "simulated device: no current",
    }[stimulation_kind(stimulation)]
    text = (
        f"{what}; route {stimulation.route}, electrode {stimulation.electrode}, smallest active contact "
        f"{stimulation.electrode_area_cm2:g} cm2, profile {stimulation.profile}; closed loop: each dose is commanded "
        "by a decoded state. Parameters of each dose in the events.tsv file; currents as commanded, not as measured."
    )
    return {
        **record,
        "ElectricalStimulation": is_real or stimulation.mode == "blinded",
        "ElectricalStimulationParameters": text,
    }


def _dataset(config: Config) -> dict[str, Any]:
    return {
        "Name": config.description or config.name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "neuroloop", "Version": version("neuroloop")}],
    }
