"""A recording or the simulator as an LSL stream: every sample once, each with its own stamp, at the pace of real time.

Pace: rows are counted, not stamps, so a gap of the recording is not waited for; its stamps show it. Only a stream
without a rate follows its stamps, and a `ScheduledFeed` (one with faults) its own schedule: it is silent where the
sender is said to be, sends packets at once, and has its outlet destroyed and made again.

``speed=None`` sends as fast as liblsl takes it. Nothing holds the sender back then, and nothing grows without bound: a
consumer that falls behind by more than its buffer (360 s of signal by default) loses the oldest samples and sees a gap.
A pass that must not lose anything is a replay of the file, not a stream.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pylsl
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.playback.feed import DueMarker, Feed, Rows, ScheduledFeed
from neuroloop.stream.sources.lsl.description import Counter, make_lsl_info, make_marker_info
from neuroloop.stream.sources.lsl.stamps import sendable

_SLICE_S = 0.2
_EARLY_S = 60e-6
"""How late the system wakes a sleeper (timer slack of 50 us and a little); sleeps end this much before their time."""
_CONSUMERS_GONE_S = 0.02
_LAST_WORDS_S = 0.25
"""How long an outlet that is to be destroyed stays after its last push, at most a quarter of the outage."""
_COME_BACK_S = 10.0
"""How long a player without a pace waits for a consumer to find an outlet that was made again."""


@dataclass(frozen=True)
class PlayReport:
    """What was sent.

    Parameters
    ----------
    n_samples, n_markers : int
    elapsed_s : float
        From the first sample's time to the last push.
    latest_s : float
        The longest that a push came after its time; 0 without a pace.
    is_complete : bool
        Whether the end was reached, not `Player.stop`.
    """

    n_samples: int
    n_markers: int
    elapsed_s: float
    latest_s: float
    is_complete: bool


class Player:
    """Offer a feed on the network and send it.

    The outlets exist from construction to `close`. liblsl drops what is still on its way when an outlet goes (of
    100,000 samples pushed at once none arrived), and an inlet that notices hands out nothing more, so the outlets stay
    after the last sample until every consumer has left, at most ``linger_s``. Flags of a recording (``valid``) are not
    sent.

    Parameters
    ----------
    feed : Feed
        A `RecordingFeed` or `SimulatorFeed`.
    name : str, optional
        Name on the network; the stream's own otherwise. Consumers of ours still see the recording's description.
    chunk_samples : int
        Samples pushed at once, when the last of them is due.
    speed : float, optional
        Multiple of real time; without it as fast as possible.
    stamps : {'recording', 'clock'}
        The feed's own stamps, unchanged; or those of a regular clock: LSL's time at the start + row / sfreq.
    value_format : {'double64', 'float32'}
    linger_s : float
        Enough for consumers that keep up; at full speed one that does not needs more.

    Raises
    ------
    ValueError
        If stamps of the clock are asked for at another pace than real time or for a stream without a rate.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        name: str | None = None,
        chunk_samples: int = 1,
        speed: float | None = 1.0,
        stamps: Literal["recording", "clock"] = "recording",
        value_format: Literal["double64", "float32"] = "double64",
        linger_s: float = 1.0,
    ) -> None:
        if chunk_samples < 1:
            raise ValueError(f"chunk_samples must be >= 1, got {chunk_samples!r}")
        if speed is not None and not 0 < speed < float("inf"):
            raise ValueError(f"speed must be a finite number above 0, got {speed!r}")
        if stamps == "clock" and speed != 1.0:
            raise ValueError(f"speed must be 1 for stamps of the clock, got {speed!r}")
        if stamps == "clock" and not feed.info.sfreq > 0:
            raise ValueError(f"stamps must be 'recording' for a stream without a rate, got {stamps!r}")
        self._feed = feed
        self._scheduled = feed if isinstance(feed, ScheduledFeed) else None
        self._chunk_samples = chunk_samples
        self._speed = speed
        self._keeps_stamps = stamps == "recording"
        self._linger_s = linger_s
        self._stopped = threading.Event()
        self._clock_start = 0.0
        self.name = name or feed.info.name or "recording"
        counter: Counter = "none"
        if self._keeps_stamps and feed.numbering == "implied":
            counter = "stamps"
        elif self._keeps_stamps and feed.numbering == "own" and value_format == "double64":
            counter = "channel"
        self._counts = counter == "channel"
        self._dtype = np.float64 if value_format == "double64" else np.float32
        self._lsl = make_lsl_info(
            feed.info,
            name=self.name,
            source_id=self._source_id("data"),
            value_format=value_format,
            stamps=stamps,
            counter=counter,
            n_samples=feed.n_samples,
            first_sample=feed.first_sample if self._keeps_stamps else 0,
        )
        self._data_outlet: Any = pylsl.StreamOutlet(self._lsl)
        self._marker_outlets: dict[str, Any] = {}
        for number, stream_name in enumerate(feed.marker_streams, start=1):
            outlet_name = f"{self.name}-markers" if number == 1 else f"{self.name}-markers-{number}"
            marker_lsl = make_marker_info(
                name=outlet_name, source_id=self._source_id(outlet_name), stream_name=stream_name, stamps=stamps
            )
            self._marker_outlets[stream_name] = pylsl.StreamOutlet(marker_lsl)

    @property
    def marker_names(self) -> tuple[str, ...]:
        """Names of the marker streams on the network, as long as they are there."""
        return tuple(
            f"{self.name}-markers" if number == 1 else f"{self.name}-markers-{number}"
            for number in range(1, 1 + len(self._feed.marker_streams))
        )

    @property
    def has_consumers(self) -> bool:
        """Whether anyone has subscribed to the samples."""
        return self._data_outlet is not None and bool(self._data_outlet.have_consumers())

    def wait_for_consumer(self, timeout_s: float | None = None) -> bool:
        """Wait until someone has subscribed to the samples; nobody waits for consumers of markers.

        Returns
        -------
        bool
            False if time ran out, or after `stop`.
        """
        end = None if timeout_s is None else time.perf_counter() + timeout_s
        while not self._stopped.is_set():
            wait_s = _SLICE_S if end is None else min(_SLICE_S, max(0.0, end - time.perf_counter()))
            if self._data_outlet.wait_for_consumers(wait_s):
                return True
            if end is not None and time.perf_counter() >= end:
                return False
        return False

    def run(self) -> PlayReport:
        """Send everything, then wait for the consumers; returns early after `stop`."""
        feed, n_total = self._feed, self._feed.n_samples
        row = n_markers = 0
        latest_s = elapsed_s = 0.0
        begin = time.perf_counter()
        self._clock_start = pylsl.local_clock()
        first_stamp: float | None = None
        scheduled = self._scheduled
        while not self._stopped.is_set() and (n_total is None or row < n_total):
            n_next = self._chunk_samples if scheduled is None else scheduled.batch(row, self._chunk_samples)
            rows = feed.rows(row, n_next)
            n = len(rows.timestamps)
            if n == 0 or not self._be_gone_before(row, begin):
                break
            data, stamps = self._prepare(row, rows)
            if self._speed is not None:
                if first_stamp is None:
                    first_stamp = float(rows.timestamps[0])
                due = begin + self._due_s(row + n - 1, float(rows.timestamps[-1]) - first_stamp) / self._speed
                if not self._sleep_until(due):
                    break
                latest_s = max(latest_s, time.perf_counter() - due)
            for due_marker in feed.markers(row, n):
                self._push_marker(due_marker)
                n_markers += 1
            self._data_outlet.push_chunk(data, stamps)
            row += n
            if scheduled is not None:
                scheduled.sent(row, None if self._keeps_stamps else self._clock_start)
            elapsed_s = time.perf_counter() - begin
        is_complete = not self._stopped.is_set()
        self._wait_for_the_end()
        return PlayReport(row, n_markers, elapsed_s, latest_s, is_complete)

    def stop(self) -> None:
        """Make `run` and `wait_for_consumer` return soon; from any thread or signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Take the streams off the network; may be called twice."""
        self._data_outlet = None
        self._marker_outlets.clear()

    def _source_id(self, what: str) -> str:
        """Return an id that is the same whenever the same stream is played under the same name."""
        info = self._feed.info
        digest = hashlib.sha256("\0".join((self.name, what, info.name, info.source_id, *info.ch_names)).encode())
        return f"neuroloop-player-{digest.hexdigest()[:16]}"

    def _due_s(self, row: int, since_first_s: float) -> float:
        """Return when a row is due, in seconds of signal after the first."""
        if self._scheduled is not None:
            return self._scheduled.due_s(row)
        if self._feed.info.sfreq > 0:
            return row / self._feed.info.sfreq
        return since_first_s if since_first_s > 0 else 0.0

    def _sleep_until(self, due: float) -> bool:
        """Sleep in the operating system, in slices; False after `stop`."""
        while True:
            left_s = due - time.perf_counter() - _EARLY_S
            if left_s <= 0:
                return True
            time.sleep(min(left_s, _SLICE_S))
            if self._stopped.is_set():
                return False

    def _be_gone_before(self, row: int, begin: float) -> bool:
        """Destroy the outlet and make it again where a row comes after an outage; False after `stop`.

        liblsl keeps what it was given last for its consumers only while the outlet lives.
        """
        outage_s = 0.0 if self._scheduled is None else self._scheduled.outage_s(row)
        if outage_s == 0:
            return True
        had_consumers = self.has_consumers
        pace = self._speed
        stays_s = _LAST_WORDS_S if pace is None else min(_LAST_WORDS_S, outage_s / pace / 4)
        goes_on = self._sleep_until(time.perf_counter() + stays_s)
        self._data_outlet = None
        if goes_on and pace is not None:
            goes_on = self._sleep_until(begin + self._due_s(row, 0.0) / pace)
        self._data_outlet = pylsl.StreamOutlet(self._lsl)
        if goes_on and pace is None and had_consumers:
            self.wait_for_consumer(_COME_BACK_S)
        return goes_on

    def _prepare(self, row: int, rows: Rows) -> tuple[NDArray[Any], list[float]]:
        """Return the values and stamps to push; made before the sleep, not between waking and pushing."""
        data = rows.data
        if self._counts and rows.sample_numbers is not None:
            data = np.column_stack((data, rows.sample_numbers))
        stamps = sendable(self._stamps(row, rows.timestamps))
        return np.ascontiguousarray(data, dtype=self._dtype), stamps.tolist()

    def _stamps(self, row: int, own: FloatArray) -> FloatArray:
        if self._keeps_stamps:
            return own
        if self._scheduled is not None:
            return self._clock_start + self._scheduled.clock_stamps(row, len(own))
        return self._clock_start + np.arange(row, row + len(own)) / self._feed.info.sfreq

    def _push_marker(self, due: DueMarker) -> None:
        marker = due.marker
        when = np.array([marker.time]) if self._keeps_stamps else self._stamps(due.row, np.empty(1))
        stamp = float(sendable(when)[0])
        self._marker_outlets[marker.stream].push_sample([marker.label], stamp)

    def _wait_for_the_end(self) -> None:
        """Keep the outlets until nobody listens any more; see the class."""
        end = time.perf_counter() + self._linger_s
        while self.has_consumers and time.perf_counter() < end and not self._stopped.is_set():
            time.sleep(_CONSUMERS_GONE_S)
