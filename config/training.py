"""Settings of training: the recipe, the features, the network, the optimiser and what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator

from neuroloop.config.bundle import DenseLayer, LstmLayer
from neuroloop.config.decision import Decision, DecisionSettings
from neuroloop.config.errors import ConfigError
from neuroloop.config.kinds import CodeRules, Kinds, is_dotted
from neuroloop.config.settings import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Settings
from neuroloop.config.stages import StageSettings


class OptimiserSettings(Settings):
    """How the weights are found: AdamW, one rise and one cosine fall of the rate, averaged weights."""

    train_epochs: PositiveInt = 40
    """Passes over the training windows at most."""
    earliest: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.5
    """Share of ``train_epochs`` before which no weights are kept, while the rate is still high."""
    patience: PositiveInt = 10
    """Stop after so many passes without a better loss on the early-stopping block."""
    batch_size: PositiveInt = 64
    """Training windows per step."""
    learning_rate: PositiveFloat = 5e-3
    """Peak of the schedule."""
    warmup: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.15
    """Share of the steps during which the rate rises."""
    weight_decay: NonNegativeFloat = 1e-3
    """Decay of the weights by AdamW."""
    clip_norm: PositiveFloat = 1.0
    """Largest norm of the gradient; a longer one is scaled down."""
    averaging: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.99
    """Decay per step of the exponential average of the weights, which is what is evaluated and kept; 0 for none."""
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    """Between LSTM layers and before each layer of the head."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Share of each label that is spread over all classes."""
    balance: Probability = 0.7
    """Exponent of the class weights ``(1 / share) ** balance``: 1 gives every class the same weight, 0 none."""
    gain: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    """Training windows are scaled in amplitude by up to this share, up or down."""
    shift: bool = True
    """Whether training windows begin anywhere in their recording, rather than at multiples of the hop."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the first weights, of the order of training windows, and of how they are varied."""
    workers: PositiveInt = 2
    """Trainings (folds) side by side, one thread each; does not change the result."""


class SplitSettings(Settings):
    """What is held out: contiguous blocks of recordings, by their file number."""

    block_size: PositiveInt = 20
    """File numbers of one block, which is one fold."""
    stop_size: PositiveInt = 10
    """File numbers of the block on which training stops early; never part of the fold's test block."""
    folds: bool = True
    """Whether to train once per block for the held-out figures, before the bundle's own training."""


_BIN_HZ = 173.61 / 48
"""Distance of the bins of a window of 48 samples of the Bonn recordings."""

_RECIPES: dict[str, dict[str, Any]] = {
    # One decision per row of 178 samples: 66 windows of 48 samples, 2 apart, the last of which ends with the row; the
    # next row begins 89 hops later. Longer windows (64, 96) and raw samples in place of powers did worse.
    "seizure": {
        "name": "seizure",
        "classes": {"seizure": (1,), "epileptogenic": (2,), "healthy": (3, 4, 5)},
        "stages": (
            {
                "kind": "bandpower",
                "name": "spectrum",
                "window_samples": 48,
                "hop_samples": 2,
                "bands": {
                    f"{round(k * _BIN_HZ)}Hz": (max(0.0, (k - 0.5) * _BIN_HZ), (k + 0.5) * _BIN_HZ) for k in range(17)
                },
                "log": True,
            },
        ),
        "window_samples": 66,
        "hop_samples": 89,
        "lstm": ({"hidden": 96, "bidirectional": True},),
        "pooling": "mean",
        "head": ({"units": 32},),
    },
    # Rest, alpha and seizure of the simulator: a decision every 0.25 s; one direction, so that all modes can run it.
    "simulator": {
        "name": "demo",
        "classes": {"rest": ("rest",), "alpha": ("alpha",), "seizure": ("seizure",)},
        "stages": (
            {
                "kind": "bandpower",
                "name": "bandpower",
                "window_s": 0.5,
                "hop_s": 0.05,
                "bands": {
                    "delta": (1.0, 4.0),
                    "theta": (4.0, 8.0),
                    "alpha": (8.0, 13.0),
                    "beta": (13.0, 30.0),
                    "gamma": (30.0, 45.0),
                },
                "log": True,
            },
        ),
        "window_samples": 10,
        "hop_samples": 5,
        "lstm": ({"hidden": 32},),
        "pooling": "last",
        "head": ({"units": 16},),
        "optimiser": {"train_epochs": 12, "patience": 6},
        "split": {"block_size": 1, "stop_size": 1},
    },
}


RECIPE_KINDS = Kinds("recipe", "neuroloop.recipes", _RECIPES, field="recipe")
"""Which recipes there are; one of somebody's own is a class whose ``settings`` are what a configuration leaves out."""


class TrainSettings(Settings):
    """How ``neuroloop train`` makes a bundle.

    Every setting left out takes the recipe's value, so ``{recipe: seizure}`` is complete.
    """

    model_config = ConfigDict(json_schema_extra={"required": ["recipe"]})

    recipe: Annotated[str, WithJsonSchema({"enum": list(_RECIPES), "type": "string"})]
    """Where everything that is left out comes from."""
    name: Name
    """Name of the bundle."""
    classes: dict[str, tuple[str | int, ...]]
    """For each class, the labels of the data that count as it, in the order of the network's outputs."""
    stages: tuple[StageSettings, ...]
    """From the raw stream to feature rows; a z-score with the training rows' mean and deviation is added to them."""
    standardise: bool = True
    """Whether to add that z-score."""
    window_samples: PositiveInt
    """Feature rows that one decision sees."""
    hop_samples: PositiveInt
    """Feature rows between decisions."""
    lstm: Annotated[tuple[LstmLayer, ...], Field(min_length=1)]
    """LSTM layers, from the features up."""
    pooling: Literal["last", "mean"]
    """What the head sees: each direction's final hidden state, or the mean of the top layer's outputs over time."""
    head: tuple[DenseLayer, ...]
    """Hidden dense layers; the output layer follows them and is not listed."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """How the weights are found."""
    split: SplitSettings = SplitSettings()
    """What is held out."""
    decision: Decision = DecisionSettings()
    """Written into the bundle."""

    @model_validator(mode="before")
    @classmethod
    def _recipe_fills_in(cls, values: Any, info: ValidationInfo) -> Any:
        if not (isinstance(values, Mapping) and isinstance(values.get("recipe"), str)):
            return values
        recipe = values["recipe"]
        if recipe in _RECIPES:
            return {**_RECIPES[recipe], **values}
        rules = CodeRules.of(info.context)
        needed = {name for name, one in cls.model_fields.items() if one.is_required()}
        if is_dotted(recipe) and not rules.allowed and needed <= set(values):
            return values  # what a run or a bundle keeps is whole: no code is asked
        filled = getattr(RECIPE_KINDS.resolve(recipe, rules), "settings", None)
        if not isinstance(filled, Mapping):
            raise ConfigError(f"recipe must name a class with a mapping 'settings', got {recipe!r}")
        return {**filled, **values}

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> TrainSettings:
        if len(self.classes) < 2 or "unknown" in self.classes:
            raise ValueError(f"classes must be at least two, none named 'unknown', got {sorted(self.classes)!r}")
        seen: set[str | int] = set()
        for label, members in self.classes.items():
            if not members or seen & set(members):
                raise ValueError(f"classes.{label} must be labels of no other class, got {list(members)!r}")
            seen |= set(members)
        return self
