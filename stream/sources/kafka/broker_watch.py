"""Noticing that the brokers are gone: the client itself waits for them in silence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from neuroloop.stream.wire.brokers import why_away

_log = logging.getLogger("neuroloop.kafka")
_QUIET_S = 2.0


class AwayWatch:
    """Asks the brokers, in a thread of its own, whether they are there, while nothing comes from them.

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
