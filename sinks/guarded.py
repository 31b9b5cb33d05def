"""Sinks of events that somebody else has written, each in a thread of its own, where it can fail and be slow.

Whoever hands events over never waits for a sink and never sees its errors. A batch that a sink does not take is
offered again, after a second and then ever later; after `PATIENCE` failures in a row the sink is closed. What a sink
has not got by the end, or what found its queue full, is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import told
from neuroloop.config.sinks import SINK_KINDS, OwnSinkSettings
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event

PATIENCE = 6
"""Failures in a row after which a sink is closed."""
MOST_WAITING = 100_000
"""Events that wait for a slow sink at most."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_BATCH = 1000
_LAST_S = 3.0
_log = logging.getLogger("neuroloop.sink")


@dataclass(frozen=True, slots=True)
class SinkRun:
    """What a sink is told at the start.

    Parameters
    ----------
    pipeline : str
        Name of the configuration.
    stream : StreamInfo
    classes : tuple of str
        What the classifier tells apart; empty without one.
    plan_sha256 : str
    is_replay : bool
        Whether a recording is replayed.
    """

    pipeline: str
    stream: StreamInfo
    classes: tuple[str, ...]
    plan_sha256: str
    is_replay: bool = False


def check_sinks(settings: Iterable[OwnSinkSettings]) -> None:
    """Refuse classes that are no sinks; none is made.

    Raises
    ------
    ConfigError
        With one line for each.
    """
    faults = []
    for index, one in enumerate(settings):
        if not callable(getattr(SINK_KINDS.class_of(one), "write", None)):
            faults.append(f"sinks.{index}.kind must name a sink, got {one.kind!r} without write")
    if faults:
        raise ConfigError(*faults)


class GuardedSink:
    """One sink and its thread; an `neuroloop.stream.contracts.protocols.EventSink`.

    Parameters
    ----------
    settings : OwnSinkSettings
    run : SinkRun
    pause_s : float
        How long to wait after a first failure; twice as long after each further one.
    last_s : float
        How long `close` waits for what is left, in seconds.
    most_waiting : int
        Events that find so many others waiting are lost, and counted.
    waits : bool
        Whether `write` waits for room instead, as long as the sink is not closed.
    """

    def __init__(
        self,
        settings: OwnSinkSettings,
        run: SinkRun,
        *,
        pause_s: float = _FIRST_PAUSE_S,
        last_s: float = _LAST_S,
        most_waiting: int = MOST_WAITING,
        waits: bool = False,
    ) -> None:
        self.name = settings.name
        self._settings, self._run = settings, run
        self._pause_s, self._last_s, self._most, self._waits = pause_s, last_s, most_waiting, waits
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._ends_at: float | None = None
        self._given_up = ""
        self._made: Any = None
        self._n_written = self._n_lost = self._n_errors = self._n_in_row = 0
        self._thread = threading.Thread(target=self._serve, name=f"sink-{settings.name}", daemon=True)
        self._thread.start()

    def write(self, events: Sequence[Event]) -> None:
        """Let the events wait for the sink, in their order."""
        with self._changed:
            for event in events:
                while self._waits and len(self._waiting) >= self._most and not self._given_up:
                    self._changed.notify_all()
                    self._changed.wait(1.0)
                if self._given_up or len(self._waiting) >= self._most:
                    if not self._n_lost and not self._given_up:
                        _log.error("sink %r must keep up, got %d events waiting; more are lost", self.name, self._most)
                    self._n_lost += 1
                else:
                    self._waiting.append(event)
            if events:
                self._changed.notify_all()

    def close(self) -> None:
        """Let the sink take what is left, but not for ever; may be called twice, raises nothing."""
        with self._changed:
            if self._ends_at is None:
                self._ends_at = time.monotonic() + self._last_s
            self._changed.notify_all()
        self._thread.join(self._last_s + 0.5)
        with self._changed:
            if self._thread.is_alive() and not self._given_up:
                self._given_up = "it did not come to an end"
                _log.error("sink %r must end within %g s, got no end", self.name, self._last_s)
            self._n_lost += len(self._waiting)
            self._waiting.clear()

    def books(self) -> dict[str, Any]:
        """Return what the sink has taken, what it lost, how often it failed, and why it was closed before the end."""
        with self._changed:
            closed = {"closed": self._given_up} if self._given_up else {}
            return {"written": self._n_written, "lost": self._n_lost, "errors": self._n_errors, **closed}

    def _serve(self) -> None:
        """Hand events over until all are, or the sink is given up."""
        while (batch := self._next_batch()) is not None:
            try:
                self._make()
                if batch:
                    self._made.write(batch)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a thread's top; code of somebody else
                if not self._is_patient(error):
                    break
                continue
            with self._changed:
                if self._given_up:  # it was not waited for any longer: all is counted
                    break
                if self._n_in_row:
                    _log.warning("sink %r takes events again", self.name)
                self._n_in_row = 0
                self._n_written += len(batch)
                for _ in batch:
                    self._waiting.popleft()
                self._changed.notify_all()
        self._end()

    def _next_batch(self) -> list[Event] | None:
        """Wait for events and return the oldest, which stay where they are; ``None`` when the end has come.

        A sink that is not made yet is not waited for: there may be none.
        """
        with self._changed:
            while not self._waiting and self._ends_at is None and self._made is not None:
                self._changed.wait()
            if not self._waiting and self._ends_at is not None:
                return None
            return [self._waiting[index] for index in range(min(len(self._waiting), _BATCH))]

    def _make(self) -> None:
        if self._made is None:
            made: Any = SINK_KINDS.class_of(self._settings)
            one = made(self._settings)
            if callable(getattr(one, "start", None)):
                one.start(self._run)
            self._made = one

    def _is_patient(self, error: BaseException) -> bool:
        """Count a failure and wait; say whether to try again."""
        with self._changed:
            self._n_errors += 1
            self._n_in_row += 1
            if self._n_in_row == 1:
                _log.error("sink %r must take events, got %s; trying again", self.name, told(error))
            now, pause_s = time.monotonic(), min(self._pause_s * 2 ** (self._n_in_row - 1), _LONGEST_PAUSE_S)
            if self._n_in_row < PATIENCE and self._ends_at is None:
                self._changed.wait_for(lambda: self._ends_at is not None, pause_s)
                return True
            if self._n_in_row < PATIENCE and self._ends_at is not None and now < self._ends_at:
                self._changed.wait_for(lambda: False, min(pause_s, self._ends_at - now, 0.5))
                return True
            self._given_up = told(error)
            self._n_lost += len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            _log.error("sink %r is closed after %d failures in a row, got %s", self.name, self._n_in_row, told(error))
            return False

    def _end(self) -> None:
        """Tell the sink that it is over."""
        if callable(getattr(self._made, "close", None)):
            try:
                self._made.close()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a thread's top; code of somebody else
                with self._changed:
                    self._n_errors += 1
                _log.error("sink %r must close, got %s", self.name, told(error))


