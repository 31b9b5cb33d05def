"""Make a baseline of the rows that come by: the same from a stream, a recording and any chunking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.processors.drift import baseline as fields
from neuroloop.processors.drift import moments
from neuroloop.processors.drift.autocorrelation import correlate
from neuroloop.processors.drift.baseline import Baseline, BaselineFor
from neuroloop.processors.stages.input_guard import load_state
from neuroloop.stream.contracts.chunks import BoolArray, FloatArray, StateDict

N_STRETCHES = 8
STRETCH_ROWS = 1024
"""Raw rows are kept for the autocorrelation in so many stretches, spread over the baseline."""
_LARGEST_RHO = 0.95
_FILL = 0.8
_TO_SIGMA = 1.4826
_CUT = 3.0
_CUT_SHARE = 0.9866
"""A normal value within `_CUT` standard deviations has this standard deviation."""
_MEDIAN_ERROR = 1.2533141373155
"""Standard error of the median of ``n`` unit normals, times ``sqrt(n)``."""


def median(values: FloatArray) -> FloatArray:
    """Return the median along the first axis without NaN, 0 where there is nothing; exact in every build."""
    ordered = np.sort(values, axis=0)  # NaN last
    n = np.count_nonzero(~np.isnan(values), axis=0)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0)[None], 0)[0] for at in ((n - 1) // 2, n // 2))
    return np.where(n > 0, 0.5 * (low + high), 0.0)


def _sum(rows: FloatArray) -> FloatArray:
    """Add rows without NaN, one after the other: NumPy's own sum takes an order that depends on the processor."""
    total = np.zeros(rows.shape[1:])
    for row in rows:
        total = total + np.where(np.isnan(row), 0.0, row)
    return total


def robust_scale(values: FloatArray, centre: FloatArray) -> FloatArray:
    """Return a standard deviation about a centre that single odd windows do not move.

    The median distance (1.4826 MAD) is the first guess; the root mean square of what lies within three of it is the
    answer. The MAD alone uses the windows with an efficiency of 37 %, this with about 90 %.
    """
    distance = np.abs(values - centre)
    inside = distance <= _CUT * _TO_SIGMA * median(distance)
    squares = _sum(np.where(inside, distance * distance, 0.0))
    count = _sum(np.where(inside, 1.0, 0.0))
    refined: FloatArray = np.sqrt(squares / np.maximum(count - 1.0, 1.0)) / _CUT_SHARE
    return refined


def lag_one(values: FloatArray, centre: FloatArray) -> FloatArray:
    """Return the correlation of neighbouring windows in [0, 0.95], corrected for its small-sample bias."""
    d = values - centre
    power = _sum(d * d)
    raw = np.where(power > 0.0, _sum(d[1:] * d[:-1]) / np.where(power > 0.0, power, 1.0), 0.0)
    corrected: FloatArray = np.minimum(np.maximum(raw + (1.0 + 3.0 * raw) / len(values), 0.0), _LARGEST_RHO)
    return corrected


