"""Events in one pass: numbers into compact arrays, a few records of each type as they are.

A million events take some 60 MB and no more than a few seconds; nothing grows with their number but the arrays.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuroloop.sinks.report.text import as_number

N_KEPT = 10
"""How many of the first and of the last events of each type are kept as they are."""
MOST_NAMES = 64
_MOST_CLASSES = 12
_MOST_ALARMS = 2000
_HIGHEST_SAMPLE = 1 << 53
_OTHER = "(others)"


class Names:
    """Number names in the order in which they come; from the 64th on all are one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: Any) -> int:
        """Return the number of a name."""
        text = str(name)[:200]
        if text not in self._numbers and len(self.names) >= MOST_NAMES:
            text = _OTHER
        if text not in self._numbers:
            self._numbers[text] = len(self.names)
            self.names.append(text)
        return self._numbers[text]


@dataclass
class Spans:
    """Stretches of samples ``[start, stop)``, each of a kind."""

    start: array[int] = field(default_factory=lambda: array("q"))
    stop: array[int] = field(default_factory=lambda: array("q"))
    kind: array[int] = field(default_factory=lambda: array("h"))
    kinds: Names = field(default_factory=Names)

    def add(self, start: int, stop: int, kind: Any) -> None:
        """Keep one stretch; one without length is a moment."""
        self.start.append(start)
        self.stop.append(max(start, stop))
        self.kind.append(self.kinds.number(kind))


