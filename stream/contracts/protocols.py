"""The Protocols between the rooms, one working method each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from neuroloop.stream.contracts.chunks import Chunk, RawBlock, StateDict, StreamInfo
from neuroloop.stream.contracts.events import Event, Finding, Marker


@runtime_checkable
class Source(Protocol):
    """Where samples come from."""

    @property
    def info(self) -> StreamInfo:
        """The stream as the sender or the file describes it."""
        ...

    def read(self, timeout_s: float) -> RawBlock | None:
        """Wait at most ``timeout_s`` for the first new sample and take all there is.

        Returns ``None`` when nothing came. The arrays are the source's own and valid until the next call.

        Raises
        ------
        StreamEnded
            No further sample will come.
        StreamLost
            The sender is gone.
        """
        ...

    def close(self) -> None:
        """Release what the source holds; may be called twice."""
        ...


@runtime_checkable
class MarkerSource(Protocol):
    """Where labels, triggers and operator marks come from."""

    def read(self) -> list[Marker]:
        """Return what came since the last call, in order of time; never waits."""
        ...


@runtime_checkable
class Processor(Protocol):
    """A numeric stage: pure computation with explicit state.

    ``process`` never mutates its input, allocates its output and nothing else, and gives the same rows however the
    stream was cut. Row ``k`` of the output carries ``first_sample + i``: a closed form of the global input index, so
    that a chunk that begins after a gap continues the numbering. After ``reset()`` the next chunk may begin anywhere.
    """

    @property
    def name(self) -> str:
        """The stage's name in the configuration, also the name of its tap."""
        ...

    @property
    def info_in(self) -> StreamInfo:
        """What ``process`` accepts."""
        ...

    @property
    def info_out(self) -> StreamInfo:
        """What ``process`` returns."""
        ...

    @property
    def delay_s(self) -> float:
        """Algorithmic delay in seconds that this stage adds."""
        ...

    @property
    def warmup_samples(self) -> int:
        """Input rows after a start or a flagged row before an output row may be valid again."""
        ...

    def newest_input(self, k: int) -> int:
        """Return the index of the newest input row that output row ``k`` used."""
        ...

    def process(self, chunk: Chunk) -> Chunk:
        """Return the output rows that the chunk completes, as a new chunk owned by the caller."""
        ...

    def reset(self) -> None:
        """Forget all samples seen."""
        ...

    def get_state(self) -> StateDict:
        """Return the whole state as a flat dict of new arrays."""
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        ...

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays (coefficients, windows, weights) that the plan's hash covers."""
        ...


def newest_sample(stages: Sequence[Processor], k: int) -> int:
    """Return the index of the newest raw sample that row ``k`` behind these stages used."""
    for stage in reversed(stages):
        k = stage.newest_input(k)
    return k


@runtime_checkable
class Reporter(Protocol):
    """What a `Processor` has besides when it has something to say; the pipeline makes events of it."""

    def take_findings(self) -> Sequence[Finding]:
        """Return what the last `Processor.process` found, in order of row and ``k``; the same for any chunking."""
        ...

    def open_findings(self) -> Sequence[Finding]:
        """Return what would still be going on if the stream ended after the last row."""
        ...


@runtime_checkable
class Windowed(Protocol):
    """What a `Processor` has besides when it keeps a window's rows in hand: many bytes, and all of them input again."""

    @property
    def refill_rows(self) -> int:
        """Input rows after which what is in hand depends on nothing before them."""
        ...

    def window_arrays(self) -> StateDict:
        """Return views of what is in hand, under the names that it has in the state."""
        ...

    def other_state(self) -> StateDict:
        """Return the state without it, as new arrays."""
        ...


@runtime_checkable
class Monitor(Protocol):
    """Watches the rows of one tap and changes none; what it finds becomes ``drift`` events.

    Deterministic as a `Processor` is: the same findings however the rows were cut.
    """

    @property
    def name(self) -> str:
        """The monitor's name in the configuration."""
        ...

    @property
    def tap(self) -> str:
        """``input`` or the stage whose output it watches."""
        ...

    @property
    def score(self) -> float:
        """How far the newest check was from the baseline, 1 at the threshold; NaN before there is one."""
        ...

    def observe(self, chunk: Chunk) -> Sequence[Finding]:
        """Take the rows and return what became known at them, in order of row and ``k``."""
        ...

    def open_findings(self) -> Sequence[Finding]:
        """Return what would still be going on if the stream ended after the last row."""
        ...

    def reset(self) -> None:
        """Forget the rows seen, as after a gap; a baseline and an alarm stay."""
        ...

    def get_state(self) -> StateDict:
        """Return the whole state as a flat dict of new arrays."""
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        ...

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the designed arrays that the plan's hash covers."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Turns class probabilities into states; knows no clock and does no I/O."""

    def decide(self, probabilities: Chunk) -> list[Event]:
        """Return the events that these rows cause, in order."""
        ...

    def reset(self) -> None:
        """Forget all rows seen."""
        ...


@runtime_checkable
class EventSink(Protocol):
    """Where events go.

    A failing sink never stops acquisition: ``write`` takes bounded time and raises nothing into the loop. What it could
    not take it counts, by a policy that its class names (which events go first, or that all later ones do); whoever
    made the sink asks for that count, and says it, at the end.
    """

    def write(self, events: Sequence[Event], /) -> None:
        """Take events in their order; there may be none."""
        ...

    def close(self) -> None:
        """Finish what is open; may be called twice, raises nothing."""
        ...


@runtime_checkable
class Tap(Protocol):
    """Where the rows of stages go; the same rules as for an `EventSink`."""

    def write_chunk(self, stage: str, chunk: Chunk, /) -> None:
        """Take rows that a stage gave out, or ``input`` the numbered samples; they stay the stage's, keep a copy."""
        ...


def taps_of(tap: Tap, stages: Iterable[str]) -> dict[str, Callable[[Chunk], None]]:
    """Return what takes the rows of each of these stages for one tap, as a pipeline is given it."""
    return {stage: partial(tap.write_chunk, stage) for stage in stages}
