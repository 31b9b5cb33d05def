"""What a run that may stimulate is refused for before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.stream.live.stimulation.guard import check_stimulation


def test_a_limit_that_is_looser_than_the_hard_one_is_refused_before_the_start(tmp_path: Path) -> None:
    config = load_config("stimulation", ["stimulation.limits.max_amplitude_ma=500"])
    with pytest.raises(ConfigError, match=r"stimulation\.limits\.max_amplitude_ma must be at most 10, got 500\.0"):
        check_stimulation(config, tmp_path)


def test_a_run_without_a_folder_for_its_log_is_refused() -> None:
    with pytest.raises(ConfigError, match="out must be given for a run that stimulates, got nothing"):
        check_stimulation(load_config("stimulation", []), None)


def test_the_preset_may_run(tmp_path: Path) -> None:
    check_stimulation(load_config("stimulation", []), tmp_path)


@pytest.mark.parametrize("key", ["electrode_area_cm2", "route"])
def test_area_and_route_must_be_given(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"stimulation\.{key} must be .*, got None"):
        load_config("stimulation", [f"stimulation.{key}=null"])
