"""Sources of a lab's own: what they give is checked, an error in one is a loss of the stream, never a traceback."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError, StreamEnded, StreamLost, StreamMismatch
from neuroloop.config.kinds import CodeRules
from neuroloop.config.loading import dump_config, load_config, parse
from neuroloop.config.source import OwnSourceSettings, built_in
from neuroloop.config.tree import Config
from neuroloop.stream.contracts.chunks import RawBlock, StreamInfo
from neuroloop.stream.live.live_own import find_own_source
from neuroloop.stream.sources.own_source import OwnSource, check_source
from neuroloop.stream.sources.session import SourceSession
from tests.stream.sources.lab_sources import INFO, MADE, PLAN, rows


@pytest.fixture(autouse=True)
def _clean() -> None:
    PLAN.clear()
    MADE.clear()


def config_of(name: str = "Listed", **values: Any) -> Config:
    return parse({"name": "own", "source": {"kind": f"tests.stream.sources.lab_sources:{name}", **values}})


def opened(name: str = "Listed", **values: Any) -> OwnSource:
    settings = config_of(name, **values).source
    assert isinstance(settings, OwnSourceSettings)
    return OwnSource(settings, sleep=lambda _: None)


def test_rows_come_through_as_they_are() -> None:
    PLAN.extend([rows(3), None, rows(0), rows(2, 3)])
    source = opened()
    first = source.read(0.1)
    assert first is not None
    np.testing.assert_array_equal(first.timestamps, [0.0, 0.01, 0.02])
    assert first.data.shape == (3, 2)
    assert source.read(0.1) is None
    assert source.read(0.1) is None
    assert isinstance(source.read(0.1), RawBlock)


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        ("Listed", [1, 2], r"TypeError: rows must be \(data, timestamps\), got list"),
        ("Listed", (np.ones((2, 3)), np.ones(2)), r"data must have shape \(n_samples, 2\), got \(2, 3\)"),
        ("Listed", (np.ones((2, 2)), np.ones(3)), "timestamps must be 2 finite numbers, got shape"),
        ("Listed", (np.ones((1, 2)), np.array([np.nan])), "timestamps must be 1 finite numbers"),
        ("Listed", (*rows(2), np.arange(2)), "sample_numbers must be given where the class says has_numbers"),
        ("Counts", rows(2), "sample_numbers must be given where the class says has_numbers"),
        ("Counts", (*rows(2), np.ones(2)), "sample_numbers must be 2 whole numbers"),
        ("Listed", (*rows(2), None, np.ones(2, np.bool_)), "valid must be left out"),
    ],
)
def test_what_are_no_rows_ends_the_run_in_one_line(name: str, given: Any, fault: str) -> None:
    PLAN.append(given)
    with pytest.raises(
        StreamMismatch, match=rf"source 'tests.*' must give rows of its stream, got .*{fault}"
    ) as caught:
        opened(name).read(0.1)
    assert "\n" not in str(caught.value)


def test_an_error_is_a_loss_and_the_source_is_made_anew_until_rows_come() -> None:
    PLAN.extend([rows(1), ValueError("a\nb"), "refuse", rows(1, 5)])
    source = opened()
    assert source.read(0.1) is not None
    with pytest.raises(StreamLost, match=r"source 'tests.*' must give rows, got ValueError at lab_sources.py:\d+: a b"):
        source.read(0.1)
    session = SourceSession(source, None, reconnect_s=60.0, is_stopped=lambda: False)
    assert session.recover()
    back = source.read(0.1)
    assert back is not None
    assert back.timestamps[0] == 0.05
    assert MADE == ["open", "close", "open"]


def test_a_source_that_gives_no_rows_again_is_kept_and_waited_for() -> None:
    PLAN.extend([OSError("gone"), None, None, rows(1)])
    source = opened()
    with pytest.raises(StreamLost):
        source.read(0.1)
    for _ in range(2):
        with pytest.raises(StreamLost, match="must give rows again, got none yet"):
            source.reopen(0.0)
    source.reopen(0.0)
    assert MADE == ["open", "close", "open"]


def test_one_that_comes_back_as_another_stream_is_refused() -> None:
    PLAN.extend([OSError("gone"), StreamInfo("lab", "EEG", "", 200.0, ("a", "b"))])
    settings = config_of().source
    assert isinstance(settings, OwnSourceSettings)
    source = OwnSource(settings, INFO, sleep=lambda _: None)
    with pytest.raises(StreamLost):
        source.read(0.1)
    with pytest.raises(StreamMismatch, match=r"must be the stream that it was, got sfreq 200.0 in place of 100.0"):
        source.reopen(0.0)


def test_one_that_is_over_is_over_also_while_it_is_waited_for() -> None:
    source = opened("Ends")
    source.reopen(0.0)
    with pytest.raises(StreamEnded):
        source.read(0.1)


def test_the_source_is_found_when_it_can_be_made_within_the_time() -> None:
    PLAN.append("refuse")
    plan = find_own_source(config_of(units="uV", reconnect_s=7.0))
    assert (plan.info.ch_units, plan.reconnect_s) == (("uV", "uV"), 7.0)
    assert MADE == ["open", "close"]
    assert pickle.loads(pickle.dumps(plan)).opener.open().info == plan.info


def test_one_that_cannot_be_made_is_one_line() -> None:
    PLAN.extend(["refuse"] * 3)
    with pytest.raises(StreamLost, match=r"source 'tests.*' must open, got ConnectionRefusedError at lab_sources.py"):
        find_own_source(config_of(resolve_s=0.1))
    PLAN[:] = ["no description"]
    with pytest.raises(StreamMismatch, match="must have an info with a rate and channels, got 'no description'"):
        find_own_source(config_of())


def test_what_is_no_source_is_refused_without_being_made() -> None:
    settings = config_of("NoSource").source
    assert isinstance(settings, OwnSourceSettings)
    with pytest.raises(ConfigError, match=r"source.kind must name a source, got '.*NoSource' without read"):
        check_source(settings)


def test_code_of_a_source_is_not_taken_from_elsewhere() -> None:
    values = {"name": "own", "source": {"kind": "evil_source:Source", "port": 3}}
    with pytest.raises(ConfigError, match=r"source.kind must be a known kind .* NEUROLOOP_ALLOW_CODE=1\), got"):
        parse(values, code=CodeRules())
    assert "port: 3" in dump_config(parse(values, code=CodeRules(unread=True)))


def test_its_settings_hold_its_own_keys_those_of_all_sources_and_no_others() -> None:
    config = config_of(port=3, path=4, timing="bursty", reconnect_s=5.0)
    assert pickle.loads(pickle.dumps(config)) == config
    text = dump_config(config)
    assert "port: 3" in text
    assert "path: 4" in text
    assert built_in(config.source).timing == "bursty"
    assert built_in(config.source).path is None
    with pytest.raises(
        ConfigError, match=r"source.prt must be a known setting \(did you mean 'port'\?\), got an unknow"
    ):
        config_of(prt=3)
    with pytest.raises(ConfigError, match=r"source.strem_id must be a known setting, got an unknown key"):
        config_of(strem_id="x")
    with pytest.raises(
        ConfigError, match=r"source.stream_id must be left out for kind 'tests.*', it belongs to kind 'kaf"
    ):
        config_of(stream_id="x")


def test_what_is_built_in_is_written_as_before() -> None:
    assert "simulator" in load_config("demo").model_dump_json()
    assert parse({"name": "own", "source": {"kind": "lsl"}}).source.model_dump()["kind"] == "lsl"
