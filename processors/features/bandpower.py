"""The band power stage: the power of each channel in each band, window by window."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import direct
from neuroloop.config.stages import BandPowerSettings
from neuroloop.processors.features.spectrum import finish_block, finish_window, push_rows, transform_window
from neuroloop.processors.filters.design import periodic_hann
from neuroloop.processors.numerics.elementary import PI, cos, sin
from neuroloop.processors.numerics.simd64 import aligned_zeros, padded
from neuroloop.processors.stages.input_guard import FIRST_ROW, LAST_BAD
from neuroloop.processors.stages.window_grid import WindowGrid
from neuroloop.processors.stages.window_stage import WindowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo

MIN_BLOCK = 4
"""Shorter hops transform every window anew: summing many tiny blocks would cost more."""


def _angles(n_samples: int) -> tuple[FloatArray, FloatArray]:
    """Return cosine and negated sine of ``n_samples`` equal steps around the circle."""
    cosine = np.array([cos(2.0 * PI * i / n_samples) for i in range(n_samples)])
    return cosine, np.array([-sin(2.0 * PI * i / n_samples) for i in range(n_samples)])


def _fourier_table(n_rows: int, bins: NDArray[np.int64], window: int, weights: FloatArray | None) -> FloatArray:
    """Return factors of shape (n_rows, n_bins, 2) that turn rows into sums."""
    cosine, sine = _angles(window)
    turns = np.arange(n_rows)[:, np.newaxis] * bins % window
    table = aligned_zeros(n_rows, len(bins), 2)
    table[:, :, 0] = cosine[turns]
    table[:, :, 1] = sine[turns]
    if weights is not None:
        table *= weights[:, np.newaxis, np.newaxis]
    table.flags.writeable = False
    return table


def _bins_of(settings: BandPowerSettings, window: int, sfreq: float) -> list[list[int]]:
    """Return the bins with ``low <= bin * sfreq / window < high`` of each band."""
    chosen, faults = [], []
    for label, (low_hz, high_hz) in settings.bands.items():
        if high_hz > 0.5 * sfreq:
            faults.append(f"bands.{label} must end at or below sfreq/2={0.5 * sfreq!r}, got {[low_hz, high_hz]!r}")
            continue
        bins = [m for m in range(window // 2 + 1) if low_hz <= m * sfreq / window < high_hz]
        if not bins:
            faults.append(
                f"bands.{label} must hold at least one bin of {sfreq / window:g} Hz "
                f"(window_samples={window}, sfreq={sfreq:g}), got {[low_hz, high_hz]!r}; lengthen the window"
            )
        chosen.append(bins)
    if faults:
        raise ConfigError(*faults)
    return chosen


_push_directly = direct(push_rows)


class BandPower(WindowStage):
    """Integrate the one-sided power density of each window over each band.

    Equals ``scipy.signal.periodogram(window, sfreq, window="hann", detrend=False, scaling="density")`` summed over the
    bins with ``low_hz <= f < high_hz`` times the bin width. Columns are channel-major, ``C3:delta, C3:theta, ...``, the
    unit of ``uV`` becomes ``uV^2`` (``log(uV^2)`` with the logarithm). Windows lie and are flagged as those of
    `neuroloop.processors.features.window.Window`; a value that is not finite is replaced by its channel's last good
    one.

    Parameters
    ----------
    settings : BandPowerSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If the stream is irregular, a length becomes 0 samples, a band has no bin or reaches beyond the Nyquist rate.

    Notes
    -----
    `neuroloop.processors.features.spectrum` describes the two methods. The sums are exact to about 1e-14 of the
    window's total power, so a band that holds less than that beside a huge offset is noise; filter first.

    References
    ----------
    .. [1] Welch, IEEE Trans. Audio Electroacoust. 15(2), 70-73, 1967.
    """

    def __init__(self, settings: BandPowerSettings, info: StreamInfo) -> None:
        if not info.sfreq > 0.0:
            raise ConfigError(f"sfreq must be above 0 for band power, got {info.sfreq!r}")
        grid = WindowGrid.from_settings(settings, info.sfreq)
        window, hop = grid.window, grid.hop
        chosen = _bins_of(settings, window, info.sfreq)
        unit = "log({}^2)" if settings.log else "{}^2"
        n_bands = len(settings.bands)
        info_out = dataclasses.replace(
            info,
            sfreq=info.sfreq / hop,
            ch_names=tuple(f"{name}:{label}" for name in info.ch_names for label in settings.bands),
            ch_types=tuple(kind for kind in info.ch_types for _ in range(n_bands)),
            ch_units=tuple(unit.format(symbol) if symbol else "" for symbol in info.ch_units for _ in range(n_bands)),
        )
        self._is_log = settings.log
        self._design(grid, chosen)
        stride = padded(info.n_channels)
        self._rows = aligned_zeros(hop if self._is_blockwise else window, stride)
        self._blocks = aligned_zeros(self._n_blocks + self._n_groups + 1, 2 * len(self._bins) * stride)
        self._power = aligned_zeros(stride)
        super().__init__(
            settings.name,
            info,
            info_out=info_out,
            grid=grid,
            window_arrays={"rows": self._rows, "blocks": self._blocks},
        )

    def _design(self, grid: WindowGrid, chosen: list[list[int]]) -> None:
        """Make the tables: which bins, their factors, and what turns squared magnitudes into power."""
        window, hop = grid.window, grid.hop
        hann = periodic_hann(window)
        self._is_blockwise = window % hop == 0 and hop >= MIN_BLOCK
        needed = sorted({m for bins in chosen for m in bins})
        if self._is_blockwise:
            transformed = sorted({m + step for m in needed for step in (-1, 0, 1)})
            n_blocks = window // hop
            self._group = math.isqrt(2 * n_blocks)
            self._n_blocks, self._n_groups = n_blocks, n_blocks // self._group + 2
        else:
            transformed = needed
            self._group, self._n_blocks, self._n_groups = 1, 0, 0
        self._bins = np.array(transformed, np.int64)
        self._table = _fourier_table(
            len(hann) if not self._is_blockwise else hop, self._bins, window, None if self._is_blockwise else hann
        )
        cosine, sine = _angles(max(1, self._n_blocks))
        self._rotors = np.stack((cosine, sine), axis=1)
        square_sum = 0.0
        for weight in hann.tolist():
            square_sum += weight * weight
        entries = [m for bins in chosen for m in bins] if self._is_blockwise else transformed
        self._centres = np.array([transformed.index(m) for m in entries], np.int64)
        self._scale = np.array([(1.0 if 2 * m in (0, window) else 2.0) / (window * square_sum) for m in entries])
        edges, begin = [], 0
        for bins in chosen:
            if not self._is_blockwise:
                begin = transformed.index(bins[0])
            edges.append((begin, begin + len(bins)))
            begin += len(bins)
        self._bands = np.array(edges, np.int64)
        for array in (self._bins, self._rotors, self._centres, self._scale, self._bands):
            array.flags.writeable = False

    def _run(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        if self._is_blockwise:
            self._run_blocks(chunk, row, out, valid)
        else:
            self._run_windows(chunk, row, out, valid)

    def _run_blocks(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        """Feed rows block by block; a block that ends may complete the window that it ends."""
        data, flags, first = chunk.data, chunk.valid, chunk.first_sample
        hop, marks = self._hop, self._marks
        n_rows, begin = len(data), 0
        block = first // hop
        while begin < n_rows:
            end = (block + 1) * hop - first
            if end > n_rows:
                _push_directly(data, flags, begin, n_rows, first, self._held, self._rows, marks)
                return
            _push_directly(data, flags, begin, end, first, self._held, self._rows, marks)
            first_row = int(marks[FIRST_ROW])
            if block >= first_row:
                finish_block(
                    self._rows,
                    self._table,
                    self._rotors,
                    self._bins,
                    self._blocks,
                    self._n_groups,
                    self._group,
                    block,
                    first_row,
                )
                k = block - self._n_blocks + 1
                if k >= row:
                    finish_window(
                        self._blocks,
                        self._rotors,
                        self._n_groups,
                        self._group,
                        k,
                        self._centres,
                        self._bands,
                        self._scale,
                        self._is_log,
                        self._power,
                        out[k - row],
                    )
                    valid[k - row] = marks[LAST_BAD] < k * hop
            begin = end
            block += 1

    def _run_windows(self, chunk: Chunk, row: int, out: FloatArray, valid: BoolArray) -> None:
        """Feed rows up to the end of each window and transform it."""
        data, flags, first = chunk.data, chunk.valid, chunk.first_sample
        window, hop, marks = self._window, self._hop, self._marks
        begin = 0
        for k in range(row, row + len(out)):
            end = k * hop + window - first
            _push_directly(data, flags, begin, end, first, self._held, self._rows, marks)
            transform_window(
                self._rows,
                k * hop % window,
                self._table,
                self._blocks[0],
                self._bands,
                self._scale,
                self._is_log,
                self._power,
                out[k - row],
            )
            valid[k - row] = marks[LAST_BAD] < k * hop
            begin = end
        if begin < len(data):
            _push_directly(data, flags, begin, len(data), first, self._held, self._rows, marks)

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the bins, their factors and the bands' shares in them."""
        return {
            "bins": self._bins,
            "table": self._table,
            "rotors": self._rotors,
            "centres": self._centres,
            "bands": self._bands,
            "scale": self._scale,
            **super().plan_arrays(),
        }
