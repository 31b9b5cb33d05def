"""Metric families made from counters, without a run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from neuroloop.models.accuracy import reference_accuracy
from neuroloop.sinks.metrics.run import RunCollector
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.process_usage import use_of_run
from neuroloop.stream.live.shared_state import Shared

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


@pytest.fixture
def shared() -> Shared:
    return Shared.make(INFO, stages=["filter"], classes=["rest", "move"], ring_s=1.0)


def collector(shared: Shared, **options: Any) -> RunCollector:
    return RunCollector(
        shared.counters,
        pipeline="p",
        stream="cap",
        classes=shared.classes,
        stage_figures=lambda: shared.latency().summary(),
        ring_status=shared.samples.status,
        **options,
    )


def scraped(one: RunCollector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(one)
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_counts_reach_the_scrape_and_flagged_decisions_are_unknown(shared: Shared) -> None:
    shared.numbers("predictions")[:] = (3, 0, 2)
    shared.numbers("received")[0] = 500
    shared.numbers("filled")[0] = 7
    shared.counters.histogram("prediction_latency").observe(5e-6)
    shared.counters.histogram("prediction_latency").observe(100.0)
    values = scraped(collector(shared))
    assert values["model_predictions_total['p', 'rest']"] == 3
    assert values["model_predictions_total['move', 'p']"] == 0
    assert values["model_predictions_total['p', 'unknown']"] == 2
    assert values["neuroloop_samples_total['cap', 'p']"] == 500
    assert values["neuroloop_samples_missing_total['cap', 'filled', 'p']"] == 7
    assert values["model_prediction_latency_seconds_bucket['1e-05', 'p']"] == 1
    assert values["model_prediction_latency_seconds_bucket['+Inf', 'p']"] == 2
    assert values["model_prediction_latency_seconds_sum['p']"] == pytest.approx(100.000005)
    shared.close()


def test_accuracy_and_drift_appear_with_their_first_value(shared: Shared) -> None:
    one = collector(shared, has_drift=True)
    assert not [name for name in scraped(one) if name.startswith(("model_accuracy", "data_drift_score"))]
    one.accuracy, one.drift_score = 0.75, 1.5
    values = scraped(one)
    assert values["model_accuracy['p']"] == 0.75
    assert values["data_drift_score['cap']"] == 1.5
    shared.close()


def test_drift_families_stand_at_zero_alarms_before_the_first_score(shared: Shared) -> None:
    one = collector(shared, has_drift=True)
    values = scraped(one)
    assert values["data_drift_alarm['cap']"] == 0
    assert values["data_drift_alarms_total['cap']"] == 0
    assert "data_drift_score['cap']" not in values
    one.drift_score, one.is_drift_alarm, one.n_drift_alarms = 1.5, True, 2
    values = scraped(one)
    assert values["data_drift_score['cap']"] == 1.5
    assert values["data_drift_alarm['cap']"] == 1
    assert values["data_drift_alarms_total['cap']"] == 2
    shared.close()


def test_readings_of_the_clock_become_unix_times_and_are_left_out_before_the_first(shared: Shared) -> None:
    names = ("neuroloop_watchdog_heartbeat", "neuroloop_newest_sample")
    assert not [name for name in scraped(collector(shared)) if "timestamp_seconds" in name]
    shared.numbers("received")[0] = 1
    begin, then = time.time(), time.perf_counter_ns() - 3_000_000_000
    for counter in ("heartbeat_ns", "newest_arrival_ns"):
        shared.numbers(counter)[0] = then
    values = scraped(collector(shared))
    took_s = time.time() - begin
    for name in names:
        said = values[f"{name}_timestamp_seconds['cap', 'p']"]
        assert said == pytest.approx(begin - 3.0, abs=0.1 + took_s)
    shared.close()


def test_losses_are_told_apart_by_reason(shared: Shared) -> None:
    for name, count in (("duplicates", 3), ("skipped", 4), ("outlet_errors", 5), ("unrecorded_samples", 6)):
        shared.numbers(name)[0] = count
    values = scraped(collector(shared))
    assert values["neuroloop_samples_dropped_total['cap', 'duplicate', 'p']"] == 3
    assert values["neuroloop_samples_dropped_total['cap', 'p', 'skipped']"] == 4
    assert values["neuroloop_sink_dropped_total['cap', 'outlet', 'p']"] == 5
    assert values["neuroloop_sink_dropped_total['cap', 'p', 'recorder_samples']"] == 6
    shared.close()


def test_the_use_of_this_process_is_scraped_under_its_name(shared: Shared) -> None:
    values = scraped(collector(shared, process_use=lambda: use_of_run(os.getpid())))
    expected = psutil.Process().memory_info().rss
    assert values["neuroloop_process_resident_memory_bytes['cap', 'p', 'supervisor']"] == pytest.approx(
        expected, rel=0.1
    )
    assert values["neuroloop_process_cpu_seconds_total['cap', 'p', 'supervisor']"] > 0
    shared.close()


def test_a_process_that_is_gone_has_no_use() -> None:
    assert use_of_run(2**22 + 1) == {}


def test_a_bundle_without_a_report_has_no_reference_accuracy(tmp_path: Path) -> None:
    assert reference_accuracy(tmp_path) is None
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "report.json").write_text('{"accuracy": 0.5}', encoding="utf-8")
    assert reference_accuracy(tmp_path) == 0.5
