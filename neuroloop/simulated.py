"""A signal to try things with, where no recording is at hand."""

from __future__ import annotations

import numpy as np

from neuroloop.config.errors import ConfigError
from neuroloop.config.source import SimulatorSettings
from neuroloop.stream.sources.recordings.recording import RecordedStream
from neuroloop.stream.sources.simulator import Simulator


def simulate(seconds: float, *, seed: int = 7, block_s: float = 5.0) -> RecordedStream:
    """Make EEG-like samples of 8 channels at 250 Hz, in microvolts, whose states the shipped bundle ``demo`` knows.

    Parameters
    ----------
    seconds : float
    seed : int
        The same seed gives the same samples.
    block_s : float
        Mean length of a state (``rest``, ``alpha``, ``seizure``).

    Returns
    -------
    RecordedStream
        With ``info``, ``data`` (n_samples, n_channels) and ``timestamps``; may be given to `open_pipeline` and pushed.

    Raises
    ------
    ConfigError
        If ``seconds`` is not above 0.
    """
    if not seconds > 0:
        raise ConfigError(f"seconds must be above 0, got {seconds!r}")
    settings = SimulatorSettings(seed=seed, n_channels=8, sfreq=250.0, block_s=block_s)
    simulator = Simulator(settings)
    data, timestamps = simulator.generate(0, round(seconds * settings.sfreq))
    return RecordedStream(simulator.info, data, timestamps, np.arange(len(timestamps)))
