"""Apply a rule to windows, once there is a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.processors.drift import baseline as fields
from neuroloop.processors.drift.baseline import Baseline
from neuroloop.processors.drift.limits import Limits, make_limits, make_sequential, tail_of
from neuroloop.processors.drift.river_detectors import RIVER_RULES, RiverDetectors
from neuroloop.processors.drift.scoring import FILL, cusum_into, ewma_into, score_into
from neuroloop.processors.stages.input_guard import load_state
from neuroloop.stream.contracts.chunks import FloatArray, StateDict


class Judge:
    """Score windows against a baseline.

    Parameters
    ----------
    settings : DriftMonitorSettings
    baseline : Baseline
    anchor : array, shape (n_channels,)
        What the means of windows are relative to.

    Attributes
    ----------
    scores : array, shape (2, n_channels + 1)
        Mean and spread, signed, as multiples of their limits; NaN where there is none. The last column is the common
        arm.
    """

    def __init__(self, settings: DriftMonitorSettings, baseline: Baseline, anchor: FloatArray) -> None:
        made = baseline.made_for
        n_channels = len(made.columns)
        self.baseline = baseline
        self.rule = settings.rule
        self.scores = np.full((2, n_channels + 1), np.nan)
        self._n_blocks = made.window // made.hop
        self._needed = FILL * made.window
        step = made.window if settings.is_sequential else made.hop
        tail = tail_of(
            settings,
            n_units=n_channels + (1 if n_channels >= 3 else 0),
            n_arms=1 if settings.watch == "model" else 2,
            checks_per_s=made.sfreq / step,
        )
        self.limits: Limits = make_limits(settings, baseline, tail=tail)
        self._offset = baseline.table[fields.MEAN] - anchor
        self._count = baseline.table[fields.COUNT].copy()
        self._scratch = np.empty(n_channels)
        self._unit = np.empty_like(self.scores)
        self._sums = np.zeros((4, n_channels + 1))
        self._sequential = make_sequential(settings, baseline, tail=tail) if self.rule in ("ewma", "cusum") else None
        self._river = RiverDetectors(self.rule, self.scores.shape) if self.rule in RIVER_RULES else None

    def score(self, window: FloatArray, block: int) -> bool:
        """Fill `scores` for the window that ends with this block; whether there is a new score.

        The sequential rules look at the whole windows of the global index only: none shares a row with another.
        """
        limits = self.limits
        is_windowed = self._sequential is None and self._river is None
        if not is_windowed and (block + 1) % self._n_blocks:
            return False
        out = self.scores if is_windowed else self._unit
        score_into(
            window,
            self._offset,
            self._count,
            limits.table,
            limits.common,
            limits.use_log,
            self._needed,
            self._scratch,
            out,
        )
        if self._sequential is not None:
            if self.rule == "ewma":
                ewma_into(self._unit, self._sequential.limit, self._sums, self.scores)
            else:
                cusum_into(self._unit, self._sequential.limit, self._sequential.reference, self._sums, self.scores)
        elif self._river is not None:
            self._river.update(self._unit, self.scores)
        return True

    @property
    def channel_score(self) -> float:
        """The largest magnitude over channels and statistics; NaN without any."""
        return _largest(self.scores[:, :-1])

    @property
    def common_score(self) -> float:
        """The magnitude of the common arm; NaN without one."""
        return _largest(self.scores[:, -1:])

    def worst(self, top_k: int) -> list[tuple[int, int, float]]:
        """Return the channels above the limit, or the nearest one: (channel, statistic, score), largest first."""
        magnitude = np.where(np.isfinite(self.scores[:, :-1]), np.abs(self.scores[:, :-1]), -1.0)
        arm = magnitude.argmax(axis=0)
        largest = magnitude.max(axis=0)
        order = np.argsort(-largest, kind="stable")[:top_k]
        chosen = [int(c) for c in order if largest[c] > 1.0] or [int(order[0])]
        return [(c, int(arm[c]), float(self.scores[arm[c], c])) for c in chosen]

    def reset(self) -> None:
        """Forget the scores; what the sequential rules have gathered stays, as the baseline does."""
        self.scores[:] = np.nan

    def get_state(self) -> StateDict:
        """Return scores and sums."""
        state = {"scores": self.scores.copy(), "sums": self._sums.copy()}
        if self._river is not None:
            state.update(self._river.get_state())
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        rest = dict(state)
        if self._river is not None:
            self._river.set_state({"fed": rest.pop("fed")})
        load_state(rest, {"scores": self.scores, "sums": self._sums})


def _largest(scores: FloatArray) -> float:
    """Return the largest magnitude; a maximum is exact in any order."""
    magnitude = np.abs(scores)
    is_scored = magnitude >= 0.0
    return float(magnitude[is_scored].max()) if is_scored.any() else float("nan")
