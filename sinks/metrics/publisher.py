"""Metric families of what a run publishes to Kafka, made from shared counters when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from neuroloop.sinks.kafka.counters import REASONS


class KafkaFamilies:
    """Families of one publisher; implements `neuroloop.sinks.metrics.run.Families`.

    Parameters
    ----------
    numbers : callable
        Returns a shared counter of `COUNTER_SPECS` by name.
    labels : mapping
        Labels of every family, as those of the run.
    lag_s : callable
        Returns how old the oldest event or sample is that has not arrived, in seconds.
    is_spooled : bool
        Whether what waits is on the disk.
    """

    def __init__(
        self,
        numbers: Callable[[str], NDArray[Any]],
        labels: Mapping[str, str],
        *,
        lag_s: Callable[[], float],
        is_spooled: bool,
    ) -> None:
        self._numbers = numbers
        self._labels = dict(labels)
        self._lag_s = lag_s
        self._is_spooled = is_spooled

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        yield self._one(GaugeMetricFamily, "up", "Whether the brokers take what is sent.", self._count("kafka_up"))
        yield self._one(
            GaugeMetricFamily, "lag_seconds", "Age of the oldest thing that has not arrived.", self._lag_s()
        )
        yield self._one(
            GaugeMetricFamily, "messages_waiting", "Messages that have not arrived.", self._count("kafka_waiting")
        )
        held = self._count("kafka_waiting_bytes")
        for name, text, value in (
            ("spool_bytes", "What the spool takes on the disk.", held if self._is_spooled else 0),
            ("buffer_bytes", "What waits in memory.", 0 if self._is_spooled else held),
        ):
            yield self._one(GaugeMetricFamily, name, text, value)
        sent = self._count("kafka_arrived")
        yield self._one(CounterMetricFamily, "messages_sent", "Messages that the brokers have taken.", sent)
        dropped = CounterMetricFamily(
            "neuroloop_kafka_messages_dropped", "Messages that are lost.", labels=[*self._labels, "reason"]
        )
        for reason, count in zip(REASONS, self._numbers("kafka_dropped").tolist(), strict=True):
            dropped.add_metric([*self._labels.values(), reason.replace(" ", "_")], count)
        yield dropped
        lost = CounterMetricFamily(
            "neuroloop_kafka_lost", "What the rings no longer held when the publisher came.",
            labels=[*self._labels, "what"],
        )  # fmt: skip
        for what in ("rows", "events"):
            lost.add_metric([*self._labels.values(), what], self._count(f"kafka_lost_{what}"))
        yield lost

    def _count(self, name: str) -> int:
        return int(self._numbers(name)[0])

    def _one(
        self, family: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, text: str, value: float
    ) -> Metric:
        made = family(f"neuroloop_kafka_{name}", text, labels=list(self._labels))
        made.add_metric(list(self._labels.values()), value)
        return made
