"""liblsl's own settings file, found where liblsl looks for it."""

from __future__ import annotations

import os
from pathlib import Path

_PLACES = ("lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")
_QUIET = "\n[log]\nlevel = -2\n"


def lsl_settings_file() -> tuple[Path, str] | None:
    """Return the user's settings file (``LSLAPICFG``, then liblsl's places) and its text; None where there is none."""
    named = os.environ.get("LSLAPICFG")
    for place in (named, *_PLACES):
        path = Path(place).expanduser() if place else None
        if path is not None and path.is_file():
            try:
                return path, path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
    return None


def lsl_settings() -> str:
    """Return the text of the user's settings, with errors only in the log.

    A file that has a ``[log]`` section is returned as it is.
    """
    found = lsl_settings_file()
    if found is None:
        return _QUIET
    text = found[1]
    return text if "[log]" in text else text + _QUIET
