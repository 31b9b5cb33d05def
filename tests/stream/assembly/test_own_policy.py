"""Policies of a lab's own: built, checked row by row, proven as stages are; the built-in one stays as it was."""

from __future__ import annotations

import pickle
import re
from itertools import islice
from pathlib import Path

import pytest

from neuroloop.config.decision import DecisionSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import CodeRules
from neuroloop.config.loading import dump_config, parse
from neuroloop.config.tree import Config
from neuroloop.processors.stages import verdict
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.own_policy import policy_faults, prove_policy
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.simulator import Simulator

ROWS = StreamInfo("classifier", "", "", 5.0, ("rest", "alpha", "seizure"))


def config_of(decision: dict[str, object] | None) -> Config:
    values: dict[str, object] = {"name": "own", "classifier": {"bundle": "demo"}}
    return parse(values if decision is None else {**values, "decision": decision})


def kind_of(name: str) -> dict[str, object]:
    return {"kind": f"tests.models.faulty_policies:{name}"}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Dice", "run again: other events"),
        ("Forgets", "resumed at row"),
        ("Hoards", "after reset(): other events"),
        ("Shares", "run again: other events"),
        ("HandsOut", "get_state() must return new arrays"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_found_out(name: str, fault: str) -> None:
    decision = config_of(kind_of(name)).decision
    assert decision is not None
    assert any(fault in one for one in islice(policy_faults(decision, ROWS), 9))


def test_a_policy_that_holds_the_rules_is_exact_and_may_stand_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "proof_folder", lambda: tmp_path)
    config = config_of({**kind_of("Steady"), "rows": 4})
    info = Simulator(config.source.simulator).info
    with pytest.raises(ConfigError, match=r"decision.kind must be proven exact in a worker .* which is unproven"):
        build(config, info, for_worker=True)
    assert config.decision is not None
    rows = build(config, info).pipeline.stages[-1].info_out
    assert str(prove_policy(config.decision, rows)) == "exact"
    built = build(config, info, for_worker=True)
    assert built.plan.own_policy["proof"]["verdict"] == "exact"
    assert built.plan.as_dict()["own_policy"]["own_kind"] == "tests.models.faulty_policies:Steady"


def test_the_code_of_a_policy_and_its_settings_are_part_of_the_plan_hash() -> None:
    info = Simulator(config_of(None).source.simulator).info
    three = build(config_of(kind_of("Steady")), info).plan.hash
    four = build(config_of({**kind_of("Steady"), "rows": 4}), info).plan.hash
    assert len({build(config_of(None), info).plan.hash, three, four}) == 3


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Raises", r"must do next_state\(\), got ZeroDivisionError at faulty_policies.py:\d+"),
        ("Invents", r"must name a state \(unknown, rest, .*\) for every row, got 'dreaming'"),
    ],
)
def test_a_policy_that_fails_in_the_stream_is_one_line(name: str, fault: str) -> None:
    decision = config_of(kind_of(name)).decision
    assert decision is not None
    found = prove_policy(decision, ROWS)
    assert found is not None
    assert re.search(fault, found.reason)
    assert "\n" not in found.reason


def test_a_class_that_is_no_policy_is_one_line() -> None:
    config = config_of(kind_of("NoPolicy"))
    info = Simulator(config.source.simulator).info
    with pytest.raises(ConfigError, match=r"decision.kind must name a policy, got '.*NoPolicy' without next_state"):
        build(config, info)


def test_no_code_of_a_policy_is_taken_where_nobody_says_that_it_may_be() -> None:
    values = {"name": "own", "classifier": {"bundle": "demo"}, "decision": {"kind": "evil_policy:Policy"}}
    with pytest.raises(ConfigError, match=r"decision.kind must be a known kind .* or NEUROLOOP_ALLOW_CODE=1\), got"):
        parse(values, code=CodeRules())
    assert parse(values, code=CodeRules(unread=True)).decision is not None


def test_faults_of_its_settings_are_named_and_only_its_own_keys_are_suggested() -> None:
    with pytest.raises(ConfigError) as caught:
        config_of({**kind_of("Steady"), "row": 4, "treshold": 0.5})
    assert sorted(caught.value.faults) == [
        "decision.row must be a known setting (did you mean 'rows'?), got an unknown key",
        "decision.treshold must be a known setting, got an unknown key",
    ]


def test_settings_of_a_policy_cross_to_another_process() -> None:
    config = config_of({**kind_of("Steady"), "rows": 4})
    assert pickle.loads(pickle.dumps(config)) == config
    assert "rows: 4" in dump_config(config)


def test_the_built_in_policy_is_never_written_as_a_kind() -> None:
    plain, named = config_of({"threshold": 0.5}), config_of({"threshold": 0.5, "kind": "threshold"})
    assert named == plain
    assert "kind" not in named.model_dump(exclude_none=True)["decision"]
    assert type(named.decision) is DecisionSettings
    assert DecisionSettings().model_dump_json() == (
        '{"threshold":0.5,"confirm_n":1,"confirm_m":1,"min_dwell_s":0.0}'
    )  # plans and bundles hash these bytes
