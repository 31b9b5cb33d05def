"""What a publisher counts where other processes may read it."""

from __future__ import annotations

from neuroloop.stream.contracts.shared_memory import CounterSpec

REASONS = (
    "buffer full", "spool full", "disk", "closed", "too large", "no such topic", "not authorised", "refused",
    "damaged",
)  # fmt: skip
"""Why a message is lost, in the order of the slots of ``kafka_dropped``; another reason counts as ``refused``."""
COUNTER_SPECS = (
    CounterSpec("kafka_offered", "count"),
    CounterSpec("kafka_found", "count"),
    CounterSpec("kafka_arrived", "count"),
    CounterSpec("kafka_again", "count"),
    CounterSpec("kafka_waiting", "count"),
    CounterSpec("kafka_waiting_bytes", "count"),
    CounterSpec("kafka_dropped", "count", size=len(REASONS)),
    CounterSpec("kafka_dropped_rows", "count"),
    CounterSpec("kafka_lost_rows", "count"),
    CounterSpec("kafka_lost_events", "count"),
    CounterSpec("kafka_behind_ns", "count"),
    CounterSpec("kafka_up", "count"),
)
"""What a publisher counts, in messages where nothing else is said; a block of counters for every process to read."""
