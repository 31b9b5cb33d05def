"""Folders that the user's environment names."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return where the program keeps what outlives a run: ``$XDG_STATE_HOME/neuroloop``, by default in the home."""
    named = os.environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"  # relative ones are to be ignored
    return base / "neuroloop"


def ledger_folder(setting: str | None) -> Path:
    """Return the folder of the charge ledgers: the one of the configuration, or the user's."""
    return Path(setting).expanduser() if setting is not None else state_folder() / "ledger"


def ledgers_of(folder: Path, device_kind: object) -> Path:
    """Return where the ledgers of a kind of device lie: what a simulated one gives uses up nobody's day.

    Parameters
    ----------
    folder : Path
        Of all ledgers.
    device_kind : str
        ``stimulation.device.kind``, also as it stands in a log.
    """
    return folder / "simulated" if device_kind == "simulated" else folder
