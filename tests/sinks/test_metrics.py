"""Metric families made from counters, without a run."""

from __future__ import annotations

import socket

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from config.live import MetricsSettings
from sinks.metrics import MetricsError, RunCollector, check_port, serve
from stream.contracts import StreamInfo
from stream.runner.shared import Shared

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


@pytest.fixture
def shared() -> Shared:
    return Shared.make(INFO, stages=["filter"], classes=["rest", "move"], ring_s=1.0)


def collector(shared: Shared) -> RunCollector:
    return RunCollector(
        shared.counters,
        pipeline="p",
        stream="cap",
        classes=shared.classes,
        stage_figures=lambda: shared.latency().summary(),
        ring_status=shared.samples.status,
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
    assert values["neuroloop_samples_total['cap']"] == 500
    assert values["neuroloop_samples_missing_total['cap', 'filled']"] == 7
    assert values["model_prediction_latency_seconds_bucket['1e-05', 'p']"] == 1
    assert values["model_prediction_latency_seconds_bucket['+Inf', 'p']"] == 2
    assert values["model_prediction_latency_seconds_sum['p']"] == pytest.approx(100.000005)
    shared.close()


def test_accuracy_and_drift_appear_with_their_first_value(shared: Shared) -> None:
    one = collector(shared)
    assert not [name for name in scraped(one) if name.startswith(("model_accuracy", "data_drift_score"))]
    one.accuracy, one.drift_score = 0.75, 1.5
    values = scraped(one)
    assert values["model_accuracy['p']"] == 0.75
    assert values["data_drift_score['cap']"] == 1.5
    shared.close()


def test_a_taken_port_and_an_unknown_host_are_refused(shared: Shared) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = MetricsSettings(port=taken.getsockname()[1])
        with pytest.raises(
            MetricsError, match=r"metrics\.port must be a free port of this machine, got '127\.0\.0\.1:"
        ):
            check_port(settings)
        with pytest.raises(MetricsError, match="Address already in use"):
            serve(collector(shared), settings)
    with pytest.raises(MetricsError, match=r"got '256\.0\.0\.1:0'"):
        check_port(MetricsSettings(port=0, host="256.0.0.1"))
    check_port(MetricsSettings(port=0))
    check_port(MetricsSettings())
    assert serve(collector(shared), MetricsSettings()) is None
    shared.close()
