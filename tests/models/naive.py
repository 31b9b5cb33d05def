"""Slow, obvious twins of the LSTM kernels in float64 NumPy, and networks to try them on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.bundle import BundleInput, BundleSettings, DenseLayer, LstmLayer, NetworkSettings
from neuroloop.models.bundle import Bundle
from neuroloop.models.lstm.weights import directions, expected_tensors
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo, make_chunk

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_direction(tensors: dict[str, NDArray[np.float32]], prefix: str, x: Array) -> Array:
    """Outputs (n_rows, hidden) of one direction over rows in the order given."""
    w_ih, w_hh, b_ih, b_hh = (
        tensors[f"{prefix}.{name}"].astype(np.float64) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = w_hh.shape[1]
    h, c = np.zeros(hidden), np.zeros(hidden)
    out = []
    for row in x:
        i, f, g, o = (w_ih @ row + b_ih + w_hh @ h + b_hh).reshape(4, hidden)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def pooled_hidden(network: NetworkSettings, tensors: dict[str, NDArray[np.float32]], x: Array) -> Array:
    """What the head sees of one window (n_rows, n_features)."""
    for index, layer in enumerate(network.lstm):
        outputs, last = [], []
        for direction in directions(layer.bidirectional):
            prefix = f"lstm.{index}.{direction}"
            if direction == "forward":
                outputs.append(lstm_direction(tensors, prefix, x))
                last.append(outputs[-1][-1])
            else:
                outputs.append(lstm_direction(tensors, prefix, x[::-1])[::-1])
                last.append(outputs[-1][0])
        x = np.concatenate(outputs, axis=1)
    return np.concatenate(last) if network.pooling == "last" else x.mean(axis=0)


def head_probabilities(
    network: NetworkSettings, tensors: dict[str, NDArray[np.float32]], x: Array, temperature: float = 1.0
) -> Array:
    """Class probabilities of a pooled hidden state."""
    for index, layer in enumerate(network.head):
        x = tensors[f"head.{index}.weight"].astype(np.float64) @ x + tensors[f"head.{index}.bias"]
        x = np.maximum(x, 0) if layer.activation == "relu" else x
    logits = (tensors["output.weight"].astype(np.float64) @ x + tensors["output.bias"]) / temperature
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def random_tensors(network: NetworkSettings, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights drawn as torch draws them by default: uniform within one over the root of the fan."""
    rng = np.random.default_rng(seed)
    tensors, n_in = {}, 1
    for name, shape in expected_tensors(network).items():
        if name.endswith("weight"):
            n_in = shape[1]
        bound = 1 / np.sqrt(shape[0] // 4 if name.startswith("lstm") else n_in)
        tensors[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return tensors


def make_network(
    n_features: int,
    layers: list[tuple[int, bool]],
    *,
    pooling: str = "last",
    head: tuple[DenseLayer, ...] = (DenseLayer(units=16),),
    n_classes: int = 3,
) -> NetworkSettings:
    """``layers``: hidden units and whether bidirectional."""
    return NetworkSettings.model_validate(
        {
            "n_features": n_features,
            "lstm": [LstmLayer(hidden=hidden, bidirectional=both) for hidden, both in layers],
            "pooling": pooling,
            "head": head,
            "n_classes": n_classes,
        }
    )


def make_bundle(
    network: NetworkSettings, *, window_samples: int, hop_samples: int, temperature: float = 1.0, seed: int = 1
) -> Bundle:
    """A bundle in memory, for a stream of as many channels as the network has features."""
    names = tuple(f"F{index}" for index in range(network.n_features))
    settings = BundleSettings(
        name="test",
        classes=tuple(f"class{index}" for index in range(network.n_classes)),
        input=BundleInput(sfreq=100.0, ch_names=names, ch_units=("uV",) * len(names)),
        window_samples=window_samples,
        hop_samples=hop_samples,
        network=network,
        temperature=temperature,
        sha256="",
    )
    return Bundle(settings, random_tensors(network, seed))


def feature_info(n_features: int, sfreq: float = 100.0) -> StreamInfo:
    names = tuple(f"F{index}" for index in range(n_features))
    return StreamInfo("test", "EEG", "id", sfreq, names, ("eeg",) * n_features, ("uV",) * n_features)


def feature_chunk(x: Array, first_sample: int = 0, valid: NDArray[np.bool_] | None = None) -> Chunk:
    """Rows stamped with their global index over 100."""
    stamps = (first_sample + np.arange(len(x))) / 100.0
    flags = np.ones(len(x), np.bool_) if valid is None else valid.copy()
    return make_chunk(np.array(x, np.float64, order="C"), stamps, first_sample, flags, feature_info(x.shape[1]))
