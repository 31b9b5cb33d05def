"""The commented file to start from."""

import re
from pathlib import Path

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import PRESET_FOLDER, load_config, preset_names
from neuroloop.config.starter import starter

_BEHIND = re.compile(r"(?m)^( *)#(?=[a-z_]+:(?: |$)|  (?:  )?(?:[a-z_]+:|- |# ))")
"""A ``#`` that a setting, or what is said of one within a section, is behind."""


@pytest.mark.parametrize("name", preset_names())
def test_the_file_is_the_preset_with_its_comments(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(starter(name), encoding="utf-8")
    assert load_config(str(path)) == load_config(name)
    lines = iter(starter(name).splitlines())
    for line in (PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        assert line in lines, "every line of the preset stands in the file, in its order"


@pytest.mark.parametrize("name", preset_names())
def test_everything_behind_a_comment_sign_can_be_switched_on(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(_BEHIND.sub(r"\1", starter(name)), encoding="utf-8")
    config = load_config(str(path))
    assert config.kafka is not None
    assert len(config.drift) == 1
    assert (config.accuracy is None) == (config.classifier is None)
    assert (config.stimulation is None) == (load_config(name).stimulation is None), "nothing begins to stimulate"


def test_an_editor_finds_the_schema_beside_the_file() -> None:
    assert starter("demo").splitlines()[0] == "# yaml-language-server: $schema=neuroloop.schema.json"


def test_keys_of_other_kinds_of_source_are_not_offered() -> None:
    assert "  #name: MyAmp\n" in starter("monitor")
    assert "#name: MyAmp" not in starter("demo")


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^preset must be one of .*monitor.* \(did you mean 'monitor'\?\), got 'monitr'$"
    ):
        starter("monitr")
