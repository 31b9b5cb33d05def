"""An LSTM that recognises the bursts of `neuroloop.stream.tools.latency.onsets`, its weights set by hand.

It is of the size and shape of a real one, and computes as one does: only its first unit has a meaning, the others hold
noise that the output does not read. So a measurement needs no training and no data, and misses mean the loop's faults,
not the classifier's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.bundle import BundleInput, BundleSettings, LstmLayer, NetworkSettings
from neuroloop.config.decision import DecisionSettings
from neuroloop.config.stages import BandPowerSettings, FilterSettings, ReferenceSettings, StageSettings
from neuroloop.models.bundle import save_bundle
from neuroloop.models.lstm.weights import expected_tensors
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.tools.latency.onsets import NOISE_UV, STEP_UV, TONE_HZ, TONE_UV

REST, BURST = "rest", "burst"
HOP_S = 0.01
_WINDOW_S = 0.05
_N_HIDDEN = 32
_N_ROWS = 10
_BANDS = {"low": (10.0, 30.0), "tone": (30.0, 50.0), "high": (50.0, 90.0)}
_OPEN = 12.0
"""Of a gate whose sigmoid shall be 1, negative for 0."""


def stream_of(n_channels: int, sfreq: float, name: str) -> StreamInfo:
    """Return the stream that the sender offers."""
    names = tuple(f"E{index + 1}" for index in range(n_channels))
    return StreamInfo(name, "EEG", name, sfreq, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def stages() -> tuple[StageSettings, ...]:
    """Return the preprocessing: notch and band-pass, average reference, power in three bands every 10 ms."""
    return (
        FilterSettings.model_validate(
            {
                "kind": "filter",
                "designs": [
                    {"kind": "notch", "freq_hz": 50, "q": 30, "when": "sfreq > 2.2 * f0"},
                    {"kind": "bandpass", "low_hz": 5, "high_hz": 95, "order": 2, "when": "sfreq > 210"},
                ],
            }
        ),
        ReferenceSettings(kind="reference"),
        BandPowerSettings(kind="bandpower", window_s=_WINDOW_S, hop_s=HOP_S, bands=dict(_BANDS), log=True),
    )


def make_detector(folder: Path, info: StreamInfo) -> Path:
    """Write the bundle for bursts of kind ``tone``.

    Parameters
    ----------
    folder : Path
        New.
    info : StreamInfo
        Of 210 Hz or more.
    """
    n_features = info.n_channels * len(_BANDS)
    in_band = [index for index in range(n_features) if index % len(_BANDS) == list(_BANDS).index("tone")]
    low, high = _BANDS["tone"]
    noise = NOISE_UV**2 * (high - low) / (info.sfreq / 2)
    middle = 0.5 * (np.log(noise) + np.log(TONE_UV**2 / 2))
    weights = np.zeros(n_features)
    weights[in_band] = 1.0 / len(in_band)
    assert low <= TONE_HZ < high
    return _write(folder, info, "onset-detector", stages(), n_features, weights, middle, _N_HIDDEN, _N_ROWS, 1)


def make_threshold(folder: Path, info: StreamInfo) -> Path:
    """Write the bundle of the null pipeline: no stage, one unit over the newest sample, for bursts of kind ``step``."""
    weights = np.full(info.n_channels, 0.1 / info.n_channels)
    hop = max(1, round(HOP_S * info.sfreq))
    return _write(folder, info, "onset-threshold", (), info.n_channels, weights, 0.05 * STEP_UV, 1, 1, hop)


def _write(
    folder: Path,
    info: StreamInfo,
    name: str,
    preprocessing: tuple[StageSettings, ...],
    n_features: int,
    weights: NDArray[np.float64],
    middle: float,
    n_hidden: int,
    n_rows: int,
    hop: int,
) -> Path:
    """Write a bundle whose first unit is ``tanh(tanh(weights . x - middle))``, without memory."""
    network = NetworkSettings(n_features=n_features, lstm=(LstmLayer(hidden=n_hidden),), n_classes=2)
    rng = np.random.default_rng(17)
    arrays = {
        tensor: (0.05 * rng.standard_normal(shape)).astype(np.float32)
        for tensor, shape in expected_tensors(network).items()
    }
    prefix = "lstm.0.forward."
    into, back, bias = (arrays[prefix + one] for one in ("weight_ih", "weight_hh", "bias_ih"))
    for gate, opening in enumerate((_OPEN, -_OPEN, 0.0, _OPEN)):  # input, forget, cell, output
        unit = gate * n_hidden
        into[unit], back[unit], bias[unit] = 0.0, 0.0, opening
        arrays[prefix + "bias_hh"][unit] = 0.0
    cell = 2 * n_hidden
    into[cell], bias[cell] = weights, -middle
    arrays["output.weight"][:] = 0.0
    arrays["output.weight"][1, 0] = 20.0
    arrays["output.bias"][:] = 0.0
    settings = BundleSettings(
        name=name,
        classes=(REST, BURST),
        input=BundleInput(sfreq=info.sfreq, ch_names=info.ch_names, ch_units=info.ch_units, any_names=True),
        stages=preprocessing,
        window_samples=n_rows,
        hop_samples=hop,
        network=network,
        decision=DecisionSettings(threshold=0.5),
        sha256="0" * 64,
    )
    save_bundle(folder, settings, arrays, f"# {name}\n\nFor measuring latency only; its weights are set by hand.\n")
    return folder
