"""The books of a bridge balance, or say that they do not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.stream.bridge.accounting import BridgeAccount
from neuroloop.stream.contracts.chunks import RawBlock
from neuroloop.stream.contracts.events import Marker
from neuroloop.stream.wire.delivery_reports import Balance, DeliveryReports
from neuroloop.stream.wire.frames import frames_of_block
from neuroloop.stream.wire.messages import frame_message, marker_message
from neuroloop.stream.wire.topics import Topics

TOPICS = Topics("p")


def frame_of(n: int, session: int = 7) -> object:
    block = RawBlock(np.zeros((n, 2)), np.arange(n) / 100.0)
    (frame,) = frames_of_block(block, stream="s", first_sample=0, counts="received", sfreq=100.0, session=session)
    return frame_message(TOPICS, frame)


def test_reports_count_rows_by_reason_and_leave_out_other_sessions() -> None:
    reports = DeliveryReports(TOPICS, 7)
    reports(frame_of(10), None)  # type: ignore[arg-type]
    reports(frame_of(5), "buffer full")  # type: ignore[arg-type]
    reports(frame_of(4), "closed")  # type: ignore[arg-type]
    reports(frame_of(100, session=6), None)  # type: ignore[arg-type]
    reports(marker_message(TOPICS, Marker(1.0, "a", "m"), stream="s", k=0, session=7), None)
    samples, markers = Balance(n_in=19), Balance(n_in=1)
    reports.enter(samples, TOPICS.samples, is_kept=False)
    reports.enter(markers, TOPICS.markers, is_kept=False)
    assert (samples.n_out, samples.dropped, samples.is_balanced) == (10, {"buffer full": 5, "closed": 4}, True)
    assert (markers.n_out, markers.is_balanced) == (1, True)
    assert reports.n_lost(TOPICS.samples) == 9
    assert reports.n_lost(TOPICS.markers) == 0


def test_what_is_neither_sent_nor_lost_waits_in_a_spool_and_is_a_fault_without_one() -> None:
    reports = DeliveryReports(TOPICS, 7)
    reports(frame_of(10), None)  # type: ignore[arg-type]
    kept, unkept = Balance(n_in=12), Balance(n_in=12)
    reports.enter(kept, TOPICS.samples, is_kept=True)
    reports.enter(unkept, TOPICS.samples, is_kept=False)
    assert (kept.waiting, kept.is_balanced) == (2, True)
    assert (unkept.waiting, unkept.is_balanced) == (0, False)


def test_the_line_says_all_that_matters() -> None:
    books = BridgeAccount("amp", "to-kafka")
    books.samples = Balance(n_in=30, n_out=20, waiting=4, dropped=Counter({"closed": 5, "buffer full": 1}))
    books.markers = Balance(n_in=2, n_out=2)
    books.n_reconnections, books.n_unread = 1, 3
    assert books.line() == (
        "to-kafka 'amp': samples in 30 = sent 20 + dropped 6 + waiting 4 (1 buffer full, 5 closed); "
        "markers in 2 = sent 2 + dropped 0; reconnections 1; not handed out by LSL 3"
    )
    assert books.is_balanced


def test_the_file_holds_the_same_and_a_disk_that_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    books = BridgeAccount("amp", "to-lsl", samples=Balance(n_in=3, n_out=3))
    books.write(tmp_path / "books.json")
    written = json.loads((tmp_path / "books.json").read_text(encoding="utf-8"))
    assert written["samples"] == {"in": 3, "out": 3, "waiting": 0, "dropped": {}, "balanced": True}
    assert (written["direction"], written["ended"], written["epoch_offset_s"]) == ("to-lsl", "stopped", None)
    with pytest.raises(ConfigError, match=r"summary must be a file that can be written, got '.*': Is a directory"):
        books.write(tmp_path)


def lossy(messages: dict[str, int], *, out: int = 0, waiting: int = 0, problem: str = "") -> BridgeAccount:
    """Return the books of a bridge of 100 rows that lost what is neither sent nor waiting."""
    books = BridgeAccount("amp", "to-kafka", n_messages=out, messages_dropped=messages, problem=problem)
    lost = 100 - out - waiting
    books.samples = Balance(n_in=100, n_out=out, waiting=waiting, dropped=Counter({"closed": lost} if lost else {}))
    return books


def test_a_bridge_that_lost_rows_fails_with_the_cause_and_the_number() -> None:
    away = "kafka.bootstrap must be a broker that answers, got 'h:1': connection refused"
    assert lossy({"closed": 7}, problem=away).failure == f"{away}; dropped 100 of 100 samples and 0 of 0 markers"
    assert lossy({"closed": 1, "buffer full": 3}, out=60, problem=away).failure.startswith(
        f"{away}; dropped 40 of 100 samples"
    )
    assert lossy({"not authorised": 9}).failure == (
        "every message must arrive, got some that did not (9 not authorised); "
        "dropped 100 of 100 samples and 0 of 0 markers"
    )
    assert lossy({"buffer full": 9}).failure.startswith("every message must arrive, got some that did not (9 buffer")


def test_what_the_settings_give_up_what_waits_in_the_spool_and_what_arrived_is_no_failure() -> None:
    assert lossy({}, out=100).failure == ""
    assert lossy({"buffer full": 3}, out=60).failure == ""
    assert lossy({"damaged": 1}, out=100).failure == ""
    assert lossy({"spool full": 3}, waiting=60, problem="nobody answers").failure == ""


def test_what_waits_is_said_with_its_folder_and_the_cause() -> None:
    books = lossy({}, out=40, waiting=60, problem="nobody answers")
    assert books.waiting_line == ""
    books.spool_dir = "/var/spool/x"
    books.markers.waiting = 2
    assert books.waiting_line == (
        "60 samples and 2 markers wait in /var/spool/x for the next bridge that uses it: nobody answers"
    )


def test_what_did_not_come_through_kafka_is_said() -> None:
    books = BridgeAccount("amp", "to-lsl", n_lost=20, n_restarts=2, unreadable={"no frame": 3, "no marker": 1})
    assert books.line().endswith(
        "; reconnections 0; samples lost on the way 20; restarts of the producer 2; unreadable messages 4"
    )
    assert books.as_dict()["unreadable"] == {"no frame": 3, "no marker": 1}
