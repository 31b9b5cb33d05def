"""A seeded EEG-like signal with a known truth: background, alpha, blinks, line noise, spike-wave bursts.

Every value is a closed form of (seed, sample number): random numbers are hashes of a counter, slow noises are straight
lines between hashed knots, oscillators are polynomials of a phase. So any stretch can be asked for at any time, in any
cutting, on any machine, and comes out the same to the bit.

The spectrum falls as 1/f because the knots of successive noises are an octave apart and weigh about the same (the
Voss-McCartney way with lines for steps). States follow each other as a semi-Markov chain; their amplitudes differ from
episode to episode and overlap: some ``rest`` shows alpha, a weak ``seizure`` is hardly larger than a blink.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.sources.oscillation import (
    BLINK_SLOT_S,
    EPISODE_ALPHA,
    EPISODE_HZ,
    EPISODE_LATERAL,
    EPISODE_SPIKE,
    EPISODE_START,
    N_COMPONENTS,
    N_EPISODE,
    N_SOURCES,
    add_background,
    add_components,
    add_white,
    blink_start,
    draw,
    oscillations,
)

STATES = ("rest", "alpha", "seizure")
_MONTAGE = {
    "Fp1": (-0.31, 0.95), "Fp2": (0.31, 0.95), "F3": (-0.45, 0.55), "F4": (0.45, 0.55),
    "C3": (-0.5, 0.0), "C4": (0.5, 0.0), "P3": (-0.45, -0.55), "P4": (0.45, -0.55),
    "O1": (-0.31, -0.95), "O2": (0.31, -0.95), "F7": (-0.81, 0.59), "F8": (0.81, 0.59),
    "T7": (-1.0, 0.0), "T8": (1.0, 0.0), "P7": (-0.81, -0.59), "P8": (0.81, -0.59),
    "Fz": (0.0, 0.5), "Cz": (0.0, 0.0), "Pz": (0.0, -0.5),
}  # fmt: skip
"""Positions on the head seen from above: right, front."""

# salts keep the random numbers of different things apart
_S_EPISODE, _S_PLACE, _S_MIX, _S_SOURCES, _S_CHANNELS = 1, 2, 3, 100, 1000
_BACKGROUND_UV, _LOCAL_UV, _SENSOR_UV = 9.0, 5.0, 0.8


class Simulator:
    """Generate the signal and the truth of one seed.

    Parameters
    ----------
    settings : SimulatorSettings
    t0 : float
        Stamp of sample 0 in seconds; live, the clock's time of the start.

    Notes
    -----
    Oscillations at or above half the sampling rate are left out.
    """

    def __init__(self, settings: SimulatorSettings, t0: float = 0.0) -> None:
        self.settings = settings
        self.t0 = t0
        n_channels = settings.n_channels
        names = (*_MONTAGE, *(f"EEG{i}" for i in range(len(_MONTAGE) + 1, n_channels + 1)))[:n_channels]
        self.info = StreamInfo(
            name="simulator",
            type="EEG",
            source_id=f"neuroloop-simulator-{settings.seed}",
            sfreq=settings.sfreq,
            ch_names=names,
            ch_types=("EEG",) * n_channels,
            ch_units=("uV",) * n_channels,
        )
        self._seed = settings.seed % 2**63
        self._weights = self._make_weights()
        self._end = 0
        self._starts: list[int] = []
        self._kinds: list[int] = []
        self._episodes: list[list[float]] = []

    @property
    def n_samples(self) -> int | None:
        """Samples in all; None for an endless stream."""
        duration_s = self.settings.duration_s
        return None if duration_s is None else round(duration_s * self.settings.sfreq)

    def generate(self, start: int, n: int) -> tuple[FloatArray, FloatArray]:
        """Return samples ``start`` to ``start + n``, fewer where the stream ends before.

        Returns
        -------
        data : array, shape (n_samples, n_channels)
            In uV; a new array.
        timestamps : array, shape (n_samples,)
            ``t0 + sample / sfreq``; a new array.

        Raises
        ------
        ValueError
            If ``start`` or ``n`` is negative.
        """
        stop = self._stop(start, n)
        n_samples, n_channels = stop - start, self.settings.n_channels
        data = np.zeros((n_samples, n_channels))
        timestamps = self.t0 + np.arange(start, stop, dtype=np.float64) / self.settings.sfreq
        if n_samples == 0:
            return data, timestamps
        self._extend_to(stop)
        first = max(bisect_right(self._starts, start) - 2, 0)
        last = bisect_right(self._starts, stop - 1)
        sfreq, seed = self.settings.sfreq, self._seed
        components = np.empty((n_samples, N_COMPONENTS))
        sources = np.zeros((n_samples, N_SOURCES))
        add_background(seed, _S_SOURCES, start, sfreq, _BACKGROUND_UV, sources)
        components[:, :N_SOURCES] = sources
        oscillations(seed, start, sfreq, self.settings.line_hz, np.array(self._episodes[first:last]), components)
        add_background(seed, _S_CHANNELS, start, sfreq, _LOCAL_UV, data)
        add_white(seed, _S_CHANNELS, start, _SENSOR_UV, data)
        add_components(components, self._weights, data)
        return data, timestamps

    def markers(self, start: int, n: int) -> list[Marker]:
        """Return the state changes among samples ``start`` to ``start + n``; sample 0 begins the first state."""
        stop = self._stop(start, n)
        self._extend_to(stop)
        found: list[Marker] = []
        for i in range(bisect_right(self._starts, start - 1), len(self._starts)):
            if self._starts[i] >= stop:
                break
            found.append(self._marker(self._starts[i], STATES[self._kinds[i]]))
        return found

    def blinks(self, start: int, n: int) -> list[Marker]:
        """Return the onsets of blinks among samples ``start`` to ``start + n``, label ``blink``."""
        stop = self._stop(start, n)
        sfreq = self.settings.sfreq
        found: list[Marker] = []
        if stop == start:
            return found
        for slot in range(int(start / sfreq / BLINK_SLOT_S), int(stop / sfreq / BLINK_SLOT_S) + 1):
            onset_s = blink_start(self._seed, slot)
            if onset_s < 0:
                continue
            sample = int(onset_s * sfreq) + 1
            if start <= sample < stop:
                found.append(self._marker(sample, "blink"))
        return found

    def state_at(self, sample: int) -> str:
        """Return the state that sample ``sample`` belongs to.

        Raises
        ------
        ValueError
            If ``sample`` is negative.
        """
        if sample < 0:
            raise ValueError(f"sample must be >= 0, got {sample!r}")
        self._extend_to(sample + 1)
        return STATES[self._kinds[bisect_right(self._starts, sample) - 1]]

    def _marker(self, sample: int, label: str) -> Marker:
        return Marker(self.t0 + sample / self.settings.sfreq, label, self.info.name)

    def _stop(self, start: int, n: int) -> int:
        if start < 0:
            raise ValueError(f"start must be >= 0, got {start!r}")
        if n < 0:
            raise ValueError(f"n must be >= 0, got {n!r}")
        end = self.n_samples
        return start + n if end is None else max(start, min(start + n, end))

    def _extend_to(self, stop: int) -> None:
        """Draw states until they cover every sample below ``stop``."""
        sfreq = self.settings.sfreq
        while not self._starts or self._end <= stop:
            i = len(self._starts)
            r = [draw(self._seed, _S_EPISODE, i, j) for j in range(7)]
            kind = 0 if i == 0 else (self._kinds[-1] + 1 + (r[0] >= 0.5)) % len(STATES)
            begin = 0 if i == 0 else self._end
            self._starts.append(begin)
            self._kinds.append(kind)
            self._end = begin + max(round((0.5 + r[1]) * self.settings.block_s * sfreq), 1)
            episode = [0.0] * N_EPISODE
            episode[EPISODE_START] = float(begin)
            # now and then rest shows as much alpha as a weak alpha state
            drowsy = 0.25 + 0.35 * r[3] if r[2] < 0.25 else 0.1 + 0.15 * r[3]
            episode[EPISODE_ALPHA] = (drowsy, 0.55 + 0.65 * r[3], 0.05 + 0.15 * r[3])[kind]
            # squared: most seizures are small, some are large
            episode[EPISODE_SPIKE] = 35.0 + 165.0 * r[4] * r[4] if kind == 2 else 0.0
            episode[EPISODE_HZ] = 2.7 + 0.7 * r[5]
            episode[EPISODE_LATERAL] = 1.4 * (r[6] - 0.5)
            self._episodes.append(episode)

    def _make_weights(self) -> FloatArray:
        """Return what each component is worth in each channel, shape (N_COMPONENTS, n_channels)."""
        weights = np.zeros((N_COMPONENTS, self.settings.n_channels))
        places = [[draw(self._seed, _S_PLACE, s, j) * 2.0 - 1.0 for j in range(2)] for s in range(N_SOURCES)]
        for c, name in enumerate(self.info.ch_names):
            if name in _MONTAGE:
                x, y = _MONTAGE[name]
            else:
                x, y = (draw(0, _S_PLACE, 1000 + c, j) * 1.8 - 0.9 for j in range(2))
            gain = [draw(self._seed, _S_MIX, c, j) for j in range(4)]
            for s, (sx, sy) in enumerate(places):
                sign = 1.0 if draw(self._seed, _S_PLACE, s, 2) < 0.7 else -1.0
                weights[s, c] = sign / (1.0 + 4.0 * ((x - sx) * (x - sx) + (y - sy) * (y - sy)))
            back, front = 0.5 * (1.0 - y), 0.5 * (1.0 + y)
            weights[N_SOURCES + 0, c] = 4.0 + 26.0 * back * back
            weights[N_SOURCES + 1, c] = (4.0 + 26.0 * back * back) * 0.5 * (x + gain[0] - 0.5)
            weights[N_SOURCES + 2, c] = 1.5 + 4.0 * gain[1]
            weights[N_SOURCES + 3, c] = 0.5 + 1.0 * gain[2]
            weights[N_SOURCES + 4, c] = front * front * front * (0.9 + 0.2 * gain[3])
            weights[N_SOURCES + 5, c] = 0.45 + 0.4 * front
            weights[N_SOURCES + 6, c] = 0.6 * x
        return weights