class OwnSinks:
    """All sinks of a run that are not built in: each gets every event, in the order of ``events.jsonl``.

    Parameters
    ----------
    settings : iterable of OwnSinkSettings
    run : SinkRun
    hold_ns : int
        How long after it arose an event may still be overtaken by one of an earlier sample.
    waits : bool
        Whether a full queue is waited for.
    """

    def __init__(
        self, settings: Iterable[OwnSinkSettings], run: SinkRun, *, hold_ns: int = 0, waits: bool = False
    ) -> None:
        self._sinks = [GuardedSink(one, run, waits=waits) for one in settings]
        self._hold_ns = hold_ns
        self._held: list[tuple[tuple[int, int, int], int, int, Event]] = []
        self._n_taken = 0

    def hold(self, events: Sequence[Event], emitted_ns: Sequence[int], now_ns: int) -> None:
        """Take events as they arose; hand on, sorted, those that nothing can precede any more.

        Parameters
        ----------
        events : sequence of Event
        emitted_ns : sequence of int
            When each arose.
        now_ns : int
            All that arose before is here.
        """
        for event, emitted in zip(events, emitted_ns, strict=True):
            insort(self._held, (event.order, self._n_taken, emitted, event))
            self._n_taken += 1
        due, limit_ns = 0, now_ns - self._hold_ns
        while due < len(self._held) and self._held[due][2] <= limit_ns:
            due += 1
        if due:
            self.write([event for *_, event in self._held[:due]])
            del self._held[:due]

    def write(self, events: Sequence[Event]) -> None:
        """Hand events on."""
        for sink in self._sinks:
            sink.write(events)

    def close(self) -> None:
        """Hand on what is held and end all sinks; may be called twice, raises nothing."""
        self.write([event for *_, event in self._held])
        self._held.clear()
        ends = [threading.Thread(target=sink.close) for sink in self._sinks]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    def books(self) -> dict[str, dict[str, Any]]:
        """Return for each sink, by name, what it has taken and lost."""
        return {sink.name: sink.books() for sink in self._sinks}
