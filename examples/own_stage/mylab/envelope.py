"""A stage in plain NumPy: how strongly each channel moves, smoothed."""

import numpy as np

from neuroloop.config.stages import OwnStageSettings
from neuroloop.processors.stages.row_stage import RowStage


class Envelope(RowStage):
    """Root of the exponential mean of each channel's square."""

    class Settings(OwnStageSettings):
        """``keep``: how much of the mean stays from row to row."""

        keep: float = 0.5

    def __init__(self, settings, info):
        self._power = np.zeros(info.n_channels)
        self._keep = settings.keep
        settles = int(np.ceil(-4.7 / np.log(settings.keep)))  # to 1 %
        super().__init__(settings.name, info, warmup_samples=settles, state={"power": self._power})

    def _compute(self, data, out, valid):
        for row, target in zip(data, out, strict=True):
            self._power *= self._keep
            self._power += (1.0 - self._keep) * row * row
            np.sqrt(self._power, out=target)
