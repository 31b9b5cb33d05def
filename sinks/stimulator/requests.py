"""``requests.jsonl``: what the table recommends for the states of a run, whether or not anything left.

It is made from the events that were written, so that a live run and a replay of its signals have the same file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.run_folder.folder import EVENTS_FILE, RunFolderError
from neuroloop.sinks.stimulator.recommendation import Recommender
from neuroloop.stream.contracts.events import Event

REQUESTS_FILE = "requests.jsonl"
_STATE = '"type":"state"'
_IDENTITY = frozenset({"id", "type", "stream", "sample", "time", "delay_s"})


def write_requests(run: Path, settings: StimulationSettings) -> int:
    """Write the requests of a run whose events are all written; return how many.

    Parameters
    ----------
    run : Path
        Its folder.
    settings : StimulationSettings

    Raises
    ------
    RunFolderError
        If the file cannot be written.
    ConfigError
        If the table cannot be read.
    """
    recommender = Recommender.from_settings(settings)
    partial = run / (REQUESTS_FILE + ".partial")
    n = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for request in recommender.requests(_states(run / EVENTS_FILE)):
                file.write(request.line() + "\n")
                n += 1
        partial.replace(run / REQUESTS_FILE)
    except OSError as error:
        raise RunFolderError(f"out must be a writable folder, got {str(run)!r}: {error.strerror}") from error
    return n


def _states(path: Path) -> Iterator[Event]:
    """Read the changes of state from a file of events."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if _STATE not in line:
                continue
            record = json.loads(line)
            if record["type"] != "state":
                continue
            time = math.nan if record["time"] is None else record["time"]
            k = int(record["id"].rpartition("/")[2])
            values = {key: value for key, value in record.items() if key not in _IDENTITY}
            yield Event("state", record["stream"], record["sample"], k, time, record["delay_s"], values)
