"""What a pipeline gives back: events, and the rows of its stages, as arrays or pandas tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Event, canonical

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Output:
    """The rows of one stage, in order; new arrays that are the caller's own.

    Parameters
    ----------
    name : str
        The stage, or ``input``.
    info : StreamInfo
        Rate, channels and units of the rows.
    data : array, shape (n_rows, n_channels)
    timestamps : array, shape (n_rows,)
        In seconds: of a windowed stage's row the stamp of its newest sample.
    valid : array, shape (n_rows,), bool
        False for rows that touch missing samples, artifacts or the time that filters need to settle.
    samples : array, shape (n_rows,), int64
        The rows' numbers, missing ones counted in.
    """

    name: str
    info: StreamInfo
    data: FloatArray
    timestamps: FloatArray
    valid: BoolArray
    samples: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, info: StreamInfo, chunks: Sequence[Chunk]) -> Output:
        """Join the chunks of a stage."""
        return cls(
            name,
            info,
            np.concatenate([np.empty((0, info.n_channels)), *(chunk.data for chunk in chunks)]),
            np.concatenate([np.empty(0), *(chunk.timestamps for chunk in chunks)]),
            np.concatenate([np.empty(0, np.bool_), *(chunk.valid for chunk in chunks)]),
            np.concatenate(
                [np.empty(0, np.int64), *(np.arange(chunk.first_sample, chunk.next_sample) for chunk in chunks)]
            ),
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the columns, such as ``C3`` or ``C3:alpha``."""
        return self.info.ch_names

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the columns, such as ``uV`` or ``uV^2``."""
        return self.info.ch_units

    @property
    def sfreq(self) -> float:
        """Rows per second."""
        return self.info.sfreq

    def __len__(self) -> int:
        return len(self.timestamps)

    def __repr__(self) -> str:
        return f"<Output {self.name}: {len(self)} rows x {self.info.n_channels} channels, {self.sfreq:g} Hz>"

    def to_pandas(self, *, only_valid: bool = False) -> pd.DataFrame:
        """Return a table: one row per time in seconds, one column per channel.

        Parameters
        ----------
        only_valid : bool
            Whether to leave out the rows that are flagged.

        Raises
        ------
        NeuroloopError
            If pandas is not installed.
        """
        rows = self.valid if only_valid else np.ones(len(self), np.bool_)
        pandas = _pandas()
        index = pandas.Index(self.timestamps[rows], name="time")
        return pandas.DataFrame(self.data[rows], index=index, columns=list(self.channels))


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What became known with the samples of one call.

    Parameters
    ----------
    events : list of Event
        In order.
    outputs : mapping
        The rows of each stage by its name.
    """

    events: list[Event]
    outputs: Mapping[str, Output]

    @property
    def states(self) -> list[Event]:
        """The changes of the state; ``event.values["state"]`` is the new one."""
        return self.of_type("state")

    def of_type(self, event_type: str) -> list[Event]:
        """Return the events of one type."""
        return [event for event in self.events if event.type == event_type]

    def canonical_lines(self) -> list[str]:
        """Return one line per event that is equal for equal events: live, in replay and here."""
        return [canonical(event) for event in self.events]

    def __repr__(self) -> str:
        return f"<Result: {len(self.events)} events, {', '.join(map(repr, self.outputs.values()))}>"

    def to_pandas(self, event_type: str | None = None) -> pd.DataFrame:
        """Return the events, or those of one type, as a table: a row each, its own numbers as columns.

        Raises
        ------
        NeuroloopError
            If pandas is not installed.
        """
        return events_table(self.events if event_type is None else self.of_type(event_type))


def events_table(events: Iterable[Event]) -> pd.DataFrame:
    """Return events as a table: time, type, sample, stream, then what each type has of its own."""
    rows = [
        {"time": one.time, "type": one.type, "sample": one.sample, "stream": one.stream, **one.values} for one in events
    ]
    return _pandas().DataFrame(rows, columns=None if rows else ["time", "type", "sample", "stream"])


def event_of(record: Mapping[str, Any], delivery: frozenset[str]) -> Event:
    """Return the event that a line of ``events.jsonl`` tells."""
    own = frozenset({"id", "type", "stream", "sample", "time", "delay_s"}) | delivery
    time, delay_s = record["time"], record["delay_s"]
    return Event(
        record["type"],
        record["stream"],
        int(record["sample"]),
        int(str(record["id"]).rpartition("/")[2]),
        np.nan if time is None else float(time),
        np.nan if delay_s is None else float(delay_s),
        {key: value for key, value in record.items() if key not in own},
    )


def _pandas() -> Any:
    """Import pandas, which only tables need."""
    try:
        import pandas
    except ImportError as error:
        raise NeuroloopError(
            "pandas must be installed for tables (pip install 'neuroloop[pandas]'), got none"
        ) from error
    return pandas
