from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError

from neuroloop.config.stages import BandPowerSettings
from neuroloop.config.training import TrainSettings


def test_a_recipe_alone_is_complete() -> None:
    for recipe in ("seizure", "simulator"):
        settings = TrainSettings.model_validate({"recipe": recipe})
        assert len(settings.classes) == 3
        assert TrainSettings.model_validate(settings.model_dump(mode="json")) == settings
        assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


def test_what_is_given_takes_the_place_of_the_recipe() -> None:
    settings = TrainSettings.model_validate({"recipe": "seizure", "name": "mine", "optimiser": {"seed": 4}})
    assert settings.name == "mine"
    assert settings.optimiser.seed == 4
    assert settings.window_samples == 66


def test_bands_of_the_seizure_recipe_touch_and_cover_0_to_60_hz() -> None:
    (stage,) = TrainSettings.model_validate({"recipe": "seizure"}).stages
    assert isinstance(stage, BandPowerSettings)
    edges = list(stage.bands.values())
    assert edges[0][0] == 0.0
    assert edges[-1][1] == pytest.approx(59.68, abs=0.01)
    for (_, high), (low, _) in pairwise(edges):
        assert high == low


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "sleep"}, r"recipe"),
        ({"recipe": "seizure", "classes": {"a": [1]}}, r"classes must be at least two, none named 'unknown', got"),
        ({"recipe": "seizure", "classes": {"a": [1], "b": [2, 1]}}, r"classes.b must be labels of no other class"),
        (
            {"recipe": "seizure", "classes": {"a": [1], "b": []}},
            r"classes.b must be labels of no other class, got \[\]",
        ),
        ({"recipe": "seizure", "epochs": 3}, r"epochs"),
        ({"recipe": "seizure", "optimiser": {"dropout": 1.0}}, r"dropout"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(values)
