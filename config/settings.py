"""The base of every settings class: frozen, strict about unknown keys, finite numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_LEAST, _MOST = 1e-12, 1e12
"""Sizes of numbers that any setting may have; tighter bounds are those of the single settings."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]


class Settings(BaseModel):
    """Frozen settings of one component; an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="after")
    def _numbers_are_of_a_size(self) -> Self:
        """Refuse numbers that no quantity has: what is computed from them would overflow, or never end."""
        for name, value in self.__dict__.items():
            if name == "seed":  # no quantity
                continue
            for one in _numbers(value):
                if one and not _LEAST <= abs(one) <= _MOST:
                    raise ValueError(f"{name} must be 0 or of a size in [{_LEAST:g}, {_MOST:g}], got {one!r}")
        return self


def _numbers(value: Any) -> Iterator[float]:
    """Return the numbers in a value, in lists and mappings too; settings within it judge their own."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _numbers(one)
