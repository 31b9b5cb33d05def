"""Every shared recording: the same events for any chunking, balanced books, oddities in the summary and the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.stream.sources.recordings.opening import open_recording
from tests.conftest import CHECKOUT, SHARED_DATA
from tests.stream.cli.conftest import Command
from tests.stream.engine.fault_matrix import markdown
from tests.stream.sources.recordings.recording_table import (
    HEAD,
    REFUSED,
    SUFFIXES,
    all_files,
    events_and_books,
    few_channels,
    first_part,
    rows_of,
    streams_of,
    table_config,
)

DOCUMENT = CHECKOUT / "docs" / "data-quality.md"
_FILES = all_files(SHARED_DATA) if SHARED_DATA.is_dir() else []
_READ = [name for name in _FILES if name not in REFUSED]
_MOST_SAMPLES = 5000


def documented() -> list[str]:
    return DOCUMENT.read_text(encoding="utf-8").splitlines()


@pytest.mark.shared
@pytest.mark.parametrize("name", _READ)
def test_a_recording_is_counted_as_the_documentation_says(tmp_path: Path, name: str) -> None:
    rows = rows_of(name, SHARED_DATA, table_config(tmp_path), tmp_path)
    assert rows
    assert [line for line in documented() if line.startswith(f"| {name} |")] in ([row for row, _ in rows], [])
    notes = list(open_recording(SHARED_DATA / name).notes)
    for _, summary in rows:
        assert summary["samples"]["balanced"] is True
        assert summary["notes"] == notes


@pytest.mark.shared
@pytest.mark.parametrize("name", _READ)
def test_a_recording_gives_the_same_events_for_any_chunking(tmp_path: Path, name: str) -> None:
    config = table_config(tmp_path)
    recording = open_recording(SHARED_DATA / name)
    for stream in streams_of(recording):
        part = first_part(few_channels(stream), _MOST_SAMPLES)
        markers = list(recording.markers_for(stream))
        (lines, books), *others = (
            events_and_books(config, part, markers, chunking) for chunking in (None, "37", "random:7")
        )
        assert others == [(lines, books)] * 2
        assert books.received == part.n_samples == books.processed + sum(books.counted.values())


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_recording_is_refused_in_one_line(
    neuroloop: Command, shared_data: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "config").mkdir()
    table_config(tmp_path / "config")
    done = neuroloop("replay", shared_data / name, "--config", tmp_path / "config/rows.yaml", "--out", tmp_path / "run")
    assert done.status == 1
    errors = [line for line in done.err.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1
    assert REFUSED[name] in errors[0]


@pytest.mark.shared
def test_files_that_lie_beside_recordings_are_refused_in_one_line_or_read(shared_data: Path) -> None:
    refusals: list[str] = []
    for path in sorted(shared_data.rglob("*")):
        name = path.relative_to(shared_data).as_posix()
        if path.is_file() and not name.endswith(SUFFIXES) and path.stat().st_size < 200_000:
            try:
                open_recording(path)
            except RecordingError as error:
                refusals.append(str(error))
    assert len(refusals) > 50
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.shared
def test_the_documented_table_has_no_row_too_many(shared_data: Path) -> None:
    lines = documented()
    begin = lines.index(HEAD[0])
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines[begin + 2 : lines.index("", begin)]]
    assert list(dict.fromkeys(rows)) == [name for name in _READ if name in rows]  # recordings may come that it lacks
    assert len(set(rows)) > 60


def test_the_documented_fault_matrix_is_the_tested_one() -> None:
    lines = documented()
    begin = lines.index(markdown()[0])
    assert lines[begin : lines.index("", begin)] == markdown()
