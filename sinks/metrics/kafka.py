"""Prometheus families of a run that reads from Kafka; what it publishes has `neuroloop.sinks.metrics.publisher`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

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
