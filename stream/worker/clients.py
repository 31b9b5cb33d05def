"""What a worker reaches the brokers through; tests put brokers in memory there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neuroloop.stream.worker.changelog import Changelog
from neuroloop.stream.worker.control import Control
from neuroloop.stream.worker.descriptions import Descriptions
from neuroloop.stream.worker.marker_feed import MarkerFeed
from neuroloop.stream.worker.outbox import Outbox
from neuroloop.stream.worker.readers import GroupOffsets, TopicReader


@dataclass(frozen=True)
class Clients:
    """What the worker reaches the brokers through.

    Parameters
    ----------
    outbox : Outbox
    samples : TopicReader
    offsets : GroupOffsets
    changelog : Changelog
    descriptions : Descriptions
    markers : MarkerFeed, optional
    seek : callable
        Moves the group's consumer: partition, offset.
    commit : callable
        Commits offsets by partition; False where the partitions are not ours any more.
    control : Control
    owns : callable
        Whether a message still is for this worker: partitions may have gone to others since it was fetched.
    """

    outbox: Outbox
    samples: TopicReader
    offsets: GroupOffsets
    changelog: Changelog
    descriptions: Descriptions
    markers: MarkerFeed | None
    control: Control
    seek: Callable[[int, int], Awaitable[None]]
    commit: Callable[[Mapping[int, int]], Awaitable[bool]]
    owns: Callable[[Any], bool]
