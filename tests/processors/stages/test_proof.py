"""Stages of somebody else are put through the checks of our own: honest ones pass, every planted fault is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neuroloop.processors.stages import verdict
from neuroloop.processors.stages.own_stage import build_own_stage
from neuroloop.processors.stages.verdict import Verdict, prove, recall, remember
from tests.processors import naive
from tests.processors.stages import faulty_stages
from tests.processors.stages.faulty_stages import Smooth


def settings_of(stage: type[Smooth], **values: float) -> Smooth.Settings:
    return Smooth.Settings.model_validate({"kind": f"{stage.__module__}:{stage.__name__}", "name": "smooth", **values})


def verdict_of(stage: type[Smooth]) -> Verdict:
    return prove(stage, settings_of(stage), naive.EXAMPLE_INFO)


def test_an_honest_stage_in_plain_numpy_is_exact() -> None:
    assert verdict_of(Smooth) == Verdict("exact")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("CountsChunks", "cut otherwise: values change"),
        ("WritesIntoItsInput", "input must not be changed"),
        ("HandsOnItsInput", "output must own its memory"),
        ("ForgetsItsState", "resumed at row"),
        ("HandsOutItsState", r"get_state\(\) must return new arrays"),
        ("ForgetsToReset", r"reset\(\) must leave the state of a fresh stage"),
        ("LooksAhead", "cut otherwise|must depend on samples up to"),
        ("SaysOlderThanItIs", "stamp of a row|with the sample newest_input|must depend on samples up to"),
        ("SaysNewerThanItIs", "stamp of a row|with the sample newest_input"),
        ("LiesOnDelay", r"delay_s must be about 0"),
        ("HidesDelay", r"delay_s must be about 0\.2"),
        ("LetsNanIn", "output must be finite, got"),
        ("DividesByZero", "output must be finite, got"),
        ("FlagsTooLittle", "must be flagged, got a valid row"),
        ("RemembersForEver", "must have forgotten the start after warmup_samples=12"),
        ("SharesWithOthers", "beside another stage of the same class|cut otherwise|run again"),
        ("ThrowsDice", "run again: values change in their last digits"),
        ("AsksTheClock", "at another time of day"),
        ("Raises", "must take every chunk, got ZeroDivisionError at faulty_stages.py"),
        ("WrongColumns", "must give out C-ordered float64 rows of 4 columns"),
    ],
)
def test_a_planted_fault_is_found(name: str, reason: str) -> None:
    found = verdict_of(getattr(faulty_stages, name))
    assert found.verdict == "refused"
    assert re.search(reason, found.reason), found.reason


@pytest.mark.parametrize(("name", "reason"), [("UsesExp", "fewer features"), ("SumsByChunk", "cut")])
def test_a_stage_whose_last_digits_depend_on_cpu_or_cutting_is_tolerant(name: str, reason: str) -> None:
    found = verdict_of(getattr(faulty_stages, name))
    assert found.verdict == "tolerant"
    assert 0.0 < found.error <= 1e-6
    assert reason in found.reason


def test_what_is_no_stage_is_refused_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="kind must name a stage, got NoStage without newest_input, process, reset"):
        build_own_stage(faulty_stages.NoStage, settings_of(Smooth), naive.EXAMPLE_INFO)


def test_a_verdict_is_kept_for_its_code_settings_and_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verdict, "proof_folder", lambda: tmp_path)
    settings, info = settings_of(Smooth), naive.EXAMPLE_INFO
    assert recall(Smooth, settings, info) == Verdict("unproven")
    remember(Verdict("tolerant", "cut otherwise", 2e-12), Smooth, settings, info)
    assert recall(Smooth, settings, info) == Verdict("tolerant", "cut otherwise", 2e-12)
    assert recall(Smooth, settings_of(Smooth, weight=0.25), info) == Verdict("unproven")
    assert recall(Smooth, settings, naive.stream_info(4, sfreq=200.0)) == Verdict("unproven")
    assert recall(faulty_stages.UsesExp, settings, info) == Verdict("unproven")  # another class of the same file
