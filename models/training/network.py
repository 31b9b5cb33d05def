"""The bundle's network in torch, for training only, and its weights under the bundle's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.bundle import NetworkSettings
from neuroloop.config.errors import NeuroloopError
from neuroloop.models.lstm.weights import directions

if TYPE_CHECKING:
    import torch


def import_torch() -> Any:
    """Import torch, which only training needs.

    Raises
    ------
    NeuroloopError
        If it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise NeuroloopError(
            "torch must be installed for training, got no such package: pip install 'neuroloop[train]'"
        ) from error
    return torch


def build_network(settings: NetworkSettings, dropout: float, seed: int) -> torch.nn.Module:
    """Make the network with torch's default initialisation, the forget gates open.

    Its ``forward`` takes features (n, n_rows, n_features) and returns logits (n, n_classes). Dropout draws from a
    generator of its own, so that networks trained side by side do not disturb each other; the initial weights come from
    torch's global generator, which is seeded here.

    Parameters
    ----------
    settings : NetworkSettings
    dropout : float
        Between LSTM layers and before each layer of the head; the bundle's runtime knows none.
    seed : int
    """
    torch = import_torch()
    nn = torch.nn
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    class SlidingNetwork(nn.Module):  # type: ignore[misc,name-defined]
        """Stacked LSTM layers, pooling, dense head."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.ModuleList(), nn.ModuleList()
            n_in = settings.n_features
            for layer in settings.lstm:
                self.lstm.append(nn.LSTM(n_in, layer.hidden, batch_first=True, bidirectional=layer.bidirectional))
                n_in = layer.hidden * (2 if layer.bidirectional else 1)
            for dense in settings.head:
                self.head.append(nn.Linear(n_in, dense.units))
                n_in = dense.units
            self.output = nn.Linear(n_in, settings.n_classes)
            with torch.no_grad():
                for layer, cell in zip(settings.lstm, self.lstm, strict=True):
                    for suffix in ("", "_reverse") if layer.bidirectional else ("",):
                        getattr(cell, f"bias_ih_l0{suffix}")[layer.hidden : 2 * layer.hidden] += 1.0

        def thin(self, x: Any) -> Any:
            if not self.training or dropout == 0.0:
                return x
            return x * torch.empty_like(x).bernoulli_(1.0 - dropout, generator=generator) / (1.0 - dropout)

        def forward(self, x: Any) -> Any:
            final: Any = None
            for index, cell in enumerate(self.lstm):
                x, (final, _) = cell(self.thin(x) if index else x)
            x = x.mean(1) if settings.pooling == "mean" else torch.cat(list(final), 1)
            for dense, layer in zip(settings.head, self.head, strict=True):
                x = layer(self.thin(x))
                x = torch.relu(x) if dense.activation == "relu" else x
            return self.output(self.thin(x))

    return SlidingNetwork()


def network_arrays(settings: NetworkSettings, network: torch.nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return the weights under the names of `neuroloop.models.lstm.weights`, as new float32 arrays."""
    state = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    arrays: dict[str, NDArray[np.float32]] = {}
    for index, layer in enumerate(settings.lstm):
        for direction in directions(layer.bidirectional):
            suffix = "" if direction == "forward" else "_reverse"
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                arrays[f"lstm.{index}.{direction}.{name}"] = state[f"lstm.{index}.{name}_l0{suffix}"]
    for name in [*(f"head.{index}" for index in range(len(settings.head))), "output"]:
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = state[f"{name}.weight"], state[f"{name}.bias"]
    return {name: np.ascontiguousarray(value) for name, value in arrays.items()}
