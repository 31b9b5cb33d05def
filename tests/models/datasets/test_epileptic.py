from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.models.datasets.epileptic import read_epileptic
from tests.models.datasets.epileptic_files import HEADER, made_up_signal, write_map, write_rows, write_table


def row(label: object = 1, row_id: str = "X1.V1.7", value: object = 3) -> list[object]:
    return [row_id, *([value] * 178), label]


def test_shuffled_rows_become_recordings_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "whatever_name.csv", [3, 4])
    data = read_epileptic(tmp_path)
    assert [(r.label, r.number) for r in data.recordings] == [(label, rank) for label in range(1, 6) for rank in (1, 2)]
    assert data.kind == "rows"
    assert not data.numbered
    first, samples = data.recordings[0].runs[0]
    assert first == 0
    np.testing.assert_array_equal(samples[:, 0], made_up_signal(1, 3, 534))


def test_file_numbers_come_from_the_map_beside_the_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [3, 4])
    write_map(tmp_path / "names.csv", [3, 4], shift=40)
    data = read_epileptic(tmp_path)
    assert data.numbered
    assert [r.name for r in data.recordings][:2] == ["S043", "S044"]
    assert {r.number for r in data.recordings} == {43, 44}
    assert [r.name for r in read_epileptic(tmp_path / "rows.csv").recordings] == [r.name for r in data.recordings]


def test_a_map_that_lacks_a_recording_is_not_used(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [3, 4])
    write_map(tmp_path / "names.csv", [3])
    assert not read_epileptic(tmp_path).numbered


def test_equal_ids_of_different_labels_are_different_recordings(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.csv", [row(1), row(2)])
    assert [r.name for r in read_epileptic(tmp_path).recordings] == ["1:V1.7", "2:V1.7"]


def test_a_missing_chunk_begins_a_new_run(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.csv", [row(1, f"X{c}.V1", c) for c in (5, 1, 2)])
    runs = read_epileptic(tmp_path).recordings[0].runs
    assert [(first, samples[::178, 0].tolist()) for first, samples in runs] == [(0, [1.0, 2.0]), (712, [5.0])]


def test_windows_carry_the_ids_of_their_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [3], labels=[2])
    windows = list(read_epileptic(tmp_path).windows())
    assert [(row_id, at) for row_id, _, at, _ in windows] == [("X1.V1.3", 0), ("X2.V1.3", 178), ("X3.V1.3", 356)]
    np.testing.assert_array_equal(windows[2][3][:, 0], made_up_signal(2, 3, 534)[356:])


def test_continuous_recordings_are_read_where_there_is_no_table(tmp_path: Path) -> None:
    signal = np.arange(2 * 400, dtype=np.int16).reshape(2, 400)
    np.savez(tmp_path / "any.npz", signal=signal, uci_y=[5, 1], name=["Z009", "S002"], fs=173.61)
    data = read_epileptic(tmp_path)
    assert data.kind == "recordings"
    assert [(r.name, r.label, r.number) for r in data.recordings] == [("S002", 1, 2), ("Z009", 5, 9)]
    assert [row_id for row_id, *_ in data.windows()] == ["S002:0", "S002:178", "Z009:0", "Z009:178"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"rows.csv must have at least one row below its header, got none"),
        ([row(), row(row_id="X2.V1.7")[:-1]], r"rows.csv:3: row must have 180 fields, got 179"),
        ([row(value="abc")], r"rows.csv:2: X1 must be a finite number, got 'abc'"),
        ([row(value="nan")], r"rows.csv:2: X1 must be a finite number, got 'nan'"),
        ([row(0)], r"rows.csv:2: y must be a whole number in \[1, 5\], got '0'"),
        ([row(6)], r"rows.csv:2: y must be a whole number in \[1, 5\], got '6'"),
        ([row("1.5")], r"rows.csv:2: y must be a whole number in \[1, 5\], got '1.5'"),
        ([row(row_id="V1.7")], r"rows.csv:2: id must be X<chunk>.<recording> with a chunk from 1, got 'V1.7'"),
        ([row(), row(2), row()], r"rows.csv:4: id must be given once for a label, got 'X1.V1.7' again"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, rows: list[list[object]], message: str) -> None:
    write_table(tmp_path / "rows.csv", rows)
    with pytest.raises(RecordingError, match=message) as error:
        read_epileptic(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"data must be a folder or a file that exists, got '.*nowhere'"):
        read_epileptic(tmp_path / "nowhere")


def test_folder_without_such_a_table_says_what_it_has(tmp_path: Path) -> None:
    write_table(tmp_path / "other.csv", [[1, 2]], header=["a", "b"])
    with pytest.raises(RecordingError, match=r"data must hold a CSV file whose header is .*, got \['other.csv'\]"):
        read_epileptic(tmp_path)
    with pytest.raises(RecordingError, match=r"data must be a CSV file whose header has X1..X178, got '.*other.csv'"):
        read_epileptic(tmp_path / "other.csv")


def test_two_tables_in_a_folder_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [1])
    write_rows(tmp_path / "b.csv", [2])
    with pytest.raises(RecordingError, match=r"data must hold one table with X1..X178, got \['a.csv', 'b.csv'\]"):
        read_epileptic(tmp_path)


def test_table_without_labels_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.csv", [row()[:-1]], header=HEADER[:-1])
    with pytest.raises(RecordingError, match=r"rows.csv:1: y must be the column after X178, got \[\]; without labels"):
        read_epileptic(tmp_path)


def test_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=np.zeros(3))
    with pytest.raises(RecordingError, match=r"x.npz must be an NPZ file with signal, uci_y and name"):
        read_epileptic(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uci_y": [1, 9]}, r"uci_y must be in \[1, 5\], got \[9\]"),
        ({"fs": 250.0}, r"fs must be 173.61 Hz, got 250.0"),
        ({"signal": np.zeros((2, 100))}, r"signal must be finite and at least 178 samples long"),
        ({"uci_y": [1]}, r"signal must be \(n, n_samples\) with n labels and names, got \(2, 400\)"),
    ],
)
def test_wrong_archive_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    right = {"signal": np.zeros((2, 400)), "uci_y": [1, 2], "name": ["S1", "F1"], "fs": 173.61}
    arrays: dict[str, Any] = {**right, **change}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(RecordingError, match=message):
        read_epileptic(tmp_path / "x.npz")


@pytest.mark.shared
def test_shared_rows_are_the_shared_recordings(shared_data: Path) -> None:
    folder = shared_data / "uci-epileptic"
    rows = read_epileptic(folder)
    recordings = read_epileptic(folder / "bonn_recordings_shared.npz")
    assert rows.numbered
    assert len(rows.recordings) == 400
    for one, other in zip(rows.recordings, recordings.recordings, strict=True):
        assert (one.name, one.label) == (other.name, other.label)
        np.testing.assert_array_equal(one.runs[0][1], other.runs[0][1][:4094])
