"""Streams for the drift study: simulated ones with known truth, and recordings with known seams or labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from scipy import signal

from neuroloop.stream.contracts.chunks import FloatArray

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SFREQ, N_CHANNELS = 50.0, 8
PIECE_S = 600.0
_AR = 0.8


@dataclass(frozen=True)
class Trial:
    """One stream with what is known of it; times in seconds from its start."""

    data: FloatArray
    sfreq: float
    window_s: float
    baseline_s: float
    changes: tuple[tuple[float, float], ...] = ()
    """Spans in which an alarm is right."""
    notes: dict[str, float] = field(default_factory=dict)


class Coloured:
    """Unit-variance noise of one of three colours, piece by piece, from a seed.

    ``ar1``: first order, 0.8 at 50 Hz. ``pink``: 1/f above 0.1 Hz, as an amplifier's high-pass leaves it, a sum of
    first-order processes an octave apart. ``deep``: 1/f down to 15 microhertz, slower than any baseline.
    """

    def __init__(self, colour: str, seed: int) -> None:
        self._rng = np.random.default_rng([seed, ("ar1", "pink", "deep").index(colour)])
        fast = [-1.0 / np.log(_AR) / SFREQ] if colour == "ar1" else [0.0125 * 2**k for k in range(8)]
        self._fast = [float(np.exp(-1.0 / (tau * SFREQ))) for tau in fast]
        self._slow = [float(np.exp(-1.0 / (3.2 * 2**k))) for k in range(12)] if colour == "deep" else []
        self._state = self._rng.standard_normal((len(self._fast) + len(self._slow), N_CHANNELS))
        self._scale = float(1.0 / np.sqrt(len(self._state)))

    def _component(self, index: int, a: float, n: int) -> FloatArray:
        """Continue one first-order process of unit variance."""
        white = self._rng.standard_normal((n, N_CHANNELS)) * np.sqrt(1.0 - a * a)
        x, _ = signal.lfilter([1.0], [1.0, -a], white, axis=0, zi=a * self._state[index : index + 1])
        self._state[index] = x[-1]
        piece: FloatArray = x
        return piece

    def take(self, seconds: float) -> FloatArray:
        """Return the next seconds, shape (n_samples, 8)."""
        n = round(seconds * SFREQ)
        total = np.zeros((n, N_CHANNELS))
        for index, a in enumerate(self._fast):
            total += self._component(index, a, n)
        for index, a in enumerate(self._slow, start=len(self._fast)):
            total += np.repeat(self._component(index, a, round(seconds)), round(SFREQ), axis=0)[:n]
        total *= self._scale
        return total


def quiet_day(colour: str, seed: int, hours: float) -> Iterator[FloatArray]:
    """Yield a stationary stream in pieces of ten minutes."""
    source = Coloured(colour, seed)
    for _ in range(round(hours * 3600.0 / PIECE_S)):
        yield source.take(PIECE_S)


CHANGES = ("one channel std x1.35", "one channel std x2", "one channel mean +0.5 sd", "all channels std x1.35")


def changed(colour: str, kind: str, seed: int) -> Trial:
    """Return 20 min of baseline, 10 quiet minutes and, from a random moment of the next minute on, 20 changed ones."""
    source = Coloured(colour, 10_000 + seed)
    x = source.take(3060.0)
    at = 1800.0 + float(np.random.default_rng(seed).uniform(0.0, 60.0))
    row = round(at * SFREQ)
    if kind == "all channels std x1.35":
        x[row:] *= 1.35
    elif kind == "one channel mean +0.5 sd":
        x[row:, 2] += 0.5
    else:
        x[row:, 2] *= 2.0 if kind.endswith("x2") else 1.35
    return Trial(x, SFREQ, 30.0, 1200.0, ((at, 3060.0),))


def bonn(before: str, after: str, seed: int) -> Trial | None:
    """Return 60 recordings of one set in random order, then 20 of another; a window is one recording."""
    path = SHARED / "uci-epileptic" / "bonn_recordings_shared.npz"
    if not path.is_file():
        return None
    with np.load(path) as file:
        signals, sets, sfreq = file["signal"].astype(np.float64), file["set"].astype(str), float(file["fs"])
    rng = np.random.default_rng([seed, ord(before), ord(after)])
    chosen = [rng.permutation(np.flatnonzero(sets == name))[:n] for name, n in ((before, 60), (after, 20))]
    data = signals[np.concatenate(chosen)].reshape(-1, 1)
    one = signals.shape[1] / sfreq
    return Trial(data, sfreq, one, 30 * one, ((60 * one, 80 * one),))


def machine_temperature() -> Trial | None:
    """Return the five-minute temperatures with the labelled failures; six-hour windows, a baseline of a week."""
    folder = SHARED / "machine-temp"
    if not folder.is_dir():
        return None
    with (folder / "machine_temperature_system_failure.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    begin = datetime.fromisoformat(rows[0][0])
    labels = json.loads((folder / "labels.json").read_text())["windows"]
    (spans,) = labels.values()
    # rows are equally spaced but for a few missing ones, whose time a label's row number takes into account
    times = np.array([(datetime.fromisoformat(row[0]) - begin).total_seconds() for row in rows])
    changes = []
    for span in spans:
        low, high = ((datetime.fromisoformat(text) - begin).total_seconds() for text in span)
        changes.append((float(np.searchsorted(times, low)) * 300.0, float(np.searchsorted(times, high)) * 300.0))
    data = np.array([[float(row[1])] for row in rows])
    return Trial(data, 1.0 / 300.0, 6 * 3600.0, 7 * 86400.0, tuple(changes))


def skab() -> list[Trial]:
    """Return the circulation's 17 experiments: one-second rows, the first six minutes are the baseline."""
    found = []
    for path in sorted([*SHARED.glob("water-skab/valve1/*.csv"), *SHARED.glob("water-skab/other/*.csv")]):
        with path.open(newline="") as file:
            rows = list(csv.reader(file, delimiter=";"))[1:]
        anomaly = np.array([float(row[9]) for row in rows]) > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], anomaly, [False]]).astype(int)))
        spans = tuple((float(a), float(b)) for a, b in edges.reshape(-1, 2))
        data = np.array([[float(value) for value in row[1:9]] for row in rows])
        found.append(Trial(data, 1.0, 15.0, 360.0, spans))
    return found


