"""How good a stream is: its stamps, its channels, and what does not look like what it claims to be.

Computed beside the pipeline, from the numbered chunks: inline in replay, in the cold process of a live run. Everything
is a recursion over samples or whole seconds of the global sample number, and medians come from histograms with exact
bounds, so the report is the same however the stream was cut. Rows that stand for missing samples are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, float64, int64, types, void
from numpy.typing import NDArray

from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo
from neuroloop.stream.quality.histogram import Histogram
from neuroloop.stream.quality.plausibility import is_electrical, unit_warnings

LINE_MEMORY_S = 60.0
SETTLE_S = 2.0
"""Samples before deviations from the line are counted."""
RAIL_RUN = 5
"""Equal values in a row at the highest or lowest value so far that count as the end of the range."""
MIN_SECOND = 10
"""Samples of a *second* at least; a slow stream has longer ones."""
SHIFT_STDS = 10.0
"""A shift: the mean of a second is so many standard deviations away from the mean two seconds before."""
_TIMING_BITS, _CHANNEL_BITS = 10, 5
RAILED_SHARE, FLAT_SHARE, RATE_TOLERANCE = 0.05, 0.5, 0.02

# rows of the channels' floats: whole run, then the second under way
MEAN, LOWEST, HIGHEST, LAST, LOW, HIGH, FIRST, SUM, SQUARES = 0, 1, 2, 3, 4, 5, 6, 7, 8
N_FLOAT_ROWS = 9
FINITE, N_NAN, N_INF, RUN, IN_SECOND, RAILED = 0, 1, 2, 3, 4, 5
N_INT_ROWS = 6
# timing
STAMP, LINE, PERIOD, SPAN, LOWEST_STEP, HIGHEST_STEP, MAX_DEVIATION = 0, 1, 2, 3, 4, 5, 6
N_TIMING_FLOATS = 7
SEEN, CELLS, PENDING, REPEATED, BACKWARD, N_PACKETS, IN_PACKET, LARGEST_PACKET, SINCE = 0, 1, 2, 3, 4, 5, 6, 7, 8
N_TIMING_INTS = 9

_ROWS = types.Array(float64, 2, "C", readonly=True)
_VALUES = types.Array(float64, 1, "C", readonly=True)
_FLAGS = types.Array(boolean, 1, "C", readonly=True)
IntArray = NDArray[Any]


@kernel(
    void(_ROWS, _VALUES, _FLAGS, float64, float64[:, ::1], int64[:, ::1], float64[::1], int64[::1], float64[:, ::1])
)
def _measure(
    x: FloatArray,
    stamps: FloatArray,
    valid: BoolArray,
    sfreq: float,
    floats: FloatArray,
    ints: IntArray,
    times: FloatArray,
    counts: IntArray,
    steps: FloatArray,
) -> None:
    """Add rows of one second; ``steps`` is filled with each row's step and deviation, NaN where there is none."""
    n_rows, n_channels = x.shape
    memory = max(LINE_MEMORY_S * sfreq, 16.0)
    for i in range(n_rows):
        steps[i, 0] = steps[i, 1] = np.nan
        n_nonfinite = 0
        for c in range(n_channels):
            n_nonfinite += 0 if np.isfinite(x[i, c]) else 1
        counts[PENDING] += 1
        if not valid[i] and n_nonfinite == 0:
            continue
        for c in range(n_channels):
            value = x[i, c]
            if not np.isfinite(value):
                ints[N_NAN, c] += np.isnan(value)
                ints[N_INF, c] += not np.isnan(value)
                ints[RUN, c] = 0
                continue
            n_finite = ints[FINITE, c] + 1
            ints[FINITE, c] = n_finite
            if n_finite == 1:
                floats[LOWEST, c] = floats[HIGHEST, c] = value
            floats[MEAN, c] += (value - floats[MEAN, c]) / n_finite
            floats[LOWEST, c] = min(floats[LOWEST, c], value)
            floats[HIGHEST, c] = max(floats[HIGHEST, c], value)
            ints[RUN, c] = ints[RUN, c] + 1 if value == floats[LAST, c] and n_finite > 1 else 1
            floats[LAST, c] = value
            at_end = value <= floats[LOWEST, c] or value >= floats[HIGHEST, c]
            if ints[RUN, c] >= RAIL_RUN and at_end:
                ints[RAILED, c] = 1
            if ints[IN_SECOND, c] == 0:
                floats[LOW, c] = floats[HIGH, c] = floats[FIRST, c] = value
                floats[SUM, c] = floats[SQUARES, c] = 0.0
            ints[IN_SECOND, c] += 1
            floats[LOW, c] = min(floats[LOW, c], value)
            floats[HIGH, c] = max(floats[HIGH, c], value)
            offset = value - floats[FIRST, c]
            floats[SUM, c] += offset
            floats[SQUARES, c] += offset * offset
        stamp = stamps[i]
        advance = counts[PENDING]
        counts[PENDING] = 0
        counts[SEEN] += 1
        if counts[SEEN] == 1:
            times[LINE] = stamp
            times[PERIOD] = 1.0 / sfreq
            counts[N_PACKETS] = counts[IN_PACKET] = counts[LARGEST_PACKET] = 1
            times[STAMP] = stamp
            continue
        step = stamp - times[STAMP]
        times[STAMP] = stamp
        lead = stamp - (times[LINE] + times[PERIOD] * advance)
        if abs(step) > 1.0 + advance / sfreq * 2.0:
            times[LINE] = stamp
            counts[SINCE] = 0
            continue
        times[SPAN] += step
        counts[CELLS] += advance
        counts[SINCE] += 1
        counts[REPEATED] += step == 0
        counts[BACKWARD] += step < 0
        times[LOWEST_STEP] = min(times[LOWEST_STEP], step)
        times[HIGHEST_STEP] = max(times[HIGHEST_STEP], step)
        if 0 <= step * sfreq <= 1.5:
            counts[IN_PACKET] += 1
        else:
            counts[N_PACKETS] += 1
            counts[IN_PACKET] = 1
        counts[LARGEST_PACKET] = max(counts[LARGEST_PACKET], counts[IN_PACKET])
        steps[i, 0] = abs(step)
        weight = min(max(0.75 * counts[SINCE], 2.0 * sfreq if sfreq > 4.0 else 8.0), memory)
        scale = weight * (weight + 1.0)
        times[LINE] = stamp - lead + 2.0 * (2.0 * weight - 1.0) / scale * lead
        times[PERIOD] = min(max(times[PERIOD] + 6.0 / scale * lead, 0.5 / sfreq), 2.0 / sfreq)
        if counts[SINCE] > SETTLE_S * sfreq:
            deviation = abs(stamp - times[LINE])
            steps[i, 1] = deviation
            times[MAX_DEVIATION] = max(times[MAX_DEVIATION], deviation)