class EventDigest:
    """Take the events of a run, one after the other.

    Parameters
    ----------
    wanted_ids : collection of str
        Events to keep as they are, wherever they stand.
    """

    def __init__(self, wanted_ids: Collection[str] = ()) -> None:
        self._wanted_ids = frozenset(wanted_ids)
        self.wanted: list[dict[str, Any]] = []
        self.n = 0
        self.counts: Counter[str] = Counter()
        self.streams = Names()
        self.start: dict[str, Any] | None = None
        """The event that describes the stream."""
        self.first_sample: int | None = None
        self.last_sample: int | None = None
        self.first_wall_time: str | None = None
        self.first: dict[str, list[dict[str, Any]]] = {}
        self.last: dict[str, deque[dict[str, Any]]] = {}
        self.rows = array("q")
        """Sample of each prediction."""
        self.row_valid = array("b")
        self.probabilities: list[array[float]] = []
        self.confidences = array("d")
        self.labels = Names()
        self.row_label = array("h")
        self.turns: dict[tuple[str, str], dict[str, Any]] = {}
        """The first change of each pair of states."""
        self.states = Spans()
        """``stop`` equals ``start``: a state lasts until the next one."""
        self.gaps = Spans()
        self.lanes: dict[str, Spans] = {}
        """Moments and stretches of other types, by type."""
        self.alarms: list[dict[str, Any]] = []
        """Begin and end of each drift alarm, as far as they are not too many."""
        self.latencies = array("d")
        """``latency_s`` of predictions, in order; NaN where unknown."""
        self.ages = array("d")

    def add(self, record: dict[str, Any]) -> bool:
        """Take one event; return False for a record that is none."""
        kind, sample = record.get("type"), record.get("sample")
        if not isinstance(kind, str) or isinstance(sample, bool) or not isinstance(sample, int):
            return False
        if not 0 <= sample <= _HIGHEST_SAMPLE:
            return False
        kind = kind if kind in self.counts or len(self.counts) < MOST_NAMES else _OTHER
        self.n += 1
        self.counts[kind] += 1
        self.streams.number(record.get("stream", ""))
        self.first_sample = sample if self.first_sample is None else min(self.first_sample, sample)
        self.last_sample = sample if self.last_sample is None else max(self.last_sample, sample)
        if self.first_wall_time is None and isinstance(record.get("wall_time"), str):
            self.first_wall_time = record["wall_time"]
        if self._wanted_ids and str(record.get("id")) in self._wanted_ids:
            self.wanted.append(record)
        if len(self.first.setdefault(kind, [])) < N_KEPT:
            self.first[kind].append(record)
        else:
            self.last.setdefault(kind, deque(maxlen=N_KEPT)).append(record)
        self._sort_in(kind, sample, record)
        return True

    def _sort_in(self, kind: str, sample: int, record: dict[str, Any]) -> None:
        """Keep the numbers of an event."""
        if kind == "prediction":
            self._add_prediction(sample, record)
        elif kind == "state":
            self.states.add(sample, sample, record.get("state"))
            turn = (str(record.get("previous"))[:200], str(record.get("state"))[:200])
            if len(self.turns) < MOST_NAMES:
                self.turns.setdefault(turn, record)
        elif kind == "gap":
            missing = _whole(record.get("missing")) or 0
            start = _whole(record.get("first_missing"))
            start = sample if start is None else start
            self.gaps.add(start, start + missing, "filled" if record.get("filled") is True else "jumped")
        elif kind == "stream" and record.get("what") == "start":
            self.start = self.start or record
        else:
            if kind == "drift" and record.get("what") in ("onset", "end") and len(self.alarms) < _MOST_ALARMS:
                self.alarms.append(record)
            what = record.get("label" if kind == "marker" else "what") or record.get("reason") or kind
            self.lanes.setdefault(kind, Spans()).add(*extent(record, sample), what)

    def _add_prediction(self, sample: int, record: dict[str, Any]) -> None:
        """Keep one row of probabilities."""
        values = record.get("probabilities")
        row = [as_number(value) for value in values[:_MOST_CLASSES]] if isinstance(values, list) else []
        while len(self.probabilities) < len(row):
            self.probabilities.append(array("d", [float("nan")]) * len(self.rows))
        for index, column in enumerate(self.probabilities):
            value = row[index] if index < len(row) else None
            column.append(float("nan") if value is None else value)
        self.rows.append(sample)
        self.row_valid.append(record.get("valid") is not False)
        self.row_label.append(self.labels.number(record.get("label")))
        for column, key in ((self.confidences, "confidence"), (self.latencies, "latency_s"), (self.ages, "age_s")):
            value = as_number(record.get(key))
            column.append(float("nan") if value is None else value)

    def examples(self, kind: str) -> list[dict[str, Any]]:
        """Return the first and the last events of a type, in order."""
        return [*self.first.get(kind, ()), *self.last.get(kind, ())]

    def class_names(self, known: Sequence[object] = ()) -> list[str]:
        """Return the names of the probabilities' columns, as far as the run's plan or the rows tell.

        A row's label is its most probable class; of a run without a plan, a class that never was the most probable one
        stays without a name.

        Parameters
        ----------
        known : sequence
            The plan's classes; not used unless they are as many texts as there are columns.
        """
        if len(known) == len(self.probabilities) and all(isinstance(name, str) and name for name in known):
            return [str(name)[:200] for name in known]
        names = [""] * len(self.probabilities)
        for index, label in enumerate(self.labels.names):
            rows = [row for row, number in enumerate(self.row_label[:20000]) if number == index][:50]
            best = Counter(_argmax([column[row] for column in self.probabilities]) for row in rows)
            if best and (top := best.most_common(1)[0][0]) is not None and not names[top]:
                names[top] = label
        return [name or f"class {index}" for index, name in enumerate(names)]


def _argmax(values: list[float]) -> int | None:
    """Return where the largest number stands."""
    known = [(value, -index) for index, value in enumerate(values) if value == value]  # noqa: PLR0124
    return -max(known)[1] if known else None


def _whole(value: Any) -> int | None:
    """Return a sample number, or None."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _HIGHEST_SAMPLE
    return value if good else None


def extent(record: dict[str, Any], sample: int) -> tuple[int, int]:
    """Return the samples ``[start, stop)`` that an event is about; a moment where it does not say.

    An episode is written when it closes: what it says of its first sample or its length lies before its own.
    """
    start = next((s for key, v in record.items() if key.startswith("first_") and (s := _whole(v)) is not None), None)
    n = next((v for key in ("skipped", "missing", "n_samples") if (v := _whole(record.get(key))) is not None), None)
    last = next((s for key, v in record.items() if key.startswith("last_") and (s := _whole(v)) is not None), None)
    if start is not None:
        return start, (start + n if n is not None else (last if last is not None else sample) + 1)
    if n is not None:
        return max(0, sample - n), sample
    return sample, sample
