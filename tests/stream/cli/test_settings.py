"""``neuroloop schema``, ``init`` and ``check --explain``."""

import json
from pathlib import Path

import pytest

from neuroloop.config.loading import preset_names
from neuroloop.config.reference_pages import markdown
from tests.stream.cli.conftest import Command


def test_the_schema_is_one_json_object(neuroloop: Command) -> None:
    done = neuroloop("schema")
    assert (done.status, done.err) == (0, "")
    assert "stages" in json.loads(done.out)["properties"]


def test_the_reference_is_printed_as_it_stands_in_the_documentation(neuroloop: Command) -> None:
    assert neuroloop("schema", "--markdown").out == markdown()


@pytest.mark.parametrize("name", preset_names())
def test_what_init_prints_passes_the_check(neuroloop: Command, name: str, tmp_path: Path) -> None:
    made = neuroloop("init", name)
    assert made.status == 0
    path = tmp_path / "mine.yaml"
    path.write_text(made.out, encoding="utf-8")
    mine, preset = neuroloop("check", path, "--json"), neuroloop("check", name, "--json")
    assert mine.status == preset.status
    assert json.loads(mine.out)["config"] == json.loads(preset.out)["config"]
    assert json.loads(mine.out)["plan"] == json.loads(preset.out)["plan"]


def test_the_tip_of_init_stays_out_of_the_file(neuroloop: Command) -> None:
    done = neuroloop("init", "demo")
    assert done.err == "for completion in an editor, beside the file: neuroloop schema > neuroloop.schema.json\n"
    assert done.err not in done.out


def test_init_writes_no_file_over_another(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert neuroloop("init", "demo", "--out", path).status == 0
    assert path.read_text(encoding="utf-8") == neuroloop("init", "demo").out
    path.write_text("mine", encoding="utf-8")
    done = neuroloop("init", "demo", "--out", path)
    assert done.status == 1
    assert done.err == f"neuroloop init: out must be a new file, got {str(path)!r}, which exists\n"
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_key_is_explained_without_a_configuration(neuroloop: Command) -> None:
    done = neuroloop("check", "--explain", "source.timing")
    assert done.status == 0
    assert "value: one of 'auto', 'counter', 'regular', 'bursty'" in done.out
    wrong = neuroloop("check", "--explain", "source.timeing")
    assert wrong.status == 1
    assert wrong.err == (
        "neuroloop check: key must be a known setting (did you mean 'source.timing'?), got 'source.timeing'\n"
    )


def test_a_check_of_nothing_is_refused(neuroloop: Command) -> None:
    done = neuroloop("check")
    assert done.status == 1
    assert "config must be given (a preset or a YAML file, or --explain KEY), got nothing" in done.err


def test_a_command_that_is_not_known_names_the_nearest(neuroloop: Command) -> None:
    done = neuroloop("chek")
    assert done.status == 2
    assert "(did you mean 'check'?), got 'chek' (see neuroloop --help)" in done.err
    assert len(done.err.splitlines()) == 1
