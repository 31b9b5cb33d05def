"""Recordings and blocks as a faulty sender would have sent them, without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.playback.faults.faulty_feed import FaultyFeed
from neuroloop.stream.playback.faults.spec import Fault
from neuroloop.stream.playback.faults.truth import InjectedFault
from neuroloop.stream.playback.feed import RecordingFeed
from neuroloop.stream.sources.recordings.recording import RecordedStream


def disturb_stream(stream: RecordedStream, faults: Sequence[Fault]) -> tuple[RecordedStream, tuple[InjectedFault, ...]]:
    """Return a recorded stream as a faulty sender would have sent it, and the truth.

    Its flags (``valid``) go with the samples they belong to.
    """
    feed = RecordingFeed(stream)
    faulty = FaultyFeed(feed, faults)
    n_rows = faulty.n_samples or 0
    rows = faulty.rows(0, n_rows)
    valid = None if stream.valid is None else stream.valid[faulty.true_samples(0, n_rows)]
    disturbed = RecordedStream(
        stream.info,
        np.ascontiguousarray(rows.data),
        rows.timestamps,
        rows.sample_numbers,
        valid,
        stream.clock_offset_s,
        stream.host,
        stream.first_sample,
    )
    return disturbed, faulty.injected


def disturb_blocks(
    blocks: Sequence[RawBlock], info: StreamInfo, faults: Sequence[Fault], *, block_samples: int = 1
) -> tuple[list[RawBlock], tuple[InjectedFault, ...]]:
    """Return raw blocks as a receiver would get them from a faulty sender, and the truth.

    Parameters
    ----------
    blocks : sequence of RawBlock
        Of the undisturbed stream; all of them have sample numbers, or none.
    info : StreamInfo
    faults : sequence of Fault
    block_samples : int
        Samples that a block has where no packet and no silence ends it.
    """
    numbers = [block.sample_numbers for block in blocks if block.sample_numbers is not None]
    flags = [block.valid if block.valid is not None else np.ones(len(block.timestamps), np.bool_) for block in blocks]
    stream = RecordedStream(
        info,
        np.concatenate([np.empty((0, info.n_channels)), *(block.data for block in blocks)]),
        np.concatenate([np.empty(0), *(block.timestamps for block in blocks)]),
        np.concatenate(numbers) if numbers else None,
        np.concatenate(flags) if any(block.valid is not None for block in blocks) else None,
    )
    faulty = FaultyFeed(RecordingFeed(stream), faults)
    cut: list[RawBlock] = []
    row, n_rows = 0, faulty.n_samples or 0
    while row < n_rows:
        n = faulty.batch(row, block_samples)
        rows = faulty.rows(row, n)
        valid = None if stream.valid is None else stream.valid[faulty.true_samples(row, n)]
        cut.append(RawBlock(rows.data, rows.timestamps, rows.sample_numbers, valid))
        row += n
    return cut, faulty.injected
