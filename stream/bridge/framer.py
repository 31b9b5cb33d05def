"""Rows as they come become frames of a length: gathered, cut, numbered in the order of their arrival."""

from __future__ import annotations

from collections.abc import Iterator

from neuroloop.config.errors import WireError
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.wire.frames import DTYPES, DType, Frame, frames_of_block, join_blocks, last_frame


class Framer:
    """Gather rows and cut frames of them; the index counts rows as received, over reconnections too.

    Parameters
    ----------
    info : StreamInfo
    stream : str
        Id of the stream.
    session : int
        As `neuroloop.stream.wire.frames.Frame` has it.
    frame_s : float
        A frame is due when its first row has waited so long, in seconds, or has so many rows.
    max_bytes : int
        The largest frame.
    value_format : str
        The sender's type of number: what it holds exactly travels so.
    """

    def __init__(
        self,
        info: StreamInfo,
        *,
        stream: str,
        session: int,
        frame_s: float,
        max_bytes: int,
        value_format: str = "double64",
    ) -> None:
        self._info = info
        self._stream = stream
        self._session = session
        self._frame_s = frame_s
        self._max_bytes = max_bytes
        self._dtype = _dtype_of(value_format)
        self._full_rows = max(1, round(frame_s * info.sfreq)) if info.sfreq > 0 else 1 << 30
        self._waiting: list[RawBlock] = []
        self._since = 0.0
        self.n_waiting = 0
        """Rows that are in no frame yet."""
        self.next_row = 0
        """Index of the first row of the next frame."""

    def add(self, block: RawBlock, now: float) -> None:
        """Take rows; they are copied.

        Parameters
        ----------
        block : RawBlock
        now : float
            When they came, in seconds of any clock that does not step.
        """
        if not self._waiting:
            self._since = now
        numbers, valid = block.sample_numbers, block.valid
        self._waiting.append(
            RawBlock(
                block.data.copy(),
                block.timestamps.copy(),
                None if numbers is None else numbers.copy(),
                None if valid is None else valid.copy(),
            )
        )
        self.n_waiting += len(block.timestamps)

    def due_in_s(self, now: float) -> float | None:
        """Return how long the waiting rows may still wait, in seconds, not below 0; None where there are none."""
        if not self._waiting:
            return None
        return 0.0 if self.n_waiting >= self._full_rows else max(0.0, self._since + self._frame_s - now)

    def take(self) -> Iterator[Frame]:
        """Return the waiting rows as frames."""
        if not self._waiting:
            return
        block = join_blocks(self._waiting)
        self._waiting.clear()
        first, self.next_row = self.next_row, self.next_row + self.n_waiting
        self.n_waiting = 0
        try:
            frames = list(self._cut(block, first, self._dtype))
        except WireError:  # some value is not exactly what its type says
            frames = list(self._cut(block, first, "float64"))
        yield from frames

    def last(self) -> Frame:
        """Return the frame that ends the stream."""
        return last_frame(
            stream=self._stream,
            first_sample=self.next_row,
            counts="received",
            sfreq=self._info.sfreq,
            n_channels=self._info.n_channels,
            session=self._session,
        )

    def _cut(self, block: RawBlock, first: int, dtype: DType) -> Iterator[Frame]:
        return frames_of_block(
            block,
            stream=self._stream,
            first_sample=first,
            counts="received",
            sfreq=self._info.sfreq,
            session=self._session,
            dtype=dtype,
            max_bytes=self._max_bytes,
        )


def _dtype_of(value_format: str) -> DType:
    """Return the wire's type of number for one of LSL's."""
    name = value_format if value_format in DTYPES else "float64"
    return name  # type: ignore[return-value]
