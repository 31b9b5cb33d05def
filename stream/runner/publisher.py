"""The supervisor's end of the publisher process: starts it, starts it again, lets it finish, reads its books."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from config.tree import Config
from sinks.kafka.sink import stream_id
from sinks.run_folder import add_to_summary
from stream.runner.child import Child
from stream.runner.published import publisher_books
from stream.runner.publishing import PublishPlan, run_publisher
from stream.runner.shared import Shared
from stream.runner.sourcing import SourcePlan

_log = logging.getLogger("neuroloop.run")
_MAX_DEATHS = 20
_GRACE_S = 5.0


def is_publishing(config: Config) -> bool:
    """Return whether a run sends anything to Kafka."""
    return config.kafka is not None and bool(config.kafka.publish)


class Publisher:
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
        plan = PublishPlan(settings, source, round(time.time() * 1e3), cores, config.process.log)
        self._shared = shared
        self._close_s = kafka.close_s + kafka.connect_s
        self._arguments = (plan, shared)
        self._n_deaths = 0
        self._child = Child(run_publisher, self._arguments, "publisher")

    def wait_until_ready(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait until it reads; brokers may still be away."""
        self._child.wait_until_ready(is_cancelled)
        kafka = self._arguments[0].settings
        _log.info("publishing: %s as %r to %s", ", ".join(kafka.publish), self.stream, ",".join(kafka.servers))

    def watch(self) -> None:
        """Start it again if it died; the run does not wait for it."""
        child = self._child
        if child.is_alive or child.process.exitcode == 0:
            return
        self._n_deaths += 1
        if self._n_deaths > _MAX_DEATHS:
            return
        _log.warning(
            "the publisher process died (exit code %s), starting it again; the rings keep what it has to send",
            child.process.exitcode,
        )
        self._child = Child(run_publisher, self._arguments, "publisher")
        child.release()

    def end(self, *, has_begun: bool) -> None:
        """Let it send what the hot process left, for as long as the settings say; may be called twice."""
        if not has_begun:
            self._child.process.kill()
        elif not self._child.is_alive:
            self.watch()
        self._child.end(self._close_s + _GRACE_S)

    def put_books(self, out: Path) -> None:
        """Put the books into the run's summary."""
        add_to_summary(out, "kafka", publisher_books(self._shared))
