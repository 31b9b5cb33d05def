"""Settings of the decision policy: of the one that is built in, and of those that somebody else has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    model_validator,
)

from neuroloop.config.open_settings import OpenKinds, OpenSchema, write_own
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


class OwnDecisionSettings(Settings):
    """Base of the settings of a policy that somebody else has written; a subclass adds its own fields."""

    kind: str
    """A name that is registered or that an installed package offers, or ``package.module:Class``."""


class UnreadDecisionSettings(OwnDecisionSettings):
    """Settings of a policy whose code was not asked: kept as they were written, and never built."""

    model_config = ConfigDict(extra="allow")


_THRESHOLD = "threshold"
POLICY_KINDS = OpenKinds(
    "policy", "neuroloop.policies", (_THRESHOLD,), base=OwnDecisionSettings, unread=UnreadDecisionSettings
)
"""Which kinds of policy there are. The one that is built in is never written down: its settings have no kind."""


def _open(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Validate a policy's settings; the name of the one that is built in may be given, and is not kept."""
    if isinstance(value, dict) and value.get("kind") == _THRESHOLD:
        value = {key: one for key, one in value.items() if key != "kind"}
    return POLICY_KINDS.open(value, handler, info)


if TYPE_CHECKING:
    Decision = DecisionSettings | OwnDecisionSettings
else:
    Decision = Annotated[DecisionSettings, WrapValidator(_open), WrapSerializer(write_own), OpenSchema()]
