"""What ``model.json`` of a bundle holds: the network, its input, its preprocessing, its decision settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from neuroloop.config.decision import DecisionSettings
from neuroloop.config.settings import Name, NonNegativeFloat, PositiveInt, Settings
from neuroloop.config.stages import StageSettings


class LstmLayer(Settings):
    """One LSTM layer; a bidirectional one hands on ``2 * hidden`` features (forward, then backward)."""

    hidden: Annotated[int, Field(ge=1, le=1024)]
    bidirectional: bool = False


class DenseLayer(Settings):
    """One dense layer of the head."""

    units: Annotated[int, Field(ge=1, le=4096)]
    activation: Literal["relu", "linear"] = "relu"


class NetworkSettings(Settings):
    """Stacked LSTM layers over a window, a dense head, a softmax over the classes."""

    n_features: PositiveInt
    lstm: Annotated[tuple[LstmLayer, ...], Field(min_length=1)]
    pooling: Literal["last", "mean"] = "last"
    """What the head sees: each direction's final hidden state, or the mean of the top layer's outputs over time."""
    head: tuple[DenseLayer, ...] = ()
    """Hidden dense layers; the output layer (one unit per class, linear) follows them and is not listed."""
    n_classes: Annotated[int, Field(ge=2)]


class BundleInput(Settings):
    """The stream a bundle was made for; a stream that disagrees is refused."""

    sfreq: NonNegativeFloat
    ch_names: tuple[str, ...]
    ch_units: tuple[str, ...]
    any_names: bool = False
    """Whether only the number and units of channels must agree, not their names."""


class BundleSettings(Settings):
    """The whole of ``model.json``."""

    format: Literal["neuroloop-bundle/1"] = "neuroloop-bundle/1"
    name: Name
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    input: BundleInput
    stages: tuple[StageSettings, ...] = ()
    """Preprocessing, from the raw stream to the network's feature rows."""
    window_samples: PositiveInt
    """Feature rows that one decision sees."""
    hop_samples: PositiveInt
    """Feature rows between decisions; more than ``window_samples`` leaves the rows in between unseen."""
    network: NetworkSettings
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Calibration: logits are divided by it before the softmax."""
    decision: DecisionSettings = DecisionSettings()
    sha256: str
    """Of ``model.safetensors``."""
    training: dict[str, Any] = Field(default_factory=dict)
    """How it came about: data hash, split, seeds, versions, metrics. Informative only."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> BundleSettings:
        if len(self.classes) != self.network.n_classes:
            raise ValueError(
                f"classes must have network.n_classes={self.network.n_classes} entries, got {len(self.classes)}"
            )
        if len(set(self.classes)) != len(self.classes) or "unknown" in self.classes:
            raise ValueError(f"classes must be distinct and without 'unknown', got {list(self.classes)!r}")
        return self
