"""What happened in a recorded run beside its samples: which markers came when, which rows were too old, what was lost.

A replay that is told the same gives the same events, whatever the timing was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuroloop.stream.contracts.events import Event, Marker, Position
from neuroloop.stream.engine.staleness import Skip, skips_of

_TOLD = frozenset({"lost", "found"})


class Arrival(NamedTuple):
    """A marker, its place among all markers of the run, and how many raw rows had come before it."""

    sequence: int
    n_before: int
    marker: Marker


@dataclass(frozen=True)
class RunScript:
    """What the pipeline of a run was told.

    Parameters
    ----------
    stream : str
        Name of the data stream that it is about.
    arrivals : tuple of Arrival
        In their order.
    skips : tuple of Skip
        In the order of arrival.
    told : tuple of Event
        Events of the source that no computation gives: the stream was lost, and found again.
    """

    stream: str
    arrivals: tuple[Arrival, ...] = ()
    skips: tuple[Skip, ...] = ()
    told: tuple[Event, ...] = ()


def merge_scripts(scripts: Sequence[RunScript], segments: Sequence[tuple[int, int]]) -> RunScript:
    """Make one script of those of the files of a run.

    Parameters
    ----------
    scripts : sequence of RunScript
        At least one; what a recorder that was started anew wrote again is taken once.
    segments : sequence of (first row, number of rows)
        Which rows of the run were recorded. Rows are numbered anew without those that were not.
    """

    def recorded_before(row: int) -> int:
        return sum(min(max(row - first, 0), n) for first, n in segments)

    arrivals = {one.sequence: one for script in scripts for one in script.arrivals}
    skips = {one.first_arrival: one for script in scripts for one in script.skips}
    told = {event.id: event for script in scripts for event in script.told}
    moved = []
    for first in sorted(skips):
        skip = skips[first]
        begin, end = recorded_before(first), recorded_before(first + skip.n)
        if end > begin:
            moved.append(Skip(begin, end - begin, skip.policy))
    return RunScript(
        stream=scripts[0].stream,
        arrivals=tuple(
            arrivals[sequence]._replace(n_before=recorded_before(arrivals[sequence].n_before))
            for sequence in sorted(arrivals)
        ),
        skips=tuple(moved),
        told=tuple(sorted(told.values(), key=lambda event: event.order)),
    )


def script_of(stream: str, arrivals: Iterable[Arrival], records: Sequence[Mapping[str, Any]]) -> RunScript:
    """Make the script of one file.

    Parameters
    ----------
    stream : str
    arrivals : iterable of Arrival
    records : sequence of mapping
        The run's events, parsed.
    """
    told = [
        Event("stream", stream, record["sample"], _last_number(record["id"]), _time(record), 0.0,
              {"what": record["what"]}, Position.TOLD)
        for record in records
        if record.get("type") == "stream" and record.get("what") in _TOLD and record.get("stream") == stream
    ]  # fmt: skip
    mine = [record for record in records if record.get("stream") == stream]
    return RunScript(stream, tuple(arrivals), skips_of(mine), tuple(told))


def _last_number(identity: str) -> int:
    return int(identity.rpartition("/")[2])


def _time(record: Mapping[str, Any]) -> float:
    return float("nan") if record["time"] is None else float(record["time"])
