"""The file that a run of the benchmarks leaves: every figure is in it as soon as it is measured."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.distribution import LatencyRow
from benchmarks.measure import LeftOut, Row
from neuroloop.stream.assembly.machine import machine_settings, package_versions

FILE = "figures.json"


class FiguresFile:
    """``figures.json``, written anew as a whole with everything that is added, so that it can be read at any moment.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    quick : bool
        Whether the figures are of few repetitions.

    Raises
    ------
    OSError
        If nothing can be written there.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._content: dict[str, Any] = {
            "machine": machine_settings(),
            "versions": package_versions(),
            "quick": quick,
            "is_complete": False,
            "rows": [],
            "left_out": [],
            "failures": [],
        }
        self._write()

    def add(self, benchmark: str, entry: Row | LatencyRow | LeftOut) -> None:
        """Add what a benchmark measured, or could not.

        Parameters
        ----------
        benchmark : str
        entry : Row, LatencyRow or LeftOut
        """
        self._append("left_out" if isinstance(entry, LeftOut) else "rows", benchmark, asdict(entry))

    def add_failure(self, benchmark: str, error: str, traceback: str) -> None:
        """Add why a benchmark did not come to its end.

        Parameters
        ----------
        benchmark, error : str
        traceback : str
            Empty where there is none.
        """
        self._append("failures", benchmark, {"error": error, "traceback": traceback})

    def complete(self) -> None:
        """Say that every chosen benchmark had its turn, whether it failed or not."""
        self._content["is_complete"] = True
        self._write()

    def _append(self, part: str, benchmark: str, values: dict[str, Any]) -> None:
        self._content[part].append({"benchmark": benchmark, **values})
        self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self._content, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self.path)
