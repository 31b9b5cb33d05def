"""River's change detectors on window statistics, as an option: they cost memory and are outside the promise of bits.

Fed with raw samples they alarm every second on autocorrelated signals; fed with one unit value per window they do not.
Their state is the values fed since the last reset, and a resumed one is fed them again.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.stream.contracts.chunks import FloatArray, StateDict

RIVER_RULES = ("adwin", "page_hinkley")
DETECTED = 2.0
"""Score of a window at which a detector saw a change; these detectors have no distance to a threshold."""


def river_drift() -> Any:
    """Import river.drift, an extra.

    Raises
    ------
    ConfigError
        If river is not installed.
    """
    try:
        importlib.import_module("river")
        return importlib.import_module("river.drift")
    except ImportError as error:
        raise ConfigError(
            "rule must be one that is built in unless river is installed (pip install 'neuroloop[drift]'),"
            " got 'adwin' or 'page_hinkley'"
        ) from error


class RiverDetectors:
    """One detector per arm and column.

    Parameters
    ----------
    rule : str
        ``adwin`` or ``page_hinkley``.
    shape : tuple of int

    Raises
    ------
    ConfigError
        If river is not installed.
    """

    def __init__(self, rule: str, shape: tuple[int, int]) -> None:
        drift = river_drift()
        self._make = drift.ADWIN if rule == "adwin" else drift.PageHinkley
        self._shape = shape
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        n = self._shape[0] * self._shape[1]
        self._detectors = [self._make() for _ in range(n)]
        self._fed: list[FloatArray] = []

    def update(self, unit: FloatArray, out: FloatArray) -> None:
        """Take one window's unit values; a value that is not finite is left out."""
        self._fed.append(unit.copy())
        flat, scores = unit.ravel(), out.reshape(-1)
        for i, detector in enumerate(self._detectors):
            value = float(flat[i])
            if not np.isfinite(value):
                scores[i] = np.nan
                continue
            detector.update(value)
            scores[i] = DETECTED if detector.drift_detected else 0.0

    def get_state(self) -> StateDict:
        """Return the values fed."""
        return {"fed": np.array(self._fed).reshape(-1, *self._shape)}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Feed the values again."""
        self.reset()
        out = np.empty(self._shape)
        for unit in state["fed"]:
            self.update(unit, out)
