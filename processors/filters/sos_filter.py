"""The filter stage: a cascade of second-order sections over all channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.kernels import direct
from neuroloop.config.stages import FilterSettings
from neuroloop.processors.filters.design import Cascade, design_cascade
from neuroloop.processors.filters.sos_kernel import LAST_BAD, STARTED, WARMUP, filter_into
from neuroloop.processors.numerics.simd64 import aligned_zeros, padded
from neuroloop.processors.stages.input_guard import Cursor, is_plain, load_state, wrong_channels
from neuroloop.stream.contracts.chunks import Chunk, StateDict, StreamInfo, make_chunk

_filter_directly = direct(filter_into)


class SosFilter:
    """Filter every channel by a cascade of second-order sections, primed from the first row.

    Each section starts in the state that an endless constant equal to its own first input would have left, so that
    the output begins without a step and does not depend on where the cascade is cut.

    Parameters
    ----------
    settings : FilterSettings
    info : StreamInfo
        The stream that comes in.

    Raises
    ------
    ConfigError
        As `neuroloop.processors.filters.design.design_cascade`.

    Notes
    -----
    A row is flagged when its input is, and for the ``warmup_samples`` rows after; `Cascade` says how many they are.
    ``delay_s`` is the group delay at `neuroloop.processors.filters.design.delay_frequency`.
    """

    def __init__(self, settings: FilterSettings, info: StreamInfo) -> None:
        self._build(settings.name, info, design_cascade(settings.designs, info.sfreq))

    def _build(self, name: str, info: StreamInfo, cascade: Cascade) -> None:
        self.name = name
        self.info_in = info
        self.info_out = info
        self.delay_s = cascade.delay_s
        self.warmup_samples = cascade.settle_samples
        self.left_out = cascade.left_out
        """Designs that the rate does not allow, each with the reason."""
        self._cascade = cascade
        self._n_channels = info.n_channels
        n_sections = len(cascade.sos)
        self._coefficients = aligned_zeros(n_sections, 8)
        self._coefficients[:, :3] = cascade.sos[:, :3]
        self._coefficients[:, 3:5] = cascade.sos[:, 4:]
        self._coefficients[:, 5:7] = cascade.zi
        self._coefficients.flags.writeable = False
        self._state = aligned_zeros(2 * n_sections + 1, padded(info.n_channels))
        self._marks = np.zeros(3, np.int64)
        self._marks[WARMUP] = cascade.settle_samples
        self._cursor = Cursor(name)

    @classmethod
    def fused(cls, first: SosFilter, second: SosFilter) -> SosFilter:
        """Make one cascade of two adjacent filters: the same data and flags, bit for bit, in one pass.

        The result has the second one's name (its output is the second one's), and starts from the first sample.

        Raises
        ------
        ValueError
            If the second filter does not take what the first one returns.
        """
        if first.info_out != second.info_in:
            raise ValueError(f"second must take the output of {first.name!r}, got {second.info_in!r}")
        a, b = first._cascade, second._cascade
        sos, zi = np.concatenate((a.sos, b.sos)), np.concatenate((a.zi, b.zi))
        sos.flags.writeable = zi.flags.writeable = False
        made = cls.__new__(cls)
        made._build(
            second.name,
            first.info_in,
            Cascade(
                sos,
                zi,
                a.settle_samples + b.settle_samples,
                round(a.delay_s + b.delay_s, 9),
                a.left_out + b.left_out,
            ),
        )
        return made

    @property
    def n_sections(self) -> int:
        """Number of second-order sections."""
        return len(self._cascade.sos)

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Filter the rows; the result is new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        data, first, cursor = chunk.data, chunk.first_sample, self._cursor
        n_rows, n_channels = shape = data.shape
        if n_channels != self._n_channels:
            raise wrong_channels(self.name, self._n_channels, n_channels)
        out, valid = np.empty(shape), np.empty(n_rows, np.bool_)
        if n_rows:
            if first != cursor.next_sample:
                cursor.start(first)
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            flags = chunk.valid
            run = _filter_directly if is_plain(data, flags) else filter_into
            run(data, flags, self._coefficients, self._state, self._marks, first, out, valid)
            cursor.next_sample = first + n_rows
        return make_chunk(out, chunk.timestamps.copy(), first, valid, self.info_out)

    def reset(self) -> None:
        """Forget all samples seen."""
        self._state[:] = 0.0
        self._marks[STARTED] = self._marks[LAST_BAD] = 0
        self._cursor.next_sample = -1

    def get_state(self) -> StateDict:
        """Return ``zi`` (n_sections, 2, n_channels), the held values and the position."""
        n_channels = self._n_channels
        zi = self._state[:-1, :n_channels].reshape(self.n_sections, 2, n_channels)
        position = np.array([self._marks[STARTED], self._marks[LAST_BAD], self._cursor.next_sample])
        return {"zi": zi.copy(), "held": self._state[-1, :n_channels].copy(), "position": position}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a filter.
        """
        own = self.get_state()
        load_state(state, own)
        n_channels = self._n_channels
        self._state[:-1, :n_channels] = own["zi"].reshape(-1, n_channels)
        self._state[-1, :n_channels] = own["held"]
        self._marks[STARTED], self._marks[LAST_BAD] = own["position"][0], own["position"][1]
        self._cursor.next_sample = int(own["position"][2])

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``sos`` and each section's unit state."""
        return {"sos": self._cascade.sos, "zi": self._cascade.zi}
