"""What is watched of a classifier: shares, confidence, entropy, rejected rows."""

from __future__ import annotations

import numpy as np
import pytest

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.processors.drift.model_signals import ModelSignals
from neuroloop.processors.drift.monitor import DriftMonitor
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Finding

INFO = StreamInfo("amp", "Probabilities", "x", 10.0, ("a", "b", "c"), ("probability",) * 3, ("1",) * 3)


def signals(p: FloatArray, threshold: float = 0.5) -> FloatArray:
    made = ModelSignals(INFO, threshold)
    out: FloatArray = made.process(make_chunk(p, np.arange(len(p)) / 10.0, 0, np.ones(len(p), np.bool_), INFO)).data
    return out


def test_every_signal_of_a_row_is_what_it_says() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]])
    entropy = [-(row[row > 0] * np.log(row[row > 0])).sum() / np.log(3) for row in p]
    np.testing.assert_allclose(
        signals(p),
        [
            [1, 0, 0, 0.7, entropy[0], 0],
            [1, 0, 0, 0.4, entropy[1], 1],
            [0, 0, 1, 1.0, entropy[2], 0],
        ],
        rtol=1e-14,
    )
    names = ModelSignals(INFO, 0.5).info_out.ch_names
    assert names == ("prior:a", "prior:b", "prior:c", "confidence", "entropy", "reject")


def decisions(seed: int, n: int, weights: list[float]) -> FloatArray:
    p: FloatArray = np.random.default_rng(seed).dirichlet(weights, n)
    return p


@pytest.mark.parametrize(
    ("weights", "expected"), [([6, 3, 3], None), ([3, 6, 3], "prior:b"), ([0.6, 0.3, 0.3], "entropy")]
)
def test_a_shift_of_the_classes_or_of_the_confidence_is_drift(weights: list[float], expected: str | None) -> None:
    settings = DriftMonitorSettings.model_validate(
        {"watch": "model", "tap": "classifier", "window_s": 20.0, "baseline": {"minutes": 10.0}}
    )
    monitor = DriftMonitor(settings, INFO, threshold=0.4)
    p = np.concatenate([decisions(1, 6000, [6, 3, 3]), decisions(2, 3000, weights)])
    found: list[Finding] = []
    for i in range(0, len(p), 100):
        chunk = make_chunk(p[i : i + 100].copy(), np.arange(i, i + 100) / 10.0, i, np.ones(100, np.bool_), INFO)
        found += monitor.observe(chunk)
    onsets = [one for one in found if one.values["what"] == "onset"]
    assert [one.values["statistic"] for one in onsets] == ["mean"] * len(onsets)
    assert bool(onsets) is (expected is not None)
    if expected is not None:
        assert expected in {name for one in onsets for name in one.values["channels"]}
