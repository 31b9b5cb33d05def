"""Settings of the decision policy."""

from __future__ import annotations

from pydantic import model_validator

from neuroloop.config.settings import NonNegativeFloat, PositiveInt, Probability, Settings


class DecisionSettings(Settings):
    """From class probabilities to a state: threshold, N-of-M confirmation, minimum dwell."""

    threshold: Probability = 0.5
    """A row votes for its most probable class only at or above this probability, otherwise for ``unknown``."""
    confirm_n: PositiveInt = 1
    """A class becomes the state when it got at least so many of the last ``confirm_m`` votes; more than half of them.
    """
    confirm_m: PositiveInt = 1
    """How many of the last votes count."""
    min_dwell_s: NonNegativeFloat = 0.0
    """A state is kept at least this long, except for ``unknown``, which is left and entered at once."""

    @model_validator(mode="after")
    def _n_of_m(self) -> DecisionSettings:
        if self.confirm_n > self.confirm_m:
            raise ValueError(f"confirm_n must be in [1, confirm_m={self.confirm_m}], got {self.confirm_n!r}")
        if 2 * self.confirm_n <= self.confirm_m:
            raise ValueError(f"confirm_n must be more than half of confirm_m={self.confirm_m}, got {self.confirm_n!r}")
        return self
