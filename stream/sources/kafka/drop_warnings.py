"""Saying that rows do not get through: at once, once for each reason, and again where none does any more."""

from __future__ import annotations

import logging

from neuroloop.stream.sources.kafka.ordering import RowOrder

_log = logging.getLogger("neuroloop.kafka")
_LEFT_OUT = ("duplicates", "late", "other_session")
"""Why rows that came and were asked for are not handed out."""
_HOW = {
    "duplicates": "come again",
    "late": "come after their place was given up",
    "other_session": "are of an earlier session",
    "lost": "are lost on the way",
}


class LeftOutWatch:
    """Looks at what is counted; a stream that was silenced by one wrong frame must not look like a silent sender.

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

    def look(self, order: RowOrder) -> None:
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
