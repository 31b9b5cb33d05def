"""The base of stages that give one output row for each input row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.processors.stages.input_guard import BOOL, FLOAT64, held_rows, plain_chunk, refuse_start, wrong_channels
from neuroloop.processors.stages.stage_base import StageBase
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo, make_chunk


class RowStage(StageBase):
    """Give one output row for each input row; a subclass says how, in `_compute`.

    The base checks that chunks continue one another, replaces a value that is not finite by its channel's last good one
    and flags its row, flags ``warmup_samples`` rows after a start and after a flagged row, numbers and stamps the rows,
    and saves, restores and resets ``state``.

    Parameters
    ----------
    name : str
        Of the settings.
    info : StreamInfo
        The stream that comes in.
    info_out : StreamInfo, optional
        The stream that goes out; the same by default.
    delay_s : float
        Algorithmic delay in seconds.
    warmup_samples : int
        Input rows after a start or a flagged row before an output row may be valid again.
    state : mapping of str to array, optional
        What the stage remembers from row to row. It changes the arrays in place (``array[:] = ...``); `reset` makes
        them again what they are now.
    marks : array of int64, optional
        For a stage that defines `_run`: row numbers and counts of its own that are saved with the position.
    holds : bool
        Whether the base keeps each channel's last good value, in ``self._held``, as ``held`` in the state. Without,
        the stage defines `_run` and does so itself.

    Raises
    ------
    TypeError
        If what is kept is no array, or neither `_compute` nor `_run` is defined.
    ValueError
        If an array has the name of one of the base's own.

    Notes
    -----
    Rows come in chunks of any length, and the output must be the same, bit for bit, however they were cut: go row by
    row, or column by column with what is in ``state``. What is finite comes in, and what is finite must go out.

    Examples
    --------
    Each channel's amplitude, smoothed; ``settings`` are a class of your own with ``name`` and ``keep``:

    >>> class Envelope(RowStage):
    ...     def __init__(self, settings, info):
    ...         self._power = np.zeros(info.n_channels)
    ...         self._keep = settings.keep
    ...         forgets = round(7 / (1 - settings.keep))  # rows until what was before is below 0.1 %
    ...         super().__init__(settings.name, info, warmup_samples=forgets, state={"power": self._power})
    ...
    ...     def _compute(self, data, out, valid):
    ...         for row, target in zip(data, out):
    ...             self._power *= self._keep
    ...             self._power += (1.0 - self._keep) * row * row
    ...             np.sqrt(self._power, out=target)
    """

    def __init__(
        self,
        name: str,
        info: StreamInfo,
        *,
        info_out: StreamInfo | None = None,
        delay_s: float = 0.0,
        warmup_samples: int = 0,
        state: Mapping[str, NDArray[Any]] | None = None,
        marks: NDArray[np.int64] | None = None,
        holds: bool = True,
    ) -> None:
        if type(self)._run is RowStage._run and (type(self)._compute is RowStage._compute or not holds):
            raise TypeError(f"class {type(self).__name__} must define _compute, or _run, got neither")
        arrays = dict(state or {})
        if holds:
            if "held" in arrays:
                raise ValueError(f"state must have no key 'held', the base's own, got {sorted(arrays)}")
            self._held = arrays["held"] = np.zeros(info.n_channels)
        super().__init__(
            name,
            info,
            info if info_out is None else info_out,
            delay_s=delay_s,
            warmup_samples=warmup_samples,
            arrays=arrays,
            marks=np.zeros(1 if warmup_samples else 0, np.int64) if marks is None else marks,
        )

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Return the output rows; new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        TypeError
            If its rows are not float64.
        """
        data, flags, first = chunk.data, chunk.valid, chunk.first_sample
        n_rows, n_channels = data.shape
        if n_channels != self._n_channels:
            raise wrong_channels(self.name, self._n_channels, n_channels)
        out, valid = np.empty((n_rows, self._n_columns)), np.empty(n_rows, BOOL)
        if n_rows:
            if first != self._next_sample or first < 0:
                refuse_start(self.name, self._next_sample, first)
            if not (  # in place in both bases: a call would take 0.1 us
                data.dtype is FLOAT64
                and flags.dtype is BOOL
                and flags.shape == (n_rows,)
                and data.flags.c_contiguous
                and flags.flags.c_contiguous
            ):
                chunk = plain_chunk(self.name, chunk)
            self._run(chunk, out, valid)
            self._next_sample = first + n_rows
        return make_chunk(out, chunk.timestamps.copy(), first, valid, self.info_out)

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        """Fill the output rows and their flags from a chunk of at least one row, bad values and all.

        For a stage with a kernel that holds values and sets flags itself. ``chunk`` has float64 rows and flags in C
        order, as `neuroloop.config.kernels.direct` wants them; whoever calls a kernel so declares all that it does.
        """
        data = held_rows(chunk.data, chunk.valid, self._held, valid)
        if self.warmup_samples:
            self._flag_warmup(chunk.first_sample, valid)
        self._compute(data, out, valid)

    def _compute(self, data: FloatArray, out: FloatArray, valid: BoolArray) -> None:
        """Fill the output rows.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels)
            The rows, finite; not to be written to.
        out : array, shape (n_samples, n_channels of ``info_out``)
            To be filled, every value.
        valid : array, shape (n_samples,), bool
            The flags that the rows will carry; the stage may clear some.
        """
        raise NotImplementedError

    def _flag_warmup(self, first: int, valid: BoolArray) -> None:
        """Clear the flags of the rows that come too soon after a bad one, or after the start."""
        last_bad = first - 1 if self._next_sample < 0 else int(self._marks[0])
        for i, is_good in enumerate(valid.tolist()):
            if not is_good:
                last_bad = first + i
            valid[i] = first + i - last_bad > self.warmup_samples
        self._marks[0] = last_bad
