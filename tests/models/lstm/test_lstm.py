from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroloop.config.bundle import DenseLayer, NetworkSettings
from neuroloop.models.lstm.lstm import SlidingLstm
from neuroloop.models.lstm.packing import aligned_zeros, pack_weights
from neuroloop.models.lstm.workspace import Mode
from tests.models.naive import head_probabilities, make_network, pooled_hidden, random_tensors

LAYERS = [
    [(1, False)],
    [(7, True)],
    [(16, False)],
    [(33, False), (17, False)],
    [(64, True), (32, True)],
    [(5, True), (48, False), (3, True)],
    [(128, False)],
]


def sliding(
    network: NetworkSettings, window: int, hop: int, mode: Mode, *, seed: int = 1, temperature: float = 1.0
) -> SlidingLstm:
    packed = pack_weights(network, random_tensors(network, seed), temperature)
    return SlidingLstm(packed, window_samples=window, hop_samples=hop, mode=mode)


def push(lstm: SlidingLstm, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return lstm.push(x, np.ones(len(x), np.bool_))[0]


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_window_equals_the_slow_twin(layers: list[tuple[int, bool]], pooling: str) -> None:
    # float32 sums against float64: 1e-5 is the promise, a few 1e-7 are seen
    network = make_network(5, layers, pooling=pooling)
    tensors = random_tensors(network, 1)
    x = np.random.default_rng(2).standard_normal((40, 5))
    lstm = sliding(network, 40, 40, "window", temperature=0.7)
    probabilities = push(lstm, x)
    pooled = pooled_hidden(network, tensors, x.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(lstm.pooled, pooled, atol=2e-6, rtol=0)
    np.testing.assert_allclose(probabilities[0], head_probabilities(network, tensors, pooled, 0.7), atol=2e-6, rtol=0)


@pytest.mark.parametrize("head", [(), (DenseLayer(units=3, activation="linear"), DenseLayer(units=40))], ids=len)
def test_head_equals_the_slow_twin(head: tuple[DenseLayer, ...]) -> None:
    network = make_network(2, [(9, True)], head=head, n_classes=20)
    tensors = random_tensors(network, 1)
    lstm = sliding(network, 10, 10, "window")
    probabilities = push(lstm, np.random.default_rng(3).standard_normal((10, 2)))[0]
    expected = head_probabilities(network, tensors, lstm.pooled.astype(np.float64))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6, rtol=0)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("layers", [[(1, False)], [(32, False)], [(40, False), (17, False), (64, False)]], ids=str)
@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize(("window", "hop"), [(12, 1), (12, 5), (12, 12), (1, 1), (5, 12)])
def test_staggered_equals_window_bit_for_bit(
    layers: list[tuple[int, bool]], pooling: str, window: int, hop: int
) -> None:
    network = make_network(3, layers, pooling=pooling)
    x = np.random.default_rng(4).standard_normal((50, 3))
    burst = push(sliding(network, window, hop, "window"), x)
    np.testing.assert_array_equal(push(sliding(network, window, hop, "staggered"), x), burst)
    assert len(burst) == (50 - window) // hop + 1


def test_carry_is_one_run_over_all_rows() -> None:
    network = make_network(3, [(20, False), (8, False)])
    tensors = random_tensors(network, 1)
    x = np.random.default_rng(5).standard_normal((30, 3))
    rows = push(sliding(network, 6, 4, "carry"), x)
    pooled = pooled_hidden(network, tensors, x[:26].astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(rows[5], head_probabilities(network, tensors, pooled), atol=2e-6, rtol=0)


@pytest.mark.parametrize("mode", ["window", "staggered", "carry"])
def test_output_stays_finite_whatever_comes_in(mode: Mode) -> None:
    network = make_network(2, [(16, False)])
    lstm = sliding(network, 4, 1, mode)
    x = np.array([[np.nan, 0], [np.inf, 1], [1e300, -1e300], [3e38, 3e38], [-3e38, 3e38], [0, 0]])
    probabilities, valid = lstm.push(x, np.ones(6, np.bool_))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert valid.tolist() == [False, False, False]


def test_logits_beyond_float32_still_give_probabilities() -> None:
    network = make_network(1, [(4, False)], head=(DenseLayer(units=4, activation="linear"),))
    tensors = random_tensors(network, 1)
    for name in ("head.0.weight", "output.weight"):
        tensors[name] = np.sign(tensors[name]) * np.float32(3e38)
    lstm = SlidingLstm(pack_weights(network, tensors), window_samples=1, hop_samples=1)
    probabilities = push(lstm, np.ones((3, 1)))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_weights_begin_at_cache_lines() -> None:
    assert all(aligned_zeros(n).ctypes.data % 64 == 0 for n in (1, 7, 1000))
    assert (
        pack_weights(make_network(3, [(5, True)]), random_tensors(make_network(3, [(5, True)]), 1)).flat.ctypes.data
        % 64
        == 0
    )


def test_rows_of_another_width_are_refused() -> None:
    lstm = sliding(make_network(3, [(4, False)]), 4, 1, "window")
    with pytest.raises(ValueError, match=r"data must have shape \(n_samples, 3\) with one entry of valid per row"):
        lstm.push(np.zeros((2, 4)), np.ones(2, np.bool_))


@pytest.mark.parametrize(
    ("layers", "pooling", "window", "hop", "mode", "message"),
    [
        ([(4, False)], "last", 0, 1, "window", "window_samples must be >= 1, got 0"),
        ([(4, False)], "last", 4, 0, "window", "hop_samples must be >= 1, got 0"),
        ([(4, False)], "last", 4, 1, "sliding", "mode must be one of window, staggered, carry, got 'sliding'"),
        ([(4, True)], "last", 4, 1, "staggered", "mode must be 'window' for a network with bidirectional layers"),
        ([(4, False)], "mean", 4, 1, "carry", "pooling must be 'last' in mode 'carry', got 'mean'"),
    ],
)
def test_what_cannot_run_is_refused(
    layers: list[tuple[int, bool]], pooling: str, window: int, hop: int, mode: Mode, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sliding(make_network(2, layers, pooling=pooling), window, hop, mode)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), 1e-60])
def test_temperature_must_be_positive(temperature: float) -> None:
    network = make_network(1, [(1, False)])
    with pytest.raises(ValueError, match="temperature must be a positive float32, got"):
        pack_weights(network, random_tensors(network, 1), temperature)


def test_a_negative_row_index_is_refused() -> None:
    with pytest.raises(ValueError, match="next_row must be >= 0, got -1"):
        sliding(make_network(1, [(1, False)]), 1, 1, "carry").reset(-1)


def fingerprint() -> str:
    """Hash of the bytes that both families of kernels give for one signal."""
    digest = hashlib.sha256()
    x = np.random.default_rng(6).standard_normal((60, 5))
    digest.update(push(sliding(make_network(5, [(40, True), (17, True)]), 30, 7, "window"), x).tobytes())
    digest.update(push(sliding(make_network(5, [(40, False), (17, False)]), 30, 7, "staggered"), x).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_a_cpu_without_vector_and_fused_instructions_gives_the_same_bytes(tmp_path: Path) -> None:
    code = "from tests.models.lstm.test_lstm import fingerprint; print(fingerprint())"
    environment = os.environ | {
        "NUMBA_CPU_NAME": "nehalem",  # SSE4.2: sixteen lanes become four registers, fma becomes a call
        "NUMBA_CPU_FEATURES": "",
        "NEUROLOOP_CACHE": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint()
