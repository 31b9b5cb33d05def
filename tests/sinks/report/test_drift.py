"""The drift section of the page: score, threshold, alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.drift import pair_alarms
from neuroloop.sinks.report.page import make_page
from neuroloop.sinks.report.reading import read_run
from neuroloop.sinks.run_folder.drift_log import DRIFT_FILE, DriftLog
from tests.sinks.report.runs import decisions, event, start, write_run

ONSET = event(
    "drift", 2000, monitor="raw", what="onset", arm="channels", statistic="std", score=1.7, channels=["C1"],
    effect="hold", first_sample=1800, last_sample=2000,
)  # fmt: skip
END = event(
    "drift", 3500, monitor="raw", what="end", arm="channels", score=2.9, duration_s=6.8, effect="hold",
    first_sample=1800, last_sample=3500,
)  # fmt: skip


def page_of(folder: Path) -> str:
    return make_page(read_run(folder, EventDigest()))


def write_scores(folder: Path, scores: list[tuple[int, float]]) -> None:
    log = DriftLog(folder / DRIFT_FILE)
    for sample, score in scores:
        log.add(sample, score)


def test_score_threshold_and_alarms_are_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), *decisions(150), ONSET, END])
    write_scores(run, [(1000, 0.4), (2000, 1.7), (3000, 2.9), (3500, 0.3)])
    page = page_of(run)
    section = page[page.index('id="drift"') :]
    section = section[: section.index("</section>")]
    assert 'aria-label="Drift score over time"' in section
    assert 'class="event seen"' in section  # the threshold
    assert 'class="warn faint"' in section  # the alarm
    for words in ("raw, channels", "C1", "2.9", "6.8 s", "hold"):
        assert words in section


def test_a_run_without_monitors_has_no_drift_section(tmp_path: Path) -> None:
    assert 'id="drift"' not in page_of(write_run(tmp_path / "run", [start(), *decisions(20)]))


def test_alarms_without_a_course_of_the_score_are_listed(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [start(), ONSET]))
    assert "drift.csv is missing" in page
    assert "to the end" in page


def test_broken_lines_of_the_score_are_left_out_and_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), ONSET, END])
    (run / DRIFT_FILE).write_text("sample,score\n10,0.5\nnonsense\n20,inf\n30\n15,0.7\n")
    files = read_run(run, EventDigest())
    np.testing.assert_array_equal(files.drift, [[10, 0.5], [15, 0.7]])
    assert any("2 lines are no scores" in fault for fault in files.faults)


def test_each_alarm_has_its_own_end() -> None:
    other = {**ONSET, "arm": "common", "first_sample": 1900}
    late = {**ONSET, "first_sample": 4000, "sample": 4100}
    alarms = pair_alarms([ONSET, other, END, late])
    assert [(one["arm"], one["start"], one["stop"]) for one in alarms] == [
        ("channels", 1800, 3500), ("common", 1900, None), ("channels", 4000, None),
    ]  # fmt: skip


def test_a_score_that_stays_is_written_once_and_none_is_not_written(tmp_path: Path) -> None:
    log = DriftLog(tmp_path / DRIFT_FILE)
    for sample, score in ((0, float("nan")), (5, 0.25), (6, 0.25), (7, 0.1)):
        log.add(sample, score)
    again = DriftLog(tmp_path / DRIFT_FILE)
    again.add(8, 0.1)
    assert (tmp_path / DRIFT_FILE).read_text() == "sample,score\n5,0.25\n7,0.1\n8,0.1\n"


def test_a_disk_that_takes_nothing_is_said_once_and_stops_nobody(tmp_path: Path, caplog: object) -> None:
    log = DriftLog(tmp_path / "gone" / DRIFT_FILE)
    log.add(1, 0.5)
    log.add(2, 0.6)
    assert not (tmp_path / "gone").exists()
    assert [one.getMessage() for one in caplog.records] == [  # type: ignore[attr-defined]
        f"out must be a writable folder, got {str(tmp_path / 'gone')!r}: No such file or directory"
    ]
