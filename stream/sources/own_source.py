"""A source that somebody else has written: what it gives is checked, its errors are losses of the stream.

The class gives a description and rows. Numbering, gaps, recording, reconnecting are not its business: an error in it is
as if the sender were gone, and it is made anew until it gives rows again or the session's time is over. Rows that are
no rows are no such loss; they end the run in one line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from neuroloop.config.errors import ConfigError, NeuroloopError, StreamEnded, StreamLost, StreamMismatch
from neuroloop.config.kinds import told
from neuroloop.config.source import SOURCE_KINDS, OwnSourceSettings
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.sources.units import assume_unit

_PAUSE_S = 0.001
"""A source that does not wait in `read` is not asked more often than this."""
_AXES = 2
_LEAST = 2
_log = logging.getLogger("neuroloop.source")


def check_source(settings: OwnSourceSettings) -> type[Any]:
    """Return the class of a source; none is made.

    Raises
    ------
    ConfigError
        If it is no source.
    """
    made: Any = SOURCE_KINDS.class_of(settings)
    if not callable(getattr(made, "read", None)):
        raise ConfigError(f"source.kind must name a source, got {settings.kind!r} without read")
    return made  # type: ignore[no-any-return]  # whatever class the kind names


class OwnSource:
    """One source of somebody's own; implements `neuroloop.stream.sources.session.LiveSource`.

    Parameters
    ----------
    settings : OwnSourceSettings
    expected : StreamInfo, optional
        What the source said of the stream when it was found; another one now is refused.
    sleep : callable
        As ``time.sleep``.

    Raises
    ------
    StreamLost
        If it cannot be made.
    StreamMismatch
        If what it gives as ``info`` is no description, or another one than before.
    """

    def __init__(
        self,
        settings: OwnSourceSettings,
        expected: StreamInfo | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._class = check_source(settings)
        self.has_numbers = getattr(self._class, "has_numbers", False) is True
        """Whether its rows bring the sender's own count along."""
        self._expected = expected
        self._sleep = sleep
        self._first: RawBlock | StreamEnded | None = None
        self._is_broken = False
        self._made: Any = None
        self._info = self._make()

    @property
    def info(self) -> StreamInfo:
        """The stream as the source describes it."""
        return self._info

    def _make(self) -> StreamInfo:
        """Make the source and return what it says of its stream."""
        kind = self._settings.kind
        try:
            made = self._class(self._settings)
            info = made.info
        except NeuroloopError:
            raise
        except Exception as error:
            raise StreamLost(f"source {kind!r} must open, got {told(error)}") from error
        self._made = made
        if not (isinstance(info, StreamInfo) and info.n_channels and info.sfreq > 0):
            self.close()
            raise StreamMismatch(f"source {kind!r} must have an info with a rate and channels, got {str(info)[:80]!r}")
        info = assume_unit(info, self._settings.units)
        if self._expected is not None and info != self._expected:
            self.close()
            found = _difference(info, self._expected)
            raise StreamMismatch(f"source {kind!r} must be the stream that it was, got {found}")
        return info

    def read(self, timeout_s: float) -> RawBlock | None:
        """Wait at most ``timeout_s`` for new samples; None when nothing came.

        Raises
        ------
        StreamEnded
            The source says so.
        StreamLost
            It says so, or failed.
        StreamMismatch
            It gave what are no rows of its stream.
        """
        first, self._first = self._first, None
        if isinstance(first, StreamEnded):
            raise first
        if first is not None:
            return first
        kind, begun = self._settings.kind, time.perf_counter()
        try:
            got = self._made.read(timeout_s)
        except StreamEnded:
            raise
        except StreamLost:
            self._is_broken = True
            raise
        except Exception as error:
            self._is_broken = True
            raise StreamLost(f"source {kind!r} must give rows, got {told(error)}") from error
        if got is None:
            if time.perf_counter() - begun < _PAUSE_S:
                self._sleep(_PAUSE_S)
            return None
        try:
            block = as_block(got, self._info.n_channels, has_numbers=self.has_numbers)
        except (TypeError, ValueError) as error:
            raise StreamMismatch(f"source {kind!r} must give rows of its stream, got {told(error)}") from error
        return block if len(block.timestamps) else None

    def reopen(self, timeout_s: float) -> None:
        """Make the source anew, and wait at most so long for rows; it is kept where none come yet.

        Raises
        ------
        StreamLost
            There are no rows yet.
        StreamMismatch
            It is another stream now.
        """
        end = time.perf_counter() + timeout_s
        try:
            if self._is_broken or self._made is None:
                self.close()
                self._make()
                self._is_broken = False
            self._first = self.read(timeout_s)
        except StreamEnded as over:
            self._first = over
        except StreamLost:
            self._sleep(max(0.0, end - time.perf_counter()))
            raise
        if self._first is None:
            raise StreamLost(f"source {self._settings.kind!r} must give rows again, got none yet")

    def close(self) -> None:
        """Let the source release what it holds; may be called twice, raises nothing."""
        made, self._made = self._made, None
        if callable(getattr(made, "close", None)):
            try:
                made.close()
            except Exception as error:  # noqa: BLE001 - it is gone either way
                _log.warning("source %r must close, got %s", self._settings.kind, told(error))


def as_block(got: Any, n_channels: int, *, has_numbers: bool) -> RawBlock:
    """Return what a source gave as rows: data, stamps and, where its class says so, sample numbers.

    Raises
    ------
    TypeError, ValueError
        If it is something else; the message says why.
    """
    parts = tuple(got) if isinstance(got, tuple) else ()
    if len(parts) == len(RawBlock._fields) and parts[-1] is not None:
        raise ValueError("valid must be left out: what a source leaves out is a gap, got flags")
    data, stamps, numbers, *_ = (*parts, None, None) if len(parts) >= _LEAST else (None, None, None)
    if data is None or stamps is None or len(parts) > len(RawBlock._fields):
        raise TypeError(f"rows must be (data, timestamps), got {type(got).__name__}")
    data = np.ascontiguousarray(data, dtype=np.float64)
    stamps = np.ascontiguousarray(stamps, dtype=np.float64)
    if data.ndim != _AXES or data.shape[1] != n_channels:
        raise ValueError(f"data must have shape (n_samples, {n_channels}), got {data.shape}")
    if stamps.shape != (len(data),) or not np.isfinite(stamps).all():
        raise ValueError(f"timestamps must be {len(data)} finite numbers, got shape {stamps.shape}")
    if (numbers is not None) != has_numbers:
        raise ValueError(
            f"sample_numbers must be given where the class says has_numbers, got has_numbers={has_numbers}"
        )
    if numbers is not None:
        numbers = np.ascontiguousarray(numbers)
        if numbers.dtype.kind not in "iu" or numbers.shape != stamps.shape:
            raise ValueError(f"sample_numbers must be {len(data)} whole numbers, got {numbers.dtype} {numbers.shape}")
        numbers = numbers.astype(np.int64)
    return RawBlock(data, stamps, numbers)


def _difference(now: StreamInfo, before: StreamInfo) -> str:
    """Say where two descriptions differ first."""
    name = next(one for one in StreamInfo.__dataclass_fields__ if getattr(now, one) != getattr(before, one))
    return f"{name} {str(getattr(now, name))[:60]} in place of {str(getattr(before, name))[:60]}"
