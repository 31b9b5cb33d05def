import ast
from itertools import pairwise
from pathlib import Path

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import ZScoreSettings
from neuroloop.processors.stages.registry import build_stage
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import (
    MAX_STAGES,
    MOST_LABEL,
    MOST_STREAM,
    Event,
    Marker,
    Position,
    bounded,
    end_position,
    in_order,
    monitor_position,
    position_ranges,
    stage_position,
)
from neuroloop.stream.engine.pipeline import Pipeline

CHECKOUT = Path(__file__).resolve().parents[3]
INFO = StreamInfo("amp", "EEG", "", 250.0, ("C3",), ("EEG",), ("uV",))


def test_the_ranges_of_positions_never_meet_and_stand_in_the_documented_order() -> None:
    ranges = position_ranges()
    assert list(ranges) == [
        Position.STREAM, Position.MARKER, Position.SKIP, Position.INPUT_MONITOR, Position.STAGE, Position.TOLD,
        Position.LATE_MARKER, Position.GATE, Position.END,
    ]  # fmt: skip
    assert all(one.stop <= other.start for one, other in pairwise(ranges.values()))


def test_no_number_of_the_order_is_another_than_it_was() -> None:
    assert {one.name: int(one) for one in Position} == {
        "STREAM": 0, "MARKER": 1, "SKIP": 2, "INPUT_MONITOR": 9, "STAGE": 10, "TOLD": 99, "LATE_MARKER": 1000,
        "GATE": 500_000, "END": 1_000_000,
    }  # fmt: skip
    assert [stage_position(index) for index in range(3)] == [10, 12, 14]
    assert [monitor_position(n_stages) for n_stages in range(3)] == [9, 11, 13]
    assert end_position(12) == 1_000_012


def test_every_stage_monitor_and_policy_of_the_longest_pipeline_stays_in_its_range() -> None:
    ranges = position_ranges()
    assert monitor_position(0) in ranges[Position.INPUT_MONITOR]
    places = [stage_position(index) for index in range(MAX_STAGES + 1)]
    places += [monitor_position(n_stages) for n_stages in range(1, MAX_STAGES + 1)]
    assert len(set(places)) == 2 * MAX_STAGES + 1
    assert all(place in ranges[Position.STAGE] for place in places)
    assert all(end_position(place) in ranges[Position.END] for place in (monitor_position(0), *places))
    assert stage_position(MAX_STAGES + 1) not in ranges[Position.STAGE]


def test_a_pipeline_of_more_stages_than_there_are_places_is_refused() -> None:
    stages = [build_stage(ZScoreSettings(kind="zscore", name=f"z{k}", mean=(0,), std=(1,)), INFO) for k in range(45)]
    Pipeline(INFO, stages[:44])
    with pytest.raises(ConfigError, match=r"^stages must be at most 44, with the classifier's, got 45$"):
        Pipeline(INFO, stages)


def test_events_of_one_sample_come_in_the_order_of_their_positions() -> None:
    made = [Event("marker", "amp", 7, 0, 0.0, 0.0, {}, one) for one in reversed(Position)]
    assert [event.position for event in in_order(made)] == list(Position)


def test_nobody_gives_an_event_a_position_by_number() -> None:
    rooms = [path for room in ("stream", "sinks", "models", "processors") for path in (CHECKOUT / room).rglob("*.py")]
    found = []
    for path in rooms:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Event"):
                continue
            given = node.args[7:8] + [one.value for one in node.keywords if one.arg == "position"]
            found += [f"{path.name}:{node.lineno}" for one in given if isinstance(one, ast.Constant)]
    assert found == []


def test_markers_of_bounded_length_are_themselves_and_others_cut_once() -> None:
    short = Marker(1.0, "x" * MOST_LABEL, "s" * MOST_STREAM)
    assert bounded(short) is short
    cut = bounded(Marker(1.0, "x" * 3_000_000, "s" * 3_000))
    assert (cut.time, len(cut.label), len(cut.stream)) == (1.0, MOST_LABEL, MOST_STREAM)
    assert cut.label.endswith("x…")
    assert bounded(cut) is cut
