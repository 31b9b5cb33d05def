"""Baselines: made the same however the rows come, written, read back, refused when altered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neuroloop.processors.drift import baseline as fields
from neuroloop.processors.drift.baseline import Baseline, BaselineError, read_baselines, write_baselines
from tests.processors.drift.streams import MINUTES, SFREQ, feed, monitor, noise


def made(x: np.ndarray, cuts: list[int] | None = None) -> Baseline:
    one = monitor(x.shape[1])
    feed(one, x, cuts=cuts)
    assert one.baseline is not None
    return one.baseline


def test_the_statistics_are_those_of_the_rows() -> None:
    x = noise(1, MINUTES * 60.0, 3) * [1.0, 20.0, 0.1] + [0.0, 500.0, -3.0]
    baseline = made(x)
    np.testing.assert_allclose(baseline.table[fields.MEAN], x.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(baseline.table[fields.STD], x.std(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(baseline.table[fields.COUNT], len(x))
    assert baseline.n_windows == 24
    per_window = x.reshape(24, -1, 3)
    np.testing.assert_allclose(baseline.table[fields.LOG_CENTRE], np.median(np.log(per_window.std(axis=1)), axis=0))
    np.testing.assert_allclose(
        baseline.table[fields.MEAN_CENTRE], np.median(per_window.mean(axis=1), axis=0) - x.mean(axis=0), atol=1e-9
    )


def test_a_baseline_does_not_depend_on_chunking() -> None:
    x = noise(2, MINUTES * 60.0 + 5.0)
    whole = made(x, [])
    for cuts in (list(range(1, len(x))), [1, 100, 101, 1999]):
        assert made(x, cuts).id == whole.id


def test_the_scale_of_a_window_mean_is_what_theory_says() -> None:
    baseline = made(noise(3, MINUTES * 60.0, 64, a=0.6))
    window = 5.0 * SFREQ
    tau = (1 + 0.6) / (1 - 0.6)
    assert np.median(baseline.table[fields.MEAN_SCALE]) == pytest.approx(np.sqrt(tau / window), rel=0.25)


def test_a_file_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    baseline = made(noise(4, MINUTES * 60.0))
    write_baselines(tmp_path / "b.json", {"drift": baseline, "other": baseline})
    found = read_baselines(tmp_path / "b.json")
    assert found.keys() == {"drift", "other"}
    assert found["drift"].table.tobytes() == baseline.table.tobytes()
    assert found["drift"].id == baseline.id
    assert found["drift"].made_for == baseline.made_for


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baselines(path, {"drift": made(noise(5, MINUTES * 60.0))})
    record = json.loads(path.read_text())
    record["monitors"]["drift"]["statistics"]["std"][0] *= 1.01
    path.write_text(json.dumps(record))
    with pytest.raises(BaselineError, match=r"b\.json: drift: baseline must have the id it states, .* it was altered"):
        read_baselines(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", r"baseline must be JSON, got"),
        ("[]", r"baseline must be a file of format 'neuroloop-baseline/1', got"),
        ('{"format": "other", "monitors": {}}', r"baseline must be a file of format"),
        ('{"format": "neuroloop-baseline/1", "monitors": {"a": 1}}', r"monitors\.a must be a mapping, got int"),
        ('{"format": "neuroloop-baseline/1", "monitors": {"a": {}}}', r"a: baseline must hold all of its statistics"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=message):
        read_baselines(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"baseline must be a readable file, got .*: No such file"):
        read_baselines(tmp_path / "none.json")
