"""Under which id a stream is published, and to which topics; it needs no Kafka client."""

from __future__ import annotations

from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.wire.topics import TopicKind


def stream_id(settings: KafkaSettings, info: StreamInfo) -> str:
    """Return the id under which a stream is published: as set, else the sender's id, else its name."""
    return settings.stream_id or info.source_id or info.name or "stream"


def published_kinds(settings: KafkaSettings) -> tuple[TopicKind, ...]:
    """Return the topics that publishing needs."""
    kinds: list[TopicKind] = list(settings.publish)
    if "samples" in kinds:
        kinds.append("streams")
    return tuple(kinds)
