"""What a soak calls a failure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest

from neuroloop.stream.tools.soak import MemoryLog, check_books, check_memory

MIB = 1 << 20
SUMMARY: dict[str, Any] = {
    "stream": {"sfreq": 250.0},
    "samples": {
        "in": 5000, "processed": 4990, "counted": {"duplicates": 10, "skipped": 0}, "balanced": True,
        "missing": {"filled": 0, "jumped": 0},
    },
    "rings": {"samples_lost": 0, "events_lost": 0},
    "events_unwritten": 0,
    "outlet_errors": 0,
    "ended": "finished",
}  # fmt: skip


@dataclass
class Use:
    pid: int
    resident_bytes: int


def failed(**changes: Any) -> set[str]:
    summary = copy.deepcopy(SUMMARY)
    for path, value in changes.items():
        place, *rest = path.split("__")
        if rest:
            summary[place][rest[0]] = value
        else:
            summary[place] = value
    return {check.name for check in check_books(summary, seconds=20.0) if not check.is_good}


def test_a_whole_run_passes() -> None:
    assert failed() == set()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"samples__balanced": False}, "books"),
        ({"samples__in": 4899}, "length"),
        ({"samples__missing": {"filled": 1, "jumped": 0}}, "missing"),
        ({"rings__samples_lost": 1}, "rings"),
        ({"rings__events_lost": 1}, "rings"),
        ({"events_unwritten": 1}, "sinks"),
        ({"outlet_errors": 1}, "sinks"),
        ({"ended": "the hot process died"}, "ended"),
    ],
)
def test_each_fault_of_the_books_fails_its_own_check(changes: dict[str, Any], name: str) -> None:
    assert failed(**changes) == {name}


def memory(sizes: list[float], pids: list[int] | None = None) -> list[bool]:
    log = MemoryLog()
    for second, size in enumerate(sizes):
        log.add(float(second), {"hot": Use(pids[second] if pids else 1, int(size * MIB))})
    return [check.is_good for check in check_memory(log, settle_s=10.0)]


def test_growth_while_the_rings_fill_is_no_leak() -> None:
    assert memory([100.0 + 5.0 * min(second, 10) for second in range(60)]) == [True]


def test_steady_growth_is_a_leak() -> None:
    assert memory([100.0 + 0.2 * second for second in range(60)]) == [False]


def test_one_high_reading_is_no_leak() -> None:
    assert memory([100.0] * 55 + [200.0] + [100.0] * 4) == [True]


def test_a_restarted_process_fails() -> None:
    assert memory([100.0] * 60, pids=[1] * 30 + [2] * 30) == [False]


def test_too_few_readings_are_no_proof() -> None:
    assert memory([100.0] * 17) == [False]
    assert [check.is_good for check in check_memory(MemoryLog(), settle_s=0.0)] == [False]
