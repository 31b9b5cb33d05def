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
from neuroloop.stream.live.live_kafka import link_of
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.publisher_counts import MARK_SPECS, publisher_summary
from neuroloop.stream.live.publisher_process import PublisherPlan, run_publisher
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.live.watched_child import WHILE_THE_RUN_GOES_ON, WatchedChild
from neuroloop.stream.ring.counters import CounterBlock

_log = logging.getLogger("neuroloop.run")
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
        self._plan = plan
        self._close_s = kafka.close_s + kafka.connect_s + (_DEAD_LETTERS_S if link_of(source) is not None else 0.0)
        self._child = WatchedChild(
            run_publisher,
            (plan, shared),
            "publisher",
            WHILE_THE_RUN_GOES_ON,
            has_to="send",
            consequence="nothing more is published",
            on_death=self._note_death,
        )

    def _note_death(self) -> None:
        self._shared.numbers("kafka_up")[0] = 0  # nobody else says so until the next one does

    def wait_until_ready(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait until it reads; brokers may still be away."""
        self._child.wait_until_ready(is_cancelled)
        kafka = self._plan.settings
        if kafka.publish:
            _log.info("publishing: %s as %r to %s", ", ".join(kafka.publish), self.stream, ",".join(kafka.servers))

    def watch(self) -> None:
        """Start it again if it died; the run does not wait for it."""
        self._child.watch()

    def end(self, *, has_begun: bool) -> None:
        """Let it send what the hot process left, for as long as the settings say; may be called twice."""
        self._child.end(self._close_s + _GRACE_S, has_begun=has_begun)

    def add_summary(self, out: Path) -> None:
        """Put what became of it into the run's summary."""
        add_to_summary(out, "kafka", self.summary())

    def summary(self) -> dict[str, Any]:
        """Return what became of everything that was to be published, and of what the source could not read."""
        plan, child = self._plan, self._child
        summary: dict[str, Any] = {}
        if plan.settings.publish:
            is_spooled = plan.settings.overflow == "spool"
            summary = publisher_summary(self._shared, is_given_up=child.given_up is not None, is_spooled=is_spooled)
        link = link_of(plan.source)
        if link is not None:
            summary["source"] = link.books()
        if child.n_deaths:
            summary["publisher"] = {"deaths": child.n_deaths, "given_up": child.given_up}
        return summary
