"""Settings of drift monitors: nothing is accepted and then ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import dump_config, load_config, parse


def faults(monitor: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse({"name": "some", "drift": [monitor], **more})
    return str(caught.value)


def test_a_monitor_needs_no_setting_at_all_and_survives_being_written() -> None:
    config = parse({"name": "some", "drift": [{}, {"name": "raw", "rule": "threshold", "units": "raw"}]})
    (first, second) = config.drift
    assert (first.rule, first.window_s, first.n_confirm, first.baseline.source) == ("empirical", 30.0, 2, "auto")
    assert second.units == "raw"
    assert parse(yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ({"units": "raw"}, "drift.0.units must be left out for rule 'empirical', it belongs to threshold"),
        (
            {"rule": "threshold", "false_alarms_per_day": 2},
            "drift.0.false_alarms_per_day must be left out for rule 'threshold'",
        ),
        ({"rule": "threshold", "zero_threshold": 0}, "drift.0.mean_threshold_abs must be given where zero_threshold"),
        ({"window_s": 5, "hop_s": 6}, "drift.0.hop_s must be at most window_s=5.0, got 6.0"),
        ({"baseline": {"source": "file"}}, "drift.0.baseline.path must be given for source 'file'"),
        ({"baseline": {"path": "b.json"}}, "drift.0.baseline.path must be given for source 'file' and for it only"),
        ({"watch": "model"}, "drift.0.watch must be 'signal' but on the classifier, got 'model'"),
        ({"effect": "stop"}, "drift.0.effect must be 'flag', 'hold' or 'recalibrate', got 'stop'"),
    ],
)
def test_a_contradiction_is_refused(monitor: dict[str, Any], message: str) -> None:
    assert message in faults(monitor)


def test_names_are_distinct() -> None:
    with pytest.raises(ConfigError, match=r"drift\.1\.name must be distinct, got 'drift'"):
        parse({"name": "some", "drift": [{}, {}]})


def test_accuracy_needs_a_classifier() -> None:
    with pytest.raises(ConfigError, match=r"accuracy must be left out where there is no classifier"):
        parse({"name": "some", "accuracy": {"labels": {"L": "left"}}})


def test_a_baseline_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{}")
    path = tmp_path / "c.yaml"
    path.write_text("name: some\ndrift:\n  - baseline: {source: file, path: b.json}\n")
    assert load_config(str(path)).drift[0].baseline.path == str(tmp_path / "b.json")
