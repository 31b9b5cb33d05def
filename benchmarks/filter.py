"""The fused filter against scipy.signal.sosfilt, state carried from chunk to chunk.

Four band-pass sections (1-40 Hz, order 4) and one notch (50 Hz) at 1 kHz, float64.

Four rows a shape: the bare kernel, and ``SosFilter.process`` with everything around it (checks of number and channels,
hold of bad values, flags, three new arrays, the chunk), each beside scipy with channels and with time contiguous.
Figures on two shared cores of a Zen 5 server, times faster than the better layout of scipy: kernel 20 at 64 x 16, 29 at
8 x 1, 12 at 256 x 64, 12 at 64 x 512; whole call 8.5, 8, 10 and 11.

What limits each row
--------------------
8 x 1 and 64 x 16, whole call: Python, 1.7 us around the kernel, so that 15 times scipy (1.7 us in all) is out of reach
at 64 x 16. The frozen ``Chunk`` takes 0.43 us, three allocations 0.35, three read-only marks 0.14; of the kernel's own
time dispatch takes 0.4 (0.05 an array). Tried: ``setflags(False)`` in place of ``flags.writeable = False`` (0.55 us
less, kept); one kernel for scan, flags, priming and sections in place of several calls (0.2 us of dispatch for each
call saved, kept); an empty result that shares its arrays (kept in band power, where it saves 0.4 us). Left alone:
packing coefficients, state and marks into one array would save 0.1 us and make all three unreadable.

64 x 512 and 256 x 64: the arithmetic is 25 multiplications and 20 additions for eight channels, 12.5 cycles on two
pipes; the loop takes 15-16. The scan for bad values takes a tenth, the traffic of chunks that fall out of the first
caches the rest. Tried: coefficients as broadcast operands from memory in place of vectors spilled to an unaligned stack
(4.4 to 3.8 ns for eight channels, kept); ``(b1 x + z2) - a1 y`` in place of scipy's order, which shortens the path from
row to row (3-8 %, kept); tiles of 8 to 64 rows over all channels (nothing gained, up to 6 % lost, dropped).
Output arrays are NumPy's, aligned to 16 bytes: the 64-byte stores straddle lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy import signal

from benchmarks.measure import Row, compare
from neuroloop.config.stages import BandpassDesign, FilterSettings, NotchDesign
from neuroloop.processors.filters.sos_filter import SosFilter
from neuroloop.processors.filters.sos_kernel import filter_into
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StreamInfo, make_chunk

SFREQ = 1000.0
SHAPES = ((16, 64), (1, 8), (64, 256), (512, 64))
"""(n_samples, n_channels) of a chunk."""
SETTINGS = FilterSettings(
    kind="filter", designs=(NotchDesign(freq_hz=50, q=30), BandpassDesign(low_hz=1, high_hz=40, order=4))
)


def stream(n_channels: int) -> StreamInfo:
    """Describe an EEG stream."""
    names = tuple(f"E{i}" for i in range(n_channels))
    return StreamInfo("bench", "EEG", "bench", SFREQ, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def chunks_of(x: FloatArray, n_samples: int, info: StreamInfo) -> list[Chunk]:
    """Cut a signal into chunks of their own memory."""
    return [
        make_chunk(x[i : i + n_samples].copy(), np.arange(i, i + n_samples) / SFREQ, i, np.ones(n_samples, bool), info)
        for i in range(0, len(x), n_samples)
    ]


def _ours(stage: SosFilter, chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of whole ``process`` calls."""

    def batch() -> int:
        stage.reset()
        process = stage.process
        for chunk in chunks:
            process(chunk)
        return len(chunks)

    return batch


def _kernel(stage: SosFilter, chunks: list[Chunk]) -> Callable[[], int]:
    """Return a batch of bare kernel calls."""
    out, valid = np.empty(chunks[0].data.shape), np.empty(len(chunks[0]), np.bool_)

    def batch() -> int:
        stage.reset()
        coefficients, state, marks = stage._coefficients, stage._rows, stage._counts
        for chunk in chunks:
            filter_into(chunk.data, chunk.valid, coefficients, state, marks, chunk.first_sample, out, valid)
        return len(chunks)

    return batch


def _scipy(sos: FloatArray, chunks: list[Chunk], axis: int) -> Callable[[], int]:
    """Return a batch of scipy calls; ``axis`` is that of time."""
    inputs = [np.ascontiguousarray(chunk.data if axis == 0 else chunk.data.T) for chunk in chunks]
    first = inputs[0][0] if axis == 0 else inputs[0][:, 0]
    unit = signal.sosfilt_zi(sos)
    start = unit[:, :, np.newaxis] * first if axis == 0 else unit[:, np.newaxis, :] * first[np.newaxis, :, np.newaxis]

    def batch() -> int:
        zi = start
        for x in inputs:
            _, zi = signal.sosfilt(sos, x, axis=axis, zi=zi)
        return len(inputs)

    return batch


def _per_sample(n_values: int, ours_us: float, peer_us: float) -> str:
    """Spread both figures over samples and channels."""
    return f"{ours_us * 1e3 / n_values:.2f} against {peer_us * 1e3 / n_values:.2f} ns per sample and channel"


def check(n_samples: int, n_channels: int) -> None:
    """Compare both results before they are timed."""
    x = np.random.default_rng(1).standard_normal((8 * n_samples, n_channels))
    stage = SosFilter(SETTINGS, stream(n_channels))
    ours = np.concatenate([stage.process(chunk).data for chunk in chunks_of(x, n_samples, stage.info_in)])
    sos = stage.plan_arrays()["sos"].copy()
    theirs, _ = signal.sosfilt(sos, x, axis=0, zi=signal.sosfilt_zi(sos)[:, :, np.newaxis] * x[0])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return 2 * 2 * len(SHAPES)


def rows(quick: bool) -> Iterator[Row]:
    """Measure every shape: the kernel and the whole call, against both layouts of scipy."""
    for n_samples, n_channels in SHAPES:
        check(n_samples, n_channels)
        n_chunks = max(8, min(200, 40_000 // (n_samples * n_channels)))
        x = np.random.default_rng(2).standard_normal((n_chunks * n_samples, n_channels))
        stage = SosFilter(SETTINGS, stream(n_channels))
        chunks = chunks_of(x, n_samples, stage.info_in)
        sos = stage.plan_arrays()["sos"].copy()
        for label, ours in (("process", _ours(stage, chunks)), ("kernel", _kernel(stage, chunks))):
            for layout, axis in (("(time, channel)", 0), ("(channel, time)", -1)):
                yield compare(
                    "filter",
                    f"{n_channels} ch x {n_samples} samples, {label}",
                    ours,
                    f"scipy.signal.sosfilt {layout}",
                    _scipy(sos, chunks, axis),
                    quick=quick,
                    note=partial(_per_sample, n_samples * n_channels),
                )


if __name__ == "__main__":
    for line in rows(quick=False):
        print(line)
