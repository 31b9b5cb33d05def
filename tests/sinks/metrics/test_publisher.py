"""Metric families of a publisher, from its shared counters."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from neuroloop.sinks.kafka.counters import COUNTER_SPECS, REASONS
from neuroloop.sinks.metrics.publisher import KafkaFamilies


def samples_of(*, is_spooled: bool, **values: int) -> dict[tuple[str, str], float]:
    counters = {spec.name: np.zeros(spec.size, np.int64) for spec in COUNTER_SPECS}
    for name, value in values.items():
        counters[f"kafka_{name}"][0] = value
    counters["kafka_dropped"][REASONS.index("spool full")] = 3
    families = KafkaFamilies(
        counters.__getitem__, {"pipeline": "p", "stream": "s"}, lag_s=lambda: 1.5, is_spooled=is_spooled
    )

    class Registered(Collector):
        def collect(self) -> object:  # type: ignore[override]
            return families.collect()

    registry = CollectorRegistry()
    registry.register(Registered())
    return {
        (sample.name, sample.labels.get("reason", sample.labels.get("what", ""))): sample.value
        for family in parse_text(generate_latest(registry).decode())
        for sample in family.samples
        if sample.labels["pipeline"] == "p" and sample.labels["stream"] == "s"
    }


def test_every_family_has_its_value_and_every_reason_a_label() -> None:
    found = samples_of(is_spooled=True, up=1, waiting=4, waiting_bytes=900, arrived=50, lost_rows=7)
    assert found["neuroloop_kafka_up", ""] == 1
    assert found["neuroloop_kafka_lag_seconds", ""] == 1.5
    assert found["neuroloop_kafka_messages_waiting", ""] == 4
    assert found["neuroloop_kafka_messages_sent_total", ""] == 50
    assert (found["neuroloop_kafka_spool_bytes", ""], found["neuroloop_kafka_buffer_bytes", ""]) == (900, 0)
    assert (found["neuroloop_kafka_lost_total", "rows"], found["neuroloop_kafka_lost_total", "events"]) == (7, 0)
    reasons = {key[1]: value for key, value in found.items() if key[0] == "neuroloop_kafka_messages_dropped_total"}
    assert set(reasons) == {reason.replace(" ", "_") for reason in REASONS}
    assert reasons["spool_full"] == 3


def test_what_waits_in_memory_is_no_spool() -> None:
    found = samples_of(is_spooled=False, waiting_bytes=900)
    assert (found["neuroloop_kafka_spool_bytes", ""], found["neuroloop_kafka_buffer_bytes", ""]) == (0, 900)
