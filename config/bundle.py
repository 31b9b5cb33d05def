"""What ``model.json`` of a bundle holds: the network, its input, its preprocessing, its decision settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from neuroloop.config.decision import Decision, DecisionSettings
from neuroloop.config.settings import Name, NonNegativeFloat, PositiveInt, Settings
from neuroloop.config.stages import StageSettings


class LstmLayer(Settings):
    """One LSTM layer; a bidirectional one hands on ``2 * hidden`` features (forward, then backward)."""

    hidden: Annotated[int, Field(ge=1, le=1024)]
    """Hidden units of each direction."""
    bidirectional: bool = False
    """Whether a second direction reads the window from its end; for mode ``window`` only."""


class DenseLayer(Settings):
    """One dense layer of the head."""

    units: Annotated[int, Field(ge=1, le=4096)]
    """Outputs of the layer."""
    activation: Literal["relu", "linear"] = "relu"
    """What follows it: ``relu``, or nothing (``linear``)."""


class NetworkSettings(Settings):
    """Stacked LSTM layers over a window, a dense head, a softmax over the classes."""

    n_features: PositiveInt
    """Columns of a feature row."""
    lstm: Annotated[tuple[LstmLayer, ...], Field(min_length=1)]
    """LSTM layers, from the features up."""
    pooling: Literal["last", "mean"] = "last"
    """What the head sees: each direction's final hidden state, or the mean of the top layer's outputs over time."""
    head: tuple[DenseLayer, ...] = ()
    """Hidden dense layers; the output layer (one unit per class, linear) follows them and is not listed."""
    n_classes: Annotated[int, Field(ge=2)]
    """Outputs, one per class."""


class BundleInput(Settings):
    """The stream a bundle was made for; a stream that disagrees is refused."""

    sfreq: NonNegativeFloat
    """Nominal rate in Hz; 0 for a stream without one."""
    ch_names: tuple[str, ...]
    """Names of the channels, in order."""
    ch_units: tuple[str, ...]
    """Units of the channels, in order."""
    any_names: bool = False
    """Whether only the number and units of channels must agree, not their names."""


class BundleSettings(Settings):
    """The whole of ``model.json``."""

    format: Literal["neuroloop-bundle/1"] = "neuroloop-bundle/1"
    """What kind of file this is."""
    name: Name
    """Name of the bundle."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the classes, in the order of the network's outputs."""
    input: BundleInput
    """The stream it was made for."""
    stages: tuple[StageSettings, ...] = ()
    """Preprocessing, from the raw stream to the network's feature rows."""
    window_samples: PositiveInt
    """Feature rows that one decision sees."""
    hop_samples: PositiveInt
    """Feature rows between decisions; more than ``window_samples`` leaves the rows in between unseen."""
    network: NetworkSettings
    """Sizes of the network."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Calibration: logits are divided by it before the softmax."""
    decision: Decision = DecisionSettings()
    """From probabilities to a state, unless a configuration says otherwise."""
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
