"""The tensors of a network: their names, their shapes, and the check that a set of tensors is that network's.

============================================  ======================================  ==========================
name                                          shape                                   torch's state_dict has
============================================  ======================================  ==========================
``lstm.<layer>.<direction>.weight_ih``        (4 * hidden, n_in)                      ``weight_ih_l0[_reverse]``
``lstm.<layer>.<direction>.weight_hh``        (4 * hidden, hidden)                    ``weight_hh_l0[_reverse]``
``lstm.<layer>.<direction>.bias_ih``          (4 * hidden,)                           ``bias_ih_l0[_reverse]``
``lstm.<layer>.<direction>.bias_hh``          (4 * hidden,)                           ``bias_hh_l0[_reverse]``
``head.<i>.weight``, ``head.<i>.bias``        (units, n_in), (units,)                 ``weight``, ``bias``
``output.weight``, ``output.bias``            (n_classes, n_in), (n_classes,)         ``weight``, ``bias``
============================================  ======================================  ==========================

``direction`` is ``forward`` or ``backward``. Gates stand in torch's order: input, forget, cell, output. A layer that
follows a bidirectional one reads its forward outputs, then its backward outputs; so does the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.bundle import NetworkSettings
from neuroloop.config.errors import BundleError

FORWARD, BACKWARD = "forward", "backward"


def directions(bidirectional: bool) -> tuple[str, ...]:
    """Return the directions of a layer in the order in which their outputs are joined."""
    return (FORWARD, BACKWARD) if bidirectional else (FORWARD,)


def expected_tensors(network: NetworkSettings) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of a network, in the order of computation.

    Parameters
    ----------
    network : NetworkSettings
        Sizes of the layers.

    Returns
    -------
    dict
        From name to shape; all tensors are float32.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    n_in = network.n_features
    for index, layer in enumerate(network.lstm):
        for direction in directions(layer.bidirectional):
            prefix = f"lstm.{index}.{direction}"
            shapes[f"{prefix}.weight_ih"] = (4 * layer.hidden, n_in)
            shapes[f"{prefix}.weight_hh"] = (4 * layer.hidden, layer.hidden)
            shapes[f"{prefix}.bias_ih"] = (4 * layer.hidden,)
            shapes[f"{prefix}.bias_hh"] = (4 * layer.hidden,)
        n_in = layer.hidden * (2 if layer.bidirectional else 1)
    units = [(f"head.{index}", dense.units) for index, dense in enumerate(network.head)]
    for name, n_units in [*units, ("output", network.n_classes)]:
        shapes[f"{name}.weight"] = (n_units, n_in)
        shapes[f"{name}.bias"] = (n_units,)
        n_in = n_units
    return shapes


def check_tensors(network: NetworkSettings, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse tensors that are not exactly this network's.

    Raises
    ------
    BundleError
        If a tensor is missing or superfluous, has another shape, is not float32 or holds a value that is not finite.
    """
    expected = expected_tensors(network)
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise BundleError(f"tensors must hold every weight of the network, got none named {', '.join(missing)}")
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise BundleError(f"tensors must hold nothing but the network's weights, got also {', '.join(extra)}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise BundleError(f"{name} must have shape {shape}, got {tensor.shape!r}")
        if tensor.dtype != np.float32:
            raise BundleError(f"{name} must be float32, got {str(tensor.dtype)!r}")
        if not np.isfinite(tensor).all():
            where = tuple(int(axis[0]) for axis in np.nonzero(~np.isfinite(tensor)))
            raise BundleError(f"{name} must be finite, got {float(tensor[where])!r} at {list(where)}")
