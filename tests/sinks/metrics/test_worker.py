"""The metrics of a worker: exact names, right numbers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from neuroloop.sinks.metrics.worker import WorkerCollector
from neuroloop.stream.contracts.shared_memory import LATENCY_BOUNDS_S
from neuroloop.stream.worker.counts import WorkerCounts


def scraped(counts: WorkerCounts, score: float | None = None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(
        WorkerCollector(
            counts,
            pipeline="demo",
            bounds=LATENCY_BOUNDS_S,
            n_streams=lambda: 3,
            lag=lambda: {0: 5, 2: 7},
            drift_score=lambda: score,
        )
    )
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_count_has_its_family() -> None:
    counts = WorkerCounts(frames=9, samples=225, snapshots=2, snapshot_bytes=4000, restore_s=0.25)
    counts.predictions.update({"alpha": 4, "unknown": 1})
    counts.dead["WireError"] = 2
    counts.events["state"] = 3
    for seconds in (0.0005, 0.002, 5.0):
        counts.latency.add(seconds)
    found = scraped(counts, 0.5)
    pipeline = (("pipeline", "demo"),)
    assert found["model_predictions_total", (("label", "alpha"), ("model", "demo"))] == 4
    assert found["neuroloop_samples_total", pipeline] == 225
    assert found["neuroloop_worker_snapshot_bytes_total", pipeline] == 4000
    assert found["neuroloop_worker_restore_seconds", pipeline] == 0.25
    assert found["neuroloop_worker_streams", pipeline] == 3
    assert found["neuroloop_worker_partitions", pipeline] == 2
    assert found["neuroloop_worker_lag_frames", (("partition", "2"), *pipeline)] == 7
    assert found["neuroloop_worker_dead_letters_total", (*pipeline, ("reason", "WireError"))] == 2
    assert found["neuroloop_worker_events_total", (*pipeline, ("type", "state"))] == 3
    assert found["model_prediction_latency_seconds_count", (("model", "demo"),)] == 3
    assert found["model_prediction_latency_seconds_bucket", (("le", "+Inf"), ("model", "demo"))] == 3
    assert found["model_prediction_latency_seconds_bucket", (("le", "0.00064"), ("model", "demo"))] == 1
    assert found["data_drift_score", (("stream", "all"),)] == 0.5


def test_a_drift_score_that_nobody_has_is_left_out() -> None:
    assert not [name for name, _ in scraped(WorkerCounts()) if name == "data_drift_score"]
