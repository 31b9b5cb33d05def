"""Equality with torch, which the runtime never imports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuroloop.config.bundle import NetworkSettings
from neuroloop.models.lstm.lstm import SlidingLstm
from neuroloop.models.lstm.packing import pack_weights
from neuroloop.models.lstm.weights import directions
from tests.models.naive import make_network

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SUFFIX = {"forward": "_l0", "backward": "_l0_reverse"}


def torch_twin(network: NetworkSettings, seed: int) -> tuple[list[Any], list[Any]]:
    torch.manual_seed(seed)
    n_in, lstms, linears = network.n_features, [], []
    for layer in network.lstm:
        lstms.append(torch.nn.LSTM(n_in, layer.hidden, bidirectional=layer.bidirectional, batch_first=True))
        n_in = layer.hidden * (2 if layer.bidirectional else 1)
    for units in [*(dense.units for dense in network.head), network.n_classes]:
        linears.append(torch.nn.Linear(n_in, units))
        n_in = units
    return lstms, linears


def tensors_of(network: NetworkSettings, lstms: list[Any], linears: list[Any]) -> dict[str, NDArray[np.float32]]:
    tensors = {}
    for index, (layer, lstm) in enumerate(zip(network.lstm, lstms, strict=True)):
        for direction in directions(layer.bidirectional):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                tensor = getattr(lstm, kind + SUFFIX[direction])
                tensors[f"lstm.{index}.{direction}.{kind}"] = tensor.detach().numpy().copy()
    for name, linear in zip([*(f"head.{i}" for i in range(len(linears) - 1)), "output"], linears, strict=True):
        tensors[f"{name}.weight"] = linear.weight.detach().numpy().copy()
        tensors[f"{name}.bias"] = linear.bias.detach().numpy().copy()
    return tensors


def torch_answer(
    network: NetworkSettings, lstms: list[Any], linears: list[Any], x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pooled hidden state, as torch's h_n joins it, and probabilities."""
    with torch.no_grad():
        y = torch.from_numpy(x)[None]
        for lstm in lstms:
            y, (h_n, _) = lstm(y)
        pooled = torch.cat(list(h_n), 1)[0] if network.pooling == "last" else y[0].mean(0)
        z = pooled
        for index, linear in enumerate(linears):
            z = linear(z)
            if index < len(network.head) and network.head[index].activation == "relu":
                z = torch.relu(z)
        return pooled.numpy(), torch.softmax(z, 0).numpy()


@pytest.mark.parametrize(
    ("n_features", "layers", "n_rows"),
    [
        (1, [(1, False)], 512),
        (3, [(31, False)], 512),
        (32, [(128, False)], 512),
        (4, [(64, True), (32, True)], 178),
        (2, [(13, True), (128, True), (5, False)], 200),
        (6, [(17, False), (16, False), (65, False)], 512),
        (1, [(48, True)], 1),
    ],
)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_equals_torch_within_a_hundred_thousandth(
    n_features: int, layers: list[tuple[int, bool]], n_rows: int, pooling: str
) -> None:
    network = make_network(n_features, layers, pooling=pooling)
    lstms, linears = torch_twin(network, 11)
    x = np.random.default_rng(12).standard_normal((n_rows, n_features)).astype(np.float32)
    pooled, probabilities = torch_answer(network, lstms, linears, x)
    packed = pack_weights(network, tensors_of(network, lstms, linears))
    modes = ["window"] if any(both for _, both in layers) else ["window", "staggered"]
    for mode in modes:
        ours = SlidingLstm(packed, window_samples=n_rows, hop_samples=n_rows, mode=mode)  # type: ignore[arg-type]
        answer = ours.push(x.astype(np.float64), np.ones(n_rows, np.bool_))[0]
        np.testing.assert_allclose(ours.pooled, pooled, atol=1e-5, rtol=0)
        np.testing.assert_allclose(answer[0], probabilities, atol=1e-5, rtol=0)
