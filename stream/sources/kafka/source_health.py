"""Noticing that nothing comes through, and saying why: brokers that are gone, rows that are left out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from neuroloop.stream.sources.kafka.ordering import SessionOrder
from neuroloop.stream.wire.brokers import why_away

_log = logging.getLogger("neuroloop.kafka")
_QUIET_S = 2.0
_LEFT_OUT = ("duplicates", "late", "other_session")
"""Why rows that came and were asked for are not handed out."""
_HOW = {
    "duplicates": "come again",
    "late": "come after their place was given up",
    "other_session": "are of an earlier session",
    "lost": "are lost on the way",
}


class AwayWatch:
    """Asks the brokers, in a thread of its own, whether they are there, while nothing comes from them.

    The client itself waits for them in silence.

    Parameters
    ----------
    arguments : mapping
        What the client was made with.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.why = ""
        self._arguments = arguments
        self._heard_at = time.monotonic()
        self._away_since: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-away", daemon=True)
        self._thread.start()

    @property
    def away_s(self) -> float:
        """For how long no broker has answered, in seconds."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def heard(self) -> None:
        """Take notice that a broker has sent something."""
        self._heard_at = time.monotonic()
        self._away_since = None

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_QUIET_S):
            if time.monotonic() - self._heard_at < _QUIET_S:
                continue
            asked_at = time.monotonic()
            why = why_away(self._arguments)
            if why is None:
                if self._away_since is not None:
                    _log.warning("kafka: the brokers answer again")
                self._away_since = None
            elif self._away_since is None and self._heard_at < asked_at:
                self.why, self._away_since = why, asked_at
                _log.warning("kafka: %s", why)


class LeftOutWatch:
    """Says that rows do not get through: at once, once for each reason, and again where none does any more.

    A stream that was silenced by one wrong frame must not look like a silent sender.

    Parameters
    ----------
    stream : str
        Id of the stream.
    n_in_a_row : int
        So many rows left out without one that is handed out are said each time that it comes to that.
    """

    def __init__(self, stream: str, n_in_a_row: int) -> None:
        self._stream = stream
        self._n_in_a_row = n_in_a_row
        self._told: set[str] = set()
        self._n_restarts = 0
        self._n_before = 0
        self._is_shut = False

    def look(self, order: SessionOrder) -> None:
        """Say what is new; call it after frames were added and before rows are taken."""
        counts = order.counts
        where = f"next index {order.next_index}, session {order.session}"
        if counts["restarts"] != self._n_restarts:
            self._n_restarts = counts["restarts"]
            _log.warning("kafka: the producer of stream %r began anew (%s)", self._stream, where)
        for reason, how in _HOW.items():
            if counts[reason] and reason not in self._told:
                self._told.add(reason)
                _log.warning("kafka: rows of stream %r %s, which is counted (%s)", self._stream, how, where)
        if counts["earlier"] and "earlier" not in self._told:
            self._told.add("earlier")
            _log.info("kafka: rows of stream %r before those asked for are passed over (%s)", self._stream, where)
        n_left_out = sum(counts[reason] for reason in _LEFT_OUT)
        if order.has_ready:
            self._n_before = n_left_out
            if self._is_shut:
                self._is_shut = False
                _log.warning("kafka: rows of stream %r get through again (%s)", self._stream, where)
        elif n_left_out - self._n_before >= self._n_in_a_row and not self._is_shut:
            self._is_shut = True
            _log.warning(
                "kafka: no row of stream %r gets through, %d in a row were left out (%s); does another producer use "
                "this id?",
                self._stream, n_left_out - self._n_before, where,
            )  # fmt: skip
