"""What ``/healthz`` and ``/readyz`` say of a live run, from the shared counters."""

from __future__ import annotations

import time
from collections.abc import Callable

from neuroloop.sinks.metrics.server import Health
from neuroloop.stream.live.shared_state import Shared

HANGS_S = 5.0
"""A hot process whose loop has not turned for so long hangs; it turns at least five times a second."""


class RunHealth:
    """Probes of one run.

    Parameters
    ----------
    shared : Shared
    n_warmup : int
        Processed samples after which the pipeline's rows are valid.
    ready_s : float
        How old the newest sample may be for the run to be ready.
    clock_ns : callable
        The machine's monotonic clock, in nanoseconds.
    """

    def __init__(
        self, shared: Shared, *, n_warmup: int, ready_s: float, clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._shared = shared
        self._n_warmup = n_warmup
        self._ready_s = ready_s
        self._clock_ns = clock_ns

    def healthy(self) -> Health:
        """Return whether the hot process turns its loop; good too before its first turn, while it warms up."""
        age_s = self._age_s("heartbeat_ns")
        is_good = age_s is None or age_s <= HANGS_S
        status = "starting" if age_s is None else "running" if is_good else "the hot process does not move"
        return Health(is_good, {"status": status, "heartbeat_age_s": _rounded(age_s)})

    def ready(self) -> Health:
        """Return whether the stream is up, the pipeline warmed up and the newest sample young."""
        age_s = self._age_s("newest_arrival_ns")
        n_processed = int(self._shared.numbers("processed")[0])
        is_up = bool(self._shared.numbers("stream_up")[0])
        health = self.healthy()
        if not health.is_good:
            why = str(health.facts["status"])
        elif not is_up:
            why = "the stream is not up"
        elif age_s is None or n_processed < self._n_warmup:
            why = "warming up"
        elif age_s > self._ready_s:
            why = "no new sample"
        else:
            why = ""
        facts = {
            "status": why or "ready",
            "stream_up": is_up,
            "newest_sample_age_s": _rounded(age_s),
            "processed": n_processed,
            "warmup": self._n_warmup,
        }
        return Health(not why, facts)

    def _age_s(self, name: str) -> float | None:
        then = int(self._shared.numbers(name)[0])
        return (self._clock_ns() - then) * 1e-9 if then else None


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 3)
