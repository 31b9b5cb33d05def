"""Metric families of a run on Kafka, from shared counters when they are scraped: what it reads, what it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from neuroloop.sinks.kafka.counters import REASONS
from neuroloop.stream.contracts.shared_memory import Counters

_ROWS = ("duplicates", "late", "lost", "other_session")
"""Counts of rows that say that something is wrong."""


class KafkaSourceMetrics:
    """Turns the counters of a source on Kafka into metric families; implements `neuroloop.sinks.metrics.run.Families`.

    Parameters
    ----------
    counters : Counters
        With ``lag``, ``rows`` and ``unreadable``.
    pipeline, stream : str
        Values of the labels.
    rows, unreadable : sequence of str
        Reasons in the order of the slots of these counters.
    """

    def __init__(
        self, counters: Counters, *, pipeline: str, stream: str, rows: Sequence[str], unreadable: Sequence[str]
    ) -> None:
        self._counters = counters
        self._labels = {"pipeline": pipeline, "stream": stream}
        self._rows = tuple(rows)
        self._unreadable = tuple(unreadable)

    def collect(self) -> Iterator[Metric]:
        """Return the families; every reason from 0 on."""
        numbers = self._counters.snapshot().numbers
        lag = GaugeMetricFamily(
            "neuroloop_kafka_source_lag_messages", "Messages of the samples' topic still to come.",
            labels=list(self._labels),
        )  # fmt: skip
        lag.add_metric(list(self._labels.values()), int(numbers["lag"][0]))
        yield lag
        counts = dict(zip(self._rows, numbers["rows"].tolist(), strict=True))
        yield self._by(
            "neuroloop_kafka_source_rows_left_out", "Rows that came and were not handed out, or were lost on the way.",
            {reason: counts[reason] for reason in _ROWS},
        )  # fmt: skip
        yield self._by(
            "neuroloop_kafka_source_messages_unreadable", "Messages that could not be read.",
            dict(zip(self._unreadable, numbers["unreadable"].tolist(), strict=True)),
        )  # fmt: skip

    def _by(self, name: str, text: str, values: Mapping[str, float]) -> Metric:
        """Return a family of one value per reason."""
        made = CounterMetricFamily(name, text, labels=[*self._labels, "reason"])
        for reason, value in values.items():
            made.add_metric([*self._labels.values(), reason.replace(" ", "_")], value)
        return made


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
