"""Metric families of a run on Kafka, from its shared counters: of the source, of the publisher."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from neuroloop.sinks.kafka.counters import COUNTER_SPECS
from neuroloop.sinks.kafka.counters import REASONS as DROPPED
from neuroloop.sinks.metrics.kafka import KafkaFamilies, KafkaSourceMetrics
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.live_kafka import KafkaOpener, source_families
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.sources.kafka.kafka_state import REASONS, SourceLink
from neuroloop.stream.sources.kafka.ordering import COUNTS
from neuroloop.stream.wire.messages import StreamDescription
from tests.stream.bridge.test_dead_letter_queue import SETTINGS

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


class Registered(Collector):
    """Families as a registry takes them."""

    def __init__(self, families: KafkaSourceMetrics | KafkaFamilies | None) -> None:
        assert families is not None
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families.collect()


def plan_of(link: SourceLink | None) -> SourcePlan:
    opener = None if link is None else KafkaOpener(SETTINGS, StreamDescription("s", INFO), "latest", link)
    return SourcePlan(INFO, "here", False, None, 1.0, opener)  # type: ignore[arg-type]


def test_lag_rows_and_messages_reach_the_scrape_by_reason() -> None:
    link = SourceLink.make()
    link.numbers("lag")[0] = 9
    for reason, n in (("late", 5), ("lost", 6), ("earlier", 7)):
        link.numbers("rows")[COUNTS.index(reason)] = n
    link.numbers("unreadable")[REASONS.index("other layout")] = 8
    registry = CollectorRegistry()
    registry.register(Registered(source_families(plan_of(link), "p")))
    found = {
        (sample.name, sample.labels.get("reason", "")): sample.value
        for family in parse_text(generate_latest(registry).decode())
        for sample in family.samples
        if sample.labels["pipeline"] == "p" and sample.labels["stream"] == "cap"
    }
    rows, messages = "neuroloop_kafka_source_rows_left_out_total", "neuroloop_kafka_source_messages_unreadable_total"
    assert found["neuroloop_kafka_source_lag_messages", ""] == 9
    assert {key[1]: value for key, value in found.items() if key[0] == rows} == {
        "duplicates": 0, "late": 5, "lost": 6, "other_session": 0,
    }  # fmt: skip
    assert found[messages, "other_layout"] == 8
    assert {key[1] for key in found if key[0] == messages} == {reason.replace(" ", "_") for reason in REASONS}


def test_a_source_elsewhere_has_none() -> None:
    assert source_families(plan_of(None), "p") is None


def samples_of(*, is_spooled: bool, **values: int) -> dict[tuple[str, str], float]:
    counters = {spec.name: np.zeros(spec.size, np.int64) for spec in COUNTER_SPECS}
    for name, value in values.items():
        counters[f"kafka_{name}"][0] = value
    counters["kafka_dropped"][DROPPED.index("spool full")] = 3
    families = KafkaFamilies(
        counters.__getitem__, {"pipeline": "p", "stream": "s"}, lag_s=lambda: 1.5, is_spooled=is_spooled
    )
    registry = CollectorRegistry()
    registry.register(Registered(families))
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
    assert set(reasons) == {reason.replace(" ", "_") for reason in DROPPED}
    assert reasons["spool_full"] == 3


def test_what_waits_in_memory_is_no_spool() -> None:
    found = samples_of(is_spooled=False, waiting_bytes=900)
    assert (found["neuroloop_kafka_spool_bytes", ""], found["neuroloop_kafka_buffer_bytes", ""]) == (0, 900)
