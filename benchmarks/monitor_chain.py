"""The monitoring chain against a tidy NumPy version of it, as multiples of real time.

Notch and band-pass -> average reference -> power in five bands of 1 s Hann windows each 50 ms; 1 kHz, chunks of 32.

Figures on two shared cores of a Zen 5 server: 8 channels 3000-3200 times real time (4 times the NumPy version), 64
channels 1600-1850 (6.5-7), 256 channels 550-630 (18-19).

What limits each row
--------------------
8 channels: most of the 10 us a chunk are Python and dispatch of three stages; one real FFT of 1000 x 8 is cheap for
NumPy, so that the ratio is small.

64 and 256 channels: of 17 us (51), band power takes 9.5 (32). It needs 7 us (28) for each 50 new rows to transform them
for 46 bins, near the bound of two fused multiply-adds a cycle; the rest adds up a window's blocks, which lie in the
second cache (1.4 MB at 64 channels; 5.5 MB at 256 do not fit). Tried: a window as the sum of its 20 blocks (12.5 us and
42), of aligned groups of 20 (10.1 and 33.5), of aligned groups of sqrt(2 n) = 6 (9.5 and 32, kept); sums tile by tile,
so that the total stays in the first cache (kept); slices in place of computed indices, which Numba does not vectorise
because they might be negative (19 us a chunk to 12 at 64 channels, kept). A running sum would read one block, and keep
every rounding error and every bad sample for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import signal

from benchmarks.filter import SETTINGS, SFREQ, chunks_of, stream
from benchmarks.measure import Row, compare
from neuroloop.config.stages import BandPowerSettings, ReferenceSettings
from neuroloop.processors.stages.registry import build_stage
from neuroloop.stream.contracts.chunks import Chunk, FloatArray
from neuroloop.stream.contracts.protocols import Processor

CHUNK = 32
WINDOW, HOP = 1000, 50
CHANNELS = (8, 64, 256)
SPAN_US = CHUNK / SFREQ * 1e6
BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
BAND_POWER = BandPowerSettings(kind="bandpower", window_samples=WINDOW, hop_samples=HOP, bands=BANDS)


class TidyNumpy:
    """What a careful user writes: sosfilt with state, a buffer of one window, one real FFT per window."""

    def __init__(self, sos: FloatArray) -> None:
        self.sos = sos
        self.hann = signal.get_window("hann", WINDOW)[:, np.newaxis]
        self.scale = 2.0 / (WINDOW * float((self.hann**2).sum()))
        frequencies = np.fft.rfftfreq(WINDOW, 1 / SFREQ)
        self.slices = [slice(*np.searchsorted(frequencies, band)) for band in BANDS.values()]
        self.top = self.slices[-1].stop

    def start(self, first_row: FloatArray) -> None:
        """Prime the filter and empty the buffer."""
        self.zi = signal.sosfilt_zi(self.sos)[:, :, np.newaxis] * first_row
        self.buffer = np.empty((0, len(first_row)))
        self.begin = 0

    def process(self, x: FloatArray) -> list[FloatArray]:
        """Return the powers (band, channel) of every window that the rows complete."""
        y, self.zi = signal.sosfilt(self.sos, x, axis=0, zi=self.zi)
        y -= y.mean(axis=1, keepdims=True)
        self.buffer = np.concatenate((self.buffer, y))
        done = []
        while len(self.buffer) >= WINDOW:
            spectrum = np.fft.rfft(self.buffer[:WINDOW] * self.hann, axis=0)[: self.top]
            power = (spectrum.real**2 + spectrum.imag**2) * self.scale
            done.append(np.array([power[part].sum(axis=0) for part in self.slices]))
            self.buffer = self.buffer[HOP:]
        return done


def chain(n_channels: int) -> list[Processor]:
    """Build the three stages."""
    stages: list[Processor] = []
    info = stream(n_channels)
    for settings in (SETTINGS, ReferenceSettings(kind="reference"), BAND_POWER):
        stages.append(build_stage(settings, info))
        info = stages[-1].info_out
    return stages


def _ours(stages: list[Processor], chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of chunks through all stages."""

    def batch() -> int:
        for stage in stages:
            stage.reset()
        for chunk in chunks:
            for stage in stages:
                chunk = stage.process(chunk)  # noqa: PLW2901
        return len(chunks)

    return batch


def _theirs(tidy: TidyNumpy, chunks: list[Chunk]) -> Callable[[], int]:
    """Return the same batch through the NumPy version."""

    def batch() -> int:
        tidy.start(chunks[0].data[0])
        for chunk in chunks:
            tidy.process(chunk.data)
        return len(chunks)

    return batch


def check(stages: list[Processor], tidy: TidyNumpy, chunks: list[Chunk]) -> None:
    """Compare both results before they are timed."""
    for stage in stages:
        stage.reset()
    tidy.start(chunks[0].data[0])
    n_channels = stages[0].info_in.n_channels
    ours: list[FloatArray] = []
    theirs: list[FloatArray] = []
    for chunk in chunks:
        theirs.extend(tidy.process(chunk.data))
        for stage in stages:
            chunk = stage.process(chunk)  # noqa: PLW2901
        ours.extend(chunk.data.reshape(len(chunk), n_channels, len(BANDS)).transpose(0, 2, 1))
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-9)


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return len(CHANNELS)


def rows(quick: bool) -> Iterator[Row]:
    """Measure 8, 64 and 256 channels."""
    for n_channels in CHANNELS:
        stages = chain(n_channels)
        x = np.random.default_rng(3).standard_normal((64 * CHUNK, n_channels)) * 30
        chunks = chunks_of(x, CHUNK, stages[0].info_in)
        tidy = TidyNumpy(stages[0].plan_arrays()["sos"].copy())
        check(stages, tidy, chunks)
        yield compare(
            "monitor chain",
            f"{n_channels} ch, 1 kHz, chunk {CHUNK}",
            _ours(stages, chunks),
            "tidy NumPy",
            _theirs(tidy, chunks),
            quick=quick,
            note=lambda a, b: f"{SPAN_US / a:.0f} x against {SPAN_US / b:.0f} x real time",
        )


if __name__ == "__main__":
    for line in rows(quick=False):
        print(line)
