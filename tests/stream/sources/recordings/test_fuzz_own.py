"""A few hundred of the edited runs that ``python -m tests.fuzz_own`` makes by the thousand."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz_own import run


def test_edited_runs_of_our_own_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    outcomes = run(600, 1, tmp_path)
    assert set(outcomes) == {"read", "refused"}
    assert min(outcomes.values()) >= 5
