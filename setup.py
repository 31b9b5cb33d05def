"""Refuse to build where the links to the folders are missing; everything else stands in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

ROOMS = ("config", "stream", "processors", "models", "sinks")
MISSING = [room for room in ROOMS if not (Path(__file__).parent / "neuroloop" / room / "__init__.py").is_file()]
if MISSING:
    sys.exit(
        "neuroloop/ must hold links to the folders of the checkout, got none for "
        + ", ".join(MISSING)
        + " (a clone without symbolic links; on Windows: git clone -c core.symlinks=true)"
    )
setup()
