"""A few hundred of the mutated recordings that ``python -m tests.fuzz`` makes by the thousand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import KINDS, mutate, run
from tests.stream.sources.recordings.test_damaged_files import _FILES


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_recordings_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    outcomes = run(300, seed, tmp_path)
    assert sum(outcomes.values()) == 300
    assert sum(count for name, count in outcomes.items() if name.endswith(" read")) >= 30
    assert sum(count for name, count in outcomes.items() if name.endswith(" refused")) >= 30


def test_a_failing_file_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError(path.name)

    monkeypatch.setattr("tests.fuzz._read_or_refuse", fail)
    with pytest.raises(AssertionError, match=r"file 0 of seed 3, .*failed-3-0\.\w+: ZeroDivisionError"):
        run(5, 3, tmp_path)
    assert [path.stem for path in tmp_path.iterdir()] == ["failed-3-0"]


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_makes_the_same_damage(name: str) -> None:
    first, again = (mutate(name, _FILES[name], np.random.Generator(np.random.PCG64(5))) for _ in range(2))
    assert first == again