class QualityMeter:
    """Measure the quality of one stream of a fixed rate.

    Parameters
    ----------
    info : StreamInfo

    Raises
    ------
    ValueError
        If the stream has no rate.
    """

    def __init__(self, info: StreamInfo) -> None:
        if not info.sfreq > 0:
            raise ValueError(f"sfreq must be above 0, got {info.sfreq!r}")
        n_channels = info.n_channels
        self._info = info
        self._second = max(MIN_SECOND, round(info.sfreq))
        self._floats = np.zeros((N_FLOAT_ROWS, n_channels))
        self._ints = np.zeros((N_INT_ROWS, n_channels), np.int64)
        self._times = np.zeros(N_TIMING_FLOATS)
        self._times[LOWEST_STEP], self._times[HIGHEST_STEP] = np.inf, -np.inf
        self._counts = np.zeros(N_TIMING_INTS, np.int64)
        self._steps = np.empty((self._second, 2))
        self._n_steps = 0
        self._intervals = Histogram(1, _TIMING_BITS)
        self._deviations = Histogram(1, _TIMING_BITS)
        self._spreads = Histogram(n_channels, _CHANNEL_BITS)
        self._stds = Histogram(n_channels, _CHANNEL_BITS)
        self._n_seconds = np.zeros(n_channels, np.int64)
        self._n_flat = np.zeros(n_channels, np.int64)
        self._n_railed = np.zeros(n_channels, np.int64)
        self._n_shifts = np.zeros(n_channels, np.int64)
        self._since_shift = np.full(n_channels, 2, np.int64)
        self._past = np.full((2, 2, n_channels), np.nan)  # mean and std of the two seconds before
        self._next_sample = -1

    def add(self, chunk: Chunk) -> None:
        """Take numbered rows; where the number jumps a new piece begins."""
        n_rows = len(chunk.timestamps)
        if n_rows == 0:
            return
        if chunk.first_sample != self._next_sample:
            self._counts[PENDING] += max(0, chunk.first_sample - self._next_sample) if self._next_sample >= 0 else 0
            self._begin_second()
            self._past[:] = np.nan
        data = chunk.data if chunk.data.flags.c_contiguous else np.ascontiguousarray(chunk.data)
        begin, first, second = 0, chunk.first_sample, self._second
        while begin < n_rows:
            end = min(n_rows, begin + second - (first + begin) % second)
            _measure(
                data[begin:end], chunk.timestamps[begin:end], chunk.valid[begin:end], self._info.sfreq,
                self._floats, self._ints, self._times, self._counts, self._steps[self._n_steps :],
            )  # fmt: skip
            self._n_steps += end - begin
            if (first + end) % second == 0:
                self._close_second()
            begin = end
        self._next_sample = first + n_rows

    def _begin_second(self) -> None:
        self._count_steps()
        self._ints[IN_SECOND] = self._ints[RAILED] = 0

    def _count_steps(self) -> None:
        """Put the steps of the second under way into the histograms."""
        steps, self._n_steps = self._steps[: self._n_steps], 0
        self._intervals.add_column(steps[:, 0])
        self._deviations.add_column(steps[:, 1])

    def _close_second(self) -> None:
        """Judge the second that is over, for every channel that had all its samples."""
        floats, ints = self._floats, self._ints
        whole = ints[IN_SECOND] == self._second
        spread = floats[HIGH] - floats[LOW]
        offset = floats[SUM] / self._second
        mean = floats[FIRST] + offset
        std = np.sqrt(np.maximum(floats[SQUARES] / self._second - offset * offset, 0.0))
        mean[~whole] = std[~whole] = np.nan
        self._n_seconds += whole
        is_flat = whole & (spread == 0)
        self._n_flat += is_flat
        self._n_railed += whole & (ints[RAILED] != 0) & ~is_flat
        self._spreads.add_row(spread, whole)
        self._stds.add_row(std, whole)
        before_mean, before_std = self._past[0]
        noise = np.maximum(std, before_std)
        shifted = (np.abs(mean - before_mean) > SHIFT_STDS * noise) & (self._since_shift >= 2)
        self._n_shifts += shifted
        self._since_shift = np.where(shifted, 0, self._since_shift + 1)
        self._past[0] = self._past[1]
        self._past[1] = mean, std
        self._begin_second()

    def report(self) -> dict[str, Any]:
        """Return ``timing``, ``channels`` and ``warnings``, as JSON values.

        Returns
        -------
        dict
            ``timing``: the stamps; ``deviation_ms`` is their distance from a line with a memory of a minute, a packet
            a run of stamps that a step back or one above 1.5 periods ends (None where there is no such step).
            ``channels``: one dict per channel, amplitudes in its own unit, medians over whole seconds of at least ten
            samples and right to 1.6 %, None where no second was whole. ``warnings``: sentences.
        """
        self._count_steps()
        timing, channels = self._timing(), self._channels()
        warnings = [
            *self._rate_warnings(timing),
            *self._channel_warnings(channels),
            *unit_warnings(channels, self._info.sfreq),
        ]
        return {"timing": timing, "channels": channels, "warnings": warnings}

    def _timing(self) -> dict[str, Any]:
        times, counts = self._times, self._counts
        span, n_seen, n_packets = float(times[SPAN]), int(counts[SEEN]), int(counts[N_PACKETS])
        is_cut = n_packets > 1
        has_steps = bool(times[LOWEST_STEP] <= times[HIGHEST_STEP])

        def in_ms(seconds: float | None) -> float | None:
            return None if seconds is None else seconds * 1e3

        return {
            "effective_sfreq": int(counts[CELLS]) / span if span > 0 else None,
            "interval_ms": {
                "min": float(times[LOWEST_STEP]) * 1e3 if has_steps else None,
                "median": in_ms(self._intervals.quantile(0, 0.5)),
                "p99": in_ms(self._intervals.quantile(0, 0.99)),
                "max": float(times[HIGHEST_STEP]) * 1e3 if has_steps else None,
            },
            "deviation_ms": {
                "median": in_ms(self._deviations.quantile(0, 0.5)),
                "p99": in_ms(self._deviations.quantile(0, 0.99)),
                "max": float(times[MAX_DEVIATION]) * 1e3 if self._deviations.count(0) else None,
            },
            "packets": n_packets if is_cut else None,
            "samples_per_packet": n_seen / n_packets if is_cut else None,
            "largest_packet": int(counts[LARGEST_PACKET]) if is_cut else None,
            "repeated_stamps": int(counts[REPEATED]),
            "backward_stamps": int(counts[BACKWARD]),
        }

    def _channels(self) -> list[dict[str, Any]]:
        floats, ints, info = self._floats, self._ints, self._info
        rows = []
        for c, name in enumerate(info.ch_names):
            n_finite, n_seconds = int(ints[FINITE, c]), int(self._n_seconds[c])
            rows.append(
                {
                    "name": name,
                    "type": info.ch_types[c],
                    "unit": info.ch_units[c],
                    "finite": n_finite,
                    "nan": int(ints[N_NAN, c]),
                    "inf": int(ints[N_INF, c]),
                    "min": float(floats[LOWEST, c]) if n_finite else None,
                    "max": float(floats[HIGHEST, c]) if n_finite else None,
                    "mean": float(floats[MEAN, c]) if n_finite else None,
                    "peak_to_peak_1s": self._spreads.quantile(c, 0.5),
                    "std_1s": self._stds.quantile(c, 0.5),
                    "seconds": n_seconds,
                    "flat_share": int(self._n_flat[c]) / n_seconds if n_seconds else None,
                    "railed_share": int(self._n_railed[c]) / n_seconds if n_seconds else None,
                    "dc_shifts": int(self._n_shifts[c]),
                }
            )
        return rows

    def _rate_warnings(self, timing: dict[str, Any]) -> list[str]:
        rate, sfreq = timing["effective_sfreq"], self._info.sfreq
        if rate is None or self._counts[SEEN] < 10 * sfreq or abs(rate / sfreq - 1.0) <= RATE_TOLERANCE:
            return []
        return [f"the stamps say {rate:.5g} Hz, the stream claims {sfreq:.5g} Hz"]

    def _channel_warnings(self, channels: list[dict[str, Any]]) -> list[str]:
        """Name the channels that are not finite, flat or at the end of their range."""
        found = {
            "hold values that are not finite": [one for one in channels if one["nan"] + one["inf"] > 0],
            "are flat for at least half of the time": [
                one for one in channels if (one["flat_share"] or 0.0) >= FLAT_SHARE
            ],
            "stay at the end of their range in more than 5 % of the seconds": [
                one for one in channels if (one["railed_share"] or 0.0) > RAILED_SHARE and is_electrical(one["type"])
            ],
        }
        return [f"channels {', '.join(one['name'] for one in ones)} {text}" for text, ones in found.items() if ones]
