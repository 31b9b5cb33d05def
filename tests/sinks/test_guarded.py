"""Sinks of a lab's own: every event in order, errors and slowness stay with the sink, what it lost is counted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import CodeRules
from neuroloop.config.loading import dump_config, parse
from neuroloop.config.sinks import OwnSinkSettings
from neuroloop.sinks.guarded import PATIENCE, GuardedSink, OwnSinks, SinkRun, check_sinks
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event
from tests.sinks.lab_sinks import GATE, TOLD

RUN = SinkRun("own", StreamInfo("s", sfreq=100.0, ch_names=("a",)), (), "0" * 64)
MANY = [Event("gap", "s", sample, 0, sample / 100.0, 0.0) for sample in range(2500)]


@pytest.fixture(autouse=True)
def _clean() -> None:
    TOLD.clear()
    GATE.clear()


def settings_of(name: str, **values: Any) -> OwnSinkSettings:
    sinks = parse({"name": "own", "sinks": [{"kind": f"tests.sinks.lab_sinks:{name}", **values}]}).sinks
    assert sinks is not None
    return sinks[0]


def test_a_sink_gets_start_every_event_in_order_and_the_end() -> None:
    sink = GuardedSink(settings_of("Keeps"), RUN)
    for first in range(0, len(MANY), 7):
        sink.write(MANY[first : first + 7])
    sink.close()
    sink.close()
    assert ["start own", *MANY, "close"] == TOLD
    assert sink.books() == {"written": 2500, "lost": 0, "errors": 0}


def test_a_sink_is_told_of_start_and_end_of_a_run_without_events() -> None:
    sinks = OwnSinks([settings_of("Keeps")], RUN)
    GATE.wait(60.0)
    sinks.close()
    assert TOLD == ["start own", "close"]


def test_a_sink_that_fails_for_a_while_is_said_once_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "neuroloop.sink"):
        sink = GuardedSink(settings_of("Refuses", times=3), RUN, pause_s=0.001, last_s=60.0)
        sink.write(MANY)
        sink.close()
    assert [one for one in TOLD if isinstance(one, Event)] == MANY
    assert sink.books() == {"written": 2500, "lost": 0, "errors": 3}
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("sink 'refuses' must take events, got OSError at lab_sinks.py:")
    assert last == "sink 'refuses' takes events again"


def test_a_sink_that_goes_on_failing_is_closed_and_all_it_lost_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "neuroloop.sink"):
        sink = GuardedSink(settings_of("Refuses", times=1000), RUN, pause_s=0.001)
        sink.write(MANY[:10])
        assert GATE.wait(60.0)  # closed
        sink.write(MANY[10:])
        sink.close()
    books = sink.books()
    assert (books["written"], books["lost"], books["errors"]) == (0, 2500, PATIENCE)
    assert books["closed"].startswith("OSError at lab_sinks.py:")
    assert len(caplog.records) == 2  # that it fails, that it is closed


@pytest.mark.parametrize("name", ["NeverMade", "Exits"])
def test_a_sink_that_cannot_be_made_or_ends_the_program_ends_nothing(name: str) -> None:
    sinks = OwnSinks([settings_of(name), settings_of("Keeps")], RUN)
    sinks.write(MANY)
    sinks.close()
    assert sinks.books()["keeps"] == {"written": 2500, "lost": 0, "errors": 0}
    assert sinks.books()[name.lower()]["lost"] == 2500


def test_a_slow_sink_keeps_nobody_waiting_and_what_finds_no_room_is_counted() -> None:
    sink = GuardedSink(settings_of("Waits"), RUN, most_waiting=100, last_s=60.0)
    sink.write(MANY)  # returns while the sink has taken nothing
    GATE.set()
    sink.close()
    assert sink.books() == {"written": 100, "lost": 2400, "errors": 0}


def test_a_sink_that_hangs_does_not_keep_the_end_waiting() -> None:
    sink = GuardedSink(settings_of("Waits"), RUN, last_s=0.2)
    sink.write(MANY)
    sink.close()
    assert sink.books() == {"written": 0, "lost": 2500, "errors": 0, "closed": "it did not come to an end"}
    GATE.set()


def test_a_replay_waits_for_a_slow_sink() -> None:
    sink = GuardedSink(settings_of("Keeps"), RUN, most_waiting=10, waits=True)
    sink.write(MANY)
    sink.close()
    assert sink.books()["written"] == 2500


def test_events_that_may_be_overtaken_are_held() -> None:
    sinks = OwnSinks([settings_of("Keeps")], RUN, hold_ns=100)
    sinks.hold([MANY[5], MANY[3]], [10, 20], 50)
    sinks.hold([MANY[4]], [60], 125)
    sinks.close()
    assert [one for one in TOLD if isinstance(one, Event)] == MANY[3:6]


def test_what_is_no_sink_is_refused_without_being_made() -> None:
    with pytest.raises(ConfigError, match=r"sinks.0.kind must name a sink, got 'tests.sinks.lab_sinks:NoSink' without"):
        check_sinks([settings_of("NoSink")])


def test_code_of_sinks_is_not_taken_from_elsewhere() -> None:
    values: dict[str, Any] = {"name": "own", "sinks": [{"kind": "evil_sink:Sink", "port": 3}]}
    with pytest.raises(ConfigError, match=r"sinks.0.kind must be a known kind .* NEUROLOOP_ALLOW_CODE=1\), got"):
        parse(values, code=CodeRules())
    unread = parse(values, code=CodeRules(unread=True))
    assert "port: 3" in dump_config(unread)
    with pytest.raises(ConfigError, match=r"kind must be package.module:Class or an installed sink, got 'lines'"):
        parse({"name": "own", "sinks": [{"kind": "lines"}]})


def test_names_are_distinct_and_keys_are_the_sinks_own() -> None:
    kind = "tests.sinks.lab_sinks:Refuses"
    with pytest.raises(ConfigError, match=r"sinks.1.name must be distinct, got 'refuses'"):
        parse({"name": "own", "sinks": [{"kind": kind}, {"kind": kind}]})
    with pytest.raises(ConfigError, match=r"sinks.0.time must be a known setting \(did you mean 'times'\?\)"):
        parse({"name": "own", "sinks": [{"kind": kind, "time": 3}]})


def test_a_configuration_without_sinks_is_written_as_before() -> None:
    assert "sinks" not in dump_config(parse({"name": "own"}))
