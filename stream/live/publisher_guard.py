"""The supervisor's end of the publisher process: starts it, starts it again, lets it finish, reads its counts."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuroloop.config.tree import Config
from neuroloop.sinks.kafka.naming import stream_id
from neuroloop.sinks.run_folder.folder import add_to_summary
from neuroloop.stream.live.child_process import Child, RunFailed
from neuroloop.stream.live.live_kafka import link_of
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.publisher_counts import MARK_SPECS, publisher_summary
from neuroloop.stream.live.publisher_process import PublisherPlan, run_publisher
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.ring.counters import CounterBlock

_log = logging.getLogger("neuroloop.run")
_QUICK_S = 60.0
_MAX_QUICK_DEATHS = 20
_GRACE_S = 5.0
_DEAD_LETTERS_S = 8.0
"""How long dead letters may take beside the rest where nobody answers."""


def is_publishing(config: Config) -> bool:
    """Return whether a run sends anything to Kafka: what it says, or what it could not read there."""
    return config.kafka is not None and (bool(config.kafka.publish) or config.source.kind == "kafka")


class PublisherGuard:
    """One publisher process after the other, for one run.

    Parameters
    ----------
    config : Config
        With a section ``kafka``.
    source : SourcePlan
    shared : Shared
    cores : frozenset of int
    """

    def __init__(self, config: Config, source: SourcePlan, shared: Shared, cores: frozenset[int]) -> None:
        kafka = config.kafka
        if kafka is None:
            raise ValueError("kafka must be given for a run that publishes, got None")
        self.stream = kafka.stream_id or source.stream_id or stream_id(kafka, source.info)
        settings = kafka.model_copy(update={"stream_id": self.stream})
        marks = CounterBlock.shared(MARK_SPECS, name="marks")
        weakref.finalize(self, marks.close)
        plan = PublisherPlan(settings, source, round(time.time() * 1e3), cores, marks, config.process.log)
        self._shared = shared
        self._close_s = kafka.close_s + kafka.connect_s + (_DEAD_LETTERS_S if link_of(source) is not None else 0.0)
        self._arguments = (plan, shared)
        self._n_deaths = self._n_quick_deaths = 0
        self._given_up: str | None = None
        self._is_ended = False
        self._child: Child
        self._start()

    def wait_until_ready(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait until it reads; brokers may still be away."""
        self._child.wait_until_ready(is_cancelled)
        self._is_heard = True
        kafka = self._arguments[0].settings
        if kafka.publish:
            _log.info("publishing: %s as %r to %s", ", ".join(kafka.publish), self.stream, ",".join(kafka.servers))

    def watch(self) -> None:
        """Start it again if it died; the run does not wait for it."""
        child = self._child
        if child.is_alive or child.process.exitcode == 0 or self._given_up is not None:
            return
        why = self._why_it_died()
        self._shared.numbers("kafka_up")[0] = 0  # nobody else says so until the next one does
        self._n_deaths += 1
        is_quick = time.perf_counter() - self._started < _QUICK_S
        self._n_quick_deaths = self._n_quick_deaths + 1 if is_quick else 1
        if self._n_quick_deaths > _MAX_QUICK_DEATHS:
            self._given_up = why
            _log.error(
                "the publisher process must stay alive, got %d deaths in a row (%s); nothing more is published",
                self._n_quick_deaths, why,
            )  # fmt: skip
            return
        _log.warning("the publisher process died (%s), starting it again; the rings keep what it has to send", why)
        self._start()
        child.release()

    def end(self, *, has_begun: bool) -> None:
        """Let it send what the hot process left, for as long as the settings say; may be called twice."""
        if self._is_ended:  # one that had to be killed is not started again
            return
        if not has_begun:
            self._child.process.kill()
        elif not self._child.is_alive:
            self.watch()
        self._child.end(self._close_s + _GRACE_S)
        self._is_ended = True

    def add_summary(self, out: Path) -> None:
        """Put what became of it into the run's summary."""
        add_to_summary(out, "kafka", self.summary())

    def summary(self) -> dict[str, Any]:
        """Return what became of everything that was to be published, and of what the source could not read."""
        plan = self._arguments[0]
        summary: dict[str, Any] = {}
        if plan.settings.publish:
            is_spooled = plan.settings.overflow == "spool"
            summary = publisher_summary(self._shared, is_given_up=self._given_up is not None, is_spooled=is_spooled)
        link = link_of(plan.source)
        if link is not None:
            summary["source"] = link.books()
        if self._n_deaths:
            summary["publisher"] = {"deaths": self._n_deaths, "given_up": self._given_up}
        return summary

    def _start(self) -> None:
        self._started = time.perf_counter()
        self._is_heard = False
        self._child = Child(run_publisher, self._arguments, "publisher")

    def _why_it_died(self) -> str:
        """Return what it has said of its end, else its exit code."""
        if not self._is_heard:
            try:
                self._child.wait_until_ready()  # it is dead: this does not wait
            except RunFailed as error:
                return str(error)
        return f"exit code {self._child.process.exitcode}"
