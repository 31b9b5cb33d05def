"""The stage that turns feature rows into class probabilities: a bundle's network, sliding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError, StreamMismatch
from neuroloop.models.bundle import Bundle
from neuroloop.models.lstm.lstm import SlidingLstm
from neuroloop.models.lstm.packing import pack_weights
from neuroloop.models.lstm.workspace import Mode
from neuroloop.stream.contracts.chunks import Chunk, StateDict, StreamInfo, empty_chunk, make_chunk


class LstmClassifier:
    """Give class probabilities for windows of feature rows.

    Output row ``k`` is the softmax over the classes for feature rows ``k * hop ... k * hop + window - 1`` of the global
    index, stamped like the newest of them, as float64 of the network's float32. After a start at row ``s`` the first
    window is the smallest ``k`` with ``k * hop >= s``. A row is valid when all feature rows of its window are; a
    feature that is not finite as float32 counts as 0 and flags its row.

    In mode ``carry`` the state goes on from window to window and is forgotten at `reset` only; rows come at the same
    places, so that the first comes after ``window`` feature rows.

    Parameters
    ----------
    bundle : Bundle
        Network, weights, classes, window, hop and temperature.
    info : StreamInfo
        The feature rows.
    mode : str
        ``window``, ``staggered`` (same bits, the work spread over the rows; unidirectional networks only) or
        ``carry``.
    name : str
        The stage's name.

    Attributes
    ----------
    delay_s : float
        Half the window's length, in seconds, rounded to a nanosecond: the window's centre is what a decision is about.
        0 in mode ``carry``.
    warmup_samples : int
        ``window - 1``: feature rows before the first that a decision may end at.

    Raises
    ------
    StreamMismatch
        If the feature rows have another number of columns than the network has inputs, or no rate.
    ConfigError
        If the network cannot run in this mode.
    """

    def __init__(self, bundle: Bundle, info: StreamInfo, *, mode: Mode = "window", name: str = "classifier") -> None:
        settings = bundle.settings
        if info.n_channels != settings.network.n_features:
            raise StreamMismatch(
                f"feature rows of stage {name!r} must have {settings.network.n_features} columns for bundle"
                f" {settings.name!r}, got {info.n_channels!r}"
            )
        if not info.sfreq > 0:
            raise StreamMismatch(f"sfreq of stage {name!r} must be above 0 Hz, got {info.sfreq!r}")
        window, hop = settings.window_samples, settings.hop_samples
        try:
            self._lstm = SlidingLstm(
                pack_weights(settings.network, bundle.arrays, settings.temperature),
                window_samples=window,
                hop_samples=hop,
                mode=mode,
            )
        except ValueError as error:
            raise ConfigError(f"bundle {settings.name!r} cannot be used so: {error}") from error
        self.name = name
        self.info_in = info
        n_classes = len(settings.classes)
        self.info_out = StreamInfo(
            info.name,
            "Probabilities",
            info.source_id,
            info.sfreq / hop,
            settings.classes,
            ("probability",) * n_classes,
            ("1",) * n_classes,
        )
        self.delay_s = 0.0 if mode == "carry" else round((window - 1) / 2 / info.sfreq, 9)
        self.warmup_samples = window - 1
        self._bundle = bundle
        self._window, self._hop = window, hop
        self._started = False

    def newest_input(self, k: int) -> int:
        """Return the index of the newest feature row of window ``k``."""
        return k * self._hop + self._window - 1

    def process(self, chunk: Chunk) -> Chunk:
        """Return the probabilities of the windows that the chunk completes; a new chunk.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before, or has another number of columns.
        """
        lstm = self._lstm
        if not len(chunk):
            return empty_chunk(self.info_out, lstm.next_window)
        if chunk.first_sample != lstm.next_row:
            self._start(chunk.first_sample)
        self._started = True
        first_window = lstm.next_window
        probabilities, valid = lstm.push(chunk.data, chunk.valid)
        first_stamp = self.newest_input(first_window) - chunk.first_sample
        timestamps = chunk.timestamps[first_stamp :: self._hop][: len(valid)].copy()
        return make_chunk(probabilities, timestamps, first_window, valid, self.info_out)

    def reset(self) -> None:
        """Forget all feature rows; the next chunk may begin anywhere."""
        self._lstm.reset()
        self._started = False

    def get_state(self) -> StateDict:
        """Return counters and the network's memory as new arrays."""
        return {"started": np.array([self._started]), **self._lstm.get_state()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned, bit for bit.

        Raises
        ------
        ValueError
            If the state belongs to another network, window or mode.
        """
        if set(state) != {"started", "counters", "memory"}:
            raise ValueError(f"state must have the keys ['counters', 'memory', 'started'], got {sorted(state)}")
        self._lstm.set_state(state)
        self._started = bool(state["started"][0])

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights and the temperature."""
        return {**self._bundle.arrays, "temperature": np.array([self._bundle.settings.temperature])}

    def _start(self, first_sample: int) -> None:
        """Begin at a feature row."""
        if self._started:
            raise ValueError(
                f"first_sample of stage {self.name!r} must be {self._lstm.next_row} (the row after the last one),"
                f" got {first_sample!r}; call reset() where samples are missing"
            )
        if first_sample < 0:
            raise ValueError(f"first_sample of stage {self.name!r} must be >= 0, got {first_sample!r}")
        self._lstm.reset(first_sample)
