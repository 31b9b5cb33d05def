"""Training material: feature rows, and which stretches of them are labelled windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.stages import BandPowerSettings, LogVarianceSettings, StageSettings
from neuroloop.stream.contracts.chunks import FloatArray

IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingWindows:
    """Labelled windows over shared feature rows, so that overlapping and shifted windows cost no memory.

    Parameters
    ----------
    rows : array, shape (n_rows, n_features), float32
        Feature rows of all stretches, one after another.
    starts : array, shape (n_windows,)
        Row at which each window begins.
    earliest, latest : array, shape (n_windows,)
        Where the window may begin instead, when it is shifted: every start in between has the same label.
    labels : array, shape (n_windows,)
        Class index.
    groups : array, shape (n_windows,)
        Recording that the window comes from; no group is split.
    window_samples : int
        Rows of a window.
    """

    rows: Float32Array
    starts: IntArray
    earliest: IntArray
    latest: IntArray
    labels: IntArray
    groups: IntArray
    window_samples: int

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, indices: IntArray, rng: np.random.Generator | None = None) -> Float32Array:
        """Return windows as a new array (n, window_samples, n_features); with ``rng`` each is shifted at random."""
        starts = self.starts[indices]
        if rng is not None:
            starts = rng.integers(self.earliest[indices], self.latest[indices] + 1)
        taken: Float32Array = self.rows[starts[:, None] + np.arange(self.window_samples)]
        return taken


@dataclass(frozen=True, slots=True)
class GainRule:
    """How feature rows change with the gain of the raw signal: ``rows * gain ** power + slope * log(gain)``."""

    power: int
    slope: int

    @classmethod
    def of(cls, stages: Sequence[StageSettings]) -> GainRule:
        """Return the rule of a chain: logarithmic features move by ``2 log(gain)``, powers scale by its square."""
        for stage in reversed(stages):
            if isinstance(stage, LogVarianceSettings) or (isinstance(stage, BandPowerSettings) and stage.log):
                return cls(0, 2)
            if isinstance(stage, BandPowerSettings):
                return cls(2, 0)
        return cls(1, 0)


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Mean and standard deviation of every feature over the training rows."""

    mean: FloatArray
    std: FloatArray
    rule: GainRule = field(default_factory=lambda: GainRule(1, 0))

    @classmethod
    def fit(cls, windows: TrainingWindows, chosen: NDArray[np.bool_], rule: GainRule) -> Standardiser:
        """Fit on the rows of the chosen windows, each row once."""
        used = np.zeros(len(windows.rows), np.bool_)
        for start in windows.starts[chosen]:
            used[start : start + windows.window_samples] = True
        rows = windows.rows[used].astype(np.float64)
        std = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(std > 0, std, 1.0), rule)

    @classmethod
    def identity(cls, n_features: int, rule: GainRule) -> Standardiser:
        """Leave features as they are."""
        return cls(np.zeros(n_features), np.ones(n_features), rule)

    def apply(self, x: Float32Array, gain: FloatArray | None = None) -> Float32Array:
        """Standardise windows (n, n_rows, n_features), first scaled as if the raw signal had the gain of each."""
        values = x.astype(np.float64)
        if gain is not None:
            per_window = gain[:, None, None]
            values = values * per_window**self.rule.power + self.rule.slope * np.log(per_window)
        return ((values - self.mean) / self.std).astype(np.float32)
