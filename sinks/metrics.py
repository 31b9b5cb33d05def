"""Prometheus metrics of a live run, made from shared counters when they are scraped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from config.live import MetricsSettings
from stream.contracts import Counters, CounterSnapshot, HistogramSnapshot, NeuroloopError

UNKNOWN = "unknown"


class MetricsError(NeuroloopError):
    """Metrics cannot be served."""


class RingStatus(Protocol):
    """How far a reader of a ring is behind."""

    @property
    def n_behind(self) -> int:
        """Rows written and not yet dealt with."""
        ...

    @property
    def n_lost(self) -> int:
        """Rows overwritten before they were read."""
        ...


class RunCollector(Collector):
    """Turns the counters of one run into metric families; the hot loop pays nothing for a scrape.

    Parameters
    ----------
    counters : Counters
        What the hot loop counts.
    pipeline, stream : str
        Values of the labels.
    classes : sequence of str
        Names of the prediction counts, without ``unknown``, which is the last count.
    stage_figures : callable
        Returns percentiles in microseconds (``p50_us``, ``p99_us``, ``p99.9_us``) by stage.
    ring_status : callable
        Returns the books of the ring's readers by name.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        pipeline: str,
        stream: str,
        classes: Sequence[str],
        stage_figures: Callable[[], Mapping[str, Mapping[str, Any]]],
        ring_status: Callable[[], Mapping[str, RingStatus]],
    ) -> None:
        self._counters = counters
        self._pipeline = pipeline
        self._stream = stream
        self._labels = (*classes, UNKNOWN) if classes else ()
        self._stage_figures = stage_figures
        self._ring_status = ring_status
        self.accuracy: float | None = None
        self.drift_score: float | None = None
        self.clock_offset_s: float | None = None

    def collect(self) -> Iterator[Metric]:
        """Return the families; accuracy and drift score only where they have a value."""
        snapshot = self._counters.snapshot()
        yield from self._model(snapshot)
        yield from self._samples(snapshot)
        yield from self._rings()
        yield from self._loop(snapshot)
        build = GaugeMetricFamily("neuroloop_build_info", "Version of the program.", labels=["version"])
        build.add_metric([version("neuroloop")], 1)
        yield build

    def _model(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        if self._labels:
            predictions = CounterMetricFamily(
                "model_predictions",
                "Decisions by most probable class; flagged ones are unknown.",
                labels=["model", "label"],
            )
            for label, count in zip(self._labels, snapshot.numbers["predictions"], strict=True):
                predictions.add_metric([self._pipeline, label], int(count))
            yield predictions
            yield _histogram(
                "model_prediction_latency_seconds",
                "From the arrival of the newest sample to the decision.",
                {"model": self._pipeline},
                snapshot.histograms["prediction_latency"],
            )
        if self.accuracy is not None:
            gauge = GaugeMetricFamily("model_accuracy", "Share of right decisions where labels came.", labels=["model"])
            gauge.add_metric([self._pipeline], self.accuracy)
            yield gauge
        if self.drift_score is not None:
            gauge = GaugeMetricFamily(
                "data_drift_score", "Distance from the baseline, 1 at the threshold.", labels=["stream"]
            )
            gauge.add_metric([self._stream], self.drift_score)
            yield gauge

    def _samples(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        numbers = snapshot.numbers
        for name, key, text in (
            ("neuroloop_samples", "received", "Samples that the source handed over."),
            ("neuroloop_samples_processed", "processed", "Received samples that went through the pipeline."),
            ("neuroloop_samples_duplicate", "duplicates", "Samples that came again and were dropped."),
            ("neuroloop_gaps", "gaps", "Gaps in the stream."),
            ("neuroloop_clock_steps", "clock_steps", "Steps of the sender's clock."),
            ("neuroloop_samples_nonfinite", "nonfinite", "Samples with a value that is not finite."),
        ):
            yield self._one(CounterMetricFamily, name, text, int(numbers[key][0]))
        missing = CounterMetricFamily(
            "neuroloop_samples_missing", "Samples that never came, by what was done.", labels=["stream", "how"]
        )
        for how in ("filled", "jumped"):
            missing.add_metric([self._stream, how], int(numbers[how][0]))
        yield missing
        yield self._one(
            GaugeMetricFamily, "neuroloop_stream_up", "Whether the source delivers.", int(numbers["stream_up"][0])
        )
        if int(numbers["received"][0]):
            text = "Stamp of the newest sample, on the sender's clock."
            yield self._one(
                GaugeMetricFamily, "neuroloop_newest_sample_timestamp_seconds", text, float(numbers["newest_stamp"][0])
            )
            text = "Rate of the stamps over the last seconds."
            yield self._one(
                GaugeMetricFamily, "neuroloop_effective_rate_hertz", text, float(numbers["effective_sfreq"][0])
            )
        if self.clock_offset_s is not None:
            text = "What is added to the sender's stamps to get this machine's clock."
            yield self._one(GaugeMetricFamily, "neuroloop_clock_offset_seconds", text, self.clock_offset_s)

    def _rings(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("neuroloop_ring_lag_samples", "Rows that a reader is behind.", labels=["reader"])
        lost = CounterMetricFamily(
            "neuroloop_ring_lost_samples", "Rows that a reader was too late for.", labels=["reader"]
        )
        for name, status in self._ring_status().items():
            lag.add_metric([name], status.n_behind)
            lost.add_metric([name], status.n_lost)
        yield lag
        yield lost

    def _loop(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        yield _histogram(
            "neuroloop_loop_seconds", "Time from a chunk's arrival to the end of its processing.",
            {"stream": self._stream}, snapshot.histograms["loop_seconds"],
        )  # fmt: skip
        stage = GaugeMetricFamily(
            "neuroloop_stage_seconds", "Time of one call of a stage since the start.", labels=["stage", "quantile"]
        )
        for name, figures in self._stage_figures().items():
            for key, quantile in (("p50_us", "0.5"), ("p99_us", "0.99"), ("p99.9_us", "0.999")):
                stage.add_metric([name, quantile], figures[key] * 1e-6)
        yield stage

    def _one(
        self, family: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, text: str, value: float
    ) -> Metric:
        made = family(name, text, labels=["stream"])
        made.add_metric([self._stream], value)
        return made


def _histogram(name: str, text: str, labels: dict[str, str], snapshot: HistogramSnapshot) -> Metric:
    """Return a cumulative histogram family."""
    family = HistogramMetricFamily(name, text, labels=list(labels))
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*snapshot.bounds, float("inf")), snapshot.buckets.tolist(), strict=True):
        total += int(count)
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    family.add_metric(list(labels.values()), buckets, sum_value=snapshot.total)
    return family


def check_port(settings: MetricsSettings) -> None:
    """Find out early whether `serve` will be able to.

    Raises
    ------
    MetricsError
        If the port is taken or the host unknown.
    """
    if settings.port is None:
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _refusal(settings, error) from error


def _refusal(settings: MetricsSettings, error: OSError) -> MetricsError:
    where = f"{settings.host}:{settings.port}"
    return MetricsError(f"metrics.port must be a free port of this machine, got {where!r}: {error.strerror}")


def serve(collector: RunCollector, settings: MetricsSettings) -> int | None:
    """Serve ``/metrics``; return the port, or nothing where none is set.

    Raises
    ------
    MetricsError
        If the port is taken or the host unknown.
    """
    if settings.port is None:
        return None
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, _ = start_http_server(settings.port, addr=settings.host, registry=registry)
    except OSError as error:
        raise _refusal(settings, error) from error
    return int(server.server_port)
