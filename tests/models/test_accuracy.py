"""Accuracy of a running model: which label judges which decision."""

from __future__ import annotations

import pytest

from config.drift import AccuracySettings
from models.accuracy import OnlineAccuracy
from stream.contracts.events import Event


def marker(time: float, label: str, stream: str = "labels", at: float | None = None) -> Event:
    values = {"label": label, "marker_stream": stream, "marker_time": time}
    return Event("marker", "amp", 0, 0, time if at is None else at, 0.0, values)


def decision(time: float, label: str, valid: bool = True) -> Event:
    return Event("prediction", "amp", 0, 0, time, 0.0, {"label": label, "valid": valid})


def judged(events: list[Event], **settings: object) -> tuple[object, int]:
    labels = {"L": "left", "R": "right", "pause": ""}
    made = OnlineAccuracy(AccuracySettings.model_validate({"labels": labels, **settings}))
    made.add(events)
    made.finish()
    return made.value, made.n_judged


def test_a_label_holds_until_the_next_one() -> None:
    events = [marker(1.0, "L"), decision(1.0, "left"), decision(1.5, "right"), marker(2.0, "R"), decision(2.5, "right")]
    assert judged(events) == (pytest.approx(2 / 3), 3)


def test_nothing_is_judged_before_the_first_label_or_in_a_pause_or_when_flagged() -> None:
    events = [decision(0.5, "left"), marker(1.0, "L"), decision(1.2, "left", valid=False), marker(2.0, "pause")]
    assert judged([*events, decision(2.5, "left")]) == (None, 0)


def test_a_decision_is_about_a_stated_time_before_it() -> None:
    events = [marker(1.0, "L"), marker(2.0, "R"), decision(2.5, "left")]
    assert judged(events, delay_s=0.0) == (0.0, 1)
    assert judged(events, delay_s=1.0) == (1.0, 1)


def test_a_marker_may_come_late() -> None:
    settings = AccuracySettings(labels={"L": "left"}, wait_s=1.0)
    made = OnlineAccuracy(settings)
    made.add([decision(1.0, "left"), decision(1.9, "left")])
    assert made.n_judged == 0
    made.add([marker(0.9, "L"), decision(2.5, "right")])
    assert (made.value, made.n_judged) == (1.0, 1)


def test_only_markers_of_the_named_stream_and_known_labels_count() -> None:
    events = [marker(1.0, "L", "other"), marker(1.1, "unknown"), decision(2.0, "left")]
    assert judged(events, marker_stream="labels") == (None, 0)
    assert judged(events) == (1.0, 1)


def test_only_the_newest_decisions_count() -> None:
    events = [marker(0.0, "L"), *(decision(t, "right") for t in (1.0, 2.0)), *(decision(t, "left") for t in (3.0, 4.0))]
    assert judged(events, decisions=2) == (1.0, 4)
