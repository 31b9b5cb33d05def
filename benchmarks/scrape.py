"""What a scrape costs in the cold process: families made from shared counters, against prometheus-client's own objects.

The same families, labels and values both ways, written in the classic text format. What a scrape does to the loop is in
`benchmarks.live`; this is only how long it keeps the cold process.

What limits the rows
--------------------
Both spend most of their time formatting numbers and labels. Ours makes the family objects anew at each scrape, so that
the hot loop keeps plain words in shared memory; the client's own objects are kept, at the price of a lock and about
half a microsecond for each value that the hot loop would count. Over HTTP on loopback a scrape also pays for a
connection, a thread and the headers; the note says how long that takes in all, on the wall clock.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from benchmarks.measure import Row, compare
from neuroloop.config.live import MetricsSettings
from neuroloop.sinks.metrics.run import RunCollector
from neuroloop.sinks.metrics.server import Health, serve
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.shared_memory import LATENCY_BOUNDS_S
from neuroloop.stream.live.process_usage import ProcessUse
from neuroloop.stream.live.shared_state import Shared

N_SCRAPES = 20
CLASSES = ("rest", "alpha", "seizure")
STAGES = ("filter", "reference", "bandpower", "standardise", "classifier")


def _shared() -> Shared:
    """Return counters as a run of some minutes leaves them."""
    names = ("C3",)
    shared = Shared.make(
        StreamInfo("cap", "EEG", "s", 250.0, names, ("eeg",), ("uV",)), stages=STAGES, classes=CLASSES, ring_s=1.0
    )
    shared.numbers("received")[0] = 123_456
    shared.numbers("processed")[0] = 123_456
    for name in ("heartbeat_ns", "newest_arrival_ns"):
        shared.numbers(name)[0] = time.perf_counter_ns()
    for seconds in np.random.default_rng(1).lognormal(-9.0, 1.0, 500):
        shared.counters.histogram("loop_seconds").observe(float(seconds))
        shared.counters.histogram("prediction_latency").observe(float(seconds))
        for row in range(len(shared.rows)):
            shared.latency().add(row, round(seconds * 1e9))
    return shared


def _collector(shared: Shared) -> RunCollector:
    """Return a collector with every family."""
    use = {name: ProcessUse(1, 200 << 20, 12.5) for name in ("supervisor", "hot", "cold")}
    collector = RunCollector(
        shared.counters, pipeline="demo", stream="cap", classes=CLASSES,
        stage_figures=lambda: shared.latency().summary(), ring_status=shared.samples.status,
        process_use=lambda: use, reference_accuracy=0.9, has_drift=True,
    )  # fmt: skip
    collector.accuracy, collector.drift_score, collector.clock_offset_s = 0.9, 0.5, 1e-5
    return collector


def _client_objects(collector: RunCollector) -> CollectorRegistry:
    """Return a registry of the client's own objects with the same families."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    values = np.random.default_rng(1).lognormal(-9.0, 1.0, 500).tolist()
    for family in collector.collect():
        labels = [name for name in family.samples[0].labels if name != "le"]
        if family.type == "histogram":
            histogram = Histogram(
                family.name, family.documentation, labels, registry=registry, buckets=LATENCY_BOUNDS_S
            ).labels(**{name: family.samples[0].labels[name] for name in labels})
            for value in values:
                histogram.observe(value)
        elif family.type == "counter":
            counter = Counter(family.name, family.documentation, labels, registry=registry)
            for sample in family.samples:
                counter.labels(**sample.labels).inc(sample.value)
        else:
            gauge = Gauge(family.name, family.documentation, labels, registry=registry)
            for sample in family.samples:
                gauge.labels(**sample.labels).set(sample.value)
    return registry


def _scraping(registry: CollectorRegistry) -> Callable[[], int]:
    def scrape() -> int:
        for _ in range(N_SCRAPES):
            generate_latest(registry)
        return N_SCRAPES

    return scrape


def _over_http_ms(collector: RunCollector) -> float:
    """Return the median wall time of a scrape over loopback."""
    good = Health(True, {})
    port = serve(collector, MetricsSettings(port=0), healthy=lambda: good, ready=lambda: good)
    times = []
    for _ in range(2 * N_SCRAPES):
        begin = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10.0) as answer:
            answer.read()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return 1


def rows(quick: bool) -> Iterator[Row]:
    """Measure the row."""
    shared = _shared()
    collector = _collector(shared)
    ours = CollectorRegistry()
    ours.register(collector)
    theirs = _client_objects(collector)
    n_series = sum(len(family.samples) for family in ours.collect())
    over_http_ms = _over_http_ms(collector)
    yield compare(
        "scrape", f"{n_series} series, text format", _scraping(ours), "the client's own objects", _scraping(theirs),
        quick=quick, note=f"{over_http_ms:.1f} ms over HTTP on loopback",
    )  # fmt: skip
    shared.close()
