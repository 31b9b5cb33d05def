"""Open kinds: who may name code, what settings a stage of one's own has, how its code is hashed."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from neuroloop.config.bundle import BundleSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import TRUSTED, CodeRules, Kinds, allowing_code, code_is_allowed, code_sha256
from neuroloop.config.loading import dump_config, load_config, parse, read_without_code
from neuroloop.config.settings import Settings
from neuroloop.config.stages import OwnStageSettings, stage_settings_type
from neuroloop.config.tree import Config
from neuroloop.processors.stages.registry import build_stage
from tests.processors import naive

SMOOTH = "tests.processors.stages.faulty_stages:Smooth"
DOTTED = {"name": "own", "stages": [{"kind": SMOOTH, "weight": 0.25}]}


class Plain:
    """Declares settings without a kind and a name."""

    class Settings(Settings):
        gain: float = 2.0


class Wrong:
    """Declares something else."""

    settings_type = dict


def test_what_is_built_in_python_may_name_code_and_survives_being_written() -> None:
    config = parse(dict(DOTTED))
    (stage,) = config.stages
    assert (stage.kind, stage.name, stage.model_dump()["weight"]) == (SMOOTH, "smooth", 0.25)
    assert f"kind: {SMOOTH}" in dump_config(config)
    assert "weight: 0.25" in dump_config(config)
    assert pickle.loads(pickle.dumps(config)) == config


def test_settings_that_were_made_are_taken_as_they_are() -> None:
    (stage,) = parse(dict(DOTTED)).stages
    assert Config(name="own", stages=(stage,)).stages == (stage,)


def test_settings_of_another_class_are_refused() -> None:
    with pytest.raises(ValueError, match=f"settings must be Settings for kind '{SMOOTH}', got OwnStageSettings"):
        Config(name="own", stages=(OwnStageSettings(kind=SMOOTH, name="smooth"),))


def test_no_code_is_taken_where_nobody_says_that_it_may_be() -> None:
    rule = (
        r"kind must be a known kind \(code is taken from here only with --allow-code or NEUROLOOP_ALLOW_CODE=1\), got"
    )
    with pytest.raises(ValueError, match=rule):
        Config.model_validate(DOTTED)
    with pytest.raises(ConfigError, match=rule):
        parse(dict(DOTTED), code=CodeRules())
    with pytest.raises(ValueError, match=rule):
        BundleSettings.model_validate({"stages": DOTTED["stages"]})


def test_a_file_may_name_code_unless_it_lies_in_the_folder_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"name: own\nstages: [{{kind: '{SMOOTH}'}}]\n", "utf-8")
    assert load_config(str(path)).stages[0].kind == SMOOTH
    for name in ("provenance.json", "events.jsonl", "summary.json", "signals.xdf"):
        (tmp_path / name).write_text("", "utf-8")
        with pytest.raises(ConfigError, match=r"config.yaml:2: stages.0.kind must be a known kind \(code is taken"):
            load_config(str(path))
        assert load_config(str(path), allow_code=True).stages[0].kind == SMOOTH
        (tmp_path / name).unlink()


def test_allow_code_holds_until_its_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEUROLOOP_ALLOW_CODE", raising=False)
    with allowing_code(True):
        assert code_is_allowed()
        with allowing_code(False):
            assert code_is_allowed()  # what the user has said once holds for what he starts
    assert not code_is_allowed()


def test_settings_without_kind_and_name_get_both_and_travel_to_other_processes() -> None:
    made = stage_settings_type(Plain, "plain").model_validate({"kind": "tests:Plain", "gain": 3})
    assert made.model_dump() == {"kind": "tests:Plain", "name": "plain", "gain": 3.0}
    assert pickle.loads(pickle.dumps(made)) == made


def test_what_declares_no_settings_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kind must name a class whose Settings are a subclass of .*, got 'x:Wrong'"):
        stage_settings_type(Wrong, "x:Wrong")


def test_a_registered_name_cannot_be_taken_twice() -> None:
    kinds = Kinds("stage", "neuroloop.stages", ["filter"])
    kinds.register("plain", Plain)
    assert kinds.resolve("plain", CodeRules()) is Plain  # registered in this process: no code is taken from a text
    for name in ("filter", "plain"):
        with pytest.raises(ValueError, match=f"kind must be new, got '{name}'"):
            kinds.register(name, Plain)


def test_an_installed_package_offers_its_kind_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offered.py").write_text("class Offered: ...\n", "utf-8")
    folder = tmp_path / "offered-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n", "utf-8")
    (folder / "entry_points.txt").write_text("[neuroloop.stages]\noffered = offered:Offered\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = Kinds("stage", "neuroloop.stages", [])
    try:
        assert kinds.resolve("offered", CodeRules()).__name__ == "Offered"
        with pytest.raises(ConfigError, match=r"kind must be one of offered.*, got 'other'"):
            kinds.resolve("other", TRUSTED)
    finally:
        sys.modules.pop("offered", None)


def test_the_hash_of_a_class_covers_its_package_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hashed" / "deep").mkdir(parents=True)
    for name in ("hashed/__init__.py", "hashed/deep/__init__.py", "hashed/table.csv", "beside.py"):
        (tmp_path / name).write_text("", "utf-8")
    (tmp_path / "hashed" / "deep" / "code.py").write_text("class A: ...\nclass B: ...\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = Kinds("stage", "neuroloop.stages", [])
    a, b = (kinds.resolve(f"hashed.deep.code:{name}", TRUSTED) for name in "AB")
    before = code_sha256(a)
    assert code_sha256(b) != before
    (tmp_path / "beside.py").write_text("x = 1\n", "utf-8")
    assert code_sha256(a) == before
    (tmp_path / "hashed" / "table.csv").write_text("1\n", "utf-8")
    assert code_sha256(a) != before
    for name in [name for name in sys.modules if name.partition(".")[0] == "hashed"]:
        del sys.modules[name]


def test_the_schema_shows_built_in_kinds_in_full_and_leaves_room_for_others() -> None:
    schema = Config.model_json_schema()
    known, own = schema["properties"]["stages"]["items"]["anyOf"]
    assert set(known["discriminator"]["mapping"]) >= {"filter", "bandpower"}
    assert re.match(own["properties"]["kind"]["pattern"], SMOOTH)
    assert not re.match(own["properties"]["kind"]["pattern"], "bandpowr")  # an editor marks what is misspelt


def test_a_run_can_be_read_without_its_code_but_not_built(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("name: own\nstages: [{kind: 'evil:Stage', depth: 3}]\n", "utf-8")
    (stage,) = read_without_code(str(path)).stages
    assert stage.model_dump() == {"kind": "evil:Stage", "name": "stage", "depth": 3}
    assert "evil" not in sys.modules
    with pytest.raises(ConfigError, match=r"kind must be a known kind \(code is taken .*, got 'evil:Stage'"):
        build_stage(stage, naive.EXAMPLE_INFO)


class Recipe:
    """Two classes from log-variances."""

    settings: ClassVar[dict[str, Any]] = {
        "name": "mine",
        "classes": {"a": (1,), "b": (2,)},
        "stages": ({"kind": "logvar", "window_s": 1.0, "hop_s": 0.5},),
        "window_samples": 4,
        "hop_samples": 1,
        "lstm": ({"hidden": 4},),
        "pooling": "last",
        "head": (),
    }


RECIPE = f"{__name__}:Recipe"


def test_a_recipe_of_ones_own_fills_in_what_is_left_out() -> None:
    train = parse({"name": "own", "train": {"recipe": RECIPE, "hop_samples": 2}}).train
    assert train is not None
    assert (train.name, train.window_samples, train.hop_samples) == ("mine", 4, 2)


def test_a_recipe_is_not_asked_where_all_is_given_and_refused_where_it_would_be() -> None:
    rule = r"train.recipe must be a known kind .*--allow-code or NEUROLOOP_ALLOW_CODE=1\), got 'evil:Recipe'"
    whole = {"name": "own", "train": {**Recipe.settings, "recipe": "evil:Recipe"}}
    assert parse(whole, code=CodeRules()).train is not None
    with pytest.raises(ConfigError, match=rule):
        parse({"name": "own", "train": {"recipe": "evil:Recipe"}}, code=CodeRules())
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("recipe", "rule"),
    [
        ("seizures", "train.recipe must be one of seizure, simulator (did you mean 'seizure'?), got 'seizures'"),
        (f"{__name__}:Plain", "train.recipe must name a class with a mapping 'settings', got"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(rule)):
        parse({"name": "own", "train": {"recipe": recipe}})
