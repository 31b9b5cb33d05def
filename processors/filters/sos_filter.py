"""The filter stage: a cascade of second-order sections over all channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.kernels import direct
from neuroloop.config.stages import FilterSettings
from neuroloop.processors.filters.design import Cascade, design_cascade
from neuroloop.processors.filters.sos_kernel import WARMUP, filter_into
from neuroloop.processors.numerics.simd64 import aligned_zeros, padded
from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo

_filter_directly = direct(filter_into)


class SosFilter(RowStage):
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
        n_sections, n_channels = len(cascade.sos), info.n_channels
        self._rows = aligned_zeros(2 * n_sections + 1, padded(n_channels))
        self._counts = np.zeros(3, np.int64)
        self._counts[WARMUP] = cascade.settle_samples
        sections = self._rows[:-1].reshape(n_sections, 2, self._rows.shape[1])
        super().__init__(
            name,
            info,
            delay_s=cascade.delay_s,
            warmup_samples=cascade.settle_samples,
            state={"zi": sections[:, :, :n_channels], "held": self._rows[-1, :n_channels]},
            marks=self._counts[:WARMUP],
            holds=False,
        )
        self.left_out = cascade.left_out
        """Designs that the rate does not allow, each with the reason."""
        self._cascade = cascade
        self._coefficients = aligned_zeros(n_sections, 8)
        self._coefficients[:, :3] = cascade.sos[:, :3]
        self._coefficients[:, 3:5] = cascade.sos[:, 4:]
        self._coefficients[:, 5:7] = cascade.zi
        self._coefficients.flags.writeable = False

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

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``sos`` and each section's unit state."""
        return {"sos": self._cascade.sos, "zi": self._cascade.zi}

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        _filter_directly(
            chunk.data, chunk.valid, self._coefficients, self._rows, self._counts, chunk.first_sample, out, valid
        )
