"""Prometheus metrics of one Kafka worker, made from its counts when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class DurationCounts(Protocol):
    """A histogram of seconds; one more bucket than bounds."""

    @property
    def buckets(self) -> Sequence[int]:
        """Durations per bucket, not cumulated."""
        ...

    @property
    def total_s(self) -> float:
        """Sum of the durations in seconds."""
        ...


class Counts(Protocol):
    """What a worker counts; every number only grows, but for those named as a moment's."""

    frames: int
    samples: int
    refilled: int
    duplicates: int
    lost: int
    reordered: int
    redelivered: int
    markers_unreadable: int
    markers_dropped: int
    snapshots: int
    snapshot_bytes: int
    tombstones: int
    commits: int
    snapshot_s: float
    restores: int
    rebalances: int
    retries: int
    restore_s: float
    process_s: float

    @property
    def events(self) -> Mapping[str, int]:
        """By type."""
        ...

    @property
    def predictions(self) -> Mapping[str, int]:
        """By label; flagged ones are ``unknown``."""
        ...

    @property
    def dead(self) -> Mapping[str, int]:
        """Dead letters by reason."""
        ...

    @property
    def latency(self) -> DurationCounts:
        """From a message's arrival at the pipeline to its decisions handed to the client."""
        ...


_COUNTERS = (
    ("neuroloop_samples", "samples", "Rows that went through the pipelines."),
    ("neuroloop_worker_frames", "frames", "Messages of the samples' topic that were dealt with."),
    ("neuroloop_worker_rows_refilled", "refilled", "Rows that only filled windows again after a restore."),
    ("neuroloop_worker_rows_duplicate", "duplicates", "Rows that came again or too late."),
    ("neuroloop_worker_rows_lost", "lost", "Rows that never came."),
    ("neuroloop_worker_frames_reordered", "reordered", "Frames that waited for an earlier one."),
    ("neuroloop_worker_frames_redelivered", "redelivered", "Messages read again that had been dealt with."),
    ("neuroloop_worker_snapshots", "snapshots", "Snapshots written."),
    ("neuroloop_worker_snapshot_bytes", "snapshot_bytes", "Bytes of all snapshots."),
    ("neuroloop_worker_snapshot_cpu_seconds", "snapshot_s", "Processor time that snapshots took."),
    ("neuroloop_worker_process_cpu_seconds", "process_s", "Time inside the pipelines."),
    ("neuroloop_worker_markers_unreadable", "markers_unreadable", "Messages of the markers' topic that are none."),
    ("neuroloop_worker_markers_dropped", "markers_dropped", "Markers that waited for streams, and were too many."),
    ("neuroloop_worker_tombstones", "tombstones", "Snapshots of ended streams that were removed."),
    ("neuroloop_worker_commits", "commits", "Offsets committed."),
    ("neuroloop_worker_restores", "restores", "Streams taken over from their snapshots."),
    ("neuroloop_worker_rebalances", "rebalances", "How often the group shared the partitions anew."),
    ("neuroloop_worker_retries", "retries", "Warnings of the client: requests that brokers did not answer."),
)


class WorkerCollector(Collector):
    """Turns the counts of one worker into metric families.

    Parameters
    ----------
    counts : Counts
    pipeline : str
        Value of the label ``pipeline``, and of ``model`` on the model's families.
    bounds : sequence of float
        Upper bounds of the latency's buckets in seconds.
    n_streams : callable
        Returns how many streams go on in this worker.
    lag : callable
        Returns messages not processed yet, by partition.
    drift_score : callable, optional
        Returns the largest score of the worker's streams, None where none has one.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        pipeline: str,
        bounds: Sequence[float],
        n_streams: Callable[[], int],
        lag: Callable[[], Mapping[int, int]],
        drift_score: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._counts = counts
        self._pipeline = pipeline
        self._bounds = tuple(bounds)
        self._n_streams = n_streams
        self._lag = lag
        self._drift_score = drift_score

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
        counts = self._counts
        predictions = CounterMetricFamily(
            "model_predictions",
            "Decisions by most probable class; flagged ones are unknown.",
            labels=["model", "label"],
        )
        for label, n in sorted(dict(counts.predictions).items()):
            predictions.add_metric([self._pipeline, label], n)
        yield predictions
        yield self._latency()
        score = self._drift_score()
        if score is not None:
            drift = GaugeMetricFamily("data_drift_score", "Largest distance from a baseline.", labels=["stream"])
            drift.add_metric(["all"], score)
            yield drift
        for name, key, text in _COUNTERS:
            yield self._one(CounterMetricFamily, name, text, getattr(counts, key))
        for name, label, text, values in (
            ("neuroloop_worker_events", "type", "Events sent.", dict(counts.events)),
            ("neuroloop_worker_dead_letters", "reason", "Messages put aside.", dict(counts.dead)),
        ):
            family = CounterMetricFamily(name, text, labels=["pipeline", label])
            for key, n in sorted(values.items()):
                family.add_metric([self._pipeline, key], n)
            yield family
        lag = self._lag()
        behind = GaugeMetricFamily(
            "neuroloop_worker_lag_frames", "Messages not processed yet.", labels=["pipeline", "partition"]
        )
        for partition, n in sorted(lag.items()):
            behind.add_metric([self._pipeline, str(partition)], n)
        yield behind
        for name, text, value in (
            ("neuroloop_worker_streams", "Streams that go on in this worker.", float(self._n_streams())),
            ("neuroloop_worker_partitions", "Partitions that this worker owns.", float(len(lag))),
            ("neuroloop_worker_restore_seconds", "How long the last take-over of a partition took.", counts.restore_s),
        ):
            yield self._one(GaugeMetricFamily, name, text, value)
        build = GaugeMetricFamily("neuroloop_build_info", "Version of the program.", labels=["version"])
        build.add_metric([version("neuroloop")], 1)
        yield build

    def _latency(self) -> Metric:
        family = HistogramMetricFamily(
            "model_prediction_latency_seconds", "From a message at the pipeline to its decision handed on.",
            labels=["model"],
        )  # fmt: skip
        durations = self._counts.latency
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, n in zip((*map(repr, self._bounds), "+Inf"), list(durations.buckets), strict=True):
            total += n
            buckets.append((bound, total))
        family.add_metric([self._pipeline], buckets, sum_value=durations.total_s)
        return family

    def _one(
        self, family: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, text: str, value: float
    ) -> Metric:
        made = family(name, text, labels=["pipeline"])
        made.add_metric([self._pipeline], value)
        return made
