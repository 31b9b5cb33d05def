"""The signal of a closed-loop measurement: noise, and bursts that begin at seeded, irregular times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo

NOISE_UV = 5.0
TONE_HZ, TONE_UV = 40.0, 100.0
STEP_UV = 400.0
_NOISE_ROWS = 8192


@dataclass(frozen=True)
class OnsetPlan:
    """When bursts come.

    Parameters
    ----------
    n_onsets : int
    burst_s : float
        Length of each.
    gap_s : tuple of float
        Shortest and longest time from the end of one to the begin of the next; uniform in between.
    lead_s, tail_s : float
        Noise before the first and after the last.
    seed : int
    """

    n_onsets: int
    burst_s: float = 0.06
    gap_s: tuple[float, float] = (0.1, 0.2)
    lead_s: float = 3.0
    tail_s: float = 1.0
    seed: int = 20_260


class OnsetSignal:
    """Rows of noise with a burst in all channels at every onset.

    A burst is a tone whose sign alternates from channel to channel, so that an average reference keeps it, or a step
    for a pipeline that looks at single samples. Its first row is the onset.

    Parameters
    ----------
    info : StreamInfo
        In uV.
    plan : OnsetPlan
    kind : {'tone', 'step'}
    """

    def __init__(self, info: StreamInfo, plan: OnsetPlan, kind: Literal["tone", "step"] = "tone") -> None:
        rng = np.random.default_rng(plan.seed)
        sfreq = info.sfreq
        burst = round(plan.burst_s * sfreq)
        gaps = np.rint(rng.uniform(*plan.gap_s, plan.n_onsets) * sfreq).astype(np.int64)
        gaps[:1] = round(plan.lead_s * sfreq)
        self.info = info
        self.onsets: NDArray[np.int64] = np.cumsum(gaps + burst) - burst
        """Row of each onset."""
        self.n_rows = int(self.onsets[-1]) + burst + round(plan.tail_s * sfreq) if plan.n_onsets else gaps.size
        signs = np.where(np.arange(info.n_channels) % 2 == 0, 1.0, -1.0)
        if kind == "tone":
            phase = 2 * np.pi * TONE_HZ * np.arange(burst) / sfreq
            self._burst: FloatArray = TONE_UV * np.cos(phase)[:, np.newaxis] * signs
        else:
            self._burst = np.full((burst, info.n_channels), STEP_UV)
        self._noise: FloatArray = NOISE_UV * rng.standard_normal((_NOISE_ROWS, info.n_channels))

    def row(self, index: int, out: FloatArray) -> None:
        """Write one row.

        Parameters
        ----------
        index : int
        out : array, shape (n_channels,)
        """
        out[:] = self._noise[index % _NOISE_ROWS]
        at = int(np.searchsorted(self.onsets, index, side="right")) - 1
        if at >= 0 and (into := index - int(self.onsets[at])) < len(self._burst):
            out += self._burst[into]

    def onset_before(self, row: int) -> int:
        """Return the number of the last onset at or before a row, -1 where there is none."""
        return int(np.searchsorted(self.onsets, row, side="right")) - 1
