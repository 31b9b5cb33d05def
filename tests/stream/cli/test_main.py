"""The command line as a whole."""

from pathlib import Path

import pytest

from tests.stream.cli.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["no-such"], "must be one of demo, run"),
        (["replay", "x.edf"], "the following arguments are required"),
        (["demo", "--seconds", "x"], "invalid float value"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(neuroloop: Command, arguments: list[str], rule: str) -> None:
    done = neuroloop(*arguments)
    assert done.status == 2
    assert rule in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_help_and_version_are_there(neuroloop: Command) -> None:
    assert neuroloop("--version").out.startswith("neuroloop ")
    assert "replay" in neuroloop("--help").out


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_demo_of_no_length_is_refused(neuroloop: Command, seconds: str) -> None:
    done = neuroloop("demo", "--seconds", seconds)
    assert done.status == 1
    assert "seconds must be" in done.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"time,C3\n"),
        ("words.csv", b"time,C3\n0,hello\n"),
        ("zero.edf", b""),
        ("text.edf", b"this is no EDF file at all" * 20),
        ("text.xdf", b"no XDF"),
        ("cut.xdf", b"XDF:\x01\x0c\x02\x00"),
        ("text.vhdr", b"nothing"),
        ("text.set", b"nothing"),
        ("text.gdf", b"nothing"),
        ("text.npz", b"nothing"),
        ("what.bin", b"nothing"),
    ],
)
def test_a_file_that_is_no_recording_is_one_clear_line(
    neuroloop: Command, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = neuroloop("replay", path, "--config", "monitor", "--out", tmp_path / "run")
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1
    assert name in done.err
    assert not (tmp_path / "run").exists()


def test_a_path_that_is_not_there_is_one_clear_line(neuroloop: Command, tmp_path: Path) -> None:
    done = neuroloop("replay", tmp_path / "no.edf", "--config", "monitor", "--out", tmp_path / "run")
    assert done.status == 1
    assert "no.edf" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_training_names_what_its_recipe_needs(neuroloop: Command, tmp_path: Path) -> None:
    assert "train must be a section" in neuroloop("train", "monitor", "--data", tmp_path, "--out", tmp_path / "b").err
    assert "data must be the folder" in neuroloop("train", "seizure", "--out", tmp_path / "b").err
    assert "data must be left out" in neuroloop("train", "demo", "--data", tmp_path, "--out", tmp_path / "b").err
    assert neuroloop("train", "seizure", "--data", tmp_path / "no", "--out", tmp_path / "b").status == 1


def test_a_class_that_the_data_lack_has_no_recall_and_is_said_so(
    neuroloop: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = {"accuracy": 1.0, "macro_recall": 1.0, "recall": {"rest": 1.0, "alpha": None}}
    monkeypatch.setattr("neuroloop.stream.cli.training.evaluate", lambda *_, **__: report)
    done = neuroloop("evaluate", "demo", tmp_path, "--out", tmp_path)
    assert done.status == 0
    assert "(rest 1.000, alpha not in the data)" in done.out
