"""Runs as a user reads them: replaying a recording, opening what a run has written."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroloop.config.errors import ConfigError, RecordingError
from neuroloop.config.kinds import code_is_allowed
from neuroloop.config.loading import load_config, read_without_code
from neuroloop.config.tree import Config
from neuroloop.pipeline import as_config
from neuroloop.results import Output, event_of, events_table
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, PROVENANCE_FILE, SUMMARY_FILE
from neuroloop.stream.cli.recordings import as_recording_source, open_selected, script_for
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.event_lines import parse_event
from neuroloop.stream.contracts.events import DELIVERY_FIELDS, Event
from neuroloop.stream.engine.pipeline import INPUT_TAP
from neuroloop.stream.replay.gate_replay import gate_events
from neuroloop.stream.replay.replay import Replay
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.recordings.run_parts import part_paths

if TYPE_CHECKING:
    import pandas as pd

_DELIVERY = frozenset(DELIVERY_FIELDS)


def replay(
    recording: str | os.PathLike[str],
    config: str | os.PathLike[str] | Config | None = None,
    *,
    out: str | os.PathLike[str],
    select: str | None = None,
    sfreq: float | None = None,
    chunking: str | None = None,
    outputs: Iterable[str] = (),
    allow_code: bool = False,
    sinks: bool = False,
) -> Run:
    """Do what ``neuroloop replay`` does: a recording through a pipeline, into a run folder.

    Parameters
    ----------
    recording : str or path
        A file, or the folder of a recorded run.
    config : str, path or Config, optional
        Name of a preset, a YAML file, or settings; of a run folder its own otherwise.
    out : str or path
        A new or empty folder.
    select : str, optional
        Which stream: name, type or id.
    sfreq : float, optional
        Rate in Hz of a text file without a time column.
    chunking : str, optional
        ``N`` or ``random:SEED``; changes no number.
    outputs : iterable of str
        Stages whose rows are kept for `Run.signals`, as ``STAGE.npz``; ``input`` for the numbered samples.
    allow_code : bool
        Whether the configuration that lies in a run folder may name code. One that you name or give always may.
    sinks : bool
        Whether the sinks of the configuration get the events, too.

    Raises
    ------
    NeuroloopError
        If the recording, the configuration and the folder will not do; which, says its class.
    """
    path, folder = Path(recording), Path(out)
    if config is None:
        if not (path / CONFIG_FILE).is_file():
            raise ConfigError(f"config must be given for a recording that is no run folder, got {str(path)!r}")
        config = load_config(str(path / CONFIG_FILE), allow_code=allow_code or code_is_allowed())
    settings = as_config(config)
    # the command's own steps: both shall choose the same stream and write the same run
    options = argparse.Namespace(select=select, sfreq=sfreq, adapter=None)
    opened, stream, markers = open_selected(path, options, settings.source)
    Replay(
        config=as_recording_source(settings, path, options),
        stream=stream,
        markers=markers,
        out=folder,
        chunking=chunking,
        dumps={name: folder / f"{name}.npz" for name in outputs},
        notes=opened.notes,
        script=script_for(opened, stream),
        commands=gate_events(path) if path.is_dir() else (),
        tells_sinks=sinks,
    ).run()
    return Run(folder)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open the folder of a run, live or replayed.

    Raises
    ------
    RecordingError
        If it is none.
    """
    run = Path(path)
    if not (run / EVENTS_FILE).is_file():
        raise RecordingError(f"path must be the folder of a run (with {EVENTS_FILE}), got {str(run)!r}")
    return Run(run)


class Run:
    """What a run has written; read when it is asked for.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def events(self) -> list[Event]:
        """All events, in order, equal to those that the pipeline gave."""
        lines = (self.path / EVENTS_FILE).read_text(encoding="utf-8").splitlines()
        try:
            return [event_of(parse_event(line), _DELIVERY) for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingError(f"{EVENTS_FILE} must hold one event a line, got {error!r}") from error

    def of_type(self, event_type: str) -> list[Event]:
        """Return the events of one type."""
        return [event for event in self.events if event.type == event_type]

    @property
    def states(self) -> list[Event]:
        """The changes of the state."""
        return self.of_type("state")

    def to_pandas(self, event_type: str | None = None) -> pd.DataFrame:
        """Return the events, or those of one type, as a table."""
        return events_table(self.events if event_type is None else self.of_type(event_type))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run's books (``summary.json``); missing where the run is not over."""
        return self._json(SUMMARY_FILE)

    @cached_property
    def config(self) -> Config:
        """The resolved configuration; stages of somebody's own stand in it as they were written."""
        return read_without_code(str(self.path / CONFIG_FILE))

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What was computed: stages, rates, delays, hash; versions and hashes beside it are in ``provenance.json``."""
        plan: dict[str, Any] = self._json(PROVENANCE_FILE)["plan"]
        return plan

    def signals(self, stage: str = INPUT_TAP) -> Output:
        """Return the kept rows of a stage.

        Parameters
        ----------
        stage : str
            Its name; ``input`` for the stream itself.

        Raises
        ------
        RecordingError
            If the run kept none of it (`replay` keeps what ``outputs`` names, a live run what its recorder is told).
        """
        dump = self.path / f"{stage}.npz"
        if dump.is_file():
            stream = open_recording(dump).streams[0]
            return _output(stage, stream)
        kept: dict[str, RecordedStream] = {}
        if part_paths(self.path):
            prefix = f"{self.config.name}-"  # as the recorder names what is no input
            for one in open_recording(self.path).streams:
                if one.first_row is not None:  # as received; a recorded tap ``input`` has the numbered rows
                    kept.setdefault(INPUT_TAP, one)
                else:
                    kept[one.info.name.removeprefix(prefix)] = one
        if stage not in kept:
            known = sorted({*kept, *(path.stem for path in self.path.glob("*.npz"))})
            raise RecordingError(
                f"stage must be one whose rows the run kept ({', '.join(known) or 'none'}), got {stage!r}"
            )
        return _output(stage, kept[stage])

    def _json(self, name: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except OSError as error:
            raise RecordingError(f"path must be the folder of a run with {name}, got {str(self.path)!r}") from error
        except ValueError as error:
            raise RecordingError(f"{name} must be valid JSON, got {error}") from error
        return record

    def __repr__(self) -> str:
        return f"<Run {self.path}>"


def _output(name: str, stream: RecordedStream) -> Output:
    """Return a recorded stream as a stage's rows."""
    n_rows = stream.n_samples
    numbers = stream.sample_numbers
    info: StreamInfo = stream.info
    return Output(
        name,
        info,
        stream.data.copy(),
        stream.timestamps.copy(),
        np.ones(n_rows, np.bool_) if stream.valid is None else stream.valid.copy(),
        np.arange(stream.first_sample, stream.first_sample + n_rows) if numbers is None else numbers.copy(),
    )
