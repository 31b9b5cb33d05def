"""Raw samples in, events out: the sequencer and the pipeline as one, with its books.

The same object runs live, in replay and on a worker, which is what makes their numbers equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, RawBlock, StateDict
from neuroloop.stream.contracts.events import Event, Marker, Position, bounded, in_order
from neuroloop.stream.contracts.protocols import Windowed
from neuroloop.stream.engine.pipeline import NO_STAGES, Pipeline
from neuroloop.stream.engine.sequencer import Sequencer
from neuroloop.stream.engine.staleness import POLICIES, Skip
from neuroloop.stream.engine.tally import Tally


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
    first_sample : int
        Number of the first sample, unless the source numbers its samples itself.
    """

    def __init__(
        self,
        timing: TimingSettings,
        pipeline: Pipeline,
        on_chunk: Callable[[Chunk], None] | None = None,
        *,
        first_sample: int = 0,
    ) -> None:
        self.sequencer = Sequencer(timing, pipeline.info, first_sample)
        self.pipeline = pipeline
        self._on_chunk = on_chunk
        self._n_rows = 0
        self._n_skipped = 0
        self._stale: list[tuple[Skip, int]] = []
        self.n_markers_cut = 0
        self.tally = Tally()

    def add_markers(self, markers: Sequence[Marker]) -> Sequence[Marker]:
        """Take markers of any time; each becomes an event when its sample comes.

        Returns
        -------
        sequence of Marker
            As they were taken: texts that are too long are cut, and the marker is counted in `n_markers_cut`.
        """
        taken = [bounded(marker) for marker in markers]
        self.n_markers_cut += sum(kept is not marker for kept, marker in zip(taken, markers, strict=True))
        self.pipeline.add_markers(taken)
        return taken

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
            if self._stale:
                events.extend(self._skip_events(chunk.first_sample, float(chunk.timestamps[0])))
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

    def push_late(self, block: RawBlock, skip: Skip) -> list[Event]:
        """Process what a source handed over, whose first rows ``skip`` is about."""
        events = self.push_stale(block.rows(0, skip.n), skip)
        events.extend(self.push_block(block.rows(skip.n)))
        return events

    def push_stale(self, block: RawBlock, skip: Skip) -> list[Event]:
        """Take rows that waited too long, all or some of those that ``skip`` is about.

        They are numbered as any others, so that the number of the first row after them is true. Whether they are
        processed is the policy's matter. The event comes with the first row after them.

        Parameters
        ----------
        block : RawBlock
        skip : Skip
        """
        data, timestamps, numbers, valid = block
        if not self._stale or self._stale[-1][0] != skip:
            self._stale.append((skip, -1))
        pending, self._stale = self._stale, []
        before = self.sequencer.next_sample
        events: list[Event] = []
        if skip.policy == "refuse":
            events = self.push(data, timestamps, sample_numbers=numbers, valid=np.zeros(len(timestamps), np.bool_))
            first = before
        else:
            n_received = self.sequencer.counters["received"]
            chunks = self.sequencer.push(data, timestamps, numbers, valid)
            for chunk in chunks:
                if self._on_chunk is not None:
                    self._on_chunk(chunk)
                self._n_rows += len(chunk)
            self._n_skipped += self.sequencer.counters["received"] - n_received
            events = self.sequencer.take_events()
            self.tally.add(events)
            first = chunks[0].first_sample if chunks else before
        if pending[-1][1] < 0:
            pending[-1] = (skip, first)
        self._stale = pending
        return events

    def _skip_events(self, sample: int, time: float) -> list[Event]:
        """Say which rows waited too long, at the first sample after them."""
        stale, self._stale = self._stale, []
        return [
            Event(
                "skip",
                self.pipeline.info.name,
                sample,
                k,
                time,
                0.0,
                {
                    "policy": skip.policy,
                    "n": skip.n,
                    "first_arrival": skip.first_arrival,
                    "first_skipped": first_skipped,
                },
                Position.SKIP,
            )
            for k, (skip, first_skipped) in enumerate(stale)
        ]

    def finish(self) -> list[Event]:
        """Return what is left to say after the last sample."""
        events = self._skip_events(self.sequencer.next_sample, math.nan) if self._stale else []
        events += self.pipeline.finish()
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
            processed=self._n_rows - filled - self._n_skipped,
            counted={"duplicates": duplicates, "skipped": self._n_skipped},
            missing={"filled": filled, "jumped": jumped},
            quality=counters,
        )

    def get_state(self, *, without: Mapping[str, Windowed] = NO_STAGES) -> StateDict:
        """Return the whole state as one flat dict of new arrays: numbering, pipeline, books, tally.

        What ``on_chunk`` has seen is not part of it.

        Parameters
        ----------
        without : mapping
            As `Pipeline.get_state` takes it.
        """
        state = {f"sequencer/{key}": value for key, value in self.sequencer.get_state().items()}
        pipeline = self.pipeline.get_state(without=without)
        state.update({f"pipeline/{key}": value for key, value in pipeline.items()})
        state.update({f"tally/{key}": value for key, value in self.tally.get_state().items()})
        state["books"] = np.array([self._n_rows, self._n_skipped], np.int64)
        rows = [(skip.first_arrival, skip.n, POLICIES.index(skip.policy), first) for skip, first in self._stale]
        state["stale"] = np.array(rows, np.int64).reshape(-1, 4)
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` of an engine with equal settings returned, bit for bit."""

        def part(prefix: str) -> dict[str, NDArray[Any]]:
            return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}

        self.sequencer.set_state(part("sequencer/"))
        self.pipeline.set_state(part("pipeline/"))
        self.tally.set_state(part("tally/"))
        self._n_rows, self._n_skipped = (int(count) for count in state["books"])
        self._stale = [
            (Skip(int(first_arrival), int(n), POLICIES[int(policy)]), int(first))
            for first_arrival, n, policy, first in state["stale"]
        ]
