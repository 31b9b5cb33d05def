"""What the hot process leaves for the recorder: raw rows, markers as they came, rows of chosen stages, in rings.

These rings have a bell of their own that nobody rings while the stream runs: the recorder comes by itself, a few times
a second, and the hot process never pays for waking it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, RawBlock, StreamInfo
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.ring.bell import Bell
from neuroloop.stream.ring.events import EventRing
from neuroloop.stream.ring.samples import SampleRing

RECORDER = "recorder"
_MARKER_BYTES = 1 << 20
_MARKER_HEAD = struct.Struct("<qd")


@dataclass(frozen=True)
class RecorderRings:
    """The rings between the hot process and the recorder.

    Parameters
    ----------
    bell : Bell
    raw : SampleRing
        Rows as the source handed them over, numbered from 0 in the order of arrival; the sender's own sample numbers,
        where there are any, are the last column.
    markers : EventRing
    taps : mapping of str to SampleRing
    has_numbers : bool
    """

    bell: Bell
    raw: SampleRing
    markers: EventRing
    taps: Mapping[str, SampleRing]
    has_numbers: bool

    @classmethod
    def make(
        cls, info: StreamInfo, taps: Mapping[str, StreamInfo], *, has_numbers: bool, ring_s: float
    ) -> RecorderRings:
        """Make the rings.

        Raises
        ------
        SharedMemoryError
            If there is not enough shared memory.
        """
        bell = Bell()
        raw_info = _with_counter(info) if has_numbers else info
        return cls(
            bell=bell,
            raw=_ring(raw_info, ring_s, bell, "raw"),
            markers=EventRing.shared(_MARKER_BYTES, bell=bell, readers=(RECORDER,), name="markers"),
            taps={name: _ring(tap, ring_s, bell, f"tap-{name}") for name, tap in taps.items()},
            has_numbers=has_numbers,
        )

    def close(self) -> None:
        """Give everything back."""
        self.raw.close()
        self.markers.close()
        for ring in self.taps.values():
            ring.close()
        self.bell.close()


def _ring(info: StreamInfo, ring_s: float, bell: Bell, name: str) -> SampleRing:
    return SampleRing.shared(info, max(1024, round(ring_s * info.sfreq)), bell=bell, readers=(RECORDER,), name=name)


def _with_counter(info: StreamInfo) -> StreamInfo:
    return replace(
        info,
        ch_names=(*info.ch_names, "sample_number"),
        ch_types=(*info.ch_types, "counter"),
        ch_units=(*info.ch_units, ""),
    )


class RecorderFeed:
    """The hot process's end of the rings; never waits, never raises because of the recorder.

    Parameters
    ----------
    rings : RecorderRings
    """

    def __init__(self, rings: RecorderRings) -> None:
        self._rings = rings
        self._raw = rings.raw.writer()
        self._markers = rings.markers.writer()
        self._taps = {name: ring.writer() for name, ring in rings.taps.items()}
        self._info = rings.raw.info
        self._n_rows = 0
        self._all_valid: BoolArray = np.ones(4096, np.bool_)
        self._wide: FloatArray = np.empty((4096, self._info.n_channels))

    def rows(self, block: RawBlock, arrival_ns: int) -> None:
        """Keep what the source handed over."""
        stamps = block.timestamps
        n_rows = len(stamps)
        if n_rows > len(self._all_valid):
            self._all_valid = np.ones(2 * n_rows, np.bool_)
        data = block.data
        if block.sample_numbers is not None:
            if n_rows > len(self._wide):
                self._wide = np.empty((2 * n_rows, self._info.n_channels))
            data = self._wide[:n_rows]
            data[:, :-1] = block.data
            data[:, -1] = block.sample_numbers
        self._raw.append(Chunk(data, stamps, self._n_rows, self._all_valid[:n_rows], self._info), arrival_ns)
        self._n_rows += n_rows

    def markers(self, markers: Sequence[Marker]) -> None:
        """Keep markers, in the order in which the engine gets them, with the number of rows before them.

        They are those that the engine took, whose texts are bounded: each fits into the ring.
        """
        for marker in markers:
            text = json.dumps([marker.label, marker.stream]).encode()
            record = _MARKER_HEAD.pack(self._n_rows, marker.time) + text
            self._markers.append(record)

    def tap(self, name: str) -> Callable[[Chunk], None]:
        """Return the receiver of a recorded stage's rows."""
        return self._taps[name].append

    def close(self) -> None:
        """End the rings."""
        self._raw.close()
        self._markers.close()
        for writer in self._taps.values():
            writer.close()
        self._rings.bell.notify()


def unpack_marker(record: bytes) -> tuple[int, Marker]:
    """Return the number of rows that had come before a kept marker, and the marker."""
    n_before, time = _MARKER_HEAD.unpack_from(record)
    label, stream = json.loads(record[_MARKER_HEAD.size :])
    return n_before, Marker(time, label, stream)
