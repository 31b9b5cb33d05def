"""The journal: in order, once, through kills and full disks."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from neuroloop.stream.contracts.events import Position
from neuroloop.stream.live.event_journal import EventJournal
from neuroloop.stream.live.shared_state import EventRecord
from neuroloop.stream.ring.header import Place

SECOND = 1_000_000_000


def record(sample: int, emitted_s: float, *, position: int = 10, k: int = 0) -> EventRecord:
    line = json.dumps({"id": f"s/x/{sample}/{k}", "sample": sample}, separators=(",", ":"))
    return EventRecord(sample, position, k, 0, round(emitted_s * SECOND), 0.0, line)


def add(journal: EventJournal, *records: EventRecord, at: int = 0) -> None:
    journal.add(records, [{"age_s": None}] * len(records), Place(at, at, 0))


def samples(path: Path) -> list[int]:
    return [json.loads(line)["sample"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_late_marker_gets_before_what_is_held(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=1.0)
    add(journal, record(100, 1.0), record(200, 1.1), at=2)
    assert journal.write_due(round(1.9 * SECOND)) is None
    add(journal, record(150, 1.8, position=1), at=3)
    journal.write_due(round(2.05 * SECOND))
    assert samples(tmp_path / "e") == [100]
    assert journal.write_due(3 * SECOND) == Place(3, 3, 0)
    journal.close()
    assert samples(tmp_path / "e") == [100, 150, 200]


def test_the_place_lags_behind_what_is_held(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=1.0)
    add(journal, record(100, 1.0), at=1)
    add(journal, record(200, 2.0), at=2)
    assert journal.write_due(round(2.5 * SECOND)) == Place(1, 1, 0)
    assert journal.write_due(round(2.6 * SECOND)) is None
    assert journal.write_due(3 * SECOND) == Place(2, 2, 0)
    journal.close()


def test_what_a_gate_says_before_the_stream_begins_waits_for_its_beginning(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=1.0)
    add(journal, record(0, 1.0, position=Position.GATE), at=1)
    assert journal.write_due(60 * SECOND) is None
    assert samples(tmp_path / "e") == []
    add(journal, record(0, 60.0, position=Position.STREAM, k=7), at=2)
    assert journal.write_due(62 * SECOND) == Place(2, 2, 0)
    ids = [json.loads(line)["id"] for line in (tmp_path / "e").read_text(encoding="utf-8").splitlines()]
    assert ids == ["s/x/0/7", "s/x/0/0"]
    add(journal, record(3, 63.0, position=Position.GATE), at=3)
    assert journal.write_due(65 * SECOND) == Place(3, 3, 0)
    journal.close()


def test_what_a_gate_says_is_written_though_no_stream_ever_begins(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=1.0)
    add(journal, record(0, 1.0, position=Position.GATE))
    journal.close()
    assert samples(tmp_path / "e") == [0]


def test_a_resumed_journal_cuts_a_torn_line_and_writes_nothing_twice(tmp_path: Path) -> None:
    first = EventJournal(tmp_path / "e", hold_s=1.0)
    assert not first.is_resumed
    add(first, record(100, 1.0), record(200, 1.0))
    first.write_due(5 * SECOND)
    with (tmp_path / "e").open("a") as file:
        file.write('{"id":"s/x/300/0","samp')
    second = EventJournal(tmp_path / "e", hold_s=1.0)
    assert second.is_resumed
    add(second, record(200, 1.0), record(300, 1.0), record(400, 1.0))
    second.close()
    first.close()
    assert samples(tmp_path / "e") == [100, 200, 300, 400]


def test_delivery_follows_the_identity_on_the_same_line(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=0.0)
    journal.add([record(1, 0.0)], [{"age_s": 0.5, "host": "ü"}], Place())
    journal.close()
    expected = '{"id":"s/x/1/0","sample":1,"age_s":0.5,"host":"ü"}\n'
    assert (tmp_path / "e").read_text(encoding="utf-8") == expected


class Disk:
    """Takes so many bytes and then nothing, as a full one does, in the middle of a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: Any) -> int:
        n = min(len(data), self.room)
        if n == 0:
            raise OSError(28, "No space left on device")
        self.room -= n
        return self._write(fd, data[:n])


def test_a_full_disk_is_said_once_tried_again_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0
    journal = EventJournal(tmp_path / "e", hold_s=0.0, clock_ns=lambda: now)
    disk = Disk(monkeypatch)
    disk.room = 20
    with caplog.at_level(logging.WARNING, logger="neuroloop.cold"):
        add(journal, record(1, 0.0), at=1)
        assert journal.write_due(now) is None
        assert (tmp_path / "e").read_bytes() == b""
        now = SECOND // 2
        disk.room = 10_000
        assert journal.write_due(now) is None
        now = 2 * SECOND
        add(journal, record(2, 0.0), at=2)
        assert journal.write_due(now) == Place(2, 2, 0)
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"]
    assert "No space left on device; events are held, trying again" in caplog.text
    journal.close()
    assert samples(tmp_path / "e") == [1, 2]
    assert journal.n_unwritten == 0


def test_what_a_full_disk_never_took_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = EventJournal(tmp_path / "e", hold_s=0.0, most_held_bytes=100)
    Disk(monkeypatch)
    add(journal, *(record(sample, 0.0) for sample in range(10)), at=10)
    journal.write_due(SECOND)
    assert 0 < journal.n_unwritten < 10
    journal.close()
    journal.close()
    assert journal.n_unwritten == 10
    assert (tmp_path / "e").read_bytes() == b""
