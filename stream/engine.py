"""Raw samples in, events out: the sequencer and the pipeline as one, with its books.

The same object runs live, in replay and on a worker, which is what makes their numbers equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.source import TimingSettings
from stream.contracts import BoolArray, Chunk, Event, FloatArray, Marker, RawBlock, in_order
from stream.pipeline import Pipeline
from stream.tally import Tally
from stream.timing import Sequencer


@dataclass(frozen=True)
class Books:
    """What became of every sample: received = processed + counted, by reason."""

    received: int
    processed: int
    counted: dict[str, int]
    missing: dict[str, int]
    quality: dict[str, int]


class Engine:
    """Number the samples of one stream, fill its gaps, run the pipeline, count everything.

    Parameters
    ----------
    timing : TimingSettings
    pipeline : Pipeline
    on_chunk : callable, optional
        Sees every numbered chunk before the pipeline does.
    """

    def __init__(
        self, timing: TimingSettings, pipeline: Pipeline, on_chunk: Callable[[Chunk], None] | None = None
    ) -> None:
        self.sequencer = Sequencer(timing, pipeline.info)
        self.pipeline = pipeline
        self._on_chunk = on_chunk
        self._n_rows = 0
        self.tally = Tally()

    def add_markers(self, markers: Sequence[Marker]) -> None:
        """Take markers of any time; each becomes an event when its sample comes."""
        self.pipeline.add_markers(markers)

    def push(
        self,
        data: FloatArray,
        timestamps: FloatArray,
        *,
        sample_numbers: NDArray[np.int64] | None = None,
        valid: BoolArray | None = None,
    ) -> list[Event]:
        """Process one block of raw samples.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels)
            May be reused by the caller afterwards.
        timestamps : array, shape (n_samples,)
            The sender's stamps in seconds.
        sample_numbers : array, shape (n_samples,), int64, optional
            The sender's own count of samples, where it has one.
        valid : array, shape (n_samples,), bool, optional

        Returns
        -------
        list of Event
            In order.
        """
        events: list[Event] = []
        for chunk in self.sequencer.push(data, timestamps, sample_numbers, valid):
            if self._on_chunk is not None:
                self._on_chunk(chunk)
            events.extend(self.pipeline.push(chunk))
            self._n_rows += len(chunk)
        extra = self.sequencer.take_events()
        if extra:
            events = in_order([*events, *extra])
        if events:
            self.tally.add(events)
        return events

    def push_block(self, block: RawBlock) -> list[Event]:
        """Process what a source handed over."""
        return self.push(block.data, block.timestamps, sample_numbers=block.sample_numbers, valid=block.valid)

    def finish(self) -> list[Event]:
        """Return what is left to say after the last sample."""
        events = self.pipeline.finish()
        self.tally.add(events)
        return events

    def state_seconds(self) -> dict[str, float]:
        """Return the time spent in each state in seconds of stream time."""
        stages = self.pipeline.stages
        return self.tally.state_seconds(1.0 / stages[-1].info_out.sfreq if stages else 0.0)

    def books(self) -> Books:
        """Return the balance of samples so far."""
        counters = dict(self.sequencer.counters)
        handed_on, filled, jumped = counters.pop("received"), counters.pop("filled"), counters.pop("jumped")
        duplicates = counters.pop("duplicates")
        return Books(
            received=handed_on + duplicates,
            processed=self._n_rows - filled,
            counted={"duplicates": duplicates},
            missing={"filled": filled, "jumped": jumped},
            quality=counters,
        )
