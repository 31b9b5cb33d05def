"""The decision policy: threshold, confirmation, dwell, and unknown on doubt."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.config.decision import DecisionSettings
from neuroloop.models.policy import ThresholdPolicy
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event, canonical

INFO = StreamInfo("s", "Probabilities", "", 10.0, ("a", "b"), ("probability",) * 2, ("1", "1"))


def policy(**settings: Any) -> ThresholdPolicy:
    return ThresholdPolicy(
        DecisionSettings(**settings),
        classes=("a", "b"),
        stream="s",
        sfreq=10.0,
        delay_s=0.5,
        newest_sample=lambda k: 25 * k + 99,
        position=20,
    )


def rows(p_a: list[float], *, first: int = 0, flagged: tuple[int, ...] = ()) -> Chunk:
    data = np.array([[p, 1.0 - p] for p in p_a])
    valid = np.array([index not in flagged for index in range(len(p_a))])
    return make_chunk(data, 0.1 * (first + np.arange(len(p_a), dtype=float)), first, valid, INFO)


def states(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.k, event.values["state"]) for event in events if event.type == "state"]


def test_every_row_gives_a_prediction_with_its_newest_sample() -> None:
    events = [event for event in policy().decide(rows([0.9, 0.2])) if event.type == "prediction"]
    assert [(event.sample, event.k, event.values["label"]) for event in events] == [(99, 0, "a"), (124, 1, "b")]
    assert events[0].values == {"label": "a", "confidence": 0.9, "probabilities": [0.9, 1.0 - 0.9], "valid": True}
    assert events[0].id == "s/prediction/99/0"


def test_the_state_changes_at_the_threshold_and_only_then() -> None:
    assert states(policy(threshold=0.7).decide(rows([0.7, 0.6, 0.1, 0.1]))) == [(0, "a"), (1, "unknown"), (2, "b")]


def test_n_of_m_votes_confirm_a_state_and_a_divided_vote_keeps_it() -> None:
    decided = policy(confirm_n=2, confirm_m=3).decide(rows([0.9, 0.9, 0.1, 0.9, 0.1, 0.1]))
    assert states(decided) == [(0, "unknown"), (1, "a"), (4, "b")]


def test_a_flagged_row_is_unknown_at_once_and_the_class_must_be_confirmed_anew() -> None:
    decided = policy(confirm_n=2, confirm_m=2).decide(rows([0.9, 0.9, 0.9, 0.9, 0.9], flagged=(2,)))
    assert states(decided) == [(0, "unknown"), (1, "a"), (2, "unknown"), (4, "a")]


def test_a_class_is_kept_for_its_dwell_time_but_not_over_doubt() -> None:
    kept = policy(min_dwell_s=0.3).decide(rows([0.9, 0.1, 0.1, 0.1]))
    assert states(kept) == [(0, "a"), (3, "b")]
    doubted = policy(min_dwell_s=0.3, threshold=0.8).decide(rows([0.9, 0.5, 0.1]))
    assert states(doubted) == [(0, "a"), (1, "unknown"), (2, "b")]


def test_reset_announces_the_state_again() -> None:
    one = policy()
    one.decide(rows([0.9]))
    one.reset()
    assert states(one.decide(rows([0.9], first=7))) == [(7, "a")]


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"confirm_n": 3, "confirm_m": 2}, r"confirm_n must be in \[1, confirm_m=2\], got 3"),
        ({"confirm_n": 2, "confirm_m": 4}, "confirm_n must be more than half of confirm_m=4, got 2"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"min_dwell_s": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_could_confirm_two_classes_or_none_are_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        DecisionSettings(**settings)


@given(
    p_a=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    flags=st.sets(st.integers(0, 39)),
    cut=st.integers(0, 40),
    seed=st.integers(0, 3),
)
def test_decisions_do_not_depend_on_chunking_and_resume_exactly(
    p_a: list[float], flags: set[int], cut: int, seed: int
) -> None:
    settings = {"threshold": 0.6, "confirm_n": 2, "confirm_m": 3, "min_dwell_s": 0.1 * seed}
    flagged = tuple(flags)
    whole = [canonical(event) for event in policy(**settings).decide(rows(p_a, flagged=flagged))]
    cut = min(cut, len(p_a))
    first = policy(**settings)
    chunk = rows(p_a, flagged=flagged)
    parts = first.decide(chunk.slice(0, cut))
    second = policy(**settings)
    second.set_state(first.get_state())
    for row in range(cut, len(p_a)):
        parts += second.decide(chunk.slice(row, row + 1))
    assert [canonical(event) for event in parts] == whole
