"""What of a stream's state goes into a snapshot, and what is filled again by reading one window back.

Stages that cut windows hold the rows of one window: at 64 channels and 1 kHz more than a message may carry. Where they
are that large they stay out, and the snapshot is made of two moments. Of the *earlier* one it keeps the numbering and
all stages up to the last such stage, without the rows in their windows; of the *later* one, at least two windows on,
it keeps everything behind. To resume, a worker reads the messages between the two again, runs the first part alone over
them, which fills the windows, and puts the second part behind it. No recursive filter ever meets rows of another moment
than its state, and nothing is said twice. A checksum of the first part at the later moment proves that it came out
equal to the bit.

Where windows are small, the two moments are one and nothing is read again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import RawBlock, StateDict
from neuroloop.stream.contracts.protocols import Processor, Reporter, Windowed
from neuroloop.stream.engine.engine import Engine
from neuroloop.stream.engine.pipeline import Pipeline
from neuroloop.stream.worker.errors import WorkerError
from neuroloop.stream.worker.snapshot import Snapshot

LARGE_BYTES = 128 * 1024
"""Windows that hold more than this are filled again."""
_SEQUENCER = "sequencer/"
_NEXT_SAMPLE = "pipeline/pipeline/next_sample"


class SnapshotState:
    """Divide the state of one pipeline's engine, and put it together again.

    Parameters
    ----------
    pipeline : Pipeline
    large_bytes : int
        Windows of one stage that hold more are filled again.

    Attributes
    ----------
    refill_rows : int
        Raw rows between the two moments; 0 where nothing is filled again.
    """

    def __init__(self, pipeline: Pipeline, large_bytes: int = LARGE_BYTES) -> None:
        self._large: dict[str, Windowed] = {}
        n_upstream, rows = 0, 0.0
        for index, stage in enumerate(pipeline.stages):
            if isinstance(stage, Windowed) and sum(map(_n_bytes, stage.window_arrays().values())) > large_bytes:
                self._large[stage.name] = stage
                n_upstream = index + 1
                rows += stage.refill_rows * pipeline.info.sfreq / stage.info_in.sfreq
        self.refill_rows = 2 * math.ceil(rows)
        self.upstream: tuple[Processor, ...] = pipeline.stages[:n_upstream]
        names = (f"pipeline/stage/{stage.name}/" for stage in self.upstream)
        self._prefixes = (_SEQUENCER, *names) if n_upstream else ()

    def of(self, engine: Engine) -> StateDict:
        """Return the state of an engine without what is filled again."""
        return engine.get_state(without=self._large)

    def early(self, state: Mapping[str, NDArray[np.generic]]) -> StateDict:
        """Return what a snapshot keeps of the earlier moment."""
        if not self._prefixes:
            return {}
        kept = {key: value for key, value in state.items() if self._is_upstream(key)}
        return {**kept, _NEXT_SAMPLE: state[_NEXT_SAMPLE]}

    def late(self, state: Mapping[str, NDArray[np.generic]]) -> StateDict:
        """Return what a snapshot keeps of the later moment."""
        return {key: value for key, value in state.items() if not self._is_upstream(key)}

    def checksum(self, state: Mapping[str, NDArray[np.generic]]) -> int:
        """Return 64 bits that depend on every bit of the first part, windows included; 0 where there is none.

        The sum of the words of each array, bound to its name and shape by a CRC; a CRC of all bytes would take ten
        times as long.

        Parameters
        ----------
        state : mapping
            As `of` returns it; the windows are those of the pipeline now.
        """
        if not self._prefixes:
            return 0
        parts = {key: value for key, value in state.items() if self._is_upstream(key)}
        for name, stage in self._large.items():
            parts |= {f"pipeline/stage/{name}/{key}": value for key, value in stage.window_arrays().items()}
        total = 0
        for key in sorted(parts):
            array = np.ascontiguousarray(parts[key])
            salt = zlib.crc32(f"{key}{array.shape}{array.dtype.str}".encode())  # .str: 3 us less than the type itself
            if array.nbytes % 8:
                words = zlib.crc32(array.tobytes())
            else:
                words = int(np.add.reduce(array.reshape(-1).view(np.uint64)))
            total = (total * 31 + (salt ^ words) * 0x9E3779B97F4A7C15) & 0x7FFFFFFFFFFFFFFF
        return total

    def joined(self, early: Mapping[str, NDArray[np.generic]], late: Mapping[str, NDArray[np.generic]]) -> StateDict:
        """Return the arrays of a snapshot."""
        return {**{f"early/{key}": value for key, value in early.items()},
                **{f"late/{key}": value for key, value in late.items()}}  # fmt: skip

    def _is_upstream(self, key: str) -> bool:
        return bool(self._prefixes) and key.startswith(self._prefixes)

    def fixed_bytes(self, engine: Engine) -> int:
        """Return how long a snapshot of this engine will be, about and at most, in bytes.

        The stamps of the last seconds, which markers need, are counted as if they were all there.
        """
        stamps = engine.pipeline.marker_history_samples * 8
        return sum(value.nbytes + len(key) + 100 for key, value in self.of(engine).items()) + stamps + 2048


class Resume:
    """Bring a new engine to the later moment of a snapshot.

    Parameters
    ----------
    engine : Engine
        New, of the pipeline that made the snapshot.
    snapshot_state : SnapshotState
    arrays : mapping
        Of the snapshot.
    checksum : int
        What `SnapshotState.checksum` was at the later moment.
    """

    def __init__(
        self, engine: Engine, snapshot_state: SnapshotState, arrays: Mapping[str, NDArray[np.generic]], checksum: int
    ) -> None:
        early = {key[6:]: value for key, value in arrays.items() if key.startswith("early/")}
        self._late = {key[5:]: value for key, value in arrays.items() if key.startswith("late/")}
        self._engine = engine
        self._snapshot_state = snapshot_state
        self._checksum = checksum
        self._next_sample: int | None = None
        if early:
            self._next_sample = int(early[_NEXT_SAMPLE][0])
            engine.set_state({**engine.get_state(), **early})

    def refill(self, block: RawBlock) -> None:
        """Run the first part alone over rows between the two moments."""
        for chunk in self._engine.sequencer.push(block.data, block.timestamps, block.sample_numbers, block.valid):
            if chunk.first_sample != self._next_sample:
                for stage in self._snapshot_state.upstream:
                    stage.reset()
            self._next_sample = chunk.next_sample
            rows = chunk
            for stage in self._snapshot_state.upstream:
                rows = stage.process(rows)
                if isinstance(stage, Reporter):
                    stage.take_findings()
                if not len(rows):
                    break
        self._engine.sequencer.take_events()

    def finish(self) -> None:
        """Put the second part behind the first.

        Raises
        ------
        WorkerError
            If the first part did not come out as it was.
        """
        state = self._engine.get_state()
        checksum = self._snapshot_state.checksum(state)
        if checksum != self._checksum:
            rule = f"what it was at its snapshot (checksum {self._checksum:016x})"
            raise WorkerError(
                f"state of stream {self._engine.pipeline.info.name!r} must be {rule}, got {checksum:016x}"
            )
        self._engine.set_state({**state, **self._late})


def without_state(snapshot: Snapshot) -> Snapshot:
    """Return what can be used of a snapshot whose messages between the two moments are gone: where its numbers end."""
    next_sample = int(snapshot.arrays[f"late/{_NEXT_SAMPLE}"][0])
    return replace(
        snapshot, row=snapshot.live_row, resume_offset=snapshot.covered_offset, first_sample=next_sample,
        upstream_checksum=0, arrays={},
    )  # fmt: skip


def _n_bytes(array: NDArray[np.generic]) -> int:
    return array.nbytes