class BaselineCollector:
    """Gathers window statistics and stretches of raw rows until the baseline is long enough.

    Parameters
    ----------
    made_for : BaselineFor
    n_rows : int
        Rows from the first one seen, flagged ones included, until it is over.
    """

    def __init__(self, made_for: BaselineFor, n_rows: int) -> None:
        self._made_for = made_for
        n_channels = len(made_for.columns)
        self.n_rows = n_rows
        n_windows = n_rows // made_for.window + 1
        self._length = max(1, min(STRETCH_ROWS, n_rows // N_STRETCHES))
        self._spacing = n_rows // N_STRETCHES
        self._windows = np.zeros((4, n_windows, n_channels))
        self._stretches = np.full((N_STRETCHES, self._length, n_channels), np.nan)
        self._place = np.array([-1, 0])
        """Global index of the first row (-1 before it), and the windows taken."""

    @property
    def n_windows(self) -> int:
        """Windows taken so far."""
        return int(self._place[1])

    def add_rows(self, data: FloatArray, valid: BoolArray, first: int) -> None:
        """Keep those rows of a chunk that lie in a stretch."""
        if self._place[0] < 0:
            self._place[0] = first
        at = first - int(self._place[0])
        n = len(valid)
        index = min(at // self._spacing, N_STRETCHES - 1) if self._spacing else 0
        while index < N_STRETCHES:
            begin = index * self._spacing
            low, high = max(begin, at), min(begin + self._length, at + n)
            if begin >= at + n:
                return
            if low < high:
                rows = data[low - at : high - at]
                self._stretches[index, low - begin : high - begin] = rows
                bad = ~valid[low - at : high - at]
                if bad.any():
                    self._stretches[index, low - begin : high - begin][bad] = np.nan
            index += 1

    def is_over(self, next_row: int) -> bool:
        """Whether the baseline is long enough when this global row is the next one."""
        return self._place[0] >= 0 and next_row - int(self._place[0]) >= self.n_rows

    def add_window(self, window: FloatArray) -> None:
        """Take one window: count, mean, standard deviation, log; the mean is relative to the moments' anchor."""
        if self.n_windows < self._windows.shape[1]:
            self._windows[:, self._place[1]] = window
            self._place[1] += 1

    def finish(self, anchor: FloatArray) -> Baseline | None:
        """Return the baseline, or nothing where no channel filled a window; a channel that never did counts 0.

        Parameters
        ----------
        anchor : array, shape (n_channels,)
            What the windows' means are relative to.
        """
        n = self.n_windows
        windows = self._windows[:, :n]
        is_full = windows[moments.COUNT] >= _FILL * self._made_for.window
        if not is_full.any():
            return None
        count, mean, std = self._total(np.where(is_full, windows, 0.0))
        table = np.zeros((len(fields.FIELDS), len(anchor)))
        correlation = correlate(self._stretches)
        table[fields.MEAN] = anchor + mean
        table[fields.STD], table[fields.COUNT] = std, count
        table[fields.TAU_MEAN], table[fields.TAU_SQUARE] = correlation.tau_mean, correlation.tau_square
        table[fields.KURTOSIS] = correlation.kurtosis
        rows = float(self._made_for.window)
        mean_floor = std * np.sqrt(correlation.tau_mean / rows)
        log_floor = np.sqrt(np.maximum(correlation.kurtosis - 1.0, 0.0) / 4.0 * correlation.tau_square / rows)
        common = np.zeros((2, 3))
        shifted = windows[moments.MEAN] - mean
        for arm, (raw, floor, first) in enumerate(
            ((shifted, mean_floor, fields.MEAN_CENTRE), (windows[moments.LOG_STD], log_floor, fields.LOG_CENTRE))
        ):
            values = np.where(is_full, raw, np.nan)
            centre = median(values)
            scale = np.maximum(robust_scale(values, centre), floor)
            table[first], table[first + 1], table[first + 2] = centre, scale, lag_one(values, centre)
            z = (values - centre) / np.where(scale > 0.0, scale, 1.0)
            common[arm] = self._common(z)
        table.setflags(write=False)
        common.setflags(write=False)
        return Baseline(self._made_for, n, table, common)

    @staticmethod
    def _common(z: FloatArray) -> tuple[float, float, float]:
        """Return centre, scale and correlation of the median over the channels of unit values."""
        series = median(np.ascontiguousarray(z.T)).reshape(-1, 1)
        centre = median(series)
        floor = _MEDIAN_ERROR / np.sqrt(float(z.shape[1]))
        scale = np.maximum(robust_scale(series, centre), floor)
        return float(centre[0]), float(scale[0]), float(lag_one(series, centre)[0])

    @staticmethod
    def _total(windows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Merge windows without overlap into count, mean and standard deviation, one after the other."""
        n_channels = windows.shape[2]
        n, mean, m2 = np.zeros(n_channels), np.zeros(n_channels), np.zeros(n_channels)
        for count, one, std, _ in windows.transpose(1, 0, 2):
            both = n + count
            share = np.where(both > 0.0, count / np.where(both > 0.0, both, 1.0), 0.0)
            delta = one - mean
            mean = mean + delta * share
            m2 = m2 + std * std * count + delta * delta * (n * share)
            n = both
        return n, mean, np.sqrt(m2 / np.where(n > 0.0, n, 1.0))

    def _arrays(self) -> StateDict:
        return {"windows": self._windows, "stretches": self._stretches, "place": self._place}

    def get_state(self) -> StateDict:
        """Return what was gathered."""
        return {key: array.copy() for key, array in self._arrays().items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a collector.
        """
        load_state(state, self._arrays())
