"""Tables of recommendations as files: which are shipped, how one is found, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_settings
from neuroloop.config.settings import Settings
from neuroloop.config.stimulation import (
    UNKNOWN_STATE,
    RecommendationSettings,
    StimulationSettings,
    check_rows,
    trigger_box_faults,
)

TABLE_FOLDER = Path(__file__).resolve().parent / "tables"


class TableSettings(Settings):
    """A table as it stands in a file."""

    description: str = ""
    """One line for people."""
    states: Annotated[tuple[RecommendationSettings, ...], Field(min_length=1)]
    """One row for each state that asks for stimulation."""

    @model_validator(mode="after")
    def _rows_fit(self) -> TableSettings:
        try:
            check_rows(self.states)
        except ValueError as error:
            raise ValueError(f"states.{error}") from error
        return self


def table_names() -> list[str]:
    """Return the names of the shipped tables."""
    return sorted(path.stem for path in TABLE_FOLDER.glob("*.yaml"))


def find_table(name_or_path: str) -> Path:
    """Return the file of a shipped table's name or of a path.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if name_or_path in table_names():
        return TABLE_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    rule = f"a shipped table ({', '.join(table_names())}) or the path of a YAML or JSON file"
    raise ConfigError(f"stimulation.table_file must be {rule}, got {name_or_path!r}")


def load_table(name_or_path: str) -> TableSettings:
    """Read a table.

    Raises
    ------
    ConfigError
        With every fault, each with its file and line.
    """
    return load_settings(find_table(name_or_path), TableSettings)


REQUEST_KEYS = ("frequency_hz", "amplitude_ma", "pulse_width_us", "duration_s", "waveform", "min_confidence")
"""What a request repeats of its row."""


def request_values(row: RecommendationSettings | None, state: str, confidence: float) -> dict[str, Any]:
    """Return what a state asks for as JSON values; ``nothing`` where it has no row.

    Parameters
    ----------
    row : RecommendationSettings or None
        The state's, if it has one.
    state : str
    confidence : float
        Of the decision that changed the state.
    """
    if row is None:
        known = "the state is unknown" if state == UNKNOWN_STATE else "the state is not in the table"
        return {"action": "nothing", "state": state, "confidence": confidence, "reason": known}
    values: dict[str, Any] = {"action": "stimulate", "state": state, "confidence": confidence, "reason": ""}
    values |= {key: getattr(row, key) for key in REQUEST_KEYS}
    return {**values, "is_confident": confidence >= row.min_confidence}


def rows_of(settings: StimulationSettings) -> tuple[RecommendationSettings, ...]:
    """Return the rows that a configuration stimulates by, from itself or from its table file.

    Raises
    ------
    ConfigError
        If the table file has faults, or rows that the device cannot tell apart.
    """
    if settings.table is not None:
        return settings.table
    rows = load_table(str(settings.table_file)).states
    if faults := trigger_box_faults(settings, rows):
        raise ConfigError(*(f"stimulation.{fault}" for fault in faults))
    return rows
