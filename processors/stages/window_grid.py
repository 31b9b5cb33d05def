"""Where windows lie: closed forms of the global sample index."""

from __future__ import annotations

from dataclasses import dataclass

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import Windowed

LONGEST = 1 << 24
"""Samples of a window or hop: over two hours at 2 kHz; more is a mistake, and its tables would fill the memory."""


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Window ``k`` covers the input rows ``k * hop`` to ``k * hop + window - 1`` of the global index."""

    window: int
    hop: int

    @classmethod
    def from_settings(cls, settings: Windowed, sfreq: float) -> WindowGrid:
        """Turn seconds into samples, once, by ``round``.

        Raises
        ------
        ConfigError
            If the stream is irregular and seconds are given, or a length becomes 0 samples.
        """
        lengths = []
        for label in ("window", "hop"):
            in_s, n_samples = getattr(settings, f"{label}_s"), getattr(settings, f"{label}_samples")
            if in_s is not None:
                if not sfreq > 0.0:
                    raise ConfigError(f"{label}_s must be given in samples for an irregular stream, got {in_s!r}")
                n_samples = round(in_s * sfreq)
                if n_samples == 0:
                    raise ConfigError(f"{label}_s must be at least one sample at sfreq={sfreq:g}, got {in_s!r}")
            if n_samples > LONGEST:
                field = "samples" if in_s is None else "s"
                got = n_samples if in_s is None else in_s
                raise ConfigError(f"{label}_{field} must be at most {LONGEST} samples, got {got!r}")
            lengths.append(n_samples)
        return cls(*lengths)

    def first_row(self, start: int) -> int:
        """Return the first window that begins at or after a global input row."""
        return -(-start // self.hop)

    def next_row(self, next_sample: int) -> int:
        """Return the first window whose last row is ``next_sample`` or later; at least 0."""
        return max(0, -((self.window - 1 - next_sample) // self.hop))

    def newest_input(self, k: int) -> int:
        """Return the last row of window ``k``."""
        return k * self.hop + self.window - 1

    def delay_s(self, sfreq: float) -> float:
        """Return half a window's span in seconds; 0 for an irregular stream."""
        return round((self.window - 1) / 2 / sfreq, 9) if sfreq > 0.0 else 0.0
