"""Settings of ``neuroloop worker``: its group, its snapshots, how long it waits for what comes out of order."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from neuroloop.config.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Settings


class WorkerSettings(Settings):
    """How streams are shared between workers and kept through their deaths."""

    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,180}$")] | None = None
    """Workers of one group share the streams; ``<kafka.prefix>.<name>`` without it. Two pipelines need two groups."""
    output_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$")] | None = None
    """Prefix of the topics that events go to, where it is another than ``kafka.prefix``."""
    snapshot_s: PositiveFloat = 5.0
    """How often the state of every stream that moved is kept, in seconds."""
    snapshot_kb: Annotated[int, Field(ge=16, le=100_000)] = 900
    """The largest state of one stream; brokers refuse more than 1 MB in one message unless told otherwise."""
    refresh_s: PositiveFloat = 60.0
    """How often the state of a stream that stands still is kept again, so that it lies near the end of its topic."""
    forget_s: NonNegativeFloat = 600.0
    """How long it is remembered that a stream has ended, so that what comes late is not taken for a new one."""
    reorder_frames: PositiveInt = 16
    """How many frames of a stream wait for one that is late; then its rows are given up, and an event says so."""
    hold_frames: PositiveInt = 10_000
    """How many messages of a partition may pass while a frame waits."""
    buffer_frames: PositiveInt = 64
    """How many messages wait in memory to be processed."""
    pending_events: PositiveInt = 10_000
    """How many messages wait for the brokers before the worker waits, too."""
    describe_s: PositiveFloat = 5.0
    """How long to wait for the description of a stream whose frames have come; other streams go on meanwhile."""
    undescribed_mb: PositiveFloat = 64.0
    """How much of such frames may wait in memory; beyond it the stream that has waited longest is given up."""
    delivery_s: PositiveFloat = 300.0
    """How long brokers may be away before the worker gives up; another, or its next start, then goes on."""
    rebalance_s: Annotated[float, Field(ge=1)] = 6.0
    """How long the group waits for a member when streams are shared anew."""
    stop_s: PositiveFloat = 20.0
    """How long a worker that is told to end may take to keep its state."""
