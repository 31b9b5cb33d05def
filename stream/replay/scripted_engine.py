"""Replaying a run as it was: recorded rows, and what its pipeline was told at which of them."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.staleness import Skip
from neuroloop.stream.sources.recordings.run_script import RunScript

HOLD_S = 12.0
"""Events wait for this much stream before they are written: a late marker belongs to a sample up to 10 s ago."""


class ScriptedEngine:
    """Push blocks of any length through an engine; markers, skips and losses come where they came in the run.

    Parameters
    ----------
    engine : Engine
    script : RunScript
    """

    def __init__(self, engine: Engine, script: RunScript) -> None:
        self._engine = engine
        self._script = script
        self._n_rows = 0
        self._n_arrived = self._n_skips = self._n_told = 0
        self._held: list[tuple[tuple[int, int, int], int, Event]] = []
        self._n_taken = 0
        self._hold_samples = max(1, round(HOLD_S * engine.pipeline.info.sfreq))

    def push(self, block: RawBlock) -> list[Event]:
        """Process a block; return the events that no later one can precede, in order."""
        start, n_rows = 0, len(block.timestamps)
        while start < n_rows:
            self._take_markers()
            n_piece = min(n_rows - start, self._next_cut() - self._n_rows)
            piece = block.rows(start, start + n_piece)
            skip = self._skip()
            self._hold(self._engine.push_block(piece) if skip is None else self._engine.push_stale(piece, skip))
            start += n_piece
            self._n_rows += n_piece
            self._tell()
        return self._due(self._engine.sequencer.next_sample - 1 - self._hold_samples)

    def finish(self) -> list[Event]:
        """Return what is left to say after the last row, in order."""
        self._take_markers()
        self._engine.add_markers([one.marker for one in self._script.arrivals[self._n_arrived :]])
        self._n_arrived = len(self._script.arrivals)
        self._hold(self._engine.finish())
        return self._due(math.inf)

    def _take_markers(self) -> None:
        """Hand over the markers that had come before the next row."""
        arrivals = self._script.arrivals
        begin = self._n_arrived
        while self._n_arrived < len(arrivals) and arrivals[self._n_arrived].n_before <= self._n_rows:
            self._n_arrived += 1
        if self._n_arrived > begin:
            self._engine.add_markers([one.marker for one in arrivals[begin : self._n_arrived]])

    def _skip(self) -> Skip | None:
        """Return the decision about the next row, if there was one."""
        skips = self._script.skips
        while self._n_skips < len(skips) and skips[self._n_skips].end <= self._n_rows:
            self._n_skips += 1
        if self._n_skips < len(skips) and skips[self._n_skips].first_arrival <= self._n_rows:
            return skips[self._n_skips]
        return None

    def _next_cut(self) -> int:
        """Return the next row behind this one at which something happens."""
        cuts = [one.n_before for one in self._script.arrivals[self._n_arrived : self._n_arrived + 1]]
        skip = self._skip()
        if skip is not None:
            cuts.append(skip.end)
        else:
            cuts += [one.first_arrival for one in self._script.skips[self._n_skips : self._n_skips + 1]]
        return min(cuts, default=self._n_rows + (1 << 62))

    def _tell(self) -> None:
        """Repeat what the source said about the samples so far."""
        newest = self._engine.sequencer.next_sample - 1
        told = self._script.told
        begin = self._n_told
        while self._n_told < len(told) and told[self._n_told].sample <= newest:
            self._n_told += 1
        self._engine.tally.add(told[begin : self._n_told])
        self._hold(told[begin : self._n_told])

    def _hold(self, events: Sequence[Event]) -> None:
        for event in events:
            insort(self._held, (event.order, self._n_taken, event))
            self._n_taken += 1

    def _due(self, newest: float) -> list[Event]:
        n_due = 0
        while n_due < len(self._held) and self._held[n_due][0][0] <= newest:
            n_due += 1
        due = [event for _, _, event in self._held[:n_due]]
        del self._held[:n_due]
        return due
