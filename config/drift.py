"""Settings of the drift monitors and of the accuracy that label markers allow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from neuroloop.config.settings import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Settings


def _as_text(value: object) -> object:
    """Let YAML write labels that are numbers without quotes."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Label = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int | float)]

Rule = Literal["threshold", "analytic", "empirical", "ewma", "cusum", "adwin", "page_hinkley"]

RULE_KEYS = {
    "units": ("threshold",),
    "zero_threshold": ("threshold",),
    "mean_threshold_abs": ("threshold",),
    "mean_threshold_rel": ("threshold",),
    "std_threshold": ("threshold",),
    "false_alarms_per_day": ("analytic", "empirical", "ewma", "cusum"),
}
"""Which settings belong to some rules only."""


class BaselineSettings(Settings):
    """What a monitor compares with; never replaced but on command."""

    source: Literal["auto", "stream", "file", "bundle"] = "auto"
    """``auto``: the bundle's where it has one for this monitor, otherwise the first ``minutes`` of the stream."""
    minutes: PositiveFloat = 20.0
    """Length of a baseline taken from the stream; it is frozen afterwards."""
    path: str | None = None
    """File of ``neuroloop baseline make``, for source ``file``."""

    @model_validator(mode="after")
    def _path_belongs_to_file(self) -> BaselineSettings:
        if (self.source == "file") != (self.path is not None):
            raise ValueError(f"path must be given for source 'file' and for it only, got {self.path!r}")
        return self


class DriftMonitorSettings(Settings):
    """One monitor: rolling mean and standard deviation of a tap against a baseline."""

    name: Name = "drift"
    """Name of the monitor, in events, metrics and baselines."""
    tap: Name | None = None
    """Stage whose output is watched; ``input`` (for ``watch: model`` the classifier) unless given."""
    watch: Literal["signal", "model"] = "signal"
    """``model``: class shares, confidence, entropy and share of rejected rows of the classifier."""
    window_s: PositiveFloat = 30.0
    """Length of the windows that are compared with the baseline."""
    hop_s: PositiveFloat | None = None
    """Distance of checks; a quarter of the window unless given. A window is a whole number of hops."""
    rule: Rule = "empirical"
    """How a window is judged: by limits that are given (``threshold``), by standard errors (``analytic``), by the
    baseline's own windows (``empirical``), or by sequential tests (``ewma``, ``cusum``, ``adwin``, ``page_hinkley``).
    """
    false_alarms_per_day: PositiveFloat | None = None
    """What this monitor may cost on stationary data, over all its channels and statistics; 1 unless given."""
    units: Literal["baseline", "raw"] | None = None
    """Rule ``threshold``: standard deviations of the baseline (unless given) or the tap's own units."""
    zero_threshold: NonNegativeFloat | None = None
    """Baseline means of smaller magnitude count as near zero; 0.5 unless given."""
    mean_threshold_abs: PositiveFloat | None = None
    """Allowed shift of a mean near zero; ``zero_threshold`` unless given."""
    mean_threshold_rel: PositiveFloat | None = None
    """Allowed shift of any other mean, as a share of it; 0.2 unless given."""
    std_threshold: PositiveFloat | None = None
    """Allowed change of the standard deviation, as a share of it; 0.2 unless given."""
    confirm_windows: PositiveInt | None = None
    """Consecutive windows without overlap that must agree before an alarm begins or ends.

    2 unless given; 1 for the sequential rules, whose statistic remembers.
    """
    leave: Annotated[float, Field(gt=0, le=1)] = 0.7
    """An alarm ends when the score falls below this share of the threshold."""
    effect: Literal["flag", "hold", "recalibrate"] = "flag"
    """``hold``: stimulation is held while the alarm lasts; ``recalibrate``: the event asks for a new calibration."""
    top_k: PositiveInt = 5
    """How many channels an event names."""
    baseline: BaselineSettings = BaselineSettings()
    """What the monitor compares with."""

    @model_validator(mode="after")
    def _only_what_the_rule_uses(self) -> DriftMonitorSettings:
        for key, rules in RULE_KEYS.items():
            if getattr(self, key) is not None and self.rule not in rules:
                raise ValueError(f"{key} must be left out for rule {self.rule!r}, it belongs to {', '.join(rules)}")
        if self.hop_s is not None and self.hop_s > self.window_s:
            raise ValueError(f"hop_s must be at most window_s={self.window_s!r}, got {self.hop_s!r}")
        if self.mean_threshold_abs is None and self.zero_threshold == 0.0:
            raise ValueError("mean_threshold_abs must be given where zero_threshold is 0, got nothing")
        return self

    @property
    def is_sequential(self) -> bool:
        """Whether the rule's statistic remembers earlier windows."""
        return self.rule in ("ewma", "cusum", "adwin", "page_hinkley")

    @property
    def n_confirm(self) -> int:
        """Windows without overlap that must agree."""
        return self.confirm_windows if self.confirm_windows is not None else 1 if self.is_sequential else 2


class AccuracySettings(Settings):
    """Judge decisions by label markers: a label holds from its time until the next one."""

    labels: dict[Label, Label] = Field(default_factory=dict)
    """From marker label to class; an empty class ends what was known. Numbers fit by value: ``1`` and ``1.0`` are one.

    Where left out, a marker means the class that has its name, or, as a number, the class of that index (from 0). A
    class may be given by its index here too. Other markers are no labels.
    """
    marker_stream: str | None = None
    """Only markers of this stream; of any without it."""
    delay_s: NonNegativeFloat = 0.0
    """A decision at ``t`` is about ``t - delay_s``."""
    wait_s: NonNegativeFloat = 1.0
    """How late a marker may arrive: a decision is judged so much stream time after it."""
    decisions: PositiveInt = 200
    """How many of the newest judged decisions the accuracy is over."""
