"""Prometheus metrics of a live run, made from shared counters when they are scraped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from neuroloop.stream.contracts.shared_memory import Counters, CounterSnapshot, HistogramSnapshot

UNKNOWN = "unknown"
_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]
_MARKER_FAULTS = {"cut": "markers_cut", "stream": "marker_errors"}


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


class ProcessUse(Protocol):
    """What one process of the run has taken from the machine."""

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds, the shared rings included where it has touched them."""
        ...

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used."""
        ...


class Families(Protocol):
    """What can make metric families when it is scraped."""

    def collect(self) -> Iterator[Metric]:
        """Return the families."""
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
    process_use : callable, optional
        Returns what each process takes, by name.
    reference_accuracy : float, optional
        What the bundle reached in its own evaluation.
    has_drift : bool
        Whether drift is watched.
    beside : sequence of Families
        More families, such as those of the stimulator.

    Attributes
    ----------
    accuracy, drift_score, clock_offset_s : float or None
        Families without a value are left out.
    n_judged : int
        Decisions that the accuracy is over so far.
    is_drift_alarm : bool
    n_drift_alarms : int
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
        process_use: Callable[[], Mapping[str, ProcessUse]] = dict,
        reference_accuracy: float | None = None,
        has_drift: bool = False,
        beside: Sequence[Families] = (),
    ) -> None:
        self._counters = counters
        self._pipeline = pipeline
        self._stream = stream
        self._labels = (*classes, UNKNOWN) if classes else ()
        self._stage_figures = stage_figures
        self._ring_status = ring_status
        self._process_use = process_use
        self._reference_accuracy = reference_accuracy
        self._has_drift = has_drift
        self._beside = tuple(beside)
        self.accuracy: float | None = None
        self.n_judged = 0
        self.is_drift_alarm = False
        self.n_drift_alarms = 0
        self.drift_score: float | None = None
        self.clock_offset_s: float | None = None

    def collect(self) -> Iterator[Metric]:
        """Return the families; accuracy and drift score only where they have a value."""
        snapshot = self._counters.snapshot()
        yield from self._model(snapshot)
        yield from self._drift()
        yield from self._samples(snapshot)
        yield from self._moments(snapshot)
        yield from self._losses(snapshot)
        yield from self._loop(snapshot)
        yield from self._processes()
        for one in self._beside:
            yield from one.collect()
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
            yield histogram_family(
                "model_prediction_latency_seconds",
                "From the arrival of the newest sample to the decision.",
                {"model": self._pipeline},
                snapshot.histograms["prediction_latency"],
            )
        for name, text, value in (
            ("model_accuracy", "Share of right decisions where labels came.", self.accuracy),
            ("model_reference_accuracy", "Share that the bundle reached in its evaluation.", self._reference_accuracy),
        ):
            if value is not None:
                gauge = GaugeMetricFamily(name, text, labels=["model"])
                gauge.add_metric([self._pipeline], value)
                yield gauge
        if self.accuracy is not None:
            judged = CounterMetricFamily("model_accuracy_samples", "Decisions that a label judged.", labels=["model"])
            judged.add_metric([self._pipeline], self.n_judged)
            yield judged

    def _drift(self) -> Iterator[Metric]:
        if not self._has_drift:
            return
        for name, text, value in (
            ("data_drift_score", "Distance from the baseline, 1 at the threshold.", self.drift_score),
            ("data_drift_alarm", "Whether a drift alarm is going on.", float(self.is_drift_alarm)),
        ):
            if value is not None:
                gauge = GaugeMetricFamily(name, text, labels=["stream"])
                gauge.add_metric([self._stream], value)
                yield gauge
        alarms = CounterMetricFamily("data_drift_alarms", "Drift alarms that have begun.", labels=["stream"])
        alarms.add_metric([self._stream], self.n_drift_alarms)
        yield alarms

    def _samples(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        numbers = snapshot.numbers
        for name, key, text in (
            ("neuroloop_samples", "received", "Samples that the source handed over."),
            ("neuroloop_samples_processed", "processed", "Received samples that went through the pipeline."),
            ("neuroloop_gaps", "gaps", "Gaps in the stream."),
            ("neuroloop_clock_steps", "clock_steps", "Steps of the sender's clock."),
            ("neuroloop_samples_nonfinite", "nonfinite", "Samples with a value that is not finite."),
        ):
            yield self._one(CounterMetricFamily, name, text, int(numbers[key][0]))
        dropped = {"duplicate": "duplicates", "skipped": "skipped"}
        yield self._by(
            CounterMetricFamily, "neuroloop_samples_dropped", "Received samples that were not processed.", "reason",
            {reason: int(numbers[key][0]) for reason, key in dropped.items()},
        )  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_samples_missing", "Samples that never came, by what was done.", "how",
            {how: int(numbers[how][0]) for how in ("filled", "jumped")},
        )  # fmt: skip

    def _moments(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        """Return what is up, how fast, and when something happened last."""
        numbers = snapshot.numbers
        up = int(numbers["stream_up"][0])
        yield self._one(GaugeMetricFamily, "neuroloop_stream_up", "Whether the source delivers.", up)
        rows = [
            ("watchdog_heartbeat_timestamp_seconds", "When the hot process last turned its loop, Unix time.",
             wall_time(int(numbers["heartbeat_ns"][0]))),
            ("clock_offset_seconds", "What is added to the sender's stamps to get this machine's clock.",
             self.clock_offset_s),
        ]  # fmt: skip
        if int(numbers["received"][0]):
            rows += [
                ("newest_sample_timestamp_seconds", "When the newest sample arrived here, Unix time.",
                 wall_time(int(numbers["newest_arrival_ns"][0]))),
                ("newest_sample_stamp_seconds", "Stamp of the newest sample, on the sender's clock.",
                 float(numbers["newest_stamp"][0])),
                ("effective_rate_hertz", "Rate of the stamps over the last seconds.",
                 float(numbers["effective_sfreq"][0])),
            ]  # fmt: skip
        for name, text, value in rows:
            if value is not None:
                yield self._one(GaugeMetricFamily, f"neuroloop_{name}", text, value)

    def _losses(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        """Return what readers are behind, and what was computed and then lost."""
        status = self._ring_status()
        yield self._by(
            GaugeMetricFamily, "neuroloop_ring_lag_samples", "Rows that a reader is behind.", "reader",
            {name: one.n_behind for name, one in status.items()},
        )  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_ring_lost_samples", "Rows that a reader was too late for.", "reader",
            {name: one.n_lost for name, one in status.items()},
        )  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_markers_damaged", "Markers cut to a length, and failures of their streams.",
            "what", {what: int(snapshot.numbers[key][0]) for what, key in _MARKER_FAULTS.items()},
        )  # fmt: skip
        kinds = {
            "events": "events_unwritten", "outlet": "outlet_errors", "recorder_samples": "unrecorded_samples",
            "recorder_events": "unrecorded_events",
        }  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_sink_dropped", "What a sink could not take or write.", "sink",
            {kind: int(snapshot.numbers[key][0]) for kind, key in kinds.items()},
        )  # fmt: skip

    def _processes(self) -> Iterator[Metric]:
        use = self._process_use()
        yield self._by(
            GaugeMetricFamily, "neuroloop_process_resident_memory_bytes", "Memory that a process holds.", "process",
            {name: one.resident_bytes for name, one in use.items()},
        )  # fmt: skip
        yield self._by(
            CounterMetricFamily, "neuroloop_process_cpu_seconds", "Processor time of a process.", "process",
            {name: one.cpu_s for name, one in use.items()},
        )  # fmt: skip

    def _loop(self, snapshot: CounterSnapshot) -> Iterator[Metric]:
        yield histogram_family(
            "neuroloop_loop_seconds", "Time from a chunk's arrival to the end of its processing.",
            self._labelled(), snapshot.histograms["loop_seconds"],
        )  # fmt: skip
        stage = Metric("neuroloop_stage_seconds", "Time of one call of a stage since the start.", "summary")
        for name, figures in self._stage_figures().items():
            for key, quantile in (("p50_us", "0.5"), ("p99_us", "0.99"), ("p99.9_us", "0.999")):
                labels = {**self._labelled(), "stage": name, "quantile": quantile}
                stage.add_sample(stage.name, labels, figures[key] * 1e-6)
        yield stage

    def _labelled(self) -> dict[str, str]:
        """Return the labels that every family of the program carries."""
        return {"pipeline": self._pipeline, "stream": self._stream}

    def _one(self, family: _Family, name: str, text: str, value: float) -> Metric:
        """Return a family of one value."""
        made = family(name, text, labels=list(self._labelled()))
        made.add_metric(list(self._labelled().values()), value)
        return made

    def _by(self, family: _Family, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
        """Return a family of one value per value of a label."""
        made = family(name, text, labels=[*self._labelled(), label])
        for key, value in values.items():
            made.add_metric([*self._labelled().values(), key], value)
        return made


def wall_time(clock_ns: int) -> float | None:
    """Return the Unix time of a reading of this machine's `time.perf_counter_ns`; nothing for 0, never read."""
    return time.time() - (time.perf_counter_ns() - clock_ns) * 1e-9 if clock_ns else None


def histogram_family(name: str, text: str, labels: Mapping[str, str], snapshot: HistogramSnapshot) -> Metric:
    """Return a cumulative histogram family of one set of labels."""
    family = HistogramMetricFamily(name, text, labels=list(labels))
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*snapshot.bounds, float("inf")), snapshot.buckets.tolist(), strict=True):
        total += int(count)
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    family.add_metric(list(labels.values()), buckets, sum_value=snapshot.total)
    return family
