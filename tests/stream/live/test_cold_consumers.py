"""What the cold process hands round: each consumer takes a turn, and only what is on the disk is dealt with."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from neuroloop.sinks.run_folder.drift_log import DriftLog
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.contracts.protocols import EventSink
from neuroloop.stream.engine.tally import Tally
from neuroloop.stream.live.cold_consumers import (
    AlarmSink,
    CommitAtOnce,
    DriftConsumer,
    JournalConsumer,
    SinkConsumer,
    TallySink,
    ViewConsumer,
)
from neuroloop.stream.live.cold_input import Places, Turn
from neuroloop.stream.live.event_journal import EventJournal
from neuroloop.stream.live.shared_state import EventRecord, Shared, as_event
from neuroloop.stream.ring.header import Place

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))
S = 1_000_000_000


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared.make(INFO, stages=[], classes=(), ring_s=1.0)
    yield made
    made.close()


def turn(at: int, *samples: int, begun_s: float = 0.0) -> Turn:
    lines = [
        json.dumps({"id": f"s/gap/{n}/0", "type": "gap", "stream": "s", "delay_s": 0.0}, separators=(",", ":"))
        for n in samples
    ]
    records = [EventRecord(n, 10, 0, 0, n * S, 0.0, line) for n, line in zip(samples, lines, strict=True)]
    events = [as_event(record) for record in records]
    return Turn(round(begun_s * S), records, events, Places(Place(at, at, 0), None), 7, None)


def test_the_journal_commits_only_what_no_later_event_can_precede(tmp_path: Path, shared: Shared) -> None:
    committed: list[Places] = []
    journal = EventJournal(tmp_path / "e", hold_s=1.0)
    consumer = JournalConsumer(journal, shared, commit=committed.append, host="here")
    consumer.take(turn(1, 1, begun_s=1.5))
    assert committed == []
    consumer.take(turn(2, 2, begun_s=2.5))
    assert committed == [Places(Place(1, 1, 0), None)]
    consumer.finish(Places(Place(2, 2, 0), None))
    assert committed[-1] == Places(Place(2, 2, 0), None)
    lines = [json.loads(line) for line in (tmp_path / "e").read_text(encoding="utf-8").splitlines()]
    assert [(line["id"], line["host"], line["age_s"]) for line in lines] == [
        ("s/gap/1/0", "here", None), ("s/gap/2/0", "here", None),
    ]  # fmt: skip


def test_what_an_earlier_journal_could_not_write_stays_counted(tmp_path: Path, shared: Shared) -> None:
    shared.numbers("events_unwritten")[0] = 3
    journal = EventJournal(tmp_path / "e", hold_s=0.0)
    JournalConsumer(journal, shared, commit=lambda _: None, host=None).take(turn(1, 1))
    assert shared.numbers("events_unwritten")[0] == 3
    journal.n_unwritten = 2
    JournalConsumer(journal, shared, commit=lambda _: None, host=None).take(turn(2))
    assert shared.numbers("events_unwritten")[0] == 5
    journal.close()


def test_a_run_that_keeps_nothing_commits_each_turn_with_something_in_it() -> None:
    committed: list[Places] = []
    consumer = CommitAtOnce(committed.append)
    consumer.take(turn(1))
    consumer.take(turn(2, 5))
    assert committed == [Places(Place(2, 2, 0), None)]


def test_a_sink_gets_the_events_of_a_turn() -> None:
    tally = Tally()
    sink = TallySink(tally)
    assert isinstance(sink, EventSink)
    SinkConsumer(sink).take(turn(1, 1, 2))
    assert tally.events == {"gap": 2}


def drift(what: str, arm: str) -> Event:
    return Event("drift", "s", 1, 0, 0.0, 0.0, {"what": what, "monitor": "m", "arm": arm})


def test_an_alarm_holds_until_its_own_end() -> None:
    collector: Any = SimpleNamespace(n_drift_alarms=0, is_drift_alarm=False)
    sink = AlarmSink(collector)
    sink.write([drift("onset", "mean"), drift("onset", "spread"), drift("end", "mean")])
    assert (collector.n_drift_alarms, collector.is_drift_alarm) == (2, True)
    sink.write([drift("end", "spread"), drift("baseline", "mean")])
    assert (collector.n_drift_alarms, collector.is_drift_alarm) == (2, False)


def test_a_drift_score_is_shown_and_logged_once_there_is_one(tmp_path: Path, shared: Shared) -> None:
    collector: Any = SimpleNamespace(drift_score=None)
    consumer = DriftConsumer(shared, collector, DriftLog(tmp_path / "drift.csv"))
    shared.numbers("drift_score")[0] = 0.5
    consumer.take(turn(1))
    shown = [collector.drift_score]
    shared.numbers("processed")[0] = 10
    consumer.take(turn(1))
    shown.append(collector.drift_score)
    assert (tmp_path / "drift.csv").read_text(encoding="utf-8") == "sample,score\n7,0.5\n"
    shared.numbers("drift_score")[0] = float("nan")
    consumer.take(turn(1))
    assert [*shown, collector.drift_score] == [None, 0.5, None]


def test_a_view_that_fails_ends_the_drawing_and_nothing_else(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    class Torn(TerminalView):
        def update(self, *values: Any, **options: Any) -> None:
            raise OSError("no terminal")

    console = Console(file=io.StringIO(), force_terminal=True)
    with Torn(INFO, title="t", console=console) as view:
        consumer = ViewConsumer(view, shared)
        consumer.take(turn(1, 1))
        consumer.take(turn(2, 2))
    assert caplog.text.count("nothing more is drawn") == 1
