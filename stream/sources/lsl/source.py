"""Samples of one LSL stream."""

from __future__ import annotations

import ctypes
import logging
import math
import time
from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray
from pylsl.lib import lib
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeout

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.stream.contracts.chunks import FloatArray, RawBlock, StreamInfo
from neuroloop.stream.sources.lsl.description import Description, describe
from neuroloop.stream.sources.lsl.network import FoundStream, Network
from neuroloop.stream.sources.lsl.stamps import restore

logger = logging.getLogger("neuroloop.lsl")

_SLICE_S = 0.2
"""The longest wait inside of liblsl, where no signal handler runs."""
_MAX_VALUES = 1 << 23
"""The most values in one block (64 MiB, reserved but untouched until a backlog needs it)."""
_LSL_LOST = -2
_FLOAT_BYTES = 8

# pylsl's wrapper allocates arrays and ctypes objects in each call (16 us for one sample of 64 channels, these two calls
# take 2.6 us). liblsl itself converts every number format to double, exactly up to 2**53.
_PULL_PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_double,
    ctypes.c_void_p,
)
_pull_chunk = _PULL_PROTOTYPE(("lsl_pull_chunk_d", lib))


class LslSource:
    """Read the samples of one LSL stream; implements `neuroloop.stream.contracts.protocols.Source`.

    Stamps are the sender's raw ones. The threads of liblsl inherit core and priority of the thread that makes the
    source: set those first.

    Parameters
    ----------
    found : FoundStream
        What `find_stream` returned.
    buffer_s : float
        How much signal liblsl keeps for a reader that is late, in seconds; what is older is lost and shows as a gap.
    counter_channel : str, optional
        Name of a channel that counts the samples: it becomes ``sample_numbers`` and is not part of the data.
    timeout_s : float
        How long to wait for the stream's full description.

    Raises
    ------
    StreamLost
        If the sender does not answer in time.
    StreamMismatch
        If the stream carries text, or has no channel of the counter's name.
    """

    def __init__(
        self,
        found: FoundStream,
        *,
        buffer_s: float = 360.0,
        counter_channel: str | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        if found.format == "string":
            raise StreamMismatch(f"source must be a stream of numbers, got {found}")
        if not buffer_s > 0:
            raise ValueError(f"buffer_s must be above 0, got {buffer_s!r}")
        self.found = found
        self.n_reopened = 0
        self.n_unread = 0
        """Samples that liblsl had received but would not hand out any more when the sender was gone."""
        self._buffer_s = math.ceil(buffer_s)
        self._inlet: Any = None
        self._description = self._connect(found, timeout_s)
        for note in self._description.notes:
            logger.warning("stream %s: %s", found.name, note)
        self._info, self._counter = _without_counter(self._description, counter_channel, found)
        self._prepare_buffers(found.n_channels, self._info.sfreq)

    @property
    def info(self) -> StreamInfo:
        """The stream as the sender describes it, without the counter channel."""
        return self._info

    @property
    def description(self) -> Description:
        """The sender's own description, its notes, and whose stamps it sends."""
        return self._description

    @property
    def n_waiting(self) -> int:
        """Number of samples that liblsl has received and nobody has read."""
        return 0 if self._inlet is None else int(self._inlet.samples_available())

    def open(self, timeout_s: float = 5.0) -> None:
        """Subscribe to the samples; those sent from now on are kept until they are read.

        Raises
        ------
        StreamLost
            If the sender does not answer in time.
        """
        inlet = self._open_inlet()
        try:
            inlet.open_stream(timeout=timeout_s)
        except (LostError, LslTimeout) as error:
            raise self._gone(f"did not open within {timeout_s:g} s") from error

    def read(self, timeout_s: float) -> RawBlock | None:
        """Wait at most ``timeout_s`` for the first new sample and take all there is.

        Returns
        -------
        RawBlock or None
            Views of the source's own buffers, valid until the next call; None if nothing came. At most 2**23 values:
            a longer backlog comes in several blocks.

        Raises
        ------
        StreamLost
            If the sender is gone; `reopen` looks for it again.
        """
        inlet, n_channels = self._handle, self._n_columns
        if inlet is None:
            raise self._gone("is closed")
        left_s = timeout_s
        while True:
            wait_s = left_s if left_s < _SLICE_S else _SLICE_S
            n_values = _pull_chunk(inlet, self._data_at, self._stamps_at, n_channels, 1, wait_s, self._error_at)
            if n_values:
                break
            if self._error.value:
                raise self._failed(self._error.value)
            left_s -= _SLICE_S
            if left_s <= 0:
                return None
        # An error here shows again, and is raised, at the next call: what has come is handed out first.
        n_values += _pull_chunk(
            inlet, self._next_data_at, self._next_stamps_at, self._rest_values, self._rest_rows, 0.0, self._error_at
        )
        n = n_values // n_channels
        if n == 1 and self._is_plain:
            return self._one_row
        data, timestamps = self._data[:n], self._timestamps[:n]
        if self._is_played:
            restore(timestamps)
        if self._counter is not None:
            return self._split_counter(data, timestamps, self._counter)
        if self._counts_by_stamps:
            return RawBlock(data, timestamps, self._counted_by_stamps(timestamps))
        return RawBlock(data, timestamps)

    def reopen(self, timeout_s: float) -> None:
        """Look for the lost stream by its ``source_id`` (by name, type and host where it has none) and go on with it.

        Of several that answer it is the one that was started last: one that hangs while it dies may still answer.

        Parameters
        ----------
        timeout_s : float
            How long to look for it in seconds.

        Raises
        ------
        StreamLost
            If it is not back in time.
        StreamMismatch
            If it came back with another layout.
        """
        self._drop_inlet()
        end = time.perf_counter() + timeout_s
        network = Network()
        while time.perf_counter() < end:
            time.sleep(0.01)
            again = [one for one in network.streams() if self._is_same_sender(one)]
            newest = max(again, key=lambda one: one.created_at, default=None)
            if newest is not None and self._resume(newest, max(0.2, end - time.perf_counter())):
                return
        raise self._gone(f"did not come back within {timeout_s:g} s")

    def close(self) -> None:
        """End the subscription; may be called twice."""
        self._drop_inlet()

    def _connect(self, found: FoundStream, timeout_s: float) -> Description:
        """Fetch the full description; leaves an inlet that is not yet subscribed."""
        self.found = found
        inlet = self._open_inlet()
        try:
            return describe(inlet.info(timeout=timeout_s))
        except (LostError, LslTimeout) as error:
            self._drop_inlet()
            raise self._gone(f"did not describe itself within {timeout_s:g} s") from error

    def _open_inlet(self) -> Any:
        if self._inlet is None:
            # recover=True would never say that the sender is gone
            self._inlet = pylsl.StreamInlet(self.found.handle, max_buflen=self._buffer_s, recover=False)
            self._handle: int | None = self._inlet.obj.value
        return self._inlet

    def _drop_inlet(self) -> None:
        self._inlet = None
        self._handle = None

    def _resume(self, found: FoundStream, timeout_s: float) -> bool:
        """Take up the stream again if it answers; refuse another layout."""
        old = self._description
        try:
            new = self._connect(found, min(timeout_s, 2.0))
            differences = _differences(old, new)
            if found.format == "string":
                differences.append("format ('string')")
            if differences:
                self._drop_inlet()
                raise StreamMismatch(
                    f"stream {self._info.name!r} must come back as it was, got other {', '.join(differences)}"
                )
            self.open(min(timeout_s, 2.0))
        except StreamLost:
            self._drop_inlet()
            return False
        self.n_reopened += 1
        logger.warning("stream %s: found again on %s", self._info.name, found.host)
        return True

    def _is_same_sender(self, found: FoundStream) -> bool:
        known = self.found
        if known.source_id:
            return (found.source_id, found.name, found.type) == (known.source_id, known.name, known.type)
        return (found.name, found.type, found.host) == (known.name, known.type, known.host)

    def _prepare_buffers(self, n_columns: int, sfreq: float) -> None:
        """Reserve one block; the first second of it is touched now so that no page comes in the stream."""
        n_buffered = round(self._buffer_s * sfreq) if sfreq > 0 else 100 * self._buffer_s
        n_rows = max(2, min(n_buffered, _MAX_VALUES // n_columns))
        self._n_columns = n_columns
        self._data: FloatArray = np.empty((n_rows, n_columns))
        self._timestamps: FloatArray = np.empty(n_rows)
        self._data[: max(64, round(sfreq))] = 0.0
        self._timestamps[: max(64, round(sfreq))] = 0.0
        self._data_at = self._data.ctypes.data
        self._stamps_at = self._timestamps.ctypes.data
        self._next_data_at = self._data_at + _FLOAT_BYTES * n_columns
        self._next_stamps_at = self._stamps_at + _FLOAT_BYTES
        self._rest_rows = n_rows - 1
        self._rest_values = self._rest_rows * n_columns
        self._error = ctypes.c_int32(0)
        self._error_at = ctypes.addressof(self._error)
        self._is_played = self._description.stamps == "recording"
        self._counts_by_stamps = self._description.counter == "stamps"
        self._is_plain = self._counter is None and not (self._is_played or self._counts_by_stamps)
        self._one_row = RawBlock(self._data[:1], self._timestamps[:1])  # the usual block, made once
        if self._counter is not None:
            self._kept_columns = np.flatnonzero(np.arange(n_columns) != self._counter)
            self._without_counter: FloatArray = np.empty((n_rows, n_columns - 1))
        if self._counter is not None or self._counts_by_stamps:
            self._numbers: NDArray[np.int64] = np.empty(n_rows, np.int64)

    def _split_counter(self, data: FloatArray, timestamps: FloatArray, counter: int) -> RawBlock:
        """Take the counter out of the data; a count that is not a number becomes the smallest integer."""
        n = len(data)
        rest, numbers = self._without_counter[:n], self._numbers[:n]
        np.take(data, self._kept_columns, axis=1, out=rest, mode="clip")
        with np.errstate(invalid="ignore"):
            numbers[:] = data[:, counter]
        return RawBlock(rest, timestamps, numbers)

    def _counted_by_stamps(self, timestamps: FloatArray) -> NDArray[np.int64]:
        """Get a played recording's sample numbers back from stamps that are number / rate."""
        numbers = self._numbers[: len(timestamps)]
        numbers[:] = np.rint(timestamps * self._info.sfreq)
        return numbers

    def _failed(self, code: int) -> StreamLost:
        """Say what an error of liblsl means for the user; the inlet is of no more use."""
        # The last one waiting is a sentinel of liblsl, no sample.
        n_unread = max(0, self.n_waiting - 1)
        self.n_unread += n_unread
        self._drop_inlet()
        unread = f", {n_unread} received samples could not be read" if n_unread else ""
        return self._gone(f"stopped{unread}" if code == _LSL_LOST else f"failed with liblsl error {code}{unread}")

    def _gone(self, how: str) -> StreamLost:
        return StreamLost(f"source must keep sending, got a stream that {how}: {self.found}")


def _without_counter(
    description: Description, counter_channel: str | None, found: FoundStream
) -> tuple[StreamInfo, int | None]:
    """Return the description without the counter channel, and that channel's column."""
    info = description.info
    if counter_channel is None:
        return info, info.n_channels if description.counter == "channel" else None
    if description.counter == "channel" or counter_channel not in info.ch_names or info.n_channels < 2:
        raise StreamMismatch(
            f"counter_channel must be one of several channels of the stream ({', '.join(info.ch_names)}), "
            f"got {counter_channel!r}"
        )
    if found.format == "float32":
        logger.warning("stream %s: a counter in float32 is exact up to 2**24 samples only", found.name)
    column = info.ch_names.index(counter_channel)

    def rest(values: tuple[str, ...]) -> tuple[str, ...]:
        return values[:column] + values[column + 1 :]

    return StreamInfo(
        name=info.name,
        type=info.type,
        source_id=info.source_id,
        sfreq=info.sfreq,
        ch_names=rest(info.ch_names),
        ch_types=rest(info.ch_types),
        ch_units=rest(info.ch_units),
    ), column


def _differences(old: Description, new: Description) -> list[str]:
    """Name the fields in which two descriptions differ and that a running pipeline depends on."""
    fields = ("name", "type", "sfreq", "ch_names", "ch_types", "ch_units")
    found = [
        f"{field} ({getattr(new.info, field)!r} for {getattr(old.info, field)!r})"
        for field in fields
        if getattr(old.info, field) != getattr(new.info, field)
    ]
    for field in ("stamps", "counter"):
        if getattr(old, field) != getattr(new, field):
            found.append(f"{field} ({getattr(new, field)!r} for {getattr(old, field)!r})")
    return found