def skab_normal() -> Trial | None:
    """Return the circulation without any anomaly."""
    path = SHARED / "water-skab" / "anomaly-free" / "anomaly-free.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))[1:]
    return Trial(np.array([[float(value) for value in row[1:9]] for row in rows]), 1.0, 60.0, 3600.0)


def ppg_nights() -> list[Trial]:
    """Return whole nights of wrist PPG; nothing is labelled as a change of the signal."""
    found = []
    for path in sorted(SHARED.glob("ppg-sleep/night*.npz")):
        with np.load(path) as file:
            found.append(Trial(file["ppg"].astype(np.float64), 10.0, 30.0, 1200.0))
    return found


def scalp() -> Trial | None:
    """Return five minutes of scalp EEG; from 200 s on channel 3 is three times as strong, from 250 s hum is on all."""
    path = SHARED / "seizure-scalp" / "malow_0-300s.edf"
    if not path.is_file():
        return None
    from neuroloop.stream.sources.recordings.opening import open_recording

    recorded = open_recording(path).streams[0]
    data = np.array(recorded.data[:, :21], np.float64)
    sfreq = recorded.info.sfreq
    rows = np.arange(len(data))
    data[rows >= 200 * sfreq, 3] *= 3.0
    hum = 5.0 * data[: round(150 * sfreq)].std() * np.sin(2 * np.pi * 17.3 * rows / sfreq)
    data[rows >= 250 * sfreq] += hum[rows >= 250 * sfreq, None]
    return Trial(data, sfreq, 5.0, 110.0, ((200.0, 300.0),))
