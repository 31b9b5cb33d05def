"""What a live run would publish to Kafka: said before it begins, refused where it cannot work."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroloop.config.errors import ConfigError, WireError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.naming import published_kinds, stream_id
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.wire.frames import encode_frame, frames_of_block
from neuroloop.stream.wire.messages import StreamDescription
from neuroloop.stream.wire.topics import Topics

_SLACK_BYTES = 16 * 1024
"""What clients and topics take above ``max_message_bytes``, for everything that is no frame."""


def publish_plan(settings: KafkaSettings, info: StreamInfo, *, stream: str | None = None) -> dict[str, Any]:
    """Return what a run on this stream would send, as JSON values.

    Parameters
    ----------
    settings : KafkaSettings
    info : StreamInfo
    stream : str, optional
        What Kafka calls the stream, where it comes from there.

    Raises
    ------
    ConfigError
        If a row of samples, or the stream's description, is larger than a message may be.
    """
    topics = Topics(settings.prefix)
    name = settings.stream_id or stream or stream_id(settings, info)
    plan: dict[str, Any] = {
        "bootstrap": list(settings.servers),
        "stream": name,
        "topics": sorted(topics.name(kind) for kind in published_kinds(settings)),
        "overflow": settings.overflow,
    }
    if "samples" not in settings.publish:
        return plan
    n_bytes = len(StreamDescription(name, info).as_json().encode())
    if n_bytes > settings.max_message_bytes + _SLACK_BYTES:
        rule = f"room for the description of {info.n_channels} channels ({n_bytes} bytes)"
        raise ConfigError(f"kafka.max_message_bytes must be {rule}, got {settings.max_message_bytes}")
    n_rows = max(1, round(settings.frame_s * info.sfreq))
    # no stamp follows from the first, every row has a flag: the largest a frame can be
    block = RawBlock(np.zeros((n_rows, info.n_channels)), np.zeros(n_rows), None, np.zeros(n_rows, np.bool_))
    try:
        frames = list(
            frames_of_block(
                block,
                stream=name,
                first_sample=1 << 40,
                session=1 << 42,
                counts="samples",
                sfreq=info.sfreq,
                max_bytes=settings.max_message_bytes,
            )
        )
    except WireError as error:
        fault = str(error).partition(" must be ")[2].partition(", got ")[0]
        raise ConfigError(f"kafka.max_message_bytes must be {fault}, got {settings.max_message_bytes}") from error
    plan["samples"] = {
        "rows_per_frame": len(frames[0]),
        "frames_per_second": info.sfreq / n_rows * len(frames),
        "frame_bytes": max(len(encode_frame(frame)) for frame in frames),
        "adds_s": settings.frame_s,
    }
    return plan


def publish_plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return a plan in words."""
    lines = [
        f"publishes to Kafka at {', '.join(plan['bootstrap'])} as {plan['stream']!r}: {', '.join(plan['topics'])}; "
        f"overflow: {plan['overflow']}"
    ]
    samples = plan.get("samples")
    if samples is not None:
        lines.append(
            f"  samples: {samples['rows_per_frame']} rows a frame, at most {samples['frame_bytes']} bytes, "
            f"{samples['frames_per_second']:.1f} frames/s, up to {samples['adds_s'] * 1e3:g} ms older"
        )
    return lines
