"""Accuracy of a running model: which label judges which decision."""

from __future__ import annotations

from typing import Any

import pytest

from neuroloop.config.drift import AccuracySettings
from neuroloop.config.errors import ConfigError
from neuroloop.models.accuracy import OnlineAccuracy, check_labels
from neuroloop.stream.contracts.events import Event


def marker(time: float, label: str, stream: str = "labels", at: float | None = None) -> Event:
    values = {"label": label, "marker_stream": stream, "marker_time": time}
    return Event("marker", "amp", 0, 0, time if at is None else at, 0.0, values)


def decision(time: float, label: str, valid: bool = True) -> Event:
    return Event("prediction", "amp", 0, 0, time, 0.0, {"label": label, "valid": valid})


def judged(events: list[Event], **settings: object) -> tuple[object, int]:
    labels = {"L": "left", "R": "right", "pause": ""}
    made = OnlineAccuracy(AccuracySettings.model_validate({"labels": labels, **settings}), ("left", "right"))
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
    made = OnlineAccuracy(settings, ("left", "right"))
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


def report_of(labels: dict[object, object], classes: tuple[str, ...], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Judge one decision per marker: what the marker says, what was decided."""
    made = OnlineAccuracy(AccuracySettings.model_validate({"labels": labels}), classes)
    for t, (label, decided) in enumerate(pairs):
        made.add([marker(float(t), label), decision(t + 0.5, decided)])
    made.finish()
    return made.report()


def test_the_report_says_which_class_was_taken_for_which() -> None:
    pairs = [("L", "left"), ("L", "right"), ("L", "right"), ("R", "right")]
    assert report_of({"L": "left", "R": "right"}, ("left", "right"), pairs) == {
        "newest": 0.5,
        "judged": 4,
        "right": 2,
        "confusion": {"left": {"left": 1, "right": 2}, "right": {"left": 0, "right": 1}},
    }


@pytest.mark.parametrize("markers", [("0", "0", "1", "1"), ("0.0", "0", "1.0", "1"), ("rest", "rest", "go", "go")])
def test_without_rules_a_marker_is_a_class_by_name_or_by_index(markers: tuple[str, ...]) -> None:
    said = report_of({}, ("rest", "go"), list(zip(markers, ("rest", "go", "go", "go"), strict=True)))
    assert said["confusion"] == {"rest": {"rest": 1, "go": 1}, "go": {"rest": 0, "go": 2}}


def test_a_class_that_is_named_by_a_number_is_meant_by_its_name() -> None:
    said = report_of({}, ("1", "0"), [("1", "1"), ("0.0", "0")])
    assert (said["judged"], said["right"]) == (2, 2)


def test_numbers_that_are_no_index_and_other_texts_are_no_labels() -> None:
    said = report_of({}, ("rest", "go"), [(label, "go") for label in ("2", "-1", "0.5", "nan", "inf", "note", "")])
    assert said["judged"] == 0


def test_rules_may_be_numbers_on_both_sides() -> None:
    said = report_of({769: 0, 770: "go", 800: ""}, ("rest", "go"), [("769.0", "rest"), ("770", "go"), ("800", "go")])
    assert (said["judged"], said["right"]) == (2, 2)


def test_a_rule_for_a_class_that_is_not_there_is_refused() -> None:
    settings = AccuracySettings.model_validate({"labels": {"a": "rset", "b": 2, "c": 1, "d": ""}})
    with pytest.raises(ConfigError) as caught:
        check_labels(settings, ("rest", "go"))
    assert str(caught.value).splitlines() == [
        "accuracy.labels.a must be a class (rest, go), the index of one, or empty, got 'rset'",
        "accuracy.labels.b must be a class (rest, go), the index of one, or empty, got '2'",
    ]
