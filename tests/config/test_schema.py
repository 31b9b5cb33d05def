"""The JSON Schema that editors take."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

import neuroloop.config
from neuroloop.config.docstrings import docstrings_of
from neuroloop.config.loading import PRESET_FOLDER, preset_names
from neuroloop.config.schema import DIALECT, json_schema, known_keys
from neuroloop.config.settings import Settings
from neuroloop.config.tree import Config


def faults(values: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(json_schema(Config)).iter_errors(values)]


def settings_classes(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for one in base.__subclasses__():
        yield one
        yield from settings_classes(one)


def test_it_is_a_schema_of_its_dialect() -> None:
    schema = json_schema(Config)
    assert schema["$schema"] == DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_fits(name: str) -> None:
    assert faults(yaml.safe_load((PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a", "sorce": {}},
        {"name": "a", "source": {"nmae": "x"}},
        {"name": "a", "source": {"fill": "guess"}},
        {"name": "a", "source": {"gap_tolerance_s": -1}},
        {"name": "a", "stages": [{"kind": "bandpowr"}]},
        {"name": "a", "stages": [{"kind": "logvar", "window_s": 1, "hops": 1}]},
        {"source": {}},
    ],
)
def test_an_unknown_key_or_a_wrong_value_does_not_fit(wrong: dict[str, Any]) -> None:
    assert faults(wrong)


def test_what_a_recipe_fills_in_and_numbers_as_labels_fit() -> None:
    assert faults({"name": "a", "train": {"recipe": "seizure"}}) == []
    assert faults({"name": "a", "accuracy": {"labels": {"1": 2, "x": 0.5}}}) == []


def test_every_setting_says_what_it_means_where_it_is_defined() -> None:
    for module in pkgutil.iter_modules(neuroloop.config.__path__):
        importlib.import_module(f"neuroloop.config.{module.name}")
    silent = [
        f"{one.__module__}.{one.__name__}.{key}"
        for one in settings_classes()
        if one.__module__.startswith("neuroloop.config.")
        for key in one.model_fields
        if not docstrings_of(one).get(key)
    ]
    assert silent == [], "a setting needs a docstring under it"


@pytest.mark.parametrize(
    ("position", "key"),
    [
        ((), "stages"),
        (("source", "simulator"), "block_s"),
        (("stages", 0, "bandpower"), "hop_s"),
        (("stages", 1, "filter", "designs", 0, "notch"), "freq_hz"),
        (("stimulation", "table", 0), "amplitude_ma"),
    ],
)
def test_known_keys_are_those_of_the_place(position: tuple[str | int, ...], key: str) -> None:
    assert key in known_keys(Config, position)
    assert "no_such" not in known_keys(Config, position)
