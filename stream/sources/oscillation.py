"""Hashed random numbers, knotted noises and oscillators: the closed forms that the simulator is made of.

Only integer arithmetic and IEEE + - * / are used. The hash is the finaliser of SplitMix64 [1]_, applied once per key.

References
----------
.. [1] Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, types, void

from neuroloop.config.kernels import kernel
from neuroloop.stream.contracts.chunks import FloatArray

N_SOURCES = 5
N_COMPONENTS = N_SOURCES + 7
"""Background sources; alpha (sine, cosine), line, its third harmonic, blinks, spike-wave (everywhere, lateral)."""

EPISODE_START, EPISODE_ALPHA, EPISODE_SPIKE, EPISODE_HZ, EPISODE_LATERAL = 0, 1, 2, 3, 4
N_EPISODE = 5

ALPHA_HZ = 10.0
RAMP_S = 0.5
BLINK_SLOT_S = 4.0
BLINK_S = 0.35
_LOWEST_KNOT_HZ = 0.25
_MAX_OCTAVES = 12
_WANDER, _SWELL, _LINE_SWELL, _BLINK, _SPIKE_SWELL = 10, 11, 12, 13, 14
_SCALE = 1.0 / 9007199254740992.0
_IRWIN_HALL = 1.0 / 37836.87  # sqrt(4 (2^32 - 1) / 12): sum of four 16-bit uniforms to variance 1

_F2_IN = types.Array(float64, 2, "C", readonly=True)
_A, _B, _GOLDEN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
_U16, _U27, _U30, _U31, _U11 = np.uint64(16), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_LOW = np.uint64(0xFFFF)


@kernel(inline=True)
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> _U30)) * _A
    z = (z ^ (z >> _U27)) * _B
    return z ^ (z >> _U31)


@kernel(inline=True)
def _hash(seed: int, salt: int, i: int, j: int) -> np.uint64:
    z = _mix(np.uint64(seed) + _GOLDEN)
    z = _mix((z ^ np.uint64(salt)) + _GOLDEN)
    z = _mix((z ^ np.uint64(i)) + _GOLDEN)
    return _mix((z ^ np.uint64(j)) + _GOLDEN)


@kernel(inline=True)
def _uniform(seed: int, salt: int, i: int, j: int) -> float:
    return float(np.float64(_hash(seed, salt, i, j) >> _U11) * _SCALE)


@kernel(inline=True)
def _normal(seed: int, salt: int, i: int, j: int) -> float:
    """Sum of four uniforms: mean 0, variance 1, tails cut at 3.5."""
    z = _hash(seed, salt, i, j)
    total = (z & _LOW) + ((z >> _U16) & _LOW) + ((z >> (_U16 + _U16)) & _LOW) + (z >> (_U16 + _U16 + _U16))
    return float((np.float64(total) - 131070.0) * _IRWIN_HALL)


@kernel(float64(int64, int64, int64, int64))
def draw(seed: int, salt: int, i: int, j: int) -> float:
    """Return the uniform number in [0, 1) that belongs to these four keys."""
    return _uniform(seed, salt, i, j)


@kernel(inline=True)
def _knotted(seed: int, salt: int, position: float) -> float:
    """Noise of unit variance at its knots, a straight line between them; one knot per unit of position."""
    knot = np.floor(position)
    k = int64(knot)
    left, right = _normal(seed, salt, k, 0), _normal(seed, salt, k + 1, 0)
    return float(left + (right - left) * (position - knot))


@kernel(inline=True)
def _sine(cycles: float) -> float:
    """Sine of a phase in cycles; Taylor polynomial after folding to a quarter cycle, error below 1e-7."""
    u = cycles - np.floor(cycles + 0.5)
    if u > 0.25:
        u = 0.5 - u
    elif u < -0.25:
        u = -0.5 - u
    x = 6.283185307179586 * u
    y = x * x
    series = 1.0 - y / 110.0
    for n in (72.0, 42.0, 20.0, 6.0):
        series = 1.0 - y / n * series
    return float(x * series)


@kernel(inline=True)
def _spike_wave(cycles: float) -> float:
    """One cycle of spike and wave: a narrow negative bump, then half a sine of a slow wave; about -1 to 0.6."""
    u = cycles - np.floor(cycles)
    d = (u - 0.15) / 0.05
    bump = 1.0 / (1.0 + d * d)
    slow = _sine((u - 0.3) / 1.4) if u > 0.3 else 0.0
    return float(0.6 * slow - bump * bump)


@kernel(inline=True)
def _discharge(seed: int, size: float, hz: float, seconds: float, since: float) -> float:
    """Spike-wave that began ``since`` seconds ago: it swells over two seconds and slows by up to a seventh."""
    cycles = hz * (since - 0.14 * since * since / (since + 10.0))
    swell = 1.0 + 0.2 * _knotted(seed, _SPIKE_SWELL, seconds)
    return size * min(0.4 + 0.3 * since, 1.0) * swell * _spike_wave(cycles)


@kernel(inline=True)
def _blink_onset(seed: int, slot: int) -> float:
    """Return when the blink of a slot begins in seconds, or -1 if it has none."""
    if _uniform(seed, _BLINK, slot, 0) > 0.7:
        return -1.0
    return (slot + _uniform(seed, _BLINK, slot, 1)) * BLINK_SLOT_S


@kernel(float64(int64, int64))
def blink_start(seed: int, slot: int) -> float:
    """Return when the blink of slot ``slot`` (of ``BLINK_SLOT_S``) begins in seconds, or -1 if it has none."""
    return _blink_onset(seed, slot)


@kernel(inline=True)
def _blink(seed: int, seconds: float) -> float:
    """Lid closing fast and opening slower, 70 to 190 uV."""
    here = int64(np.floor(seconds / BLINK_SLOT_S))
    value = 0.0
    for slot in (here - 1, here):
        if slot < 0:
            continue
        onset = _blink_onset(seed, slot)
        u = (seconds - onset) / BLINK_S
        if onset < 0 or u <= 0 or u >= 1:
            continue
        rise = 1.0 - u
        value += (70.0 + 120.0 * _uniform(seed, _BLINK, slot, 2)) * 9.4815 * u * rise * rise * rise
    return value


@kernel(void(int64, int64, int64, float64, float64, float64[:, ::1]))
def add_background(seed: int, salt: int, start: int, sfreq: float, scale: float, out: FloatArray) -> None:
    """Add a 1/f noise of standard deviation near ``scale`` to every column.

    Parameters
    ----------
    seed, salt : int
    start : int
        Number of the sample that row 0 is.
    sfreq : float
        In Hz.
    scale : float
    out : array, shape (n_samples, n_columns)
        Added to.
    """
    n_samples, n_columns = out.shape
    left, right = np.empty(n_columns), np.empty(n_columns)
    weight = scale * 0.5
    rate = _LOWEST_KNOT_HZ
    for octave in range(_MAX_OCTAVES):
        if octave > 0 and rate > sfreq:
            break
        at = int64(-2)
        for i in range(n_samples):
            position = (start + i) * rate / sfreq
            knot = np.floor(position)
            k = int64(knot)
            if k != at:
                if k == at + 1:
                    for c in range(n_columns):
                        left[c] = right[c]
                        right[c] = weight * _normal(seed, salt + c, k + 1, 100 + octave)
                else:
                    for c in range(n_columns):
                        left[c] = weight * _normal(seed, salt + c, k, 100 + octave)
                        right[c] = weight * _normal(seed, salt + c, k + 1, 100 + octave)
                at = k
            share = position - knot
            for c in range(n_columns):
                out[i, c] += left[c] + (right[c] - left[c]) * share
        weight *= 0.92
        rate *= 2.0


@kernel(void(int64, int64, int64, float64, float64[:, ::1]))
def add_white(seed: int, salt: int, start: int, scale: float, out: FloatArray) -> None:
    """Add white noise of standard deviation ``scale`` to every column; parameters as of `add_background`."""
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[i, c] += scale * _normal(seed, salt + c, start + i, 99)


@kernel(void(int64, int64, float64, float64, _F2_IN, float64[:, ::1]))
def oscillations(
    seed: int, start: int, sfreq: float, line_hz: float, episodes: FloatArray, components: FloatArray
) -> None:
    """Fill the components after the background's.

    Parameters
    ----------
    seed, start : int
    sfreq, line_hz : float
        In Hz; no line noise for 0.
    episodes : array, shape (n_episodes, N_EPISODE)
        The states that the rows touch, after the one before them, if there is one.
    components : array, shape (n_samples, N_COMPONENTS)
        Columns from ``N_SOURCES`` on are filled.
    """
    nyquist_hz = 0.5 * sfreq
    e = 0
    for i in range(components.shape[0]):
        sample = float64(start + i)
        seconds = sample / sfreq
        while e + 1 < len(episodes) and episodes[e + 1, EPISODE_START] <= sample:
            e += 1
        since = (sample - episodes[e, EPISODE_START]) / sfreq
        fresh = min(since / RAMP_S, 1.0) if e > 0 else 1.0

        alpha = episodes[e, EPISODE_ALPHA] * fresh
        spike = episodes[e, EPISODE_SPIKE]
        everywhere, lateral = 0.0, 0.0
        if spike > 0:
            everywhere = fresh * _discharge(seed, spike, episodes[e, EPISODE_HZ], seconds, since)
            lateral = everywhere * episodes[e, EPISODE_LATERAL]
        if e > 0 and fresh < 1:
            stale = 1.0 - fresh
            alpha += episodes[e - 1, EPISODE_ALPHA] * stale
            spike = episodes[e - 1, EPISODE_SPIKE]
            if spike > 0:
                lasted = (sample - episodes[e - 1, EPISODE_START]) / sfreq
                wave = stale * _discharge(seed, spike, episodes[e - 1, EPISODE_HZ], seconds, lasted)
                everywhere += wave
                lateral += wave * episodes[e - 1, EPISODE_LATERAL]

        if nyquist_hz > ALPHA_HZ:
            swell = 1.0 + 0.45 * _knotted(seed, _SWELL, 0.8 * seconds)
            phase = ALPHA_HZ * seconds + 0.3 * _knotted(seed, _WANDER, 0.6 * seconds)
            components[i, N_SOURCES] = alpha * swell * _sine(phase)
            components[i, N_SOURCES + 1] = alpha * swell * _sine(phase + 0.25)
        else:
            components[i, N_SOURCES] = 0.0
            components[i, N_SOURCES + 1] = 0.0
        for harmonic in (1, 3):
            column = N_SOURCES + 2 + harmonic // 2
            hz = harmonic * line_hz
            if 0 < hz < nyquist_hz:
                swell = 1.0 + 0.15 * _knotted(seed, _LINE_SWELL, 0.2 * seconds)
                components[i, column] = swell * _sine(sample * hz / sfreq)
            else:
                components[i, column] = 0.0
        components[i, N_SOURCES + 4] = _blink(seed, seconds)
        components[i, N_SOURCES + 5] = everywhere
        components[i, N_SOURCES + 6] = lateral


@kernel(void(_F2_IN, _F2_IN, float64[:, ::1]))
def add_components(components: FloatArray, weights: FloatArray, out: FloatArray) -> None:
    """Add every component with its weight to every channel.

    Parameters
    ----------
    components : array, shape (n_samples, n_components)
    weights : array, shape (n_components, n_channels)
    out : array, shape (n_samples, n_channels)
        Added to.
    """
    for i in range(components.shape[0]):
        for j in range(components.shape[1]):
            value = components[i, j]
            for c in range(out.shape[1]):
                out[i, c] += value * weights[j, c]
