"""Policies as a lab would write them: one that holds what it must, the others break one rule each."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from neuroloop.config.decision import OwnDecisionSettings


class Steady:
    """The most probable class, when it was the same for ``rows`` rows; no doubt leaves a state."""

    class Settings(OwnDecisionSettings):
        """Its own key."""

        rows: int = 3

    def __init__(self, settings: Any, classes: tuple[str, ...], sfreq: float) -> None:
        self._rows, self._classes = settings.rows, classes

    def reset(self) -> None:
        self._best, self._count, self._state = -1, 0, "unknown"

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        self._count = self._count + 1 if valid and best == self._best else int(valid)
        self._best = best
        if not valid:
            self._state = "unknown"
        elif self._count >= self._rows:
            self._state = self._classes[best]
        return self._state

    def get_state(self) -> dict[str, np.ndarray]:
        known = ("unknown", *self._classes)
        return {"all": np.array([self._best, self._count, known.index(self._state)])}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._best, self._count, at = (int(one) for one in state["all"])
        self._state = ("unknown", *self._classes)[at]


class Dice(Steady):
    """Random where it should be a function."""

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        return random.choice(self._classes)


class Forgets(Steady):
    """Saves less than it remembers."""

    def get_state(self) -> dict[str, np.ndarray]:
        return {"all": super().get_state()["all"] * [1, 1, 0]}


class Hoards(Steady):
    """Does not forget on reset()."""

    def reset(self) -> None:
        if not hasattr(self, "_state"):
            super().reset()


class Shares(Steady):
    """Counts in its class."""

    seen = 0

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        type(self).seen += 1
        return self._classes[0] if type(self).seen % 7 else "unknown"


class HandsOut(Steady):
    """Hands out the array that it goes on changing."""

    def reset(self) -> None:
        super().reset()
        self._kept = np.zeros(3, np.int64)

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        said = super().next_state(probabilities, valid, row)
        self._kept[:] = super().get_state()["all"]
        return said

    def get_state(self) -> dict[str, np.ndarray]:
        return {"all": self._kept}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        super().set_state(state)
        self._kept[:] = state["all"]


class Raises(Steady):
    """Fails at a row."""

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        return self._classes[row // 0]


class Invents(Steady):
    """Names a class that there is not."""

    def next_state(self, probabilities: tuple[float, ...], valid: bool, row: int) -> str:
        return "dreaming"


class NoPolicy:
    """Something else."""
